"""pynetdicom's acceptor without its polling and copying; states, events and actions stay pynetdicom's (PS3.8 section 9.2).

Three things differ from the base classes, each in one class: the upper layer waits for its socket instead of looking
every millisecond; a complete message is served in the thread that read it; and the association's own thread sleeps until
there is a release, an abort or too long a silence. What makes P-DATA quick is in ``p_data.py``.
"""

import logging
import socket
import ssl
import threading
import time
from collections.abc import Callable, Sequence
from io import BytesIO
from math import ceil
from socketserver import BaseServer
from struct import pack
from typing import Any, Protocol, cast

from pydicom import Dataset
from pynetdicom import AE, evt
from pynetdicom.acse import ACSE
from pynetdicom.association import Association
from pynetdicom.dimse import DIMSEServiceProvider
from pynetdicom.dimse_messages import DIMSEMessage
from pynetdicom.dimse_primitives import C_ECHO, C_STORE, N_EVENT_REPORT
from pynetdicom.events import Event
from pynetdicom.pdu_primitives import P_DATA, UserIdentityNegotiation
from pynetdicom.presentation import PresentationContext
from pynetdicom.service_class import ServiceClass, StorageServiceClass, VerificationServiceClass
from pynetdicom.transport import AddressInformation, AssociationServer, AssociationSocket

from gsco_pacs.adapters.c_store import Command, StoreAnswer, StoreRequest, store_request
from gsco_pacs.adapters.dimse_service import EVENTS, Operations, Service
from gsco_pacs.adapters.doors import Seat
from gsco_pacs.adapters.dul import LOOK_AROUND_MS, PromptUpperLayer
from gsco_pacs.adapters.tls import PduSocket

LOGGER = logging.getLogger(__name__)

MAXIMUM_OBJECT = 1 << 31
"""Longest command or data set, because one message is held in memory."""

_SERVICES: dict[type, type[ServiceClass]] = {C_ECHO: VerificationServiceClass, C_STORE: StorageServiceClass}

_USERNAME_AND_PASSCODE = 2


class Gate(Protocol):
    """Decides who gets in and who stays; the methods are called in different threads."""

    def hears(self, address: str) -> bool:
        """Whether a connection from ``address`` may begin to negotiate at all."""

    def secures(self) -> tuple[ssl.SSLContext, float]:
        """What a connection to the TLS port is secured with, and how long its handshake may take in seconds."""

    def unsecured(self, address: str, error: OSError) -> None:
        """Hear of a handshake that failed."""

    def rejects(self, association: "PromptAssociation") -> tuple[int, int, int] | None:
        """None to accept an association request, or the rejection's result, source and reason (PS3.8 section 9.3.4)."""

    def ends(self, association: "PromptAssociation") -> str:
        """Why a running association has to end now; empty: it need not."""


StoreHandler = Callable[["PromptAssociation", StoreRequest], StoreAnswer]
"""Serves a C-STORE in the association's thread."""

UpperLayerKind = Callable[["PromptAssociation", int], PromptUpperLayer]
"""Makes the upper layer of an association, given the longest P-DATA PDU."""


class _ServingDimse(DIMSEServiceProvider):
    """Serves each complete message at once, in the thread that read it."""

    def receive_primitive(self, primitive: P_DATA) -> None:
        """Take the next piece of a message."""
        try:
            super().receive_primitive(primitive)
        except Exception as error:  # noqa: BLE001 - whatever a command's bytes hold, the peer gets its A-ABORT
            LOGGER.warning("A command could not be read: %s.", type(error).__name__)
            self.dul.event_queue.put("Evt19")
            return
        if self.message and any(part and part.tell() > MAXIMUM_OBJECT for part in _parts(self.message)):
            LOGGER.warning(
                "Ended the association of %s: its object is too long.", self.assoc.requestor.address
            )
            self.dul.event_queue.put("Evt19")
            return
        context_id, message = self.get_msg(block=False)
        if message is not None:
            cast(PromptAssociation, self.assoc).serve(message, cast(int, context_id))


def _parts(message: DIMSEMessage) -> tuple[BytesIO | None, ...]:
    return message.encoded_command_set, message.data_set


class _GatedAcse(ACSE):
    """Asks the gate before it negotiates."""

    def __init__(self, assoc: "PromptAssociation", gate: Gate) -> None:
        super().__init__(assoc)
        self._gate = gate

    def negotiate_association(self) -> None:
        """Accept or reject the request."""
        rejection = self._gate.rejects(cast(PromptAssociation, self.assoc))
        if rejection is None:
            super().negotiate_association()
        else:
            self.send_reject(*rejection)
            self.assoc.kill()

    def _check_user_identity(self) -> tuple[bool, UserIdentityNegotiation | None]:
        # The gate has checked it. To a passcode that is right, a positive response is empty (PS3.7 section D.3.3.7.2).
        asked = self.requestor.user_identity
        if asked is None or asked.user_identity_type != _USERNAME_AND_PASSCODE:
            return True, None
        response = UserIdentityNegotiation()
        response.server_response = b""
        return True, response if asked.positive_response_requested else None


class PromptAssociation(Association):
    """An association that a peer asked for."""

    def __init__(self, server: "PromptServer", connection: socket.socket, remote: tuple[Any, ...]) -> None:
        super().__init__(server.ae, "acceptor")
        self.name = f"AcceptorThread-{remote[0]}:{remote[1]}"
        self._server = server
        self._gate = server.gate
        self._on_store = server.on_store
        self._connection = connection
        self._established = threading.Event()
        self.opened_at = time.monotonic()
        self.objects = self.bytes = 0
        """How much has come in so far."""
        self.dul: PromptUpperLayer = server.upper_layer(self, server.ae.maximum_pdu_size)
        self.dimse = _ServingDimse(self)
        self.acse = _GatedAcse(self, server.gate)
        self.acse_timeout = server.ae.acse_timeout  # once more, for the timers of the new upper layer
        self.network_timeout = server.ae.network_timeout
        self.set_socket(AssociationSocket(self, client_socket=connection))
        self.acceptor.maximum_length = server.ae.maximum_pdu_size
        self.acceptor.ae_title = server.ae_title
        self.acceptor.address_info = AddressInformation.from_tuple(server.server_address)
        self.acceptor.implementation_class_uid = server.ae.implementation_class_uid
        self.acceptor.implementation_version_name = server.ae.implementation_version_name
        self.acceptor.supported_contexts = server.contexts
        self.requestor.address_info = AddressInformation.from_tuple(remote)
        self.bind(evt.EVT_C_STORE, self._on_c_store)
        for event in EVENTS.values():
            self.bind(event, server.operations.serve)
        self._operations = server.operations
        self._reported: dict[int, Callable[[int], None]] = {}

    @property
    def connection(self) -> socket.socket:
        """The connection, which may be closed."""
        return self._connection

    def run_reactor(self) -> None:
        """The thread's body; the TLS handshake comes first, so that a peer who lingers over it keeps nobody waiting."""
        if self._is_secured():
            super().run_reactor()
        else:
            self.dul.never_start()
            cast(PromptServer, self._server).shutdown_request(self._connection)

    def _is_secured(self) -> bool:
        if isinstance(self._connection, PduSocket):
            _, seconds = self._gate.secures()
            try:
                self._connection.shake_hands(seconds, self.network_timeout)
            except OSError as error:
                self._gate.unsecured(self.requestor.address, error)
                return False
        return True

    def report(self, event: N_EVENT_REPORT, on_status: Callable[[int], None]) -> bool:
        """Send an event on this association; ``on_status`` gets the peer's answer in the upper layer's thread.

        False if the association is over or has no context for it; never an answer if it ends first.
        """
        sop_class = event.AffectedSOPClassUID
        contexts = [c for c in self.accepted_contexts if c.abstract_syntax == sop_class and c.as_scp]
        if not self.is_established or not contexts:
            return False
        event.MessageID = len(self._reported) + 1
        self._reported[event.MessageID] = on_status
        self.dimse.send_msg(event, cast(int, contexts[0].context_id))
        return True

    def store(self, context_id: int, command: Command, data_set: memoryview) -> StoreAnswer | None:
        """The answer to a C-STORE, or None if the association has ended; called by the upper layer's thread."""
        self._established.wait(self.acse_timeout)
        context = self._accepted_cx.get(context_id)
        if context is None:
            self.end_for("C-STORE in a context that was not accepted")
            return None
        syntax = str(cast(list[str], context.transfer_syntax)[0])
        answer = self._on_store(self, store_request(command, syntax, data_set))
        return answer if self.is_established else None

    def _on_c_store(self, event: Event) -> Dataset:
        request = cast(C_STORE, event.request)
        answer = self._on_store(
            self,
            StoreRequest(
                str(request.AffectedSOPClassUID),
                str(request.AffectedSOPInstanceUID),
                str(event.context.transfer_syntax),
                memoryview(request.DataSet.getvalue() if request.DataSet else b""),
            ),
        )
        status = Dataset()
        status.Status = answer.status
        if answer.comment:
            status.ErrorComment = answer.comment
        return status

    def serve(self, message: Any, context_id: int) -> None:
        """Serve one request; called by the upper layer's thread."""
        # The peer may be quicker with its first request than we are with the end of the negotiation.
        self._established.wait(self.acse_timeout)
        self._serve_request(message, context_id)

    def _bind_defaults(self) -> None:
        # Without the handlers that format every message for a log that nobody reads.
        for event in (
            evt.EVT_C_ECHO,
            evt.EVT_ASYNC_OPS,
            evt.EVT_SOP_COMMON,
            evt.EVT_SOP_EXTENDED,
            evt.EVT_USER_ID,
        ):
            self.bind(event, evt.get_default_handler(event))

    def _serve_request(self, msg: Any, context_id: int) -> None:
        on_status = self._reported.get(msg.MessageIDBeingRespondedTo)
        if on_status and isinstance(msg, N_EVENT_REPORT) and msg.is_valid_response:
            on_status(cast(int, msg.Status))
            return
        context = self._accepted_cx.get(context_id)
        service = _SERVICES.get(type(msg)) or self._operations.service_class(type(msg), context)
        if context is None or service is None or not msg.is_valid_request:
            self.end_for(f"unexpected {type(msg).__name__}")
            return
        service(self).SCP(msg, context)

    def end_for(self, reason: str) -> None:
        """Abort the association without waiting for its end."""
        LOGGER.warning("Ended the association of %s: %s.", self.requestor.address, reason)
        self.abort(block=False)

    def _run_reactor(self) -> None:
        self._established.set()
        while self._is_quiet():
            if reason := self._gate.ends(self):
                self.end_for(reason)
        if self._sent_abort:
            self.kill()
        else:
            super()._run_reactor()  # a release, an abort or silence: it knows what to do

    def _is_quiet(self) -> bool:
        """Wait a moment; True if there is still nothing for the reactor to do."""
        indications = self.dul.to_user_queue
        with indications.not_empty:
            if not indications.queue:
                indications.not_empty.wait(LOOK_AROUND_MS / 1000)
            waiting = bool(indications.queue)
        over = self._kill or self._sent_abort or not self.dul.is_alive() or self.dul.idle_timer_expired()
        return not waiting and not over


class PromptServer(AssociationServer):
    """Listens on one port, with TLS or without, and makes a PromptAssociation of each connection."""

    def __init__(
        self,
        ae: AE,
        seat: Seat,
        address: tuple[str, int],
        contexts: list[PresentationContext],
        gate: Gate,
        on_store: StoreHandler,
        upper_layer: UpperLayerKind,
        services: Sequence[Service] = (),
        *,
        secured: bool = False,
    ) -> None:
        self.gate = gate
        self.secured = secured
        self.on_store = on_store
        self.upper_layer = upper_layer
        self.operations = Operations(services)
        self._seat = seat
        self._door = seat.door(*address)
        super().__init__(ae, self._door.getsockname(), ae.ae_title, [*contexts, *self.operations.contexts])

    def server_bind(self) -> None:
        """Take the door for the socket, which listens already."""
        cast(socket.socket, self.socket).close()
        self.socket = self._door

    def server_activate(self) -> None:
        """Nothing to do."""

    def server_close(self) -> None:
        """Close this process's end; others may go on listening."""
        self._door.close()

    def get_request(self) -> tuple[socket.socket, tuple[str, int]]:
        """Accept a connection; BlockingIOError if another process did."""
        self._seat.be_courteous()
        return super().get_request()

    def service_actions(self) -> None:
        """Called several times a second."""
        super().service_actions()
        open_now = self.ae.active_associations
        self._seat.count(len(open_now), len([a for a in open_now if a.is_established]))

    def verify_request(self, request: Any, client_address: Any) -> bool:  # noqa: ARG002 - the base class asks so
        """Close a connection unheard if the AE has as many as it may have, negotiating or established."""
        return len(self.ae.active_associations) < self.ae.maximum_associations and self.gate.hears(
            client_address[0]
        )

    def finish_request(self, request: Any, client_address: Any) -> None:
        """Start an association on an accepted connection; its own thread does the TLS handshake."""
        request.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        request.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        # A peer that stalls within a PDU, or does not take our answers, must not hold a thread for ever.
        longest = pack("ll", ceil(self.ae.network_timeout or 0), 0)
        request.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, longest)
        request.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, longest)
        if self.secured:
            context, _ = self.gate.secures()
            request = context.wrap_socket(request, server_side=True, do_handshake_on_connect=False)
        PromptAssociation(self, request, client_address).start()

    def shutdown(self) -> None:
        """Stop listening."""
        BaseServer.shutdown(self)
        self.server_close()
