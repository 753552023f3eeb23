"""Which decoder reads what, and how far a second one is from it: ``python -m tests.decoder_table FOLDER`` prints the table."""

import shutil
import subprocess
import sys
import tempfile
from collections import defaultdict
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
from numpy.typing import NDArray
from pydicom import dcmread, uid
from pydicom.pixels.utils import pixel_array

from gsco_pacs.domain.errors import BadObjectError
from gsco_pacs.pixels.decoding import IN_PROCESS, PLUGINS
from gsco_pacs.pixels.opening import ImageFile, open_image

HEADING = (
    "| Transfer syntax | Photometric | Bits | Files | Decoder | Second decoder | Largest difference |\n"
    "|---|---|---|---|---|---|---|"
)
_SECOND = {
    uid.ImplicitVRLittleEndian: "by hand",
    uid.ExplicitVRLittleEndian: "by hand",
    uid.ExplicitVRBigEndian: "by hand",
    uid.JPEGBaseline8Bit: "gdcm",
    uid.JPEGLSLossless: "gdcm",
    uid.JPEGLSNearLossless: "gdcm",
    uid.JPEG2000Lossless: "gdcm",
    uid.JPEG2000: "gdcm",
    uid.RLELossless: "pydicom",
    uid.JPEGExtended12Bit: "dcmdjpeg",
    uid.JPEGLossless: "dcmdjpeg",
    uid.JPEGLosslessSV1: "dcmdjpeg",
}


def packaged() -> list[Path]:
    """Every file that comes with pydicom."""
    folder = Path(pydicom.__file__).parent / "data"
    return sorted(
        path for path in folder.glob("**/*") if path.is_file() and path.suffix not in (".py", ".pyc")
    )


def compared(paths: Iterable[Path]) -> Iterator[tuple[tuple[str, str, str], str, str, int | None]]:
    """((syntax, photometric, bits), decoder, second decoder, largest difference) of every file that is decoded."""
    for path in paths:
        try:
            image = open_image(path)
            values = IN_PROCESS.decode(image, image.frames)
        except BadObjectError:
            continue
        header, syntax = image.header, image.transfer_syntax_uid
        kind = (
            syntax.name,
            str(header.PhotometricInterpretation),
            f"{header.BitsStored} of {header.BitsAllocated}",
        )
        second, other = second_values(image)
        difference = None if other is None else int(np.abs(values.astype(np.int64) - other).max())
        yield kind, PLUGINS[syntax] or "pydicom", second if other is not None else "", difference


def table(paths: Iterable[Path]) -> list[str]:
    """One row of Markdown for each kind of file."""
    groups: dict[tuple[str, str, str], list[tuple[str, str, int | None]]] = defaultdict(list)
    for kind, decoder, second, difference in compared(paths):
        groups[kind].append((decoder, second, difference))
    rows = []
    for kind, found in sorted(groups.items()):
        seconds = sorted({name for _, name, _ in found if name})
        largest = max((difference for _, _, difference in found if difference is not None), default="")
        rows.append(
            f"| {' | '.join(kind)} | {len(found)} | {found[0][0]} | {', '.join(seconds)} | {largest} |"
        )
    return rows


def second_values(image: ImageFile) -> tuple[str, NDArray[Any] | None]:
    """The second decoder of the image's syntax, and the last frame as it decodes it; None if it can't."""
    name = _SECOND.get(image.transfer_syntax_uid, "")
    return name, _second(image, name) if name else None


def _second(image: ImageFile, name: str) -> NDArray[Any] | None:
    if name == "dcmdjpeg":
        return _by_dcmtk(image)
    if not image.transfer_syntax_uid.is_encapsulated:
        return _by_hand(image)
    try:
        values: NDArray[Any] = pixel_array(image.path, index=image.frames - 1, decoding_plugin=name)
    except (RuntimeError, ValueError):
        return None
    return values


def _by_hand(image: ImageFile) -> NDArray[Any]:
    """The last frame of native values, cell by cell as PS3.5 section 8 has it: numpy alone, with pydicom's bytes."""
    ds = dcmread(image.path)
    rows, columns, samples = ds.Rows, ds.Columns, ds.get("SamplesPerPixel", 1)
    count, bits = rows * columns * samples, ds.BitsAllocated
    if bits == 1:
        packed = np.unpackbits(np.frombuffer(ds.PixelData, np.uint8), bitorder="little")
        return packed[(image.frames - 1) * count :][:count].reshape(rows, columns)
    photometric = ds.PhotometricInterpretation
    order = "<" if image.transfer_syntax_uid.is_little_endian else ">"
    if bits == 8 and order == ">" and ds["PixelData"].VR == "OW":
        ds.PixelData = np.frombuffer(ds.PixelData, ">u2").astype("<u2").tobytes()
    cells = np.frombuffer(ds.PixelData, f"{order}{'iu'[not ds.PixelRepresentation]}{bits // 8}")
    if photometric == "YBR_FULL_422":
        last = cells[: image.frames * count * 2 // 3].reshape(image.frames, -1)[-1].reshape(-1, 4)
        values = last[:, [0, 2, 3, 1, 2, 3]].reshape(rows, columns, 3)
    else:
        values = cells[: image.frames * count].reshape(image.frames, -1)[-1]
        planes = values.reshape(samples, rows, columns)
        planar = samples > 1 and ds.PlanarConfiguration
        values = np.moveaxis(planes, 0, -1) if planar else values.reshape(rows, columns, samples)
    if photometric.startswith("YBR"):
        return _rgb(values)
    values = values >> (ds.HighBit + 1 - ds.BitsStored)
    return np.asarray(values[..., 0] if samples == 1 else values)


def _rgb(ybr: NDArray[Any]) -> NDArray[Any]:
    """Full-range YBR as RGB (PS3.3 C.7.6.3.1.2, the inverse of its equations)."""
    y, cb, cr = (ybr[..., n].astype(np.float64) - (0, 128, 128)[n] for n in range(3))
    mixed = np.stack([y + 1.402 * cr, y - 0.344136 * cb - 0.714136 * cr, y + 1.772 * cb], axis=-1)
    return np.clip(np.floor(mixed + 0.5), 0, 255).astype(np.uint8)


def _by_dcmtk(image: ImageFile) -> NDArray[Any] | None:
    if shutil.which("dcmdjpeg") is None:
        return None
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "native"
        subprocess.run(["dcmdjpeg", str(image.path), str(out)], check=True, capture_output=True)
        return IN_PROCESS.decode(open_image(out), image.frames)


if __name__ == "__main__":
    files = sorted(Path(sys.argv[1]).glob("**/*.dcm")) if len(sys.argv) > 1 else packaged()
    sys.stdout.write("\n".join([HEADING, *table(files), ""]))
