"""pynetdicom's acceptor without its polling and copying; states, events and actions stay pynetdicom's (PS3.8 section 9.2).

Three things differ from the base classes, each in one class: the upper layer waits for its socket instead of looking
every millisecond and reads P-DATA into one buffer; a complete message is served in the thread that read it; and the
association's own thread sleeps until there is a release, an abort or too long a silence.
"""

import logging
import os
import select
import socket
import threading
from collections.abc import Callable, Sequence
from io import BytesIO
from math import ceil
from socketserver import BaseServer
from struct import Struct, pack
from typing import Any, cast

from pydicom import Dataset
from pynetdicom import AE, evt
from pynetdicom.acse import ACSE
from pynetdicom.association import Association
from pynetdicom.dimse import DIMSEServiceProvider
from pynetdicom.dimse_messages import DIMSEMessage
from pynetdicom.dimse_primitives import C_ECHO, C_STORE, N_EVENT_REPORT
from pynetdicom.dul import DULServiceProvider
from pynetdicom.events import Event
from pynetdicom.pdu import P_DATA_TF
from pynetdicom.pdu_primitives import P_DATA
from pynetdicom.presentation import PresentationContext
from pynetdicom.service_class import ServiceClass, StorageServiceClass, VerificationServiceClass
from pynetdicom.transport import AddressInformation, AssociationServer, AssociationSocket

from gsco_pacs.adapters.dimse_service import EVENTS, Operations, Service

LOGGER = logging.getLogger(__name__)

MAXIMUM_ASSOCIATE_PDU = 1 << 20
"""Longest PDU of any other type than P-DATA; 128 presentation contexts with every transfer syntax need a tenth."""

MAXIMUM_OBJECT = 1 << 31
"""Longest command or data set, because one message is held in memory."""

_LOOK_AROUND_MS = 250
_HEAD = Struct(">BxL")
_ITEM = Struct(">LB")
_P_DATA = 4
_KINDS = range(1, 8)

_SERVICES: dict[type, type[ServiceClass]] = {C_ECHO: VerificationServiceClass, C_STORE: StorageServiceClass}

Gate = Callable[["PromptAssociation"], tuple[int, int, int] | None]
"""None to go on with an association request, or the rejection's result, source and reason (PS3.8 section 9.3.4)."""


class _Bell:
    """Wakes a thread that waits in poll(); ringing after close() does nothing."""

    def __init__(self) -> None:
        self.descriptor = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self._lock = threading.Lock()

    def ring(self) -> None:
        with self._lock:
            if self.descriptor >= 0:
                os.eventfd_write(self.descriptor, 1)

    def close(self) -> None:
        with self._lock:
            os.close(self.descriptor)
            self.descriptor = -1


class _PDataPdu(P_DATA_TF):
    """A P-DATA-TF PDU whose values are views on the receive buffer, valid until the next PDU is read."""

    def __init__(self, body: memoryview) -> None:
        """ValueError if the items don't fill ``body`` exactly (PS3.8 section 9.3.5)."""
        super().__init__()
        self._values: list[tuple[int, memoryview]] = []
        position = 0
        while position < len(body):
            if position + _ITEM.size > len(body):
                raise ValueError("An item's head is cut.")
            length, context_id = _ITEM.unpack_from(body, position)
            end = position + 4 + length
            if length < 2 or end > len(body):
                raise ValueError("An item's length is wrong.")
            self._values.append((context_id, body[position + 5 : end]))
            position = end

    def to_primitive(self) -> P_DATA:
        """The values for the DIMSE layer, which copies them out of the buffer."""
        primitive = P_DATA()
        primitive.presentation_data_value_list.extend(cast(list[tuple[int, bytes]], self._values))
        return primitive


class _PromptUpperLayer(DULServiceProvider):
    """The upper layer of one accepted association; reads no PDU that is longer than it may be."""

    def __init__(self, assoc: "PromptAssociation", maximum_pdu: int) -> None:
        super().__init__(assoc)
        self._maximum_pdu = maximum_pdu + _HEAD.size  # some peers count the head in
        self._buffer = bytearray()
        self._bell = _Bell()
        self._hostile = False
        self._run_loop_delay = 0  # the wait is in _is_transport_event

    def run_reactor(self) -> None:
        """The thread's body."""
        try:
            super().run_reactor()
        finally:
            self._bell.close()
            self.to_user_queue.put(cast(Any, None))  # whoever waits for a request need not wait longer

    def send_pdu(self, primitive: Any) -> None:
        """Queue a primitive for the peer and see that it leaves at once."""
        super().send_pdu(primitive)
        if threading.current_thread() is not self:
            self._bell.ring()

    def kill_dul(self) -> None:
        """End the thread."""
        super().kill_dul()
        self._bell.ring()

    def stop_dul(self) -> bool:
        """End the thread and wait for it, if the association is over; else False."""
        if self.state_machine.current_state != "Sta1":
            return False
        self.kill_dul()
        self.join()
        return True

    def _is_transport_event(self) -> bool:
        if self.state_machine.current_state == "Sta13":
            if not self._hostile:
                return bool(super()._is_transport_event())
            self._wrapper.close()
            return True
        if self._input_is_ready():
            self._read_pdu_data()
            return True
        return False

    @property
    def _wrapper(self) -> AssociationSocket:
        return cast(AssociationSocket, self.socket)  # set before the thread starts

    @property
    def _connection(self) -> socket.socket:
        return cast(socket.socket, self._wrapper.socket)  # asked for only after poll() spoke of it

    def _input_is_ready(self) -> bool:
        # The buffer may be filled anew only when the state machine is through with what was read before.
        if not self.event_queue.empty():
            return False
        if self.state_machine.current_state == "Sta1":
            self.kill_dul()  # back in the first state with nothing to do: the association is over
            return False
        connection = self._wrapper.socket
        waiting = select.poll()
        waiting.register(self._bell.descriptor, select.POLLIN)
        if connection is not None:
            waiting.register(connection, select.POLLIN)
        ready = {descriptor for descriptor, _ in waiting.poll(_LOOK_AROUND_MS)}
        if self._bell.descriptor in ready:
            os.eventfd_read(self._bell.descriptor)
        return connection is not None and connection.fileno() in ready

    def _read_pdu_data(self) -> None:
        try:
            head = self._connection.recv(_HEAD.size, socket.MSG_PEEK | socket.MSG_WAITALL)
        except OSError:
            head = b""
        if len(head) < _HEAD.size:
            super()._read_pdu_data()  # it knows what a closed connection means
            return
        kind, length = _HEAD.unpack(head)
        longest = self._maximum_pdu if kind == _P_DATA else MAXIMUM_ASSOCIATE_PDU
        if kind not in _KINDS or length > longest:
            self._refuse(f"a PDU of type {kind} that says to be {length} bytes long")
        elif kind == _P_DATA:
            self._read_p_data(_HEAD.size + length)
        else:
            super()._read_pdu_data()

    def _read_p_data(self, size: int) -> None:
        if len(self._buffer) < size:
            self._buffer = bytearray(size)
        pdu = memoryview(self._buffer)[:size]
        connection = self._connection
        received = 0
        try:
            # A signal may end a wait for all of it early.
            while count := connection.recv_into(pdu[received:], size - received, socket.MSG_WAITALL):
                received += count
            # A peer that leaves Nagle's algorithm on sends its next small packet only when this one is acknowledged.
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_QUICKACK, 1)
        except OSError:
            pass
        if received < size:
            LOGGER.warning("The connection broke or stalled within a PDU.")
            self.event_queue.put("Evt17")
            return
        try:
            self._recv_pdu.put(_PDataPdu(pdu[_HEAD.size :]))
        except ValueError as error:
            self._refuse(f"a P-DATA-TF PDU that can't be read: {error}")
        else:
            self.event_queue.put("Evt10")

    def _refuse(self, what: str) -> None:
        LOGGER.warning("Ended the connection of %s, which sent %s.", self.assoc.requestor.address, what)
        self._hostile = True
        self.event_queue.put("Evt19")


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
        rejection = self._gate(cast(PromptAssociation, self.assoc))
        if rejection is None:
            super().negotiate_association()
        else:
            self.send_reject(*rejection)
            self.assoc.kill()


class PromptAssociation(Association):
    """An association that a peer asked for."""

    def __init__(self, server: "PromptServer", connection: socket.socket, remote: tuple[Any, ...]) -> None:
        super().__init__(server.ae, "acceptor")
        self.name = f"AcceptorThread-{remote[0]}:{remote[1]}"
        self._server = server
        self._established = threading.Event()
        self.dul = _PromptUpperLayer(self, server.ae.maximum_pdu_size)
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
        self.bind(evt.EVT_C_STORE, server.on_c_store)
        for event in EVENTS.values():
            self.bind(event, server.operations.serve)
        self._operations = server.operations
        self._reported: dict[int, Callable[[int], None]] = {}

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
            LOGGER.warning(
                "Ended the association of %s: unexpected %s.", self.requestor.address, type(msg).__name__
            )
            self.abort(block=False)
            return
        service(self).SCP(msg, context)

    def _run_reactor(self) -> None:
        self._established.set()
        while self._is_quiet():
            pass
        if self._sent_abort:
            self.kill()
        else:
            super()._run_reactor()  # a release, an abort or silence: it knows what to do

    def _is_quiet(self) -> bool:
        """Wait a moment; True if there is still nothing for the reactor to do."""
        indications = self.dul.to_user_queue
        with indications.not_empty:
            if not indications.queue:
                indications.not_empty.wait(_LOOK_AROUND_MS / 1000)
            waiting = bool(indications.queue)
        over = self._kill or self._sent_abort or not self.dul.is_alive() or self.dul.idle_timer_expired()
        return not waiting and not over


class PromptServer(AssociationServer):
    """Listens, and makes a PromptAssociation of each connection."""

    request_queue_size = 128

    def __init__(
        self,
        ae: AE,
        address: tuple[str, int],
        contexts: list[PresentationContext],
        gate: Gate,
        on_c_store: Callable[[Event], Dataset | int],
        services: Sequence[Service] = (),
    ) -> None:
        self.gate = gate
        self.on_c_store = on_c_store
        self.operations = Operations(services)
        super().__init__(ae, address, ae.ae_title, [*contexts, *self.operations.contexts])

    def verify_request(self, request: Any, client_address: Any) -> bool:  # noqa: ARG002 - the base class asks so
        """Close a connection unheard if the AE has as many as it may have, negotiating or established."""
        return len(self.ae.active_associations) < self.ae.maximum_associations

    def finish_request(self, request: Any, client_address: Any) -> None:
        """Start an association on an accepted connection."""
        request.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        request.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        # A peer that stalls within a PDU must not hold a thread for ever.
        request.setsockopt(
            socket.SOL_SOCKET, socket.SO_RCVTIMEO, pack("ll", ceil(self.ae.network_timeout or 0), 0)
        )
        PromptAssociation(self, request, client_address).start()

    def shutdown(self) -> None:
        """Stop listening."""
        BaseServer.shutdown(self)
        self.server_close()
