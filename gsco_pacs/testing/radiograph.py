"""A synthetic chest radiograph as a DICOM object that says what it is."""

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset

from gsco_pacs import __version__
from gsco_pacs.testing.phantoms import make_dx

DETECTOR_MM = 358.0
"""Side of the imagined detector (14 inches); the pixel spacing is nominal, for the picture has no true scale."""


def synthetic_dx(picture: NDArray[np.float32], seed: int) -> Dataset:
    """A PA chest radiograph (DX Image Storage - For Presentation, PS3.3 A.26) of a square picture, 0..1, white = 1.

    12 bit, Explicit VR Little Endian, UIDs made from the seed. It is DERIVED and SECONDARY, for no patient was examined
    (PS3.3 C.7.6.1.1.2), carries Synthetic Data = YES (PS3.3 C.12.1) and says so in every description.
    """
    rows, columns = picture.shape
    name = f"SYN{seed}"
    return make_dx(
        study=name,
        series=name,
        instance=name,
        Rows=rows,
        Columns=columns,
        PixelData=np.round(4095 * picture).astype("<u2").tobytes(),
        ImageType=["DERIVED", "SECONDARY", ""],
        DerivationDescription="Sampled from a generative model; shows no patient.",
        SyntheticData="YES",
        PatientID="SYNTHETIC",
        PatientName="Synthetic^Chest",
        PatientSex="",
        PatientComments="SYNTHETIC: not a person.",
        StudyID=str(seed),
        AccessionNumber="",
        StudyDescription="SYNTHETIC chest radiograph",
        SeriesDescription="SYNTHETIC chest PA",
        ImageComments=f"SYNTHETIC picture of a model, seed {seed}. Not a patient, not for diagnosis.",
        Manufacturer="gsco_pacs",
        ManufacturerModelName="synthetic_chest",
        SoftwareVersions=__version__,
        DetectorType="",
        ImagerPixelSpacing=[round(DETECTOR_MM / rows, 4), round(DETECTOR_MM / columns, 4)],
    )
