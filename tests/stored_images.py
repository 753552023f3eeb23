"""Image files that tests of the pixel path write: any stored values, any attributes, every encoding that can be written here."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import gdcm
import numpy as np
from numpy.typing import NDArray
from pydicom import Dataset
from pydicom.data import get_testdata_file
from pydicom.uid import (
    UID,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    JPEGExtended12Bit,
    JPEGLossless,
    JPEGLosslessSV1,
)

from gsco_pacs.domain.study import Instance, StoredFile, Study
from gsco_pacs.pixels.display import display
from gsco_pacs.pixels.opening import open_image
from gsco_pacs.settings.processes import Equipment
from gsco_pacs.sr.evidence import Origin
from gsco_pacs.testing.phantoms import make_dx

GDCM_WRITES = {
    JPEGLossless: gdcm.TransferSyntax.JPEGLosslessProcess14,
    JPEGLosslessSV1: gdcm.TransferSyntax.JPEGLosslessProcess14_1,
    JPEGExtended12Bit: gdcm.TransferSyntax.JPEGExtendedProcess2_4,
}
NO_DISPLAY: dict[str, Any] = dict.fromkeys(
    ("RescaleIntercept", "RescaleSlope", "WindowCenter", "WindowWidth", "PresentationLUTShape")
)


def asymmetric(high: int = 4000, low: int = 0, rows: int = 48, columns: int = 40) -> NDArray[np.int64]:
    """An F on a ramp that grows downwards: turned, mirrored or transposed, it is another picture."""
    picture = np.linspace(0.1, 0.5, rows)[:, None] * np.ones(columns)
    picture[8:40, 8:13] = 1
    picture[8:13, 8:32] = 1
    picture[22:27, 8:24] = 0
    return np.rint(low + (high - low) * picture).astype(np.int64)


def written(
    path: Path, stored: NDArray[Any], syntax: str = ExplicitVRLittleEndian, bits: int = 12, **attributes: Any
) -> Path:
    """``stored`` ([frames,] rows, columns[, 3]) as the file ``path``; ``attributes`` by keyword, None leaves one out."""
    ds = make_dx(**NO_DISPLAY)
    colour = stored.shape[-1] == 3
    allocated = 8 if bits <= 8 else 16
    shape = stored.shape[-3:-1] if colour else stored.shape[-2:]
    ds.Rows, ds.Columns = shape
    ds.SamplesPerPixel, ds.PhotometricInterpretation = (3, "RGB") if colour else (1, "MONOCHROME2")
    if colour:
        ds.PlanarConfiguration = 0
    ds.BitsAllocated, ds.BitsStored, ds.HighBit = allocated, bits, bits - 1
    ds.PixelRepresentation = int(stored.min() < 0)
    kind = "i" if ds.PixelRepresentation else "u"
    ds.PixelData = stored.astype(f"<{kind}{allocated // 8}").tobytes()
    ds["PixelData"].VR = "OB" if allocated == 8 else "OW"
    if stored[..., 0].ndim - colour == 2:
        ds.NumberOfFrames = len(stored)
    for keyword, value in attributes.items():
        if value is None:
            delattr(ds, keyword)
        else:
            setattr(ds, keyword, value)
    _save(ds, path, UID(syntax))
    return path


def _save(ds: Dataset, path: Path, syntax: UID) -> None:
    if syntax.is_encapsulated and syntax not in GDCM_WRITES:
        ds.compress(syntax, generate_instance_uid=False)
    elif syntax == ExplicitVRBigEndian and ds.BitsAllocated == 16:
        ds.PixelData = np.frombuffer(ds.PixelData, "<u2").astype(">u2").tobytes()
    elif syntax not in GDCM_WRITES:
        ds.file_meta.TransferSyntaxUID = syntax
    if syntax == ExplicitVRBigEndian:
        ds.file_meta.TransferSyntaxUID = syntax
    ds.save_as(path, enforce_file_format=True)
    if syntax in GDCM_WRITES:
        _recode(path, GDCM_WRITES[syntax])


def _recode(path: Path, syntax: int) -> None:
    reader = gdcm.ImageReader()
    reader.SetFileName(str(path))
    assert reader.Read()
    change = gdcm.ImageChangeTransferSyntax()
    change.SetTransferSyntax(gdcm.TransferSyntax(syntax))
    change.SetInput(reader.GetImage())
    assert change.Change()
    writer = gdcm.ImageWriter()
    writer.SetFileName(str(path))
    writer.SetFile(reader.GetFile())
    writer.SetImage(change.GetOutput())
    assert writer.Write()


def packaged_file(name: str) -> Path:
    """A file that comes with pydicom."""
    return Path(str(get_testdata_file(name)))


def shown(path: Path, frame: int = 1) -> NDArray[np.float32]:
    """The picture of ``path``."""
    return display(open_image(path), frame)


def stored_file(path: Path, uid: str = "1.2.3") -> StoredFile:
    """``path`` as the store would name it, under the SOP Instance UID ``uid``."""
    return StoredFile(Instance("1.2", "1.2.1", uid, "1.2.4", "1.2.5", "0" * 64, 0, path.name), path)


def origin_of(*files: StoredFile) -> Origin:
    """What the evidence made of ``files`` would share, as the worker would say it."""
    study = Study(files[0].instance.study_instance_uid, 1, tuple(file.instance for file in files))
    return Origin(
        study, Equipment(), "0.1.0", "ef" * 32, run=0, at=datetime(2026, 3, 4, 15, 16, 17, tzinfo=UTC)
    )
