"""The head of a DICOM file (PS3.10 section 7): preamble, prefix and File Meta Information."""

from struct import pack
from typing import NamedTuple

from gsco_pacs.domain.encoded import element_at
from gsco_pacs.domain.errors import BadObjectError

IMPLEMENTATION_CLASS_UID = "2.25.143616916163509136540121151551220712046"
"""Made once from a UUID (PS3.5 annex B.2); it names this software in files and associations."""

IMPLEMENTATION_VERSION_NAME = "GSCO_PACS"
"""Without a version: the same object must give the same file, and so the same hash, after an upgrade."""


def part10_head(sop_class_uid: str, sop_instance_uid: str, transfer_syntax_uid: str) -> bytes:
    """What stands before the data set in a file: 128 zero bytes, "DICM" and group 0002 in Explicit VR Little Endian."""
    elements = b"".join(
        (
            pack("<HH2s2xL2s", 0x0002, 0x0001, b"OB", 2, b"\x00\x01"),
            _text(0x0002, b"UI", sop_class_uid),
            _text(0x0003, b"UI", sop_instance_uid),
            _text(0x0010, b"UI", transfer_syntax_uid),
            _text(0x0012, b"UI", IMPLEMENTATION_CLASS_UID),
            _text(0x0013, b"SH", IMPLEMENTATION_VERSION_NAME),
        )
    )
    return bytes(128) + b"DICM" + pack("<HH2sHL", 0x0002, 0x0000, b"UL", 4, len(elements)) + elements


def _text(element: int, vr: bytes, value: str) -> bytes:
    text = value.encode("ascii")
    if len(text) % 2:
        text += b"\0" if vr == b"UI" else b" "
    return pack("<HH2sH", 0x0002, element, vr, len(text)) + text


class Part10(NamedTuple):
    """A DICOM file taken apart; everything of its head but these three UIDs is dropped, the preamble first of all."""

    sop_class_uid: str
    sop_instance_uid: str
    transfer_syntax_uid: str
    data_set: memoryview
    """A view on the file."""


def take_apart(file: bytes | bytearray) -> Part10:
    """What a DICOM file holds; BadObjectError if it has no prefix or its File Meta Information cannot be read."""
    if file[128:132] != b"DICM":
        raise BadObjectError("It is no DICOM file: bytes 128 to 131 are not DICM (PS3.10 section 7.1).")
    view, position = memoryview(file), 132
    texts: dict[int, str] = {}
    while bytes(view[position : position + 2]) == b"\x02\x00":
        tag, _vr, length, start = element_at(view, position, explicit=True)
        position = start + length
        if position > len(view):
            raise BadObjectError("The file ends in its File Meta Information.")
        texts[tag] = bytes(view[start:position][:128]).decode("latin-1").rstrip("\0 ")
    try:
        return Part10(texts[0x00020002], texts[0x00020003], texts[0x00020010], view[position:].toreadonly())
    except KeyError as error:
        name = f"({error.args[0] >> 16:04X},{error.args[0] & 0xFFFF:04X})"
        raise BadObjectError(f"The File Meta Information has no {name} (PS3.10 section 7.1).") from None
