"""How the node calls a peer: an association over TCP or TLS, and what it means if there is none."""

import socket
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

from pynetdicom import AE, evt
from pynetdicom.association import Association
from pynetdicom.events import EventHandlerType
from pynetdicom.presentation import PresentationContext

from gsco_pacs.adapters.tls import TlsArguments, why_no_handshake
from gsco_pacs.domain.errors import GscoError, PeerUnavailableError, RejectedByPeerError

if TYPE_CHECKING:
    from pynetdicom.pdu_primitives import A_ASSOCIATE, SCP_SCU_RoleSelectionNegotiation

_REJECTED_TRANSIENT = 0x02


@dataclass(frozen=True)
class CalledPeer:
    """A peer that the node calls, and under which AE title."""

    ae_title: str
    host: str
    port: int
    calling_ae: str
    seconds: float
    """Longest wait for a connection and for each answer."""
    tls: Callable[[], TlsArguments] | None = None
    """Asked with each association, so that a renewed certificate is used at once; None: not encrypted."""

    def __str__(self) -> str:
        return f"{self.ae_title} at {self.host}:{self.port}"

    @contextmanager
    def association(
        self,
        contexts: Sequence[PresentationContext],
        nothing_taken: str,
        handlers: Sequence[EventHandlerType] = (),
        roles: Sequence["SCP_SCU_RoleSelectionNegotiation"] = (),
    ) -> Iterator[Association]:
        """An established association, released at the end.

        PeerUnavailableError if the peer is away or busy; RejectedByPeerError with what to do about it if it does not
        know us, or, in the words of ``nothing_taken``, if it takes none of ``contexts``.
        """
        ae = AE(ae_title=self.calling_ae)
        ae.connection_timeout = ae.acse_timeout = ae.dimse_timeout = ae.network_timeout = self.seconds
        tls = self.tls() if self.tls else None
        try:
            association = ae.associate(
                self.host, self.port, list(contexts), ae_title=self.ae_title, ext_neg=list(roles), tls_args=tls,
                evt_handlers=[(evt.EVT_CONN_OPEN, send_at_once), *handlers],
            )  # fmt: skip
        except OSError as error:
            raise PeerUnavailableError(f"{self.host} cannot be looked up: {error.strerror}.") from error
        if not association.is_established:
            raise self._no_association(association, tls, nothing_taken)
        try:
            yield association
        finally:
            association.release()

    def _no_association(
        self, association: Association, tls: TlsArguments | None, nothing_taken: str
    ) -> GscoError:
        if association.is_rejected:
            answer = cast("A_ASSOCIATE", association.acceptor.primitive)
            if answer.result == _REJECTED_TRANSIENT:
                return PeerUnavailableError(f"{self} takes no association at present: {answer.reason_str}.")
            return RejectedByPeerError(
                f"{self} rejected the association: {answer.reason_str}. Register the AE title {self.calling_ae} "
                "there and check the AE title that is called."
            )
        if association.rejected_contexts:
            return RejectedByPeerError(f"{self} {nothing_taken}")
        if tls and (why := why_no_handshake(tls, self.host, self.port)):
            return PeerUnavailableError(f"{self}: no TLS connection: {why}.")
        return PeerUnavailableError(f"{self} cannot be reached or does not answer.")


def send_at_once(event: evt.Event) -> None:
    """Without this a small message waits 40 ms for a delayed acknowledgement (Nagle's algorithm)."""
    connection = event.assoc.dul.socket
    if connection is not None and connection.socket is not None:
        connection.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
