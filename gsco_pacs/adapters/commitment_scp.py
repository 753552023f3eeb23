"""Storage commitment towards modalities (PS3.4 annex J): the node promises what it holds, and reports it."""

import logging
import threading
from collections.abc import Callable
from functools import partial
from io import BytesIO
from typing import cast

from pydicom import Dataset
from pydicom.uid import ExplicitVRLittleEndian, ImplicitVRLittleEndian
from pynetdicom import build_context, build_role
from pynetdicom.dimse_primitives import N_ACTION, N_EVENT_REPORT
from pynetdicom.dsutils import encode
from pynetdicom.events import Event

from gsco_pacs.adapters.calling import CalledPeer
from gsco_pacs.adapters.commitment_messages import (
    ALL_COMMITTED,
    REQUEST,
    SOME_FAILED,
    outcome_information,
    read_request,
)
from gsco_pacs.adapters.dimse_service import COMMITMENT, COMMITMENT_INSTANCE, peer_of
from gsco_pacs.adapters.promises import Promise, Promises
from gsco_pacs.adapters.upper_layer import PromptAssociation
from gsco_pacs.domain.commitment import DUPLICATE_TRANSACTION, PROCESSING_FAILURE, Outcome
from gsco_pacs.domain.errors import BadObjectError, GscoError, PeerUnavailableError, RejectedByPeerError

log = logging.getLogger(__name__)

_SUCCESS, _NO_SUCH_INSTANCE, _INVALID_ARGUMENT, _NO_SUCH_ACTION = 0x0000, 0x0112, 0x0115, 0x0123
_REPORT_AFTER_SECONDS = 0.2
"""The response to the request goes first, and a modality that wants to release may do so."""


class CommitmentScp:
    """Answers requests in the receiver; success says that the promise is durable, not what it holds."""

    def __init__(self, promises: Promises, is_there: Callable[[str, int], bool]) -> None:
        self._promises = promises
        self._is_there = is_there

    def on_request(self, event: Event) -> tuple[int, Dataset | None]:
        """Serve one N-ACTION."""
        if cast(N_ACTION, event.request).RequestedSOPInstanceUID != COMMITMENT_INSTANCE:
            return _NO_SUCH_INSTANCE, None
        if event.action_type != REQUEST:
            return _NO_SUCH_ACTION, None
        try:
            transaction_uid, named = read_request(event.action_information)
            calling_ae = peer_of(event.assoc).calling_ae
            promise = self._promises.promise(transaction_uid, named, calling_ae, self._is_there)
        except BadObjectError:
            return _INVALID_ARGUMENT, None
        except GscoError as error:
            log.warning("A request for storage commitment failed: %s", error)
            return PROCESSING_FAILURE, None
        if promise is None:
            return DUPLICATE_TRANSACTION, None
        told = promise.outcome
        log.info("Committed to %d of %d objects of %s.", len(told.committed), len(named), calling_ae)
        association = cast(PromptAssociation, event.assoc)
        soon = threading.Timer(_REPORT_AFTER_SECONDS, self._report, (association, promise))
        soon.daemon = True
        soon.start()
        return _SUCCESS, None

    def _report(self, association: PromptAssociation, promise: Promise) -> None:
        """Report on the association that asked, if it is still there; if not, a worker does it on another."""
        contexts = [c for c in association.accepted_contexts if c.abstract_syntax == COMMITMENT]
        if association.is_established and contexts:
            implicit = contexts[0].transfer_syntax[0] == ImplicitVRLittleEndian
            association.report(
                _message(promise.outcome, implicit=implicit), partial(self._answered, promise.number)
            )

    def _answered(self, number: int, status: int) -> None:
        try:
            if status == _SUCCESS:
                self._promises.reported(number)
        except GscoError as error:
            log.warning("A report of commitment could not be noted and is made again: %s", error)


def report(peer: CalledPeer, outcome: Outcome) -> None:
    """Report on an association of our own, as the SCP (role selection, PS3.4 section J.3.3).

    PeerUnavailableError or RejectedByPeerError if the modality does not take it.
    """
    with peer.association(
        [build_context(COMMITMENT, [ExplicitVRLittleEndian, ImplicitVRLittleEndian])],
        "takes no reports of storage commitment: allow our AE title to open associations there.",
        roles=[build_role(COMMITMENT, scp_role=True)],
    ) as association:
        try:
            answer, _ = association.send_n_event_report(
                outcome_information(outcome), _event_type(outcome), COMMITMENT, COMMITMENT_INSTANCE
            )
        except RuntimeError as error:
            raise PeerUnavailableError(f"{peer} hung up before a report of commitment.") from error
    if "Status" not in answer:
        raise PeerUnavailableError(f"{peer} hung up or did not answer a report of commitment.")
    if answer.Status:
        raise RejectedByPeerError(f"{peer} answered a report of commitment with 0x{answer.Status:04X}.")


def _event_type(outcome: Outcome) -> int:
    return SOME_FAILED if outcome.failed else ALL_COMMITTED


def _message(outcome: Outcome, *, implicit: bool) -> N_EVENT_REPORT:
    event = N_EVENT_REPORT()
    event.AffectedSOPClassUID = COMMITMENT
    event.AffectedSOPInstanceUID = COMMITMENT_INSTANCE
    event.EventTypeID = _event_type(outcome)
    information = encode(outcome_information(outcome), is_implicit_vr=implicit, is_little_endian=True)
    event.EventInformation = BytesIO(cast(bytes, information))
    return event
