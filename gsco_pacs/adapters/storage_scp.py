"""The Storage SCP, and the door to other services: who may send is decided before anything is negotiated."""

import logging
from collections.abc import Callable, Sequence
from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network
from threading import Thread

from pynetdicom import AE

from gsco_pacs.adapters.c_store import StoreAnswer, StoreRequest
from gsco_pacs.adapters.dimse_service import Service, peer_of
from gsco_pacs.adapters.doors import Doors, Seat
from gsco_pacs.adapters.p_data import PDataUpperLayer
from gsco_pacs.adapters.store_status import status_of
from gsco_pacs.adapters.transfer_syntaxes import supported_contexts
from gsco_pacs.adapters.upper_layer import PromptAssociation, PromptServer
from gsco_pacs.domain.errors import ConfigError, GscoError
from gsco_pacs.domain.incoming import Incoming, Refusal
from gsco_pacs.domain.part10 import IMPLEMENTATION_CLASS_UID, IMPLEMENTATION_VERSION_NAME
from gsco_pacs.domain.study import Peer
from gsco_pacs.settings.receiver import Receiver, Sender

LOGGER = logging.getLogger(__name__)

_NEGOTIATION_SECONDS = 30
_NEGOTIATIONS = 16
"""Connections that are still negotiating never take the place of established associations."""

_CALLING_AE_NOT_RECOGNIZED = (1, 1, 3)
_CALLED_AE_NOT_RECOGNIZED = (1, 1, 7)
_LOCAL_LIMIT_EXCEEDED = (2, 3, 2)


class StorageScp:
    """Receives images from the senders of the configuration; everybody else is rejected and named in the log.

    ``on_store`` returns when an object and its row are durable, and only then is 0x0000 answered; what it raises
    becomes the status of PS3.4 table B.2-1. ``on_refusal`` is told of every association and object that was not taken.
    Both are called in the association's thread, and so are the handlers of ``services``.
    """

    def __init__(
        self,
        settings: Receiver,
        on_store: Callable[[Incoming], None],
        on_refusal: Callable[[Refusal], None],
        services: Sequence[Service] = (),
        seat: Seat | None = None,
    ) -> None:
        self._settings = settings
        self._seat = seat or Seat(Doors())
        self._services = services
        self._on_store = on_store
        self._on_refusal = on_refusal
        self._senders = {sender.ae_title.strip(): _networks(sender) for sender in settings.senders}
        self._ae = AE(settings.ae_title)
        self._ae.implementation_class_uid = IMPLEMENTATION_CLASS_UID
        self._ae.implementation_version_name = IMPLEMENTATION_VERSION_NAME
        self._ae.maximum_associations = 2 * settings.maximum_associations + _NEGOTIATIONS
        self._ae.maximum_pdu_size = settings.maximum_pdu
        self._ae.acse_timeout = _NEGOTIATION_SECONDS
        self._ae.dimse_timeout = settings.idle_seconds
        self._ae.network_timeout = settings.idle_seconds
        self._server: PromptServer | None = None

    def start(self) -> None:
        """Listen; ConfigError if the address can't be used."""
        address = (self._settings.host, self._settings.port)
        self._server = PromptServer(
            self._ae,
            self._seat,
            address,
            supported_contexts(),
            self._gate,
            self._on_c_store,
            PDataUpperLayer,
            self._services,
        )
        Thread(
            target=self._server.serve_forever, kwargs={"poll_interval": 0.1}, name="storage-scp", daemon=True
        ).start()
        LOGGER.info("%s listens on %s port %d.", self._settings.ae_title, address[0], self.port)

    def stop(self) -> None:
        """Take no more associations, let each finish the object in hand, and abort them."""
        if self._server is not None:
            self._server.shutdown()
            for association in self._ae.active_associations:
                association.abort(
                    block=True
                )  # without it, abort() does not wait for a handler that is running

    @property
    def port(self) -> int:
        """The TCP port that is listened on, also if the configuration says 0."""
        if self._server is None:
            return self._settings.port
        return int(self._server.server_address[1])

    def _gate(self, association: PromptAssociation) -> tuple[int, int, int] | None:
        peer = peer_of(association)
        refusal = self._why_not(peer)
        if refusal is None and self._is_full():
            refusal = (
                _LOCAL_LIMIT_EXCEEDED,
                "receiver.maximum_associations are open; the sender may try again.",
            )
        if refusal is None:
            return None
        rejection, reason = refusal
        LOGGER.warning("Rejected the association of %r from %s: %s", peer.calling_ae, peer.address, reason)
        self._tell(Refusal(peer, "association", reason))
        return rejection

    def _why_not(self, peer: Peer) -> tuple[tuple[int, int, int], str] | None:
        known = self._senders.get(peer.calling_ae)
        entry = f'"- {{ae_title: {peer.calling_ae}, addresses: [{peer.address}]}}"'
        if known is None:
            return (
                _CALLING_AE_NOT_RECOGNIZED,
                f"it is not in receiver.senders; to admit it, add {entry} there.",
            )
        if known and not any(ip_address(peer.address) in network for network in known):
            return (
                _CALLING_AE_NOT_RECOGNIZED,
                f"receiver.senders has it at another address; to admit it, add {entry} there.",
            )
        if peer.called_ae != self._settings.ae_title.strip():
            return _CALLED_AE_NOT_RECOGNIZED, (
                f"it called {peer.called_ae!r}, but receiver.ae_title is {self._settings.ae_title!r}."
            )
        return None

    def _is_full(self) -> bool:
        established = [a for a in self._ae.active_associations if a.is_established]
        here_and_there = len(established) + self._seat.associations_of_others()
        return here_and_there >= self._settings.maximum_associations

    def _on_c_store(self, association: PromptAssociation, request: StoreRequest) -> StoreAnswer:
        incoming = Incoming(
            sop_class_uid=request.sop_class_uid,
            sop_instance_uid=request.sop_instance_uid,
            transfer_syntax_uid=request.transfer_syntax_uid,
            data_set=request.data_set,
            peer=peer_of(association),
        )
        try:
            self._on_store(incoming)
        except GscoError as error:
            return self._refused(incoming, error)
        except Exception as error:
            LOGGER.exception("An image could not be stored.")
            return self._refused(incoming, error)
        return StoreAnswer()

    def _refused(self, incoming: Incoming, error: Exception) -> StoreAnswer:
        status, comment = status_of(error)
        reason = str(error) if isinstance(error, GscoError) else f"internal error: {type(error).__name__}."
        LOGGER.warning("Refused an object of %s with 0x%04X: %s", incoming.peer.calling_ae, status, reason)
        self._tell(Refusal(incoming.peer, "object", f"0x{status:04X}: {reason}"))
        return StoreAnswer(status, comment)

    def _tell(self, refusal: Refusal) -> None:
        try:
            self._on_refusal(refusal)
        except GscoError as error:
            LOGGER.warning("The refusal could not be noted: %s", error)


def _networks(sender: Sender) -> tuple[IPv4Network | IPv6Network, ...]:
    try:
        return tuple(ip_network(address, strict=False) for address in sender.addresses)
    except ValueError as error:
        raise ConfigError(
            f"receiver.senders: {sender.ae_title}: {error}; give IP addresses or networks."
        ) from None
