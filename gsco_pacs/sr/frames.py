"""How an image and its frame are named, to a person and in a reference: that names frames of multi-frame SOP Classes alone (PS3.3 10.3)."""

from pydicom import Dataset, uid

_MULTI_FRAME = frozenset(
    {
        uid.BreastProjectionXRayImageStorageForPresentation, uid.BreastProjectionXRayImageStorageForProcessing,
        uid.BreastTomosynthesisImageStorage, uid.EnhancedCTImageStorage, uid.EnhancedMRColorImageStorage,
        uid.EnhancedMRImageStorage, uid.EnhancedPETImageStorage, uid.EnhancedUSVolumeStorage,
        uid.EnhancedXAImageStorage, uid.EnhancedXRFImageStorage,
        uid.IntravascularOpticalCoherenceTomographyImageStorageForPresentation,
        uid.IntravascularOpticalCoherenceTomographyImageStorageForProcessing,
        uid.LegacyConvertedEnhancedCTImageStorage, uid.LegacyConvertedEnhancedMRImageStorage,
        uid.LegacyConvertedEnhancedPETImageStorage, uid.MultiFrameGrayscaleByteSecondaryCaptureImageStorage,
        uid.MultiFrameGrayscaleWordSecondaryCaptureImageStorage,
        uid.MultiFrameSingleBitSecondaryCaptureImageStorage, uid.MultiFrameTrueColorSecondaryCaptureImageStorage,
        uid.NuclearMedicineImageStorage, uid.OphthalmicPhotography16BitImageStorage,
        uid.OphthalmicPhotography8BitImageStorage, uid.OphthalmicTomographyImageStorage, uid.RTImageStorage,
        uid.UltrasoundMultiFrameImageStorage, uid.VideoEndoscopicImageStorage, uid.VideoMicroscopicImageStorage,
        uid.VideoPhotographicImageStorage, uid.VLWholeSlideMicroscopyImageStorage,
        uid.XRay3DAngiographicImageStorage, uid.XRay3DCraniofacialImageStorage, uid.XRayAngiographicImageStorage,
        uid.XRayRadiofluoroscopicImageStorage,
    }
)  # fmt: skip


def image_name(header: Dataset, frame: int | None = None) -> str:
    """What a person calls the image: "series 2 image 1", of several frames (whatever its SOP Class) "series 2 image 1 frame 5"."""
    series, image = header.get("SeriesNumber"), header.get("InstanceNumber")
    name = f"series {'?' if series is None else series} image {'?' if image is None else image}"
    return f"{name} frame {frame}" if frame and _several(header) else name


def named_frames(header: Dataset, frame: int) -> list[int]:
    """``frame`` if a reference to the image may and must name it, else nothing."""
    return [frame] if _several(header) and header.SOPClassUID in _MULTI_FRAME else []


def _several(header: Dataset) -> bool:
    return int(header.get("NumberOfFrames") or 1) > 1
