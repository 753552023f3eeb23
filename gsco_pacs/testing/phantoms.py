"""Small, valid DICOM objects with the coarse look of a body, made from numbers alone."""

import hashlib
from io import BytesIO
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import (
    CTImageStorage,
    DigitalXRayImageStorageForPresentation,
    ExplicitVRLittleEndian,
    MRImageStorage,
)

_DAY, _TIME = "20260105", "101500"


def phantom_uid(*seeds: object) -> str:
    """The same UID for the same seeds, below 2.25 (PS3.5 section B.2)."""
    digest = hashlib.sha256(repr(seeds).encode()).digest()
    return f"2.25.{int.from_bytes(digest[:16], 'big')}"


def encoded(ds: Dataset) -> bytes:
    """``ds`` as a DICOM Part 10 file."""
    file = BytesIO()
    ds.save_as(file, enforce_file_format=True)
    return file.getvalue()


def make_dx(
    rows: int = 128,
    columns: int = 112,
    study: str = "1",
    series: str = "1",
    instance: str = "1",
    **overrides: Any,
) -> Dataset:
    """A chest radiograph (DX for presentation, 12 bit, Explicit VR Little Endian, valid for dciodvfy).

    ``study``, ``series`` and ``instance`` are seeds of the UIDs. ``overrides`` are attributes by keyword; None takes
    an attribute away.
    """
    ds = _instance(DigitalXRayImageStorageForPresentation, "DX", study, series, instance)
    _set_pixels(ds, (4095 * _chest(rows, columns, instance)).astype(np.uint16), bits_stored=12)
    ds.PresentationIntentType = "FOR PRESENTATION"
    ds.ImageType = ["DERIVED", "PRIMARY", ""]
    ds.BodyPartExamined, ds.ViewPosition, ds.ImageLaterality = "CHEST", "PA", "U"
    ds.PatientOrientation = ["L", "F"]
    ds.AnatomicRegionSequence = [_coded("816094009", "SCT", "Chest")]
    ds.ViewCodeSequence = [_coded("272479007", "SCT", "postero-anterior")]
    ds.ViewCodeSequence[0].ViewModifierCodeSequence = []
    ds.AcquisitionContextSequence = []
    ds.DetectorType, ds.ImagerPixelSpacing = "DIRECT", [3.0, 3.0]
    ds.PositionerType = ""
    ds.PixelIntensityRelationship, ds.PixelIntensityRelationshipSign = "LOG", -1
    ds.RescaleIntercept, ds.RescaleSlope, ds.RescaleType = "0", "1", "US"
    ds.WindowCenter, ds.WindowWidth = "2048", "4096"
    ds.PresentationLUTShape, ds.LossyImageCompression, ds.BurnedInAnnotation = "IDENTITY", "00", "NO"
    return _changed(ds, overrides)


def make_ct(
    rows: int = 64,
    columns: int = 64,
    study: str = "1",
    series: str = "1",
    slice_number: int = 1,
    **overrides: Any,
) -> Dataset:
    """One axial slice of a chest CT (5 mm apart, Hounsfield units by rescale); arguments as for ``make_dx``."""
    ds = _instance(CTImageStorage, "CT", study, series, str(slice_number))
    hounsfield = 1100 * _chest(rows, columns, str(slice_number)) - 1000
    _set_pixels(ds, (hounsfield + 1024).astype(np.uint16), bits_stored=12)
    ds.ImageType = ["ORIGINAL", "PRIMARY", "AXIAL"]
    ds.BodyPartExamined, ds.PatientPosition, ds.KVP = "CHEST", "HFS", "120"
    ds.AcquisitionNumber, ds.InstanceNumber = "1", str(slice_number)
    ds.FrameOfReferenceUID = phantom_uid("frame", study)
    ds.PositionReferenceIndicator = ""
    ds.ImagePositionPatient = [-180.0, -180.0, 5.0 * slice_number]
    ds.ImageOrientationPatient = [1.0, 0.0, 0.0, 0.0, 1.0, 0.0]
    ds.PixelSpacing, ds.SliceThickness, ds.SliceLocation = (
        [360.0 / rows, 360.0 / columns],
        "5",
        5.0 * slice_number,
    )
    ds.RescaleIntercept, ds.RescaleSlope, ds.RescaleType = "-1024", "1", "HU"
    ds.WindowCenter, ds.WindowWidth = "-500", "1500"
    return _changed(ds, overrides)


def make_mr(
    pixels: NDArray[np.uint16],
    study: str = "1",
    series: str = "1",
    slice_number: int = 1,
    **overrides: Any,
) -> Dataset:
    """One slice of a T1-weighted MR series; its place must be among the ``overrides``. Arguments as for ``make_dx``."""
    ds = _instance(MRImageStorage, "MR", study, series, str(slice_number))
    _set_pixels(ds, pixels, bits_stored=16)
    ds.ImageType = ["ORIGINAL", "PRIMARY", "M"]
    ds.BodyPartExamined, ds.PatientPosition = "HIPPOCAMPUS", "HFS"
    ds.StudyDescription = "MR phantom"
    ds.ScanningSequence, ds.SequenceVariant, ds.ScanOptions, ds.MRAcquisitionType = "GR", "MP", "", "3D"
    ds.RepetitionTime, ds.EchoTime, ds.InversionTime, ds.EchoTrainLength = "8", "3.7", "860", "1"
    ds.AcquisitionNumber, ds.InstanceNumber = "1", str(slice_number)
    ds.FrameOfReferenceUID, ds.PositionReferenceIndicator = phantom_uid("frame", study), ""
    ds.SliceThickness = "1"
    return _changed(ds, overrides)


def _instance(sop_class: str, modality: str, study: str, series: str, instance: str) -> Dataset:
    ds = Dataset()
    ds.file_meta = FileMetaDataset()
    ds.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    ds.SpecificCharacterSet = "ISO_IR 192"
    ds.SOPClassUID, ds.SOPInstanceUID = sop_class, phantom_uid("instance", study, series, instance)
    ds.StudyInstanceUID, ds.SeriesInstanceUID = (
        phantom_uid("study", study),
        phantom_uid("series", study, series),
    )
    ds.StudyDate = ds.SeriesDate = ds.AcquisitionDate = ds.ContentDate = _DAY
    ds.StudyTime = ds.SeriesTime = ds.AcquisitionTime = ds.ContentTime = _TIME
    ds.Modality, ds.Manufacturer, ds.ManufacturerModelName = modality, "Phantom", "Numbers"
    ds.AccessionNumber, ds.StudyID, ds.ReferringPhysicianName = f"A{study}", study, ""
    ds.StudyDescription, ds.SeriesDescription = f"{modality} chest phantom", "phantom"
    ds.PatientName, ds.PatientID, ds.PatientBirthDate, ds.PatientSex = (
        "Phantom^Chest",
        f"PHANTOM-{study}",
        "",
        "O",
    )
    ds.SeriesNumber, ds.InstanceNumber = "1", "1"
    return ds


def _set_pixels(ds: Dataset, pixels: NDArray[np.uint16], bits_stored: int) -> None:
    ds.SamplesPerPixel, ds.PhotometricInterpretation, ds.PixelRepresentation = 1, "MONOCHROME2", 0
    ds.Rows, ds.Columns = pixels.shape
    ds.BitsAllocated, ds.BitsStored, ds.HighBit = 16, bits_stored, bits_stored - 1
    ds.PixelData = pixels.astype("<u2").tobytes()
    ds["PixelData"].VR = "OW"


def _chest(rows: int, columns: int, seed: str) -> NDArray[np.float64]:
    """(rows, columns), 0 = air, 1 = bone: a trunk with two lungs, a heart, a spine and a little noise."""
    y, x = np.mgrid[-1 : 1 : rows * 1j, -1 : 1 : columns * 1j]

    def ellipse(x0: float, y0: float, a: float, b: float) -> NDArray[np.float64]:
        inside: NDArray[np.float64] = 1 / (1 + np.exp(25 * (np.hypot((x - x0) / a, (y - y0) / b) - 1)))
        return inside

    body = 0.8 * ellipse(0, 0, 0.95, 1.0)
    lungs = ellipse(-0.42, -0.05, 0.33, 0.65) + ellipse(0.42, -0.05, 0.33, 0.65)
    heart, spine = ellipse(0.15, 0.3, 0.35, 0.3), ellipse(0, 0, 0.08, 0.9)
    noise = np.random.default_rng(list(seed.encode())).normal(0, 0.01, (rows, columns))
    picture = body * (1 - 0.75 * lungs * (1 - 0.8 * heart)) + 0.15 * spine
    return np.clip(picture + noise, 0, 1)


def _coded(value: str, scheme: str, meaning: str) -> Dataset:
    code = Dataset()
    code.CodeValue, code.CodingSchemeDesignator, code.CodeMeaning = value, scheme, meaning
    return code


def _changed(ds: Dataset, overrides: dict[str, Any]) -> Dataset:
    for keyword, value in overrides.items():
        if value is None:
            delattr(ds, keyword)
        else:
            setattr(ds, keyword, value)
    ds.file_meta.MediaStorageSOPClassUID = ds.SOPClassUID
    ds.file_meta.MediaStorageSOPInstanceUID = ds.SOPInstanceUID
    return ds
