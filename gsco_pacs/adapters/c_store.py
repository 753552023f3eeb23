"""C-STORE's two command sets, read and written as the bytes that they are (PS3.7 section 9.3.1)."""

from collections.abc import Mapping
from dataclasses import dataclass
from struct import Struct, pack

from gsco_pacs.domain.errors import BadObjectError

_ELEMENT = Struct("<HHL")
_NO_DATA_SET = 0x0101
_C_STORE_RQ = 0x0001

_SOP_CLASS, _FIELD, _MESSAGE_ID, _PRIORITY, _DATA_SET_TYPE, _SOP_INSTANCE = (
    0x0002,
    0x0100,
    0x0110,
    0x0700,
    0x0800,
    0x1000,
)

Command = Mapping[int, bytes]
"""Element number within group 0000 -> value."""


@dataclass(frozen=True)
class StoreRequest:
    """A C-STORE request; its data set is a view that is valid until the request is answered."""

    sop_class_uid: str
    sop_instance_uid: str
    transfer_syntax_uid: str
    data_set: memoryview


@dataclass(frozen=True)
class StoreAnswer:
    """Status of PS3.4 table B.2-1, and an Error Comment of at most 64 characters."""

    status: int = 0x0000
    comment: str = ""


def command_elements(command: bytes | bytearray) -> Command:
    """The elements of a command set (Implicit VR Little Endian); BadObjectError if it is not made of such."""
    elements: dict[int, bytes] = {}
    position = 0
    while position < len(command):
        if position + _ELEMENT.size > len(command):
            raise BadObjectError("A command's element is cut.")
        group, element, length = _ELEMENT.unpack_from(command, position)
        position += _ELEMENT.size + length
        if group or position > len(command):
            raise BadObjectError("A command's element has a wrong group or length.")
        elements[element] = bytes(command[position - length : position])
    return elements


def is_store_request(command: Command) -> bool:
    """Whether it is a C-STORE-RQ with everything that it must have; any other command is pynetdicom's matter."""
    needed = {_SOP_CLASS, _SOP_INSTANCE, _MESSAGE_ID, _PRIORITY}
    return (
        _number(command, _FIELD) == _C_STORE_RQ
        and needed <= command.keys()
        and len(command[_MESSAGE_ID]) == 2
        and brings_data_set(command)
    )


def brings_data_set(command: Command) -> bool:
    """Whether a data set follows."""
    return _number(command, _DATA_SET_TYPE) not in {None, _NO_DATA_SET}


def store_request(command: Command, transfer_syntax_uid: str, data_set: memoryview) -> StoreRequest:
    """The request that ``command`` makes of ``data_set``."""
    return StoreRequest(
        _uid(command[_SOP_CLASS]), _uid(command[_SOP_INSTANCE]), transfer_syntax_uid, data_set
    )


def store_response(command: Command, answer: StoreAnswer) -> bytes:
    """The C-STORE-RSP's command set, with the identifiers as they came."""
    elements = b"".join(
        (
            _element(_SOP_CLASS, command[_SOP_CLASS]),
            _element(_FIELD, pack("<H", _C_STORE_RQ | 0x8000)),
            _element(0x0120, command[_MESSAGE_ID]),
            _element(_DATA_SET_TYPE, pack("<H", _NO_DATA_SET)),
            _element(0x0900, pack("<H", answer.status)),
            _element(0x0902, _padded(answer.comment)) if answer.comment else b"",
            _element(_SOP_INSTANCE, command[_SOP_INSTANCE]),
        )
    )
    return _element(0x0000, pack("<L", len(elements))) + elements


def _element(element: int, value: bytes) -> bytes:
    return _ELEMENT.pack(0, element, len(value)) + value


def _number(command: Command, element: int) -> int | None:
    value = command.get(element, b"")
    return int.from_bytes(value, "little") if len(value) == 2 else None


def _padded(text: str) -> bytes:
    value = text.encode("ascii")
    return value + b" " * (len(value) % 2)


def _uid(value: bytes) -> str:
    return value.decode("latin-1").rstrip("\0 ")
