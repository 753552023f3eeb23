"""Which frame of an image a reference names: Referenced Frame Number stands for multi-frame SOP Classes alone (PS3.3 10.3)."""

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


def several_frames(header: Dataset) -> bool:
    """Whether a person has to be told which frame is meant, whatever the SOP Class."""
    return int(header.get("NumberOfFrames") or 1) > 1


def named_frames(header: Dataset, frame: int) -> list[int]:
    """``frame`` if a reference to the image may and must name it, else nothing."""
    return [frame] if several_frames(header) and header.SOPClassUID in _MULTI_FRAME else []
