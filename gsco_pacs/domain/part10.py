"""The head of a DICOM file (PS3.10 section 7): preamble, prefix and File Meta Information."""

from struct import pack, unpack_from

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


def part10_parts(file: bytes) -> tuple[str, str, str, memoryview]:
    """SOP Class, SOP Instance and Transfer Syntax UID and the data set of a file that begins with part10_head()."""
    (length,) = unpack_from("<L", file, 140)
    position, texts = 144 + 14, []
    while position < 144 + length:
        (size,) = unpack_from("<H", file, position + 6)
        texts.append(file[position + 8 : position + 8 + size].decode("ascii").rstrip("\0"))
        position += 8 + size
    return texts[0], texts[1], texts[2], memoryview(file)[position:]
