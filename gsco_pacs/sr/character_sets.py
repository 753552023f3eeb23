"""Which Specific Character Set (0008,0005) a report has: its image's, as long as that can be.

1. The image's own set stands, and with it every byte of the names, if it is one of the standard's (spelling mistakes
   such as "ISO-IR 100" repaired) and the bytes can be read with it.
2. If it is missing, unknown or contradicted by the bytes, the bytes are kept and declared as ISO_IR 192 where they are
   UTF-8, else as ISO_IR 100, in which every byte has a meaning.
3. Only if the report's own text cannot be written in that set, or the names hold bytes that it forbids (Windows code
   pages), is the whole document written in ISO_IR 192; the names are then the same characters in other bytes.
"""

import re
from collections.abc import Sequence

from pydicom.charset import python_encoding

_MULTI_BYTE = ("ISO_IR 192", "GB18030")
_CONTROLS = re.compile(rb"[\x80-\x9f]")
"""Bytes that are letters in Windows code pages and control characters, which DICOM forbids, in the ISO_IR sets."""
_ALONE = re.compile(r"ISO_IR (?!6$|13$)\d+|GB18030|GBK")
"""Sets in which our text needs no escape sequences (PS3.3 section C.12.1.1.2)."""


def character_set_of(declared: Sequence[str], content: bytes) -> list[str]:
    """The values of Specific Character Set under which ``content`` stands as it is; [""] is the default repertoire."""
    charset = [_respelled(value) for value in declared]
    if len(charset) == 1:
        charset = _single(charset[0], content)
    if all(value in python_encoding for value in charset) and _readable(content, charset):
        return charset
    return ["ISO_IR 192"] if _decodes(content, "utf-8") else ["ISO_IR 100"]


def _single(value: str, content: bytes) -> list[str]:
    """A set that stands alone, in the form that validators take; the bytes mean the same in both."""
    if value == "ISO_IR 13" and not content.isascii():
        return ["ISO 2022 IR 13", "ISO 2022 IR 87"]
    if value.startswith("ISO 2022 IR ") and b"\x1b" not in content:
        return [f"ISO_IR {value.removeprefix('ISO 2022 IR ')}"]
    return [value]


def _respelled(value: str) -> str:
    alone = re.fullmatch(r"ISO[ _-]?IR[ _-]?(\d+)", value.strip(), re.IGNORECASE)
    extended = re.fullmatch(r"ISO[ _-]?2022[ _-]?IR[ _-]?(\d+)", value.strip(), re.IGNORECASE)
    if extended:
        return f"ISO 2022 IR {extended[1]}"
    if alone:
        return f"ISO_IR {alone[1]}"
    # GB18030 contains GBK byte for byte, and validators know it.
    return "GB18030" if value.strip() == "GBK" else value.strip()


def _readable(content: bytes, charset: Sequence[str]) -> bool:
    if content.isascii() and b"\x1b" not in content:
        return True
    if len(charset) > 1:
        return True
    return charset[0] not in ("", "ISO_IR 6") and _decodes(content, python_encoding[charset[0]])


def _decodes(content: bytes, encoding: str) -> bool:
    try:
        content.decode(encoding)
    except UnicodeDecodeError:
        return False
    return True


def fits(text: str, charset: Sequence[str]) -> bool:
    """Whether ``text`` can be written in ``charset`` without escape sequences."""
    if text.isascii():
        return True
    if len(charset) > 1 or not _ALONE.fullmatch(charset[0]):
        return False
    try:
        text.encode(python_encoding[charset[0]])
    except UnicodeEncodeError:
        return False
    return True


def forbidden_in(charset: Sequence[str], content: bytes) -> bool:
    """Whether ``content`` holds bytes that the single-byte set ``charset`` has no characters for."""
    return len(charset) == 1 and charset[0] not in _MULTI_BYTE and bool(_CONTROLS.search(content))
