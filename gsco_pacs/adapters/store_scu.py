"""A destination that is a PACS: reports go there by C-STORE."""

import logging
import socket
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from io import BytesIO
from typing import TYPE_CHECKING, cast

from pydicom import dcmread
from pydicom.uid import (
    UID,
    Comprehensive3DSRStorage,
    EnhancedSRStorage,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
)
from pynetdicom import AE, evt
from pynetdicom.association import Association

from gsco_pacs.adapters.tls import TlsArguments, why_no_handshake
from gsco_pacs.domain.errors import (
    GscoError,
    PeerBusyError,
    PeerUnavailableError,
    RejectedByPeerError,
    TransientError,
)
from gsco_pacs.domain.findings import ObjectKind, Receipt, Report
from gsco_pacs.settings.destinations import DimseDestination

if TYPE_CHECKING:
    from pynetdicom.pdu_primitives import A_ASSOCIATE

logger = logging.getLogger(__name__)

_REJECTED_TRANSIENT = 0x02
_DUPLICATE = 0x0111
_PROCESSING_FAILURE = 0x0110
_REMEDIES = {
    0x0117: "it takes our SOP Instance UID for invalid: look into its log",
    0x0122: "switch on the SOP class at the PACS, or choose another destination",
    0x0124: "allow our AE title to store at the PACS",
}


class StoreScu:
    """Sends reports over one association per call, as the bytes that were stored; implements ports.Destination.

    C-STORE statuses are read as PS3.4 B.2.3 and PS3.7 annex C have them; see ``failure``. ``tls`` is asked with each
    association, so that a renewed certificate is used at once; without it the association is not encrypted.
    """

    def __init__(
        self,
        name: str,
        settings: DimseDestination,
        calling_ae: str,
        tls: Callable[[], TlsArguments] | None = None,
    ) -> None:
        self._name = name
        self._settings = settings
        self._calling_ae = calling_ae
        self._tls = tls

    @property
    def name(self) -> str:
        """The name in config.yaml."""
        return self._name

    @property
    def objects(self) -> frozenset[ObjectKind]:
        """The kinds of objects that are sent there."""
        return frozenset(self._settings.objects)

    def send(self, reports: Sequence[Report]) -> tuple[Receipt, ...]:
        """Send all; a receipt's status is the PACS's answer, such as "0x0000". Errors as in ports.Destination.

        A PACS that refuses one kind still gets the other.
        """
        receipts: list[Receipt] = []
        errors: list[GscoError] = []
        with self._association({report.sop_class_uid for report in reports}) as association:
            for report in reports:
                try:
                    status = _store(association, report)
                    receipts.append(Receipt(self._name, report.sop_instance_uid, f"0x{status:04X}"))
                except (PeerBusyError, RejectedByPeerError) as error:
                    errors.append(error)
        if errors:
            raise min(errors, key=lambda error: not isinstance(error, TransientError))
        return tuple(receipts)

    @contextmanager
    def _association(self, sop_classes: set[str]) -> Iterator[Association]:
        ae = AE(ae_title=self._calling_ae)
        seconds = self._settings.timeout_seconds
        ae.connection_timeout = ae.acse_timeout = ae.dimse_timeout = ae.network_timeout = seconds
        # One context per transfer syntax: an acceptor that knows both can take both, and nothing is converted.
        for sop_class in sorted({EnhancedSRStorage, Comprehensive3DSRStorage} | sop_classes):
            ae.add_requested_context(sop_class, ExplicitVRLittleEndian)
            ae.add_requested_context(sop_class, ImplicitVRLittleEndian)
        association = self._associate(ae)
        try:
            yield association
        finally:
            association.release()

    def _associate(self, ae: AE) -> Association:
        peer = self._settings
        tls = self._tls() if self._tls else None
        try:
            association = ae.associate(
                peer.host,
                peer.port,
                ae_title=peer.ae_title,
                tls_args=tls,
                evt_handlers=[(evt.EVT_CONN_OPEN, send_at_once)],
            )
        except OSError as error:
            raise PeerUnavailableError(f"{peer.host} cannot be looked up: {error.strerror}.") from error
        if not association.is_established:
            raise self._no_association(association, tls)
        return association

    def _no_association(self, association: Association, tls: TlsArguments | None) -> GscoError:
        peer = f"{self._settings.ae_title} at {self._settings.host}:{self._settings.port}"
        if association.is_rejected:
            answer = cast("A_ASSOCIATE", association.acceptor.primitive)
            if answer.result == _REJECTED_TRANSIENT:
                return PeerUnavailableError(f"{peer} takes no association at present: {answer.reason_str}.")
            return RejectedByPeerError(
                f"{peer} rejected the association: {answer.reason_str}. Register the AE title {self._calling_ae} "
                "there and check the destination's ae_title."
            )
        if association.rejected_contexts:
            return RejectedByPeerError(f"{peer} takes none of our objects: {_REMEDIES[0x0122]}.")
        if tls and (why := why_no_handshake(tls, self._settings.host, self._settings.port)):
            return PeerUnavailableError(f"{peer}: no TLS connection: {why}.")
        return PeerUnavailableError(f"{peer} cannot be reached or does not answer.")


def send_at_once(event: evt.Event) -> None:
    """Without this a small C-STORE waits 40 ms for a delayed acknowledgement (Nagle's algorithm)."""
    connection = event.assoc.dul.socket
    if connection is not None and connection.socket is not None:
        connection.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)


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
