"""Free text becomes text that a Structured Report can hold, whatever wrote it."""

import unicodedata

from gsco_pacs.domain.errors import InvalidReportError

BANNER = "AI DRAFT - NOT VERIFIED"
DRAFT = "AI DRAFT - NOT FOR DIAGNOSIS"
WARNING = f"{BANNER}. Not for diagnostic use. Requires review by a qualified radiologist."

NO_PROOF = "A heat map is no proof of where a disease lies."

_ASCII_PUNCTUATION = str.maketrans({
    "\u2010": "-", "\u2011": "-", "\u2012": "-", "\u2013": "-", "\u2014": "-", "\u2212": "-", "\u2022": "-",
    "\u2018": "'", "\u2019": "'", "\u201c": '"', "\u201d": '"', "\u2026": "...",
    "\u2264": "<=", "\u2265": ">=", "\u00d7": "x", "\u00b1": "+/-",
})  # fmt: skip
_BLANK = {"Cc", "Zs", "Zl", "Zp"}


def plain(text: str) -> str:
    """``text`` on one line, without control characters and with ASCII punctuation.

    ASCII punctuation lets English text stand in every character set that a source image may use. InvalidReportError
    if nothing visible is left (TextValue is type 1, PS3.3 section C.17.3) or half a character (a surrogate) is in it.
    """
    if any(unicodedata.category(char) == "Cs" for char in text):
        raise InvalidReportError("A text of the report holds half a character (a lone surrogate).")
    tidy = unicodedata.normalize("NFC", text).translate(_ASCII_PUNCTUATION)
    spaced = (" " if unicodedata.category(char) in _BLANK else char for char in tidy)
    line = " ".join("".join(spaced).split())
    if not any(char.isprintable() for char in line):
        raise InvalidReportError("A text of the report is empty.")
    return line


def short(text: str, limit: int = 64) -> str:
    """``text`` for an attribute of VR LO or SH: one value (no backslash) of at most ``limit`` characters."""
    return plain(text.replace("\\", "/"))[:limit].rstrip()


def counted(number: int, noun: str) -> str:
    """The number with its noun, as in "1 image" or "2 images"."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"
