"""The display pipeline: stored values become the picture that a person would see (PS3.4 section N.2, PS3.3 sections C.7.6.3 and C.11)."""

from typing import Any, cast

import numpy as np
from numpy.typing import NDArray
from pydicom import Dataset
from pydicom.pixels.processing import apply_color_lut

from gsco_pacs.domain.errors import BadObjectError
from gsco_pacs.pixels.decoding import IN_PROCESS, Decoder
from gsco_pacs.pixels.opening import ImageFile
from gsco_pacs.pixels.windows import ByteOrder, full_range, lookup, stretched, window
from gsco_pacs.unreadable import UNREADABLE

_COLOUR = ("RGB", "YBR_FULL", "YBR_FULL_422", "YBR_RCT", "YBR_ICT")


def display(image: ImageFile, frame: int, decoder: Decoder = IN_PROCESS) -> NDArray[np.float32]:
    """``frame`` (1 = first) as (rows, columns) or (rows, columns, 3), 0..1, 1 = white, upright as stored; else BadObjectError."""
    stored = decoder.decode(image, frame)
    try:
        shown = _shown(stored, image, frame)
    except UNREADABLE as error:
        raise BadObjectError(f"The display attributes cannot be used ({type(error).__name__}).") from error
    if not np.isfinite(shown).all():
        raise BadObjectError("The display attributes are not finite numbers.")
    return shown


def _shown(stored: NDArray[Any], image: ImageFile, frame: int) -> NDArray[np.float32]:
    photometric = str(image.header.PhotometricInterpretation)
    if photometric in ("MONOCHROME1", "MONOCHROME2") and stored.ndim == 2:
        return _grey(stored, image, frame)
    if photometric == "PALETTE COLOR" and stored.ndim == 2:
        return _palette(stored, image.header)
    if photometric in _COLOUR and stored.ndim == 3:
        return np.asarray(stored / ((1 << int(image.header.BitsStored)) - 1), np.float32)
    raise BadObjectError("Photometric Interpretation is not one that is read.")


def _grey(stored: NDArray[Any], image: ImageFile, frame: int) -> NDArray[np.float32]:
    """Padding, modality, VOI and polarity, in this order.

    Presentation LUT Shape only repeats what Photometric Interpretation says (PS3.3 C.8.11.3), so it inverts nothing a second time.
    """
    padding = padded(stored, image.header)
    if padding is not None and padding.all():
        raise BadObjectError("Every pixel is padding.")
    values = _modality_values(stored, image, frame)
    shown = _voi(values, values if padding is None else values[~padding], image, frame)
    if image.header.PhotometricInterpretation == "MONOCHROME1":
        shown = 1 - shown
    if padding is not None:
        shown[padding] = 0
    return shown


def real_values(image: ImageFile, frame: int, decoder: Decoder = IN_PROCESS) -> NDArray[np.float32]:
    """``frame`` (1 = first) of a grey image in the modality's own values (rows, columns); else BadObjectError."""
    stored = decoder.decode(image, frame)
    try:
        values = np.asarray(_modality_values(stored, image, frame), np.float32)
    except UNREADABLE as error:
        raise BadObjectError(f"The rescale cannot be used ({type(error).__name__}).") from error
    if values.ndim != 2 or not np.isfinite(values).all():
        raise BadObjectError("The pixels are not grey values in finite numbers.")
    return values


def padded(stored: NDArray[Any], header: Dataset) -> NDArray[np.bool_] | None:
    """Which stored values are Pixel Padding Value, or lie between it and its range limit (PS3.3 C.7.5.1.1.2); None without one."""
    if header.get("PixelPaddingValue") is None:
        return None
    ends = [header.PixelPaddingValue, header.get("PixelPaddingRangeLimit")]
    wrapped = np.array([end for end in ends if end is not None]).astype(np.int64).astype(stored.dtype)
    return np.asarray((stored >= wrapped.min()) & (stored <= wrapped.max()))


def described(header: Dataset, frame: int, macro: str) -> Dataset:
    """Where the attributes of ``macro`` stand: in the frame's functional group, in the shared one, or in the header (PS3.3 C.7.6.16)."""
    for groups, index in (
        ("PerFrameFunctionalGroupsSequence", frame - 1),
        ("SharedFunctionalGroupsSequence", 0),
    ):
        items = header.get(groups) or ()
        if index < len(items) and items[index].get(macro):
            return cast(Dataset, items[index][macro].value[0])
    return header


def _modality_values(stored: NDArray[Any], image: ImageFile, frame: int) -> NDArray[Any]:
    """Stored values through the Modality LUT or the rescale (PS3.3 C.11.1); float32 unless a sample has more than 16 bits."""
    modality = described(image.header, frame, "PixelValueTransformationSequence")
    if modality.get("ModalityLUTSequence"):
        return lookup(stored, modality.ModalityLUTSequence[0], _byte_order(image))[0]
    values: NDArray[Any] = stored.astype(np.float32 if stored.dtype.itemsize <= 2 else np.float64)
    slope, intercept = modality.get("RescaleSlope"), modality.get("RescaleIntercept")
    if slope is not None:
        values = values * float(slope)
    return values if intercept is None else values + float(intercept)


def _voi(values: NDArray[Any], valid: NDArray[Any], image: ImageFile, frame: int) -> NDArray[np.float32]:
    """The first VOI LUT, else the first window that shows anything, else what is there (PS3.3 C.11.2)."""
    voi = described(image.header, frame, "FrameVOILUTSequence")
    if voi.get("VOILUTSequence"):
        shown, highest = lookup(values, voi.VOILUTSequence[0], _byte_order(image))
        return np.asarray(np.clip(shown / highest, 0, 1), np.float32)
    center, width = _first(voi.get("WindowCenter")), _first(voi.get("WindowWidth"))
    function = str(voi.get("VOILUTFunction") or "LINEAR")
    if center is not None and width is not None and (width >= 1 or (width > 0 and function != "LINEAR")):
        low, high = window(np.array([valid.min(), valid.max()]), center, width, function)
        if low != high:
            return window(values, center, width, function)
    if image.header.BitsStored <= 8:
        return _whole_range(values, image, frame)
    return full_range(values, valid)


def _whole_range(values: NDArray[Any], image: ImageFile, frame: int) -> NDArray[np.float32]:
    """``values`` in 0..1 between the ends of what Bits Stored can hold: 8-bit images were made for a screen already."""
    bits, signed = int(image.header.BitsStored), int(image.header.PixelRepresentation)
    lowest = -signed << (bits - 1)
    ends = _modality_values(np.array([lowest, lowest + (1 << bits) - 1], np.int32), image, frame)
    return stretched(values, ends.min(), ends.max())


def _first(value: Any) -> float | None:
    if value is None or value == "":
        return None
    return float(value if isinstance(value, str | float | int) else value[0])


def _byte_order(image: ImageFile) -> ByteOrder:
    return "<" if image.transfer_syntax_uid.is_little_endian else ">"


def _palette(stored: NDArray[Any], header: Dataset) -> NDArray[np.float32]:
    """Stored values through the palette (PS3.3 C.7.6.3.1.5 and C.7.9), without alpha."""
    count, _, bits = (int(number) for number in header.RedPaletteColorLookupTableDescriptor)
    colours = apply_color_lut(stored, header)[..., :3]
    if colours.dtype == np.uint8 and (count or 65536) > 256:
        raise BadObjectError("A palette of more than 256 entries of 8 bits is not read.")
    return np.asarray(np.clip(colours / ((1 << bits) - 1), 0, 1), np.float32)
