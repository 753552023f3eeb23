"""What a report takes over from its source image: patient, study and request, byte for byte, and their character set."""

import re
from collections.abc import Iterable, Sequence
from io import BytesIO
from pathlib import Path

from pydicom import Dataset, dcmread, dcmwrite
from pydicom.charset import convert_encodings, decode_bytes
from pydicom.config import RAISE
from pydicom.datadict import dictionary_VR, tag_for_keyword
from pydicom.dataelem import DataElement, RawDataElement
from pydicom.filebase import DicomBytesIO
from pydicom.filewriter import write_data_element
from pydicom.tag import BaseTag, Tag
from pydicom.valuerep import TEXT_VR_DELIMS, validate_value

from gsco_pacs.domain.errors import BadObjectError, TransientError
from gsco_pacs.sr.character_sets import character_set_of, fits, forbidden_in
from gsco_pacs.unreadable import UNREADABLE

KEPT = ("PatientName", "PatientID", "StudyInstanceUID")
"""Taken over whatever they hold: without them the report would be another patient's."""
REQUIRED = (
    "PatientBirthDate", "PatientSex", "StudyDate", "StudyTime", "ReferringPhysicianName", "StudyID", "AccessionNumber",
)  # fmt: skip
"""Type 2: present but empty if the image lacks them or holds a value that the standard forbids."""
OPTIONAL = (
    "IssuerOfPatientID", "IssuerOfPatientIDQualifiersSequence", "IssuerOfAccessionNumberSequence", "StudyDescription",
    "PatientAge", "PatientSize", "PatientWeight",
)  # fmt: skip
_REQUEST_REQUIRED = (
    "AccessionNumber", "PlacerOrderNumberImagingServiceRequest",
    "FillerOrderNumberImagingServiceRequest", "RequestedProcedureID", "RequestedProcedureDescription",
    "RequestedProcedureCodeSequence",
)  # fmt: skip
_REQUEST_OPTIONAL = ("IssuerOfAccessionNumberSequence", "ReasonForTheRequestedProcedure")
_CODE = {"CodeValue", "CodingSchemeDesignator", "CodeMeaning"}
_UNIVERSAL = {"UniversalEntityID", "UniversalEntityIDType"}
_SEXES = {"M", "F", "O", ""}
_NEVER = re.compile(r"[\0-\x08\x0b\x0e-\x1f\x7f\\]")
"""What no single value of text may hold (PS3.5 6.1.3, 6.2); pydicom looks for less."""
_TAKEN = (*KEPT, *REQUIRED, *OPTIONAL, *_REQUEST_REQUIRED, *_REQUEST_OPTIONAL)


def read_header(path: Path) -> Dataset:
    """The data set of the DICOM file at ``path`` up to its pixels; BadObjectError if it is none."""
    try:
        return dcmread(path, stop_before_pixels=True)
    except FileNotFoundError:
        raise BadObjectError("An image of the study cannot be read: it is no longer in the store.") from None
    except OSError as error:
        if error.errno is None:  # pydicom's own, for bytes that it cannot read
            raise BadObjectError("An image of the study cannot be read.") from None
        raise TransientError(f"An image of the study cannot be read now: {error.strerror}.") from error
    except UNREADABLE as error:
        raise BadObjectError(f"An image of the study cannot be read: {type(error).__name__}.") from None


def taken_over(header: Dataset, own_texts: Iterable[str]) -> Dataset:
    """Patient, Study and Referenced Request attributes of ``header`` in a character set that ``own_texts`` fit too.

    BadObjectError if they cannot be written again, without the value that stands in the way: it may be a patient's.
    """
    try:
        return _taken_over(header, own_texts)
    except UNREADABLE as error:
        raise BadObjectError(f"The image's header cannot be taken over ({type(error).__name__}).") from None


def _taken_over(header: Dataset, own_texts: Iterable[str]) -> Dataset:
    content = _content(header)
    declared = header.get("SpecificCharacterSet") or ""
    charset = character_set_of([declared] if isinstance(declared, str) else list(declared), content)
    source = _empty(charset)
    for keyword in (*KEPT, *REQUIRED, *OPTIONAL):
        _copy(header, source, keyword, charset, required=keyword not in OPTIONAL)
    requests = list(_requests(header, charset))
    if requests:
        source.ReferencedRequestSequence = requests
    if forbidden_in(charset, content) or not all(fits(text, charset) for text in own_texts):
        return _in_utf8(source)
    return source


def _content(header: Dataset) -> bytes:
    """Every byte of text that may be taken over."""
    keywords = [keyword for keyword in _TAKEN if not keyword.endswith("Sequence")]
    holders = (header, *(header.get("RequestAttributesSequence") or []))
    return b"".join(_bytes(holder, _tag(keyword)) for holder in holders for keyword in keywords)


def _empty(charset: Sequence[str] = ()) -> Dataset:
    dataset = Dataset()
    if any(charset):
        dataset.SpecificCharacterSet = list(charset) if len(charset) > 1 else charset[0]
    # Raw elements are written as they are only if the data set is said to have been read in the form it is written in.
    dataset.set_original_encoding(
        is_implicit_vr=False,
        is_little_endian=True,
        character_encoding=dataset._character_set,  # noqa: SLF001
    )
    return dataset


def _requests(header: Dataset, charset: Sequence[str]) -> Iterable[Dataset]:
    described = list(header.get("RequestAttributesSequence") or [])
    if not described and any(header.get(keyword) for keyword in ("AccessionNumber", "RequestedProcedureID")):
        described = [Dataset()]
    for item in described:
        request = _empty()
        _copy(
            item if item.get("StudyInstanceUID") else header,
            request,
            "StudyInstanceUID",
            charset,
            required=True,
        )
        for keyword in (*_REQUEST_REQUIRED, *_REQUEST_OPTIONAL):
            holder = item if item.get(keyword) else header
            _copy(holder, request, keyword, charset, required=keyword in _REQUEST_REQUIRED)
        request.ReferencedStudySequence = []
        yield request


def _copy(source: Dataset, target: Dataset, keyword: str, charset: Sequence[str], *, required: bool) -> None:
    tag = _tag(keyword)
    vr = str(dictionary_VR(tag))
    if vr == "SQ":
        items = [_whole(item, charset) for item in source.get(keyword) or [] if _usable(item)]
        if items or required:
            target.add_new(tag, "SQ", items)
        return
    value = _padded(_bytes(source, tag), vr)
    if keyword not in KEPT and not _allowed(keyword, vr, value, charset):
        value = b""
    if value or required:
        target[tag] = RawDataElement(tag, vr, len(value), value, 0, False, True)  # noqa: FBT003


def _whole(item: Dataset, charset: Sequence[str]) -> Dataset:
    copy = _empty()
    for element in item:
        if element.keyword:
            _copy(item, copy, element.keyword, charset, required=False)
    return copy


def _usable(item: Dataset) -> bool:
    """Whether an item of a sequence is complete: a code has its three parts, a universal identifier has its type."""
    parts = {keyword for keyword in (*_CODE, *_UNIVERSAL) if item.get(keyword)}
    return len(item) > 0 and all(parts.isdisjoint(group) or parts >= group for group in (_CODE, _UNIVERSAL))


def _bytes(dataset: Dataset, tag: BaseTag) -> bytes:
    if tag not in dataset:
        return b""
    element: DataElement | RawDataElement = dataset.get_item(tag)
    if isinstance(element, RawDataElement):
        return element.value or b""
    buffer = DicomBytesIO()
    buffer.is_little_endian, buffer.is_implicit_VR = True, True
    write_data_element(buffer, element, dataset._character_set)  # noqa: SLF001 - as pydicom's own writer asks for it
    return buffer.getvalue()[8:]


def _padded(value: bytes, vr: str) -> bytes:
    """``value`` with the padding that PS3.5 section 6.2 asks for; many modalities pad text with NUL."""
    bare = value.rstrip(b"\0")
    return bare + (b"\0" if vr == "UI" else b" ") * (len(bare) % 2)


def _allowed(keyword: str, vr: str, value: bytes, charset: Sequence[str]) -> bool:
    try:
        text = decode_bytes(value, convert_encodings(list(charset)), TEXT_VR_DELIMS).rstrip()
        validate_value(vr, text, RAISE)
    except (ValueError, LookupError):
        return False
    if vr == "PN" and any(group.count("^") > 4 for group in text.split("=")):
        return False
    return not _NEVER.search(text) and (keyword != "PatientSex" or text in _SEXES)


def _in_utf8(source: Dataset) -> Dataset:
    buffer = BytesIO()
    dcmwrite(buffer, source, implicit_vr=False, little_endian=True)
    buffer.seek(0)
    decoded = dcmread(buffer, force=True)
    decoded.decode()
    decoded.SpecificCharacterSet = "ISO_IR 192"
    copy = Dataset()
    copy.update(decoded)
    return copy


def _tag(keyword: str) -> BaseTag:
    tag = tag_for_keyword(keyword)
    if tag is None:
        raise KeyError(keyword)
    return Tag(tag)
