"""DIMSE commands as PS3.7 makes them and as it does not: elements that lack, lie, repeat or belong to no command."""

import struct
from collections.abc import Callable, Mapping
from random import Random

from gsco_pacs.testing.hostile_pdus import fragment, mutated, p_data

Elements = list[tuple[int, bytes]]
"""(group << 16 | element, value) in the order in which they are sent."""
Change = Callable[[Random, Elements], Elements]

_FIELD, _MESSAGE_ID, _RESPONDED_TO, _DATA_SET_TYPE = 0x0100, 0x0110, 0x0120, 0x0800
_NO_DATA_SET = 0x0101
_REQUESTS = (0x0001, 0x0010, 0x0020, 0x0021, 0x0030, 0x0100, 0x0110, 0x0120, 0x0130, 0x0140, 0x0150, 0x0FFF)
_NUMBERS = (0, 1, 2, 0x0101, 0x0102, 0x7FFF, 0x8000, 0xFFFF)


def c_store(sop_class: str, sop_instance: str, message_id: int = 1) -> Elements:
    """The elements of a C-STORE-RQ (PS3.7 table 9.3-1)."""
    return [
        (0x0002, _padded(sop_class)),
        (_FIELD, _us(0x0001)),
        (_MESSAGE_ID, _us(message_id)),
        (0x0700, _us(0)),
        (_DATA_SET_TYPE, _us(1)),
        (0x1000, _padded(sop_instance)),
    ]


def c_echo() -> Elements:
    """The elements of a C-ECHO-RQ (PS3.7 table 9.3-12)."""
    return [
        (0x0002, _padded("1.2.840.10008.1.1")),
        (_FIELD, _us(0x0030)),
        (_MESSAGE_ID, _us(1)),
        (_DATA_SET_TYPE, _us(_NO_DATA_SET)),
    ]


def encoded(elements: Elements, group_length: int | None = None) -> bytes:
    """A command set (Implicit VR Little Endian); ``group_length`` instead of the true one."""
    body = b"".join(struct.pack("<HHL", tag >> 16, tag & 0xFFFF, len(v)) + v for tag, v in elements)
    length = len(body) if group_length is None else group_length & 0xFFFFFFFF
    return struct.pack("<HHLL", 0, 0, 4, length) + body


def message(context_id: int, command: bytes, data_set: bytes | None, size: int = 65536) -> bytes:
    """The P-DATA-TF PDUs of a message, ``size`` bytes a fragment."""
    return _fragments(context_id, command, size, command=True) + (
        b"" if data_set is None else _fragments(context_id, data_set, size, command=False)
    )


def hostile_command(rng: Random, elements: Elements) -> tuple[str, bytes]:
    """What is wrong and the command set, made of ``elements`` by one or two changes."""
    names = rng.choices(list(CHANGES), k=rng.choice([1, 1, 2]))
    for name in names:
        elements = CHANGES[name](rng, elements)
    command = encoded(elements, rng.choice([None, None, None, 0, 4, 0xFFFFFFFF, rng.randrange(500)]))
    if rng.random() < 0.15:
        names, command = [*names, "bytes changed"], mutated(rng, command)
    return ", ".join(names), command


def _without(rng: Random, elements: Elements) -> Elements:
    gone = rng.randrange(len(elements)) if elements else 0
    return [each for n, each in enumerate(elements) if n != gone]


def _wrong_size(rng: Random, elements: Elements) -> Elements:
    if not elements:
        return elements
    at = rng.randrange(len(elements))
    tag, value = elements[at]
    odd = rng.choice(
        [b"", value[:1], value * 2, value + b"\0", rng.randbytes(rng.choice([1, 3, 5, 70, 4000]))]
    )
    return [*elements[:at], (tag, odd), *elements[at + 1 :]]


def _repeated(rng: Random, elements: Elements) -> Elements:
    return [*elements, *rng.choices(elements, k=rng.choice([1, 2, 500]))] if elements else elements


def _shuffled(rng: Random, elements: Elements) -> Elements:
    return rng.sample(elements, len(elements))


def _other_operation(rng: Random, elements: Elements) -> Elements:
    wanted = rng.choice([*_REQUESTS, *(code | 0x8000 for code in _REQUESTS), 0x7777, 0xFFFF])
    more = [(_RESPONDED_TO, _us(rng.choice(_NUMBERS))), (0x0900, _us(rng.choice(_NUMBERS)))]
    return [*_set(elements, _FIELD, _us(wanted)), *(more if rng.random() < 0.5 else [])]


def _foreign(rng: Random, elements: Elements) -> Elements:
    tags = [rng.choice([0x0000, 0x0002, 0x0008, 0x7FE0, 0xFFFE]) << 16 | rng.choice([0, 0x1000, 0xE000, rng.randrange(65536)])
            for _ in range(rng.choice([1, 3, 2000]))]  # fmt: skip
    return [*elements, *((tag, rng.randbytes(rng.randrange(20))) for tag in tags)]


def _odd_uid(rng: Random, elements: Elements) -> Elements:
    uids = (
        b"",
        b"\0" * 64,
        b"1.2",
        b"../" * 20,
        b"1." + b"9" * 70,
        b"\xff" * 64,
        b"1.2.3\\1.2.4",
        b"<b>1</b>",
        b"1.2;x=1 ",
    )
    return _set(elements, rng.choice([0x0002, 0x1000, 0x0003, 0x1001]), rng.choice(uids))


def _numbers(rng: Random, elements: Elements) -> Elements:
    tag = rng.choice([_MESSAGE_ID, 0x0700, _DATA_SET_TYPE, _RESPONDED_TO, 0x1031, 0x0900])
    return _set(elements, tag, _us(rng.choice(_NUMBERS)))


def _move_originator(rng: Random, elements: Elements) -> Elements:
    return [
        *elements,
        (0x1030, rng.choice([b"", b"X" * 17, b"\xff" * 16, b"\\\\"])),
        (0x1031, rng.choice([b"", _us(7), b"\0" * 4])),
    ]


CHANGES: Mapping[str, Change] = {
    "an element is missing": _without,
    "a value of the wrong size": _wrong_size,
    "elements repeated": _repeated,
    "elements out of order": _shuffled,
    "another operation": _other_operation,
    "elements of no command": _foreign,
    "odd UIDs": _odd_uid,
    "odd numbers": _numbers,
    "odd move originator": _move_originator,
    "nothing at all": lambda _rng, _elements: [],
    "huge": lambda rng, elements: [*elements, (0x0902, b"E" * rng.choice([65536, 1_000_000]))],
}
"""Ways to spoil a command, by name."""


def _set(elements: Elements, tag: int, value: bytes) -> Elements:
    return [*(each for each in elements if each[0] != tag), (tag, value)]


def _us(number: int) -> bytes:
    return struct.pack("<H", number)


def _padded(uid: str) -> bytes:
    return uid.encode() + b"\0" * (len(uid) % 2)


def _fragments(context_id: int, content: bytes, size: int, *, command: bool) -> bytes:
    starts = range(0, len(content) or 1, size)
    return b"".join(
        p_data(fragment(context_id, content[at : at + size], command=command, last=at + size >= len(content)))
        for at in starts
    )
