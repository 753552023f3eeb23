"""An image of known values in every accepted transfer syntax, photometric interpretation and form that can be written here.

``python -m tests.made_images`` prints how far each comes back from what was put in, by our decoder and by a second one.
"""

import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydicom import Dataset, dcmread, uid
from pydicom.uid import UID

from gsco_pacs.pixels.decoding import IN_PROCESS, PLUGINS
from gsco_pacs.pixels.opening import open_image
from tests.decoder_table import second_values
from tests.stored_images import asymmetric, written

HEADING = (
    "| Transfer syntax | Photometric | Bits and form | Decoder | From what was put in | Second decoder | From the second |\n"
    "|---|---|---|---|---|---|---|"
)
_FORMS: dict[str, tuple[int, int, int, dict[str, Any]]] = {
    "8 of 8": (8, 250, 0, {}),
    "10 of 16": (10, 1000, 0, {}),
    "12 of 16": (12, 4000, 0, {}),
    "12 of 16, signed": (12, 2000, -2000, {}),
    "16 of 16": (16, 65000, 0, {}),
    "16 of 16, signed": (16, 30000, -30000, {}),
}
"""Bits of Bits Allocated -> bits stored, highest and lowest value, other attributes."""
_NATIVE = (uid.ExplicitVRLittleEndian, uid.ImplicitVRLittleEndian)
_ENCODED_HERE = (uid.RLELossless, uid.JPEGLSLossless, uid.JPEG2000Lossless)
_BY_GDCM = (uid.JPEGLosslessSV1, uid.JPEGLossless)


@dataclass(frozen=True, eq=False)
class Made:
    """A file and what a right decoder makes of its last frame."""

    path: Path
    form: str
    truth: NDArray[Any]
    """Stored values, YBR as RGB."""
    tolerance: int = 0
    """By how much a value may differ: 0 where nothing is lost."""


@dataclass(frozen=True)
class Row:
    """What came back."""

    syntax: str
    photometric: str
    form: str
    decoder: str
    from_truth: int
    tolerance: int
    second: str
    from_second: int | None
    """None if the second decoder cannot read it."""


def made(folder: Path) -> Iterator[Made]:
    """Write them all to ``folder``."""
    for number, one in enumerate(_all(folder)):
        yield one
        one.path.rename(folder / f"{number}.dcm")


def _all(folder: Path) -> Iterator[Made]:
    path = folder / "image"
    for syntax in (*_NATIVE, *_ENCODED_HERE, *_BY_GDCM):
        for form, (bits, high, low, attributes) in _FORMS.items():
            if low and syntax == uid.JPEGLSLossless:
                continue  # pydicom's encoder writes no signed JPEG-LS; DCMTK's does, below
            stored = asymmetric(high, low)
            for photometric in ("MONOCHROME1", "MONOCHROME2") if not low else ("MONOCHROME2",):
                more = {"PhotometricInterpretation": photometric, **attributes}
                yield Made(written(path, stored, syntax, bits, **more), form, stored)
        if syntax not in _BY_GDCM:
            frames = np.stack([asymmetric(1000), asymmetric(3000)])
            yield Made(written(path, frames, syntax), "12 of 16, 2 frames", frames[-1])
            colours = coloured()
            yield Made(written(path, colours, syntax, 8), "8 of 8", colours)
            indices = asymmetric(250)
            yield Made(_palette(path, indices, syntax), "8 of 8", indices)
    for syntax in _NATIVE:
        yield from _native_only(path, syntax)
    yield from _lossy(path)


def _native_only(path: Path, syntax: str) -> Iterator[Made]:
    colours = coloured()
    ybr = _ybr(colours)
    bits = asymmetric(1)
    written(path, bits, syntax, 8, BitsAllocated=1, BitsStored=1, HighBit=0, PixelData=_packed(bits))
    yield Made(path, "1 of 1", bits)
    shifted = asymmetric()
    yield Made(written(path, shifted << 4, syntax, HighBit=15), "12 of 16, High Bit 15", shifted)
    for name, values in (("RGB", colours), ("YBR_FULL", ybr)):
        for planar in (0, 1):
            data = np.moveaxis(values, -1, 0) if planar else values
            written(path, values, syntax, 8, PhotometricInterpretation=name, PlanarConfiguration=planar,
                    PixelData=data.astype(np.uint8).tobytes())  # fmt: skip
            yield Made(path, f"8 of 8, planar configuration {planar}", colours, 0 if name == "RGB" else 2)
    pairs = ybr.reshape(-1, 2, 3)
    halved = np.stack([pairs[:, 0, 0], pairs[:, 1, 0], pairs[:, 0, 1], pairs[:, 0, 2]], axis=1)
    written(path, ybr, syntax, 8, PhotometricInterpretation="YBR_FULL_422",
            PixelData=halved.astype(np.uint8).tobytes())  # fmt: skip
    yield Made(path, "8 of 8", colours, 12)


def _lossy(path: Path) -> Iterator[Made]:
    grey, colours, deep = asymmetric(250), coloured(), asymmetric()
    for options, form, stored, bits, tolerance in (
        (("dcmcjpeg", "+eb", "+q", "100", "+cy"), "8 of 8", grey, 8, 4),
        (("dcmcjpeg", "+eb", "+q", "100", "+s4"), "8 of 8", colours, 8, 6),
        (("dcmcjpeg", "+eb", "+q", "100", "+s2"), "8 of 8", colours, 8, 40),
        (("dcmcjpeg", "+eb", "+q", "100", "+cr"), "8 of 8", colours, 8, 6),
        (("dcmcjpeg", "+ee", "+q", "100"), "12 of 16", deep, 12, 16),
        (("dcmcjpeg", "+e1"), "8 of 8", colours, 8, 0),
        (("dcmcjpeg", "+el"), "8 of 8", colours, 8, 0),
        (("dcmcjpls", "+el"), "12 of 16, signed", asymmetric(2000, -2000), 12, 0),
        (("dcmcjpls", "+el"), "16 of 16, signed", asymmetric(30000, -30000), 16, 0),
        (("dcmcjpls", "+en", "+md", "2"), "12 of 16", deep, 12, 2),
        (("dcmcjpls", "+en", "+md", "2"), "8 of 8", colours, 8, 2),
    ):
        written(path, stored, uid.ExplicitVRLittleEndian, bits)
        subprocess.run([*options, str(path), str(path)], check=True, capture_output=True)
        yield Made(path, form, stored, tolerance)
    yield Made(_wavelets(path, grey, uid.JPEG2000, "MONOCHROME2", 8), "8 of 8", grey, 16)
    yield Made(_wavelets(path, deep, uid.JPEG2000, "MONOCHROME2", 12), "12 of 16", deep, 100)
    yield Made(_wavelets(path, colours, uid.JPEG2000, "YBR_ICT", 8), "8 of 8", colours, 16)
    yield Made(_wavelets(path, colours, uid.JPEG2000Lossless, "YBR_RCT", 8), "8 of 8", colours)


def coloured() -> NDArray[np.int64]:
    """Three different pictures as red, green and blue; no colour changes within a pair of columns."""
    planes = [asymmetric(220), asymmetric(150, 20)[::-1], asymmetric(90, 40)[:, ::-1]]
    picture = np.stack(planes, axis=-1)
    return np.repeat(picture[:, ::2], 2, axis=1)


def _ybr(rgb: NDArray[np.int64]) -> NDArray[np.int64]:
    """RGB as full-range YBR (PS3.3 C.7.6.3.1.2)."""
    weights = np.array([[0.299, 0.587, 0.114], [-0.168736, -0.331264, 0.5], [0.5, -0.418688, -0.081312]])
    return np.asarray(np.clip(np.rint(rgb @ weights.T + [0, 128, 128]), 0, 255), np.int64)


def _packed(bits: NDArray[np.int64]) -> bytes:
    return np.packbits(bits.astype(np.uint8).ravel(), bitorder="little").tobytes()


def _palette(path: Path, indices: NDArray[np.int64], syntax: str) -> Path:
    tables: dict[str, Any] = {"PhotometricInterpretation": "PALETTE COLOR"}
    for colour in ("Red", "Green", "Blue"):
        tables[f"{colour}PaletteColorLookupTableDescriptor"] = [256, 0, 16]
        tables[f"{colour}PaletteColorLookupTableData"] = np.arange(256, dtype="<u2").tobytes()
    return written(path, indices, syntax, 8, **tables)


def _wavelets(path: Path, stored: NDArray[np.int64], syntax: UID, photometric: str, bits: int) -> Path:
    ds = dcmread(written(path, stored, uid.ExplicitVRLittleEndian, bits))
    ds.PhotometricInterpretation = photometric
    ratio: dict[str, Any] = {"j2k_cr": [4]} if syntax == uid.JPEG2000 else {}
    ds.compress(syntax, generate_instance_uid=False, **ratio)
    ds.save_as(path)
    return path


def measured(folder: Path) -> list[Row]:
    """Every made image decoded twice."""
    return [_row(one) for one in made(folder)]


def _row(one: Made) -> Row:
    image = open_image(one.path)
    values, syntax = IN_PROCESS.decode(image, image.frames).astype(np.int64), image.transfer_syntax_uid
    name, other = second_values(image)
    return Row(
        syntax=syntax.name,
        photometric=str(Dataset(image.header).PhotometricInterpretation),
        form=one.form,
        decoder=PLUGINS[syntax] or "pydicom",
        from_truth=int(np.abs(values - one.truth).max()),
        tolerance=one.tolerance,
        second=name if other is not None else "",
        from_second=None if other is None else int(np.abs(values - other).max()),
    )


def table(rows: list[Row]) -> list[str]:
    """A line of Markdown for each syntax and photometric interpretation, with the largest differences of its forms."""
    groups: dict[tuple[str, str, str, str], list[Row]] = {}
    for row in rows:
        groups.setdefault((row.syntax, row.photometric, row.decoder, row.second), []).append(row)
    return [
        f"| {syntax} | {photometric} | {'; '.join(dict.fromkeys(row.form for row in same))} | {decoder} "
        f"| {max(row.from_truth for row in same)} | {second} | {max(row.from_second or 0 for row in same)} |"
        for (syntax, photometric, decoder, second), same in sorted(groups.items())
    ]


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as temporary:
        sys.stdout.write("\n".join([HEADING, *table(measured(Path(temporary))), ""]))
