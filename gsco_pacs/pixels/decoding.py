"""Decoding one frame with the decoder that is right and fast for its transfer syntax."""

from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray
from pydicom import uid
from pydicom.encaps import get_frame
from pydicom.pixels.decoders.base import JPEGExtended12BitDecoder, get_decoder
from pydicom.pixels.utils import as_pixel_options

from gsco_pacs.domain.errors import BadObjectError, OutOfResourcesError
from gsco_pacs.pixels.codestream import codestream_size
from gsco_pacs.pixels.opening import ImageFile, check_size
from gsco_pacs.settings.decoding import Decoding
from gsco_pacs.unreadable import UNREADABLE

EXTENDED = "gdcm, 12 bits"
PLUGINS: dict[str, str] = {
    uid.ImplicitVRLittleEndian: "",
    uid.ExplicitVRLittleEndian: "",
    uid.ExplicitVRBigEndian: "",
    uid.JPEGBaseline8Bit: "pillow",
    uid.JPEGExtended12Bit: EXTENDED,
    uid.JPEGLossless: "gdcm",
    uid.JPEGLosslessSV1: "gdcm",
    uid.JPEGLSLossless: "pyjpegls",
    uid.JPEGLSNearLossless: "pyjpegls",
    uid.JPEG2000Lossless: "pylibjpeg",
    uid.JPEG2000: "pylibjpeg",
    uid.HTJ2KLossless: "pylibjpeg",
    uid.HTJ2KLosslessRPCL: "pylibjpeg",
    uid.HTJ2K: "pylibjpeg",
    uid.RLELossless: "pylibjpeg",
}
"""Transfer syntax -> plug-in of pydicom ("" = pydicom itself reads it); what is not here is not read."""

DECODED_BY = (
    "BitsAllocated", "BitsStored", "HighBit", "PhotometricInterpretation", "PixelRepresentation", "Rows", "Columns",
    "SamplesPerPixel", "PlanarConfiguration", "NumberOfFrames", "ExtendedOffsetTable", "ExtendedOffsetTableLengths",
)  # fmt: skip
"""The attributes that decoding looks at."""

if EXTENDED not in JPEGExtended12BitDecoder.available_plugins:
    JPEGExtended12BitDecoder.add_plugin(EXTENDED, ("gsco_pacs.pixels.extended", "decode_frame"))


class Decoder(Protocol):
    """Whoever decodes: this process, or a child of it (adapters.decoder_process)."""

    @property
    def limits(self) -> Decoding:
        """What decoding may cost."""

    def decode(self, image: ImageFile, frame: int) -> NDArray[Any]:
        """Stored values of ``frame`` (1 = first): (rows, columns), or (rows, columns, samples) with YBR turned into RGB.

        Signed and sign-extended where Pixel Representation says so, without the bits that are not stored.
        BadObjectError if the frame is too large, truncated or not decodable; OutOfResourcesError without memory.
        """


@dataclass(frozen=True)
class InProcess:
    """Decodes where it is called: for files of one's own, and within the decoder's process."""

    limits: Decoding

    def decode(self, image: ImageFile, frame: int) -> NDArray[Any]:
        """As Decoder says."""
        syntax = image.transfer_syntax_uid
        if syntax not in PLUGINS:
            name = "an unknown transfer syntax" if syntax.name == syntax else syntax.name
            raise BadObjectError(f"The transfer syntax is not read: {name}.")
        check_size(image, self.limits)
        try:
            return _decoded(image, frame)
        except MemoryError as error:
            raise OutOfResourcesError("An image could not be decoded for want of memory.") from error
        except UNREADABLE as error:
            raise BadObjectError(
                f"{syntax.name} pixel data that cannot be decoded ({type(error).__name__})."
            ) from error
        except BaseException as error:
            # A panic of the RLE decoder, which is Rust, is no Exception, and its class cannot be imported.
            if type(error).__name__ != "PanicException":
                raise
            raise BadObjectError(f"{syntax.name} pixel data that cannot be decoded (panic).") from error


IN_PROCESS = InProcess(Decoding())


def _decoded(image: ImageFile, frame: int) -> NDArray[Any]:
    options = as_pixel_options(image.header, pixel_keyword="PixelData", number_of_frames=image.frames)
    if image.pixel_vr:
        options["pixel_vr"] = image.pixel_vr
    syntax, gap = image.transfer_syntax_uid, _unused_low_bits(image)
    if gap:
        options["correct_unused_bits"] = False
    with image.path.open("rb") as file:
        file.seek(image.offset)
        if syntax.is_encapsulated and syntax != uid.RLELossless:
            encoded = get_frame(
                file,
                frame - 1,
                number_of_frames=image.frames,
                extended_offsets=options.get("extended_offsets"),
            )
            _check_codestream(image, encoded)
            file.seek(image.offset)
        plugin = PLUGINS[syntax]
        values, _ = get_decoder(syntax).as_array(file, index=frame - 1, decoding_plugin=plugin, **options)
    return _aligned(values, image, gap) if gap else np.asarray(values)


def _check_codestream(image: ImageFile, encoded: bytes) -> None:
    header, size = image.header, codestream_size(encoded)
    if size is None:
        raise BadObjectError(f"The pixel data is not {image.transfer_syntax_uid.name}.")
    said = (int(header.Rows), int(header.Columns), int(header.get("SamplesPerPixel", 1)))
    if size != said:
        words = "{} x {} x {}".format
        raise BadObjectError(
            f"The codestream is {words(*size)}, the header says {words(*said)} (rows, columns, samples)."
        )


def _unused_low_bits(image: ImageFile) -> int:
    """How many bits lie below the stored ones: High Bit + 1 - Bits Stored, which only uncompressed values can have."""
    syntax, header = image.transfer_syntax_uid, image.header
    if syntax.is_encapsulated and syntax != uid.RLELossless:
        return 0
    return max(0, int(header.get("HighBit", header.BitsStored - 1)) + 1 - int(header.BitsStored))


def _aligned(values: NDArray[Any], image: ImageFile, gap: int) -> NDArray[Any]:
    """Stored values out of cells in which they don't begin at bit 0 (PS3.5 section 8.1.1; old objects with overlays)."""
    above = image.header.BitsAllocated - image.header.BitsStored - gap
    if above < 0:
        raise BadObjectError("High Bit lies outside Bits Allocated.")
    return np.asarray(np.right_shift(np.left_shift(values, above), above + gap))
