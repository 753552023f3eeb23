"""What a report takes over from its source image: patient, study and request, byte for byte, and their character set.

The rule for Specific Character Set (0008,0005):

1. The image's own set stands, and with it every byte of the names, if it is one of the standard's (spelling mistakes
   such as "ISO-IR 100" repaired) and the bytes can be read with it.
2. If it is missing, unknown or contradicted by the bytes, the bytes are kept and declared as ISO_IR 192 where they are
   UTF-8, else as ISO_IR 100, in which every byte has a meaning.
3. Only if the report's own text cannot be written in that set, or the names hold bytes that it forbids (Windows code
   pages), is the whole document written in ISO_IR 192; the names are then the same characters in other bytes.
"""

import re
from collections.abc import Iterable, Sequence
from io import BytesIO
from pathlib import Path

from pydicom import Dataset, dcmread, dcmwrite
from pydicom.charset import convert_encodings, decode_bytes, python_encoding
from pydicom.config import RAISE
from pydicom.datadict import dictionary_VR, tag_for_keyword
from pydicom.dataelem import DataElement, RawDataElement
from pydicom.errors import InvalidDicomError
from pydicom.filebase import DicomBytesIO
from pydicom.filewriter import write_data_element
from pydicom.tag import BaseTag, Tag
from pydicom.valuerep import TEXT_VR_DELIMS, validate_value

from gsco_pacs.domain.errors import BadObjectError, TransientError

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
_TEXTS = tuple(keyword for keyword in (*KEPT, *REQUIRED, *OPTIONAL) if not keyword.endswith("Sequence"))
_MULTI_BYTE = ("ISO_IR 192", "GB18030")
_CONTROLS = re.compile(rb"[\x80-\x9f]")
"""Bytes that are letters in Windows code pages and control characters, which DICOM forbids, in the ISO_IR sets."""
_ALONE = re.compile(r"ISO_IR (?!6$|13$)\d+|GB18030|GBK")
"""Sets in which our text needs no escape sequences (PS3.3 section C.12.1.1.2)."""


def read_header(path: Path) -> Dataset:
    """The data set of the DICOM file at ``path`` up to its pixels; BadObjectError if it is none."""
    try:
        return dcmread(path, stop_before_pixels=True)
    except (InvalidDicomError, EOFError, ValueError, FileNotFoundError) as error:
        raise BadObjectError(f"An image of the study cannot be read: {type(error).__name__}.") from error
    except OSError as error:
        raise TransientError(f"An image of the study cannot be read now: {error.strerror}.") from error


def taken_over(header: Dataset, own_texts: Iterable[str]) -> Dataset:
    """Patient, Study and Referenced Request attributes of ``header`` in a character set that ``own_texts`` fit too."""
    content = b"".join(_bytes(header, _tag(keyword)) for keyword in _TEXTS)
    charset = _character_set(header, content)
    source = _empty(charset)
    for keyword in (*KEPT, *REQUIRED, *OPTIONAL):
        _copy(header, source, keyword, charset, required=keyword not in OPTIONAL)
    requests = list(_requests(header, charset))
    if requests:
        source.ReferencedRequestSequence = requests
    allowed = len(charset) > 1 or charset[0] in _MULTI_BYTE or not _CONTROLS.search(content)
    return source if allowed and all(_fits(text, charset) for text in own_texts) else _in_utf8(source)


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
    return "\\" not in text and (keyword != "PatientSex" or text in _SEXES)


def _character_set(header: Dataset, content: bytes) -> list[str]:
    declared = header.get("SpecificCharacterSet") or ""
    values = [declared] if isinstance(declared, str) else list(declared)
    charset = [_respelled(value) for value in values]
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


def _fits(text: str, charset: Sequence[str]) -> bool:
    if text.isascii():
        return True
    if len(charset) > 1 or not _ALONE.fullmatch(charset[0]):
        return False
    try:
        text.encode(python_encoding[charset[0]])
    except UnicodeEncodeError:
        return False
    return True


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
