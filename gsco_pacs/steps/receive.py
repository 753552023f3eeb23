"""Step 1: an object that came in becomes a durable file and the instance that the node speaks about from here on."""

import re
from collections.abc import Sequence
from functools import lru_cache
from struct import error as StructError  # noqa: N812 - it is an exception
from struct import iter_unpack
from typing import TYPE_CHECKING, Protocol

from pydicom.charset import convert_encodings, decode_bytes
from pydicom.datadict import dictionary_VR, tag_for_keyword
from pydicom.uid import ImplicitVRLittleEndian
from pydicom.valuerep import PN_DELIMS, TEXT_VR_DELIMS

from gsco_pacs.domain.encoded import top_level_elements
from gsco_pacs.domain.errors import BadObjectError, MismatchError
from gsco_pacs.domain.incoming import Incoming
from gsco_pacs.domain.part10 import part10_head
from gsco_pacs.domain.study import Header, Instance, valid_uid

if TYPE_CHECKING:
    from gsco_pacs.adapters.file_store import Stored


class Store(Protocol):
    """Where the bytes go; implemented by adapters.file_store and adapters.inbox."""

    def put(self, parts: Sequence[bytes | memoryview]) -> "Stored":
        """Write the concatenation of ``parts``; durable when it returns."""


_Elements = dict[int, tuple[str, bytes]]

_CHARACTER_SET, _SOP_CLASS, _SOP_INSTANCE, _STUDY, _SERIES = (
    0x00080005,
    0x00080016,
    0x00080018,
    0x0020000D,
    0x0020000E,
)
_ALWAYS = frozenset({_CHARACTER_SET, _SOP_CLASS, _SOP_INSTANCE, _STUDY, _SERIES})

_NUMBERS = {
    "US": "<H",
    "SS": "<h",
    "UL": "<L",
    "SL": "<l",
    "UV": "<Q",
    "SV": "<q",
    "FL": "<f",
    "FD": "<d",
    "US or SS": "<H",
}
_LISTS = frozenset(["AE", "AS", "CS", "DA", "DS", "DT", "IS", "LO", "PN", "SH", "TM", "UC", "UI"])
_TEXTS = frozenset(["LT", "ST", "UR", "UT"])
_LONGEST_KEPT = 256
"""Bytes of a value, and of the character set's name, that are remembered once they were read."""
_UNSEEN = re.compile(
    "[\0-\x1f\x7f-\x9f\u200b-\u200f\u2028-\u202e\u2060-\u2069\ud800-\udfff\ufeff\ufffe\uffff]+"
)
"""Control characters, and those that turn or hide text: whatever shows a header must not obey it. And what no database and
no XML takes: halves of surrogate pairs, which some codecs that are no DICOM terms give, and noncharacters."""


def receive(incoming: Incoming, store: Store, keywords: frozenset[str]) -> Instance:
    """Write ``incoming`` to ``store`` as a DICOM file and return its instance; durable when it returns.

    ``keywords`` are the attributes whose values routing will read. Pixel data is never decoded. Raises BadUidError,
    MismatchError or BadObjectError for what can't be understood, and OutOfResourcesError if the disk takes no more.
    """
    for uid in (incoming.sop_class_uid, incoming.sop_instance_uid):
        valid_uid(uid)
    tags = _tags(keywords)
    explicit = incoming.transfer_syntax_uid != ImplicitVRLittleEndian
    elements = top_level_elements(incoming.data_set, explicit=explicit, wanted=_ALWAYS | tags.keys())
    _must_equal(incoming.sop_class_uid, _uid(elements, _SOP_CLASS), "SOP Class")
    _must_equal(incoming.sop_instance_uid, _uid(elements, _SOP_INSTANCE), "SOP Instance")
    study_instance_uid, series_instance_uid = (
        valid_uid(_uid(elements, _STUDY)),
        valid_uid(_uid(elements, _SERIES)),
    )
    head = part10_head(incoming.sop_class_uid, incoming.sop_instance_uid, incoming.transfer_syntax_uid)
    stored = store.put((head, incoming.data_set))
    return Instance(
        study_instance_uid=study_instance_uid,
        series_instance_uid=series_instance_uid,
        sop_instance_uid=incoming.sop_instance_uid,
        sop_class_uid=incoming.sop_class_uid,
        transfer_syntax_uid=incoming.transfer_syntax_uid,
        sha256=stored.sha256,
        size=stored.size,
        path=stored.path,
        header=_header(elements, tags),
    )


@lru_cache(maxsize=8)
def _tags(keywords: frozenset[str]) -> dict[int, str]:
    tags = {tag_for_keyword(keyword): keyword for keyword in keywords}
    return {tag: keyword for tag, keyword in tags.items() if tag is not None}


def _uid(elements: _Elements, tag: int) -> str:
    """The UID's text without its padding; BadObjectError if the attribute is missing."""
    if tag not in elements:
        raise BadObjectError(f"The data set has no ({tag >> 16:04X},{tag & 0xFFFF:04X}).")
    return elements[tag][1].decode("latin-1").rstrip("\0 ")


def _must_equal(commanded: str, contained: str, what: str) -> None:
    if commanded != contained:
        raise MismatchError(f"The {what} UID of the command, {commanded}, is not that of the data set.")


def _header(elements: _Elements, tags: dict[int, str]) -> Header:
    """Keyword -> text of every wanted attribute that has a value; what can't be shown as text is left out."""
    terms = elements.get(_CHARACTER_SET, ("CS", b""))[1]
    header: dict[str, str | list[str]] = {}
    for tag in tags.keys() & elements.keys():
        vr, value = elements[tag]
        read = _remembered if len(value) + len(terms) <= _LONGEST_KEPT else _values
        texts = read(vr if vr not in {"", "UN"} else dictionary_VR(tag), value, terms)
        if any(texts):
            header[tags[tag]] = texts[0] if len(texts) == 1 else list(texts)
    return header


def _values(vr: str, value: bytes, terms: bytes) -> tuple[str, ...]:
    """The values as texts, given the bytes of Specific Character Set."""
    if vr in _NUMBERS:
        try:
            return tuple(str(number) for (number,) in iter_unpack(_NUMBERS[vr], value))
        except StructError:
            return ()  # not a whole number of numbers
    if vr not in _LISTS | _TEXTS:
        return ()
    names = terms.decode("latin-1").replace("\0", "").split("\\")
    encodings = convert_encodings([name.strip() for name in names])
    text = decode_bytes(value.rstrip(b"\0"), encodings, PN_DELIMS if vr == "PN" else TEXT_VR_DELIMS)
    text = _UNSEEN.sub(" ", text)
    return (text.strip(),) if vr in _TEXTS else tuple(part.strip() for part in text.split("\\"))


_remembered = lru_cache(maxsize=2048)(_values)
"""The images of a study have most of their values in common."""
