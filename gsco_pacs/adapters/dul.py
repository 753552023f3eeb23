"""The DUL service provider of pynetdicom without its polling; states, events and actions stay pynetdicom's (PS3.8 section 9.2)."""

import logging
import os
import select
import socket
import ssl
import threading
import time
from struct import Struct
from typing import TYPE_CHECKING, Any, cast

from pynetdicom.dul import DULServiceProvider
from pynetdicom.fsm import InvalidEventError
from pynetdicom.pdu_primitives import A_ASSOCIATE
from pynetdicom.transport import AssociationSocket

if TYPE_CHECKING:
    from gsco_pacs.adapters.upper_layer import PromptAssociation

LOGGER = logging.getLogger(__name__)

MAXIMUM_ASSOCIATE_PDU = 1 << 20
"""Longest PDU of any other type than P-DATA; 128 presentation contexts with every transfer syntax need a tenth."""

LOOK_AROUND_MS = 250
"""The longest wait before timers are looked at."""
_HEAD = Struct(">BxL")
_SHORTEST = 4
"""No PDU's body is shorter (PS3.8 section 9.3)."""
_P_DATA = 4
_KINDS = range(1, 8)


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


class PromptUpperLayer(DULServiceProvider):
    """The upper layer of one accepted association; reads no PDU that is longer than it may be."""

    def __init__(self, assoc: "PromptAssociation", maximum_pdu: int) -> None:
        super().__init__(assoc)
        self._maximum_pdu = maximum_pdu + _HEAD.size  # some peers count the head in
        self._head = bytearray(_HEAD.size + _SHORTEST)
        """The first bytes of a PDU: as many as every PDU has."""
        self._begun = 0
        """How many of them have come."""
        self._bell = _Bell()
        self._hostile = False
        self._read_by = 0.0
        self._run_loop_delay = 0  # the wait is in _is_transport_event

    def run_reactor(self) -> None:
        """The thread's body."""
        try:
            super().run_reactor()
        except (InvalidEventError, ValueError) as error:
            # The two sides ended the association at the same time, or a PDU holds what its primitive does not take.
            LOGGER.warning(
                "Ended the connection of %s: %s.", self.assoc.requestor.address, type(error).__name__
            )
            self._wrapper.close()
        finally:
            self._bell.close()
            self.to_user_queue.put(cast(Any, None))  # whoever waits for a request need not wait longer

    def never_start(self) -> None:
        """Give back what the thread would have given back at its end."""
        self._bell.close()

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
        is_secured = isinstance(connection, ssl.SSLSocket)
        if connection is not None and not is_secured and self._has_begun(connection):
            return True
        # What TLS has decrypted already, poll() knows nothing of.
        buffered = is_secured and cast(ssl.SSLSocket, connection).pending() > 0
        waiting = select.poll()
        waiting.register(self._bell.descriptor, select.POLLIN)
        if connection is not None:
            waiting.register(connection, select.POLLIN)
        ready = {descriptor for descriptor, _ in waiting.poll(0 if buffered else LOOK_AROUND_MS)}
        if self._bell.descriptor in ready:
            os.eventfd_read(self._bell.descriptor)
        return buffered or (connection is not None and connection.fileno() in ready)

    def _has_begun(self, connection: socket.socket) -> bool:
        """Take the first bytes of a PDU if they are there already, as they are while a peer sends without a pause."""
        try:
            self._begun = connection.recv_into(self._head, 0, socket.MSG_DONTWAIT)
        except OSError:
            return False  # nothing yet, or an end that whoever waits will see
        return self._begun > 0

    def _read_pdu_data(self) -> None:
        head = memoryview(self._head)
        self._read_by = time.monotonic() + (self.network_timeout or threading.TIMEOUT_MAX)
        try:
            self._fill(head[self._begun :])
            self._begun = 0
            kind, length = _HEAD.unpack_from(head)
            longest = self._maximum_pdu if kind == _P_DATA else MAXIMUM_ASSOCIATE_PDU
            if kind not in _KINDS or not _SHORTEST <= length <= longest:
                self._refuse(f"a PDU of type {kind} that says to be {length} bytes long")
            elif kind == _P_DATA:
                self._read_p_data(length)
            else:
                self._read_other(length)
        except OSError:
            LOGGER.info("The connection of %s was closed or stalled.", self.assoc.requestor.address)
            self.event_queue.put("Evt17")

    def _read_p_data(self, length: int) -> None:
        """Read the rest of a P-DATA-TF PDU; OSError if the connection ends within it."""
        self._read_other(length)
        self._acknowledge()

    def _read_other(self, length: int) -> None:
        pdu = bytearray(_HEAD.size + length)
        pdu[: len(self._head)] = self._head
        self._fill(memoryview(pdu)[len(self._head) :])
        try:
            decoded, event = self._decode_pdu(pdu)
            # Some values are looked at only here, where the peer can still be answered.
            _must_name_syntaxes(decoded.to_primitive())
        except Exception as error:  # noqa: BLE001 - whatever a PDU's bytes hold, the peer gets its A-ABORT
            self._refuse(f"a PDU that can't be read: {type(error).__name__}")
        else:
            self._recv_pdu.put(decoded)
            self.event_queue.put(event)

    def _fill(self, *views: memoryview) -> None:
        """Fill ``views`` one after the other; OSError if the connection ends or stalls before they are full."""
        missing = [view for view in views if view]
        while missing:
            if time.monotonic() > self._read_by:
                raise TimeoutError  # a peer that sends a byte now and then must not hold the thread
            count = self._connection.recvmsg_into(missing, 0, socket.MSG_WAITALL)[0]
            if not count:
                raise ConnectionResetError
            # A signal may end a wait for all of it early.
            while missing and count >= len(missing[0]):
                count -= len(missing.pop(0))
            if count:
                missing[0] = missing[0][count:]

    def _acknowledge(self) -> None:
        # A peer that leaves Nagle's algorithm on sends its next small packet only when this one is acknowledged.
        self._connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_QUICKACK, 1)

    def _refuse(self, what: str) -> None:
        LOGGER.warning("Ended the connection of %s, which sent %s.", self.assoc.requestor.address, what)
        self._hostile = True
        self.event_queue.put("Evt19")


def _must_name_syntaxes(primitive: Any) -> None:
    """ValueError if a context is proposed without a syntax, or with none that is made like a UID."""
    if isinstance(primitive, A_ASSOCIATE) and not all(
        context.abstract_syntax and context.transfer_syntax
        for context in primitive.presentation_context_definition_list
    ):
        raise ValueError
