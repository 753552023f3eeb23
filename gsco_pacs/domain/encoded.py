"""Element by element through an encoded data set (PS3.5 section 7): values are skipped, nothing recurses, all is counted."""

from collections.abc import Container
from struct import Struct

from gsco_pacs.domain.errors import BadObjectError

MAXIMUM_DEPTH = 64
"""Sequences within sequences; real objects stay below ten."""
MAXIMUM_ELEMENTS = 1_000_000
"""Elements, items and fragments at all depths; a reader needs about a kilobyte of memory for each, real objects hold
some hundred for each frame at most."""

_EXPLICIT = Struct("<HH2sH")
_LENGTH = Struct("<L")
_UNDEFINED = 0xFFFFFFFF
_PIXELS = 0x7FE00000
_ITEM_BYTES = b"\xfe\xff\x00\xe0"
_ITEM, _ITEM_END, _SEQUENCE_END = 0xFFFEE000, 0xFFFEE00D, 0xFFFEE0DD
_FIRST_TAG = 0x00080000
_SHORT = frozenset(b"AE AS AT CS DA DS DT FL FD IS LO LT PN SH SL SS ST TM UI UL US".split())


def top_level_elements(
    data_set: bytes | memoryview, *, explicit: bool, wanted: Container[int]
) -> dict[int, tuple[str, bytes]]:
    """The VR ("" in implicit VR) and bytes of each ``wanted`` tag, after the whole data set was checked for its lengths.

    Little endian only. BadObjectError if a length runs past the end, a delimiter is missing, sequences nest too deep,
    there are too many elements, or elements of groups 0000 to 0007: a group 0002 element would change how the stored file is read.
    """
    found: dict[int, tuple[str, bytes]] = {}
    position, end, count = 0, len(data_set), 0
    while position < end:
        if data_set[position : position + 2] == b"\0\0" and not bytes(data_set[position:]).strip(b"\0"):
            break  # padding that some senders leave behind the last element
        tag, vr, length, start = element_at(data_set, position, explicit=explicit)
        if tag < _FIRST_TAG:
            raise BadObjectError(
                f"The data set holds {_name(tag)}, which does not belong in it (PS3.5 section 7.1)."
            )
        if length == _UNDEFINED:
            position, within = _end_of_items(data_set, start, explicit=explicit and vr != b"UN")
        else:
            position = _within(data_set, start + length, tag)
            within = _elements_in(data_set, tag, start, position, explicit=explicit)
        count = _counted(count + 1 + within)
        if tag in wanted:
            found[tag] = (vr.decode("ascii"), bytes(data_set[start:position]))
    return found


def element_at(data_set: bytes | memoryview, position: int, *, explicit: bool) -> tuple[int, bytes, int, int]:
    """Tag, VR (b"" if not given), value length and value offset of the element at ``position``; BadObjectError if cut."""
    _within(data_set, position + 8)
    group, element, vr, length = _EXPLICIT.unpack_from(data_set, position)
    tag = group << 16 | element
    # Some writers fall back to implicit VR in the middle of explicit VR; what can't be a VR tells.
    if not explicit or group == 0xFFFE or not (vr.isalpha() and vr.isupper()):
        return tag, b"", _LENGTH.unpack_from(data_set, position + 4)[0], position + 8
    if vr in _SHORT:
        return tag, vr, length, position + 8
    _within(data_set, position + 12, tag)
    return tag, vr, _LENGTH.unpack_from(data_set, position + 8)[0], position + 12


def _end_of_items(data_set: bytes | memoryview, position: int, *, explicit: bool) -> tuple[int, int]:
    """Where a value of undefined length that starts at ``position`` ends, its delimiter included, and its elements."""
    # One entry for each open sequence and each open item, in turns: an odd number means that an item is due.
    levels, count = [explicit], 0
    while levels:
        tag, vr, length, start = element_at(data_set, position, explicit=levels[-1])
        an_item_is_due = len(levels) % 2 == 1
        if tag == (_SEQUENCE_END if an_item_is_due else _ITEM_END):
            levels.pop()
            position = start
        elif an_item_is_due and tag != _ITEM:
            raise BadObjectError(f"{_name(tag)} stands where an item should be.")
        elif length == _UNDEFINED:
            levels.append(levels[-1] and vr != b"UN")
            position = start
        else:
            position = _within(data_set, start + length, tag)
            count += _elements_in(data_set, tag, start, position, explicit=levels[-1])
        count = _counted(count + 1)
        if len(levels) > 2 * MAXIMUM_DEPTH:
            raise BadObjectError(f"Sequences nest deeper than {MAXIMUM_DEPTH}.")
    return position, count


def _elements_in(data_set: bytes | memoryview, tag: int, position: int, end: int, *, explicit: bool) -> int:
    """How many elements and items stand in a value of defined length that holds items; 0 for any other value.

    What is malformed in there ends the count and nothing else: it is read by whoever wants it, and most senders err
    in private sequences that nobody wants.
    """
    if tag & ~0xFFFF == _PIXELS or data_set[position : min(position + 4, end)] != _ITEM_BYTES:
        return 0
    count = 0
    while position + 12 <= end:
        tag, _, length, start = element_at(data_set, position, explicit=explicit)
        inside = tag >> 16 == 0xFFFE or length == _UNDEFINED or data_set[start : start + 4] == _ITEM_BYTES
        position = start if inside else start + length
        count = _counted(count + 1)
    return count


def _counted(count: int) -> int:
    if count > MAXIMUM_ELEMENTS:
        raise BadObjectError(f"The data set holds more than {MAXIMUM_ELEMENTS} elements.")
    return count


def _within(data_set: bytes | memoryview, position: int, tag: int | None = None) -> int:
    if position > len(data_set):
        where = f"in {_name(tag)}" if tag is not None else "in the middle of an element"
        raise BadObjectError(f"The data set ends {where}.")
    return position


def _name(tag: int) -> str:
    return f"({tag >> 16:04X},{tag & 0xFFFF:04X})"
