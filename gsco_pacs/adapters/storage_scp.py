"""The Storage SCP, and the door to other services: who may send is decided before anything is negotiated."""

import logging
import ssl
from collections.abc import Callable, Sequence
from threading import Thread

from pynetdicom import AE

from gsco_pacs.adapters.c_store import StoreAnswer, StoreRequest
from gsco_pacs.adapters.dimse_service import Service, peer_of
from gsco_pacs.adapters.doors import Doors, Seat
from gsco_pacs.adapters.gate import ReceiverGate
from gsco_pacs.adapters.p_data import PDataUpperLayer
from gsco_pacs.adapters.refusal_desk import RefusalDesk
from gsco_pacs.adapters.store_status import status_of
from gsco_pacs.adapters.transfer_syntaxes import storage_sop_classes, supported_contexts
from gsco_pacs.adapters.upper_layer import PromptAssociation, PromptServer
from gsco_pacs.domain.errors import GscoError, SopClassRefusedError
from gsco_pacs.domain.incoming import Incoming, Refusal
from gsco_pacs.domain.part10 import IMPLEMENTATION_CLASS_UID, IMPLEMENTATION_VERSION_NAME
from gsco_pacs.settings.receiver import Receiver

LOGGER = logging.getLogger(__name__)

_TAKEN = frozenset(storage_sop_classes())
_NEGOTIATION_SECONDS = 30
_NEGOTIATIONS = 16
"""Connections that are still negotiating never take the place of established associations."""


class StorageScp:
    """Receives images from the senders of the configuration; everybody else is rejected and named in the log.

    ``on_store`` returns when an object and its index record are durable, and only then is 0x0000 answered; what it raises
    becomes the status of PS3.4 table B.2-1. ``on_refusal`` is told of every association and object that was not taken,
    with a count if they are many. Both are called in the association's thread, and so are the handlers of ``services``.
    ``check_room`` raises OutOfResourcesError while no image should be offered, and associations for storage are rejected.
    ``tls`` secures the TLS port, if the settings have one. tend() has to be called every second or so.
    """

    def __init__(
        self,
        settings: Receiver,
        on_store: Callable[[Incoming], None],
        on_refusal: Callable[[Refusal], None],
        services: Sequence[Service] = (),
        seat: Seat | None = None,
        tls: ssl.SSLContext | None = None,
        *,
        check_room: Callable[[], None] = lambda: None,
    ) -> None:
        self._settings = settings
        self._seat = seat or Seat(Doors())
        self._services = services
        self._on_store = on_store
        self._on_refusal = on_refusal
        self._ae = AE(settings.ae_title)
        self._ae.implementation_class_uid = IMPLEMENTATION_CLASS_UID
        self._ae.implementation_version_name = IMPLEMENTATION_VERSION_NAME
        self._ae.maximum_associations = 2 * settings.maximum_associations + _NEGOTIATIONS
        self._ae.maximum_pdu_size = settings.maximum_pdu
        self._ae.acse_timeout = _NEGOTIATION_SECONDS
        self._ae.dimse_timeout = settings.idle_seconds
        self._ae.network_timeout = settings.idle_seconds
        self._desk = RefusalDesk(self._tell, settings.limits.refusals_per_minute)
        self._gate = ReceiverGate(self._ae, self._seat, settings, tls, self._desk, check_room)
        self._servers: dict[bool, PromptServer] = {}
        """By whether they take TLS."""

    def start(self) -> None:
        """Listen; ConfigError if an address can't be used."""
        if self._settings.plain:
            self._listen(self._settings.port)
        if self._settings.tls is not None:
            self._listen(self._settings.tls.port, secured=True)

    def reload(self, settings: Receiver, tls: ssl.SSLContext | None) -> None:
        """Take new associations by these senders, users, limits and certificates; running ones go on.

        ConfigError, and all stays as it is, if they can't be used. Ports, titles and sizes need a restart.
        """
        self._gate.reload(settings, tls)

    def tend(self) -> None:
        """Do what is due: tell of refusals that were counted."""
        self._desk.flush()

    def stop(self) -> None:
        """Take no more associations, let each finish the object in hand, and abort them."""
        for server in self._servers.values():
            server.shutdown()
        for association in self._ae.active_associations:
            association.abort(block=True)  # without it, abort() does not wait for a handler that is running
        self._desk.flush(everything=True)

    @property
    def port(self) -> int:
        """The TCP port that is listened on without TLS, also if the configuration says 0."""
        return self._port_of(self._settings.port, secured=False)

    @property
    def tls_port(self) -> int:
        """The TCP port that is listened on with TLS, also if the configuration says 0; 0 if there is none."""
        return self._port_of(self._settings.tls.port if self._settings.tls else 0, secured=True)

    def _port_of(self, configured: int, *, secured: bool) -> int:
        server = self._servers.get(secured)
        return int(server.server_address[1]) if server else configured

    def _listen(self, port: int, *, secured: bool = False) -> None:
        address = (self._settings.host, port)
        server = PromptServer(
            self._ae,
            self._seat,
            address,
            supported_contexts(),
            self._gate,
            self._on_c_store,
            PDataUpperLayer,
            self._services,
            secured=secured,
        )
        self._servers[secured] = server
        name = "storage-scp-tls" if secured else "storage-scp"
        Thread(target=server.serve_forever, kwargs={"poll_interval": 0.1}, name=name, daemon=True).start()
        LOGGER.info(
            "%s listens on %s port %d%s.",
            self._settings.ae_title,
            address[0],
            self._port_of(port, secured=secured),
            " with TLS" if secured else "",
        )

    def _on_c_store(self, association: PromptAssociation, request: StoreRequest) -> StoreAnswer:
        association.objects += 1
        association.bytes += len(request.data_set)
        if reason := self._gate.ends(association):
            association.end_for(reason)
            return StoreAnswer(0xA700)
        incoming = Incoming(
            sop_class_uid=request.sop_class_uid,
            sop_instance_uid=request.sop_instance_uid,
            transfer_syntax_uid=request.transfer_syntax_uid,
            data_set=request.data_set,
            peer=peer_of(association),
        )
        try:
            self._take(incoming)
        except GscoError as error:
            return self._refused(incoming, error)
        except Exception as error:
            LOGGER.exception("An image could not be stored.")
            return self._refused(incoming, error)
        return StoreAnswer()

    def _take(self, incoming: Incoming) -> None:
        if incoming.sop_class_uid not in _TAKEN:
            raise SopClassRefusedError("It came in another class's presentation context.")
        self._on_store(incoming)

    def _refused(self, incoming: Incoming, error: Exception) -> StoreAnswer:
        status, comment = status_of(error)
        reason = str(error) if isinstance(error, GscoError) else f"internal error: {type(error).__name__}."
        self._desk.tell(Refusal(incoming.peer, "object", f"0x{status:04X}: {reason}"))
        return StoreAnswer(status, comment)

    def _tell(self, refusal: Refusal) -> None:
        peer, times = refusal.peer, f" ({refusal.times} times)" if refusal.times > 1 else ""
        whose = f" of {peer.calling_ae!r}" if peer.calling_ae else ""  # it may not have got as far as a name
        LOGGER.warning(
            "Refused the %s%s from %s: %s%s", refusal.what, whose, peer.address, refusal.reason, times
        )
        try:
            self._on_refusal(refusal)
        except GscoError as error:
            LOGGER.warning("The refusal could not be noted: %s", error)
