"""A destination that is a PACS: reports go there by C-STORE."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from io import BytesIO

from pydicom import dcmread
from pydicom.uid import (
    UID,
    Comprehensive3DSRStorage,
    EnhancedSRStorage,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
)
from pynetdicom import build_context
from pynetdicom.association import Association
from pynetdicom.presentation import PresentationContext

from gsco_pacs.adapters.calling import CalledPeer
from gsco_pacs.domain.errors import (
    GscoError,
    PeerBusyError,
    PeerUnavailableError,
    RejectedByPeerError,
    TransientError,
)
from gsco_pacs.domain.findings import ObjectKind, Receipt, Report

logger = logging.getLogger(__name__)

_DUPLICATE = 0x0111
_PROCESSING_FAILURE = 0x0110
_REMEDIES = {
    0x0117: "it takes our SOP Instance UID for invalid: look into its log",
    0x0122: "switch on the SOP class at the PACS, or choose another destination",
    0x0124: "allow our AE title to store at the PACS",
}


@dataclass(frozen=True)
class StoreScu:
    """Sends reports over one association per call, as the bytes that were stored; implements ports.Destination.

    C-STORE statuses are read as PS3.4 B.2.3 and PS3.7 annex C have them; see ``failure``.
    """

    name: str
    """The name in config.yaml."""
    peer: CalledPeer
    objects: frozenset[ObjectKind]
    """The kinds of objects that are sent there."""

    def send(self, reports: Sequence[Report]) -> tuple[Receipt, ...]:
        """Send all; a receipt's status is the PACS's answer, such as "0x0000". Errors as in ports.Destination.

        A PACS that refuses one kind still gets the other.
        """
        receipts: list[Receipt] = []
        errors: list[GscoError] = []
        contexts = _contexts({report.sop_class_uid for report in reports})
        with self.peer.association(
            contexts, f"takes none of our objects: {_REMEDIES[0x0122]}."
        ) as association:
            for report in reports:
                try:
                    status = _store(association, report)
                    receipts.append(Receipt(self.name, report.sop_instance_uid, f"0x{status:04X}"))
                except (PeerBusyError, RejectedByPeerError) as error:
                    errors.append(error)
        if errors:
            raise min(errors, key=lambda error: not isinstance(error, TransientError))
        return tuple(receipts)


def _contexts(sop_classes: set[str]) -> list[PresentationContext]:
    """One for each transfer syntax: an acceptor that knows both can take both, and nothing is converted."""
    return [
        build_context(sop_class, syntax)
        for sop_class in sorted({EnhancedSRStorage, Comprehensive3DSRStorage} | sop_classes)
        for syntax in (ExplicitVRLittleEndian, ImplicitVRLittleEndian)
    ]


def _store(association: Association, report: Report) -> int:
    """Send one report and give back the status with which the PACS took it."""
    name = UID(report.sop_class_uid).name
    if report.sop_class_uid not in {context.abstract_syntax for context in association.accepted_contexts}:
        raise RejectedByPeerError(f"The PACS does not take {name}: {_REMEDIES[0x0122]}.")
    try:
        answer = association.send_c_store(dcmread(BytesIO(report.content)))
    except RuntimeError as error:
        raise PeerUnavailableError(f"The PACS hung up before {name} could be sent.") from error
    if "Status" not in answer:
        raise PeerUnavailableError(f"The PACS hung up or did not answer when {name} was sent.")
    refusal = failure(answer.Status, name)
    if refusal is not None:
        raise refusal
    if answer.Status:
        logger.warning("%s was taken with the status 0x%04X.", name, answer.Status)
    return int(answer.Status)


def failure(status: int, name: str) -> PeerBusyError | RejectedByPeerError | None:
    """What a C-STORE status means for us: None if the PACS has the report.

    0000 and Bxxx (warnings) are taken; so is 0111, because our UID always means the same bytes. A7xx and 0110 say
    that the PACS had a trouble of its own, which may pass. Anything else is about the object or our rights.
    """
    if status in (0x0000, _DUPLICATE) or status >> 12 == 0xB:
        return None
    words = f"The PACS answered {name} with the status 0x{status:04X}"
    if status >> 8 == 0xA7 or status == _PROCESSING_FAILURE:
        return PeerBusyError(f"{words}: it has no resources at present.")
    remedy = _REMEDIES.get(status, "it does not accept our object: look into its log")
    return RejectedByPeerError(f"{words}: {remedy}.")
