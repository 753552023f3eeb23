"""The way of P-DATA through an established association: from the socket into one buffer, and a C-STORE to its handler.

In state 6 a P-DATA-TF PDU leads back to state 6 whatever it holds (PS3.8 table 9-10, action DT-2), so the state machine
is not asked for each. Every other PDU, every other state and every message but C-STORE go through pynetdicom.
"""

import logging
from struct import Struct
from typing import cast

from pynetdicom.pdu_primitives import P_DATA

from gsco_pacs.adapters import upper_layer
from gsco_pacs.adapters.c_store import (
    Command,
    brings_data_set,
    command_elements,
    is_store_request,
    store_response,
)
from gsco_pacs.adapters.dul import PromptUpperLayer
from gsco_pacs.adapters.upper_layer import PromptAssociation
from gsco_pacs.domain.errors import BadObjectError

LOGGER = logging.getLogger(__name__)

_MAXIMUM_COMMAND = 1 << 16
"""Bytes; real commands have some hundreds."""

_KEPT_BUFFER = 1 << 20
"""Bytes that an association holds on to between two objects."""

_PDV = Struct(">L")
_ANSWER = Struct(">BxLLBB")
_COMMAND, _LAST = 1, 2


class _Message:
    """A DIMSE message as it comes in: the command's fragments, then those of the data set (PS3.8 annex E)."""

    def __init__(self) -> None:
        self._buffer = bytearray()
        self._likely_size = 1 << 16
        self._begin()

    def _begin(self) -> None:
        self.context_id: int | None = None
        self.command = b""
        self.elements: Command | None = None
        """The command's elements; None while it is not complete or if it can't be read."""
        self.size = 0

    def room(self, length: int) -> memoryview:
        """Where the next fragment of ``length`` bytes goes; BadObjectError if the message becomes too long."""
        end = self.size + length
        if end > (upper_layer.MAXIMUM_OBJECT if self.command else _MAXIMUM_COMMAND):
            raise BadObjectError("a command or an object that is too long")
        if end > len(self._buffer):
            larger = bytearray(max(end, 2 * len(self._buffer), self._likely_size))
            larger[: self.size] = memoryview(self._buffer)[: self.size]
            self._buffer = larger
        return memoryview(self._buffer)[self.size : end]

    def take(self, context_id: int, control: int, length: int) -> bool:
        """Count the fragment in that was received into room(); True if the message is complete."""
        is_command = bool(control & _COMMAND)
        if self.context_id is None:
            self.context_id = context_id
        if context_id != self.context_id or is_command == bool(self.command):
            raise BadObjectError("fragments in the wrong order")
        self.size += length
        if not control & _LAST:
            return False
        if not is_command:
            return True
        self.command, self.size = bytes(self._buffer[: self.size]), 0
        self.elements = command_elements(self.command)
        return not brings_data_set(self.elements)

    @property
    def data_set(self) -> memoryview:
        """The data set's bytes, valid until done()."""
        return memoryview(self._buffer)[: self.size]

    def done(self) -> None:
        """Forget this message and wait for the next; a large buffer is given back."""
        self._likely_size = max(self.size, 1 << 16)
        if len(self._buffer) > _KEPT_BUFFER:
            self._buffer = bytearray()
        self._begin()


class PDataUpperLayer(PromptUpperLayer):
    """The upper layer with a short way for P-DATA; in all else it is the one that it comes from."""

    def __init__(self, assoc: PromptAssociation, maximum_pdu: int) -> None:
        super().__init__(assoc, maximum_pdu)
        self._message = _Message()
        self._control = bytearray(2)

    def _is_transport_event(self) -> bool:
        came = False
        while super()._is_transport_event():
            came = True
            if not self._only_p_data_came():
                break
            self._idle_timer.restart()
        return came

    def _only_p_data_came(self) -> bool:
        return (
            self.state_machine.current_state == "Sta6"
            and self.event_queue.empty()
            and self.to_provider_queue.empty()
            and not self._kill_thread
        )

    def _read_p_data(self, length: int) -> None:
        if self.state_machine.current_state != "Sta6":
            super()._read_p_data(length)
            return
        try:
            self._read_values(length)
        except BadObjectError as error:
            self._refuse(str(error))

    def _read_values(self, length: int) -> None:
        """Read a PDU's presentation data values; the length of the first was read with the PDU's head."""
        (size,) = _PDV.unpack_from(self._head, 6)
        while True:
            length -= _PDV.size + size
            if size < 2 or length < 0:
                raise BadObjectError("a P-DATA-TF PDU whose lengths do not fit")
            self._read_value(size - 2)
            if not length:
                break
            self._fill(memoryview(self._head)[: _PDV.size])
            (size,) = _PDV.unpack_from(self._head)
        self._acknowledge()

    def _read_value(self, length: int) -> None:
        self._fill(memoryview(self._control), self._message.room(length))
        context_id, control = self._control
        if self._message.take(context_id, control, length):
            try:
                self._serve(self._message)
            finally:
                self._message.done()

    def _serve(self, message: _Message) -> None:
        association = cast(PromptAssociation, self.assoc)
        context_id = cast(int, message.context_id)
        if message.elements is None or not is_store_request(message.elements):
            primitive = P_DATA()
            primitive.presentation_data_value_list.append((context_id, b"\x03" + message.command))
            if message.size:
                primitive.presentation_data_value_list.append((context_id, b"\x02" + message.data_set))
            association.dimse.receive_primitive(primitive)
            return
        answer = association.store(context_id, message.elements, message.data_set)
        if answer is not None:
            self._answer(context_id, store_response(message.elements, answer))

    def _answer(self, context_id: int, command: bytes) -> None:
        longest = max(1, cast(PromptAssociation, self.assoc).dimse.maximum_pdu_size - 6) or len(command)
        parts = [command[start : start + longest] for start in range(0, len(command), longest)]
        for part in parts:
            control = _COMMAND | (_LAST if part is parts[-1] else 0)
            head = _ANSWER.pack(4, len(part) + 6, len(part) + 2, context_id, control)
            self._wrapper.send(head + part)
