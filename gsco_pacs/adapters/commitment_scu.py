"""Asks a PACS whether it keeps what it took, by storage commitment (PS3.4 annex J)."""

import threading
from collections.abc import Callable, Sequence

from pydicom import Dataset
from pydicom.uid import UID, ExplicitVRLittleEndian, ImplicitVRLittleEndian
from pynetdicom import build_context, evt
from pynetdicom.association import Association
from pynetdicom.events import Event

from gsco_pacs.adapters.archive_query import ArchiveQuery
from gsco_pacs.adapters.calling import CalledPeer
from gsco_pacs.adapters.commitment_messages import REQUEST, on_event_report, request_information
from gsco_pacs.adapters.dimse_service import COMMITMENT, COMMITMENT_INSTANCE
from gsco_pacs.domain.commitment import Named, Outcome
from gsco_pacs.domain.errors import PeerBusyError, PeerUnavailableError, RejectedByPeerError
from gsco_pacs.domain.findings import Report

_STUDY_ROOT_FIND = "1.2.840.10008.5.1.4.1.2.2.1"
_RESOURCE_LIMITATION = 0x0213


class CommitmentScu:
    """Asks for commitment, and looks for the objects where that is not offered; implements ports.Confirming.

    ``keep`` makes a result durable that comes on the same association. One that comes later, on an association which
    the PACS opens, goes to the receiver.
    """

    def __init__(
        self, peer: CalledPeer, query: ArchiveQuery, wait_seconds: float, keep: Callable[[Outcome], bool]
    ) -> None:
        self._peer = peer
        self._query = query
        self._wait_seconds = wait_seconds
        self._keep = keep

    def confirm(self, transaction_uid: str, reports: Sequence[Report]) -> Outcome | None:
        """What a query found, or None if the PACS will report. Errors as in ports.Confirming."""
        if self._ask(transaction_uid, reports):
            return None
        return self._query.confirm(transaction_uid, reports)

    def _ask(self, transaction_uid: str, reports: Sequence[Report]) -> bool:
        """Ask for commitment; False if the PACS does not offer it."""
        answered = threading.Event()
        keep = on_event_report(self._keep)

        def on_event(event: Event) -> tuple[int | Dataset, Dataset | None]:
            answer = keep(event)
            answered.set()
            return answer

        syntaxes: list[str | UID] = [ExplicitVRLittleEndian, ImplicitVRLittleEndian]
        with self._peer.association(
            # With the query, so that a PACS which offers only that does not turn us away.
            [build_context(sop_class, syntaxes) for sop_class in (COMMITMENT, _STUDY_ROOT_FIND)],
            "offers neither storage commitment nor C-FIND (Study Root): allow one of them for our AE title.",
            handlers=[(evt.EVT_N_EVENT_REPORT, on_event)],
        ) as association:
            if COMMITMENT not in {context.abstract_syntax for context in association.accepted_contexts}:
                return False
            _request(association, transaction_uid, reports)
            answered.wait(self._wait_seconds)
            return True


def _request(association: Association, transaction_uid: str, reports: Sequence[Report]) -> None:
    information = request_information(transaction_uid, [_named(report) for report in reports])
    try:
        answer, _ = association.send_n_action(information, REQUEST, COMMITMENT, COMMITMENT_INSTANCE)
    except RuntimeError as error:
        raise PeerUnavailableError("The PACS hung up before it could be asked for its commitment.") from error
    if "Status" not in answer:
        raise PeerUnavailableError("The PACS hung up or did not answer when asked for its commitment.")
    if answer.Status == _RESOURCE_LIMITATION:
        raise PeerBusyError("The PACS has no resources at present to commit itself (0x0213).")
    if answer.Status:
        raise RejectedByPeerError(
            f"The PACS will not commit itself (0x{answer.Status:04X}); look into its log, or confirm by query."
        )


def _named(report: Report) -> Named:
    return Named(report.sop_class_uid, report.sop_instance_uid)
