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
from pydicom import uid
from pydicom.pixels.utils import pixel_array

from gsco_pacs.domain.errors import BadObjectError
from gsco_pacs.pixels.decoding import IN_PROCESS, PLUGINS
from gsco_pacs.pixels.opening import ImageFile, open_image

HEADING = (
    "| Transfer syntax | Photometric | Bits | Files | Decoder | Second decoder | Largest difference |\n"
    "|---|---|---|---|---|---|---|"
)
_SECOND = {
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
        second = _SECOND.get(syntax, "")
        other = _second(image, second) if second else None
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


def _second(image: ImageFile, name: str) -> NDArray[Any] | None:
    if name == "dcmdjpeg":
        return _by_dcmtk(image)
    try:
        values: NDArray[Any] = pixel_array(image.path, index=image.frames - 1, decoding_plugin=name)
    except (RuntimeError, ValueError):
        return None
    return values


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
