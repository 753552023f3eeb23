"""Tells a corrected header from another image: what differs between two files of the same SOP Instance UID."""

import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from pydicom import Dataset, dcmread
from pydicom.datadict import keyword_for_tag
from pydicom.dataelem import DataElement
from pydicom.uid import ExplicitVRLittleEndian, ImplicitVRLittleEndian

from gsco_pacs.domain.correction import Differences
from gsco_pacs.domain.errors import BadObjectError
from gsco_pacs.unreadable import UNREADABLE

_BOOKKEEPING = frozenset(
    [
        "ContributingEquipmentSequence",
        "DataSetTrailingPadding",
        "DigitalSignaturesSequence",
        "InstanceAvailability",
        "InstanceCoercionDateTime",
        "MACParametersSequence",
        "OriginalAttributesSequence",
        "RetrieveAETitle",
        "SpecificCharacterSet",
        "StorageMediaFileSetUID",
        "TimezoneOffsetFromUTC",
    ]
)
"""What an archive writes about its own work, and how text is encoded: no change of what the image says."""
_UNCOMPRESSED = frozenset([ExplicitVRLittleEndian, ImplicitVRLittleEndian])
_LONGEST = 200
"""Characters of a value that are kept in the record."""
_CHUNK = 1 << 20


def differ(former: Path, newer: Path) -> Differences:
    """What ``newer`` has otherwise than ``former``: attributes by their values, pixel data by its bytes, never decoded.

    Private attributes and what archives write about their own work are left out. BadObjectError if one can't be read.
    """
    try:
        with former.open("rb") as one, newer.open("rb") as other:
            return _differences(one, other)
    except OSError as error:
        raise BadObjectError(
            f"A stored object cannot be read: {error.strerror or type(error).__name__}."
        ) from None
    except UNREADABLE as error:
        raise BadObjectError(f"A stored object cannot be read: {type(error).__name__}.") from None


def _differences(one: BinaryIO, other: BinaryIO) -> Differences:
    former, newer = dcmread(one, stop_before_pixels=True), dcmread(other, stop_before_pixels=True)
    syntaxes = {former.file_meta.TransferSyntaxUID, newer.file_meta.TransferSyntaxUID}
    another = ""
    if len(syntaxes) > 1 and not syntaxes <= _UNCOMPRESSED:
        another = "it came in another transfer syntax, so its pixel data was not compared"
    elif _pixels(one, former) != _pixels(other, newer):
        another = "its pixel data differs"
    return Differences(dict(_attributes(former, newer)), another)


def _attributes(former: Dataset, newer: Dataset) -> Iterator[tuple[str, tuple[str, str]]]:
    former.decode()
    newer.decode()
    for tag in sorted({*former.keys(), *newer.keys()}):
        keyword = keyword_for_tag(tag) or str(tag)
        if keyword in _BOOKKEEPING or tag.is_private or tag.element == 0:  # 0: a group length
            continue
        before, after = former.get(tag), newer.get(tag)
        if _value(before) != _value(after):
            yield keyword, (_shown(before), _shown(after))


def _value(element: DataElement | None) -> object:
    """What is compared; an empty value is none."""
    return "" if element is None or element.is_empty else element.value


def _shown(element: DataElement | None) -> str:
    if element is None or element.is_empty:
        return ""
    text = f"({len(element.value)} items)" if element.VR == "SQ" else str(element.value)
    return text.replace("\0", "")[:_LONGEST]


def _pixels(file: BinaryIO, header: Dataset) -> str:
    """The hash of the value of the pixel data that ``file`` stands before; of nothing if there is none."""
    implicit = header.file_meta.TransferSyntaxUID == ImplicitVRLittleEndian
    left = int.from_bytes(file.read(8 if implicit else 12)[-4:], "little")  # of undefined length: to the end
    digest = hashlib.sha256()
    while left > 0 and (chunk := file.read(min(_CHUNK, left))):
        digest.update(chunk)
        left -= len(chunk)
    return digest.hexdigest()
