"""Asks a PACS whether it keeps what it took: by storage commitment (PS3.4 annex J), or by looking for it with C-FIND."""

import threading
from collections.abc import Callable, Sequence

from pydicom import Dataset
from pydicom.uid import UID, ExplicitVRLittleEndian, ImplicitVRLittleEndian
from pynetdicom import build_context, evt
from pynetdicom.association import Association
from pynetdicom.events import Event

from gsco_pacs.adapters.calling import CalledPeer
from gsco_pacs.adapters.commitment_messages import REQUEST, on_event_report, request_information
from gsco_pacs.adapters.dimse_service import COMMITMENT, COMMITMENT_INSTANCE
from gsco_pacs.domain.commitment import NO_SUCH_INSTANCE, Named, Outcome
from gsco_pacs.domain.errors import PeerBusyError, PeerUnavailableError, RejectedByPeerError
from gsco_pacs.domain.findings import Report
from gsco_pacs.settings.destinations import Confirmation

_STUDY_ROOT_FIND = "1.2.840.10008.5.1.4.1.2.2.1"
_PENDING = (0xFF00, 0xFF01)
_RESOURCE_LIMITATION = 0x0213


class CommitmentScu:
    """Asks over one association; implements ports.Confirming.

    ``keep`` makes a result durable that comes on the same association. One that comes later, on an association which
    the PACS opens, goes to the receiver.
    """

    def __init__(self, peer: CalledPeer, settings: Confirmation, keep: Callable[[Outcome], bool]) -> None:
        self._peer = peer
        self._settings = settings
        self._keep = keep

    def confirm(self, transaction_uid: str, reports: Sequence[Report]) -> Outcome | None:
        """What a query found, or None if the PACS will report. Errors as in ports.Confirming."""
        wanted = [_STUDY_ROOT_FIND] if self._settings.by == "query" else [COMMITMENT, _STUDY_ROOT_FIND]
        syntaxes: list[str | UID] = [ExplicitVRLittleEndian, ImplicitVRLittleEndian]
        answered = threading.Event()
        keep = on_event_report(self._keep)

        def on_event(event: Event) -> tuple[int | Dataset, Dataset | None]:
            answer = keep(event)
            answered.set()
            return answer

        with self._peer.association(
            [build_context(sop_class, syntaxes) for sop_class in wanted],
            "offers neither storage commitment nor C-FIND (Study Root): allow one of them for our AE title.",
            handlers=[(evt.EVT_N_EVENT_REPORT, on_event)],
        ) as association:
            taken = {context.abstract_syntax for context in association.accepted_contexts}
            if COMMITMENT not in taken:
                return _found(association, transaction_uid, reports)
            _ask(association, transaction_uid, reports)
            answered.wait(self._settings.wait_seconds)
            return None


def _ask(association: Association, transaction_uid: str, reports: Sequence[Report]) -> None:
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


def _found(association: Association, transaction_uid: str, reports: Sequence[Report]) -> Outcome:
    there = [_named(report) for report in reports if _is_there(association, report)]
    missing = [named for named in map(_named, reports) if named not in there]
    return Outcome(transaction_uid, tuple(there), dict.fromkeys(missing, NO_SUCH_INSTANCE), by="query")


def _is_there(association: Association, report: Report) -> bool:
    """Look for one object at the IMAGE level (PS3.4 section C.6.2.1)."""
    wanted = Dataset()
    wanted.QueryRetrieveLevel = "IMAGE"
    wanted.StudyInstanceUID = report.study_instance_uid
    wanted.SeriesInstanceUID = report.series_instance_uid
    wanted.SOPInstanceUID = report.sop_instance_uid
    found = False
    try:
        for status, identifier in association.send_c_find(wanted, _STUDY_ROOT_FIND):
            if "Status" not in status:
                raise PeerUnavailableError("The PACS hung up or did not answer a query.")
            if status.Status in _PENDING and identifier is not None:
                found = found or identifier.get("SOPInstanceUID") == report.sop_instance_uid
            elif status.Status:
                raise RejectedByPeerError(f"The PACS answered a query with the status 0x{status.Status:04X}.")
    except RuntimeError as error:
        raise PeerUnavailableError("The PACS hung up during a query.") from error
    return found


def _named(report: Report) -> Named:
    return Named(report.sop_class_uid, report.sop_instance_uid)
