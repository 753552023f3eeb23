"""What a compressed frame says about its own size, read before a decoder believes it."""

import struct

_SOI = b"\xff\xd8"
_SOC_SIZ = b"\xff\x4f\xff\x51"
_START_OF_FRAME = frozenset({*range(0xC0, 0xD0), 0xF7}) - {0xC4, 0xC8, 0xCC}
_START_OF_SCAN = 0xDA


def codestream_size(frame: bytes) -> tuple[int, int, int] | None:
    """(rows, columns, components) in the header of a JPEG, JPEG-LS or JPEG 2000 codestream; None if there is no such header.

    JPEG: SOFn, ISO/IEC 10918-1 B.2.2; JPEG-LS: SOF55, ISO/IEC 14495-1 C.2.2; JPEG 2000 and HTJ2K: SIZ, ISO/IEC 15444-1 A.5.1.
    """
    if frame.startswith(_SOI):
        return _jpeg_size(frame)
    siz = frame.find(_SOC_SIZ, 0, 4096)
    if siz < 0 or len(frame) < siz + 42:
        return None
    right, bottom, left, top = struct.unpack_from(">4L", frame, siz + 8)
    (components,) = struct.unpack_from(">H", frame, siz + 40)
    return bottom - top, right - left, components


def _jpeg_size(frame: bytes) -> tuple[int, int, int] | None:
    position = len(_SOI)
    while position + 10 <= len(frame) and frame[position] == 0xFF:
        marker = frame[position + 1]
        if marker == 0xFF:
            position += 1
            continue
        if marker in _START_OF_FRAME:
            rows, columns, components = struct.unpack_from(">2HB", frame, position + 5)
            return rows, columns, components
        if marker == _START_OF_SCAN:
            return None
        position += 2 + int(struct.unpack_from(">H", frame, position + 2)[0])
    return None
