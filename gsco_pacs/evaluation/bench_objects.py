"""The objects that receivers are measured with."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from pydicom import Dataset
from pydicom.dataset import FileMetaDataset
from pydicom.uid import (
    CTImageStorage,
    DigitalXRayImageStorageForPresentation,
    ExplicitVRLittleEndian,
    generate_uid,
)


@dataclass(frozen=True)
class Kind:
    """A kind of image: random pixels of 12 bits, uncompressed."""

    name: str
    modality: str
    sop_class: str
    rows: int
    columns: int

    @property
    def megabytes(self) -> float:
        """MB of pixels in one object."""
        return self.rows * self.columns * 2 / 1e6


CT = Kind("CT 0.5 MB", "CT", CTImageStorage, 512, 512)
DX = Kind("DX 15 MB", "DX", DigitalXRayImageStorageForPresentation, 3000, 2500)
SMALL = Kind("CT 8 KB", "CT", CTImageStorage, 64, 64)


def write_objects(folder: Path, kind: Kind, objects: int, associations: int) -> list[Path]:
    """One folder for each association; all images are of one study."""
    random = np.random.default_rng(0)
    ds = Dataset()
    ds.SOPClassUID, ds.Modality, ds.PatientID, ds.PatientName = (
        kind.sop_class,
        kind.modality,
        "BENCH",
        "Bench",
    )
    ds.StudyInstanceUID, ds.SeriesInstanceUID = generate_uid(), generate_uid()
    ds.StudyID, ds.SeriesNumber = "1", 1
    ds.Rows, ds.Columns = kind.rows, kind.columns
    ds.SamplesPerPixel, ds.PhotometricInterpretation = 1, "MONOCHROME2"
    ds.BitsAllocated, ds.BitsStored, ds.HighBit, ds.PixelRepresentation = 16, 12, 11, 0
    ds.file_meta = FileMetaDataset()
    ds.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    folders = [folder / f"{number}" for number in range(associations)]
    for place in folders:
        place.mkdir(parents=True)
    for number in range(objects):
        ds.SOPInstanceUID, ds.InstanceNumber = generate_uid(), number + 1
        ds.file_meta.MediaStorageSOPInstanceUID = ds.SOPInstanceUID
        ds.PixelData = random.integers(0, 4096, kind.rows * kind.columns, dtype=np.uint16).tobytes()
        ds.save_as(folders[number % associations] / f"{number}.dcm", enforce_file_format=True)
    return folders
