"""Opening an image: its header, where its pixel data lies, and whether the one can be true of the other."""

import os
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from pydicom import Dataset, dcmread
from pydicom.filereader import read_file_meta_info
from pydicom.tag import Tag
from pydicom.uid import UID, DeflatedExplicitVRLittleEndian

from gsco_pacs.domain.errors import BadObjectError, TransientError
from gsco_pacs.settings.decoding import Decoding
from gsco_pacs.unreadable import UNREADABLE

PIXEL_DATA = Tag("PixelData")
_VOLUMES = ("CT", "MR", "PT", "NM")
_PIXEL_VRS = (b"OB", b"OW", b"UN")
_UNDEFINED_LENGTH = 0xFFFFFFFF
_SMALLEST_ITEM = 8
_DEFAULTS = Decoding()


@dataclass(frozen=True, eq=False)
class ImageFile:
    """An opened DICOM file: the header, and the place of the Pixel Data value in the file (PS3.5 section 8)."""

    path: Path
    header: Dataset
    """Everything before the pixel data, or the attributes that were asked for."""
    transfer_syntax_uid: UID
    pixel_vr: str
    """VR of Pixel Data as encoded; empty if the file has no Pixel Data or the VR is implicit."""
    offset: int
    """Where the value of Pixel Data begins."""
    length: int
    """Bytes of it that are really there; 0 if the file has no Pixel Data."""

    @property
    def frames(self) -> int:
        """Number of Frames, 1 where the attribute is missing or empty."""
        return _count(self.header, "NumberOfFrames", 1)

    @property
    def shown_frame(self) -> int:
        """The frame that stands for the image (1 = first): the middle one of a volume, the first one of anything else."""
        volume = (
            attribute(self.header, "Modality") in _VOLUMES
            or "PerFrameFunctionalGroupsSequence" in self.header
        )
        return (self.frames + 1) // 2 if volume else 1


def open_image(path: Path, attributes: tuple[str, ...] = ()) -> ImageFile:
    """Read the header of ``path`` without its pixel data; BadObjectError if it is none, TransientError if it can't be opened.

    ``attributes`` (keywords) makes it read only these. A deflated data set is refused before it is inflated,
    because nothing says how large it gets (PS3.5 section A.5).
    """
    try:
        file = path.open("rb")
    except OSError as error:
        raise TransientError("The stored file of an image could not be opened.") from error
    with file:
        try:
            syntax = UID(str(read_file_meta_info(path).TransferSyntaxUID))
            if syntax == DeflatedExplicitVRLittleEndian:
                raise BadObjectError("The transfer syntax Deflated Explicit VR Little Endian is not read.")
            header = dcmread(file, stop_before_pixels=True, specific_tags=list(attributes) or None)
            vr, length = _pixel_data(file, "<" if syntax.is_little_endian else ">")
            return ImageFile(path, header, syntax, vr, file.tell(), length)
        except UNREADABLE as error:
            raise BadObjectError(f"The header is not readable ({type(error).__name__}).") from error


def check_size(image: ImageFile, limits: Decoding = _DEFAULTS) -> None:
    """BadObjectError if the header claims no pixels, more of them than ``limits`` let, or more than the file holds.

    Nothing is decoded or allocated. Native pixel data (PS3.5 section 8.1.1) must be there to the last bit;
    encapsulated pixel data (section A.4) must at least have room for one item a frame.
    """
    rows, columns = _count(image.header, "Rows"), _count(image.header, "Columns")
    samples, bits = _count(image.header, "SamplesPerPixel", 1), _count(image.header, "BitsAllocated")
    frames = image.frames
    if min(rows, columns, samples, bits, frames) <= 0:
        raise BadObjectError(
            "Rows, Columns, Samples per Pixel, Bits Allocated or Number of Frames is missing or zero."
        )
    frame_bits = rows * columns * samples * bits
    if rows * columns * samples * max(bits, 8) // 8 > limits.frame_bytes:
        raise BadObjectError(
            f"One frame of {rows} x {columns} pixels is larger than {limits.frame_bytes} bytes."
        )
    if frames > limits.frames:
        raise BadObjectError(f"Number of Frames: more than {limits.frames}.")
    if image.transfer_syntax_uid.is_encapsulated:
        needed = frames * _SMALLEST_ITEM
    else:
        if attribute(image.header, "PhotometricInterpretation") == "YBR_FULL_422":
            frame_bits = frame_bits // 3 * 2
        needed = (frame_bits * frames + 7) // 8
    if needed > image.length:
        raise BadObjectError(
            f"The pixel data is truncated: {needed} bytes are needed, {image.length} are there."
        )


def picture_bytes(image: ImageFile) -> int:
    """Memory that one picture of ``image`` takes: 4 bytes a sample, and three samples where a palette makes colours."""
    palette = attribute(image.header, "PhotometricInterpretation") == "PALETTE COLOR"
    samples = 3 if palette else _count(image.header, "SamplesPerPixel", 1)
    return 4 * samples * _count(image.header, "Rows") * _count(image.header, "Columns")


def attribute(header: Dataset, keyword: str) -> Any:
    """Value of ``keyword``, None without one; BadObjectError if it is not readable (pydicom reads values when they are asked for)."""
    try:
        value = header.get(keyword)
    except UNREADABLE as error:
        raise BadObjectError(f"{keyword} is not readable ({type(error).__name__}).") from error
    return None if value == "" else value


def _count(header: Dataset, keyword: str, missing: int = 0) -> int:
    value = attribute(header, keyword)
    try:
        return missing if value is None else int(value)
    except (TypeError, ValueError):
        raise BadObjectError(f"{keyword} is not a number.") from None


def _pixel_data(file: BinaryIO, order: str) -> tuple[str, int]:
    """VR and real length of Pixel Data, whose tag is next in ``file``; leaves ``file`` at its value. ("", 0) if it isn't there.

    Whether the VR is explicit is read from the element, not from the transfer syntax, which some writers get wrong:
    "OB", "OW" and "UN" would be odd as the lower half of a length, and lengths are even.
    """
    start = file.read(8)
    if len(start) < 8 or start[:4] != struct.pack(f"{order}HH", PIXEL_DATA.group, PIXEL_DATA.element):
        return "", 0
    vr = start[4:6].decode("ascii") if start[4:6] in _PIXEL_VRS else ""
    (length,) = struct.unpack(f"{order}L", file.read(4) if vr else start[4:])
    there = os.fstat(file.fileno()).st_size - file.tell()
    return vr, there if length == _UNDEFINED_LENGTH else min(length, there)
