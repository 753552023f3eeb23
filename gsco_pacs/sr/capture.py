"""A Secondary Capture (PS3.3 A.8): a picture that any viewer shows, with its text burned in, made from one image."""

import numpy as np
from numpy.typing import NDArray
from pydicom import Dataset
from pydicom.uid import SecondaryCaptureImageStorage

from gsco_pacs.domain.findings import ObjectKind
from gsco_pacs.sr import codes
from gsco_pacs.sr.codes import concept
from gsco_pacs.sr.document import reference
from gsco_pacs.sr.evidence import Made, Origin, Part, encode_evidence
from gsco_pacs.sr.frames import named_frames
from gsco_pacs.sr.wording import plain

_LOSSY = ("LossyImageCompression", "LossyImageCompressionRatio", "LossyImageCompressionMethod")


def capture(
    rgb: NDArray[np.uint8], described: str, part: Part, origin: Origin, source: Dataset, frame: int = 1
) -> Made:
    """``rgb`` (rows, columns, 3) as a Secondary Capture, not compressed; ``described`` says how it was derived.

    ``source`` is the header of the one image that it was made from, ``frame`` the number of the frame.
    """
    own = Dataset()
    own.SOPClassUID = SecondaryCaptureImageStorage
    own.Modality = "OT"
    own.ConversionType = "WSD"
    own.ImageType = ["DERIVED", "SECONDARY", "OTHER"]
    own.BurnedInAnnotation = "YES"
    own.RecognizableVisualFeatures = "NO"
    own.DerivationDescription = plain(described)[:1024]
    refer_to_source(own, source, frame)
    _set_pixels(own, rgb)
    return encode_evidence(ObjectKind.CAPTURE, own, part, origin, [source])


def refer_to_source(own: Dataset, source: Dataset, frame: int) -> None:
    """Name the image that ``own`` was derived from, and what of it still holds: orientation, side, lossy compression."""
    own.SourceImageSequence = [source_reference(source, frame)]
    orientation = source.get("PatientOrientation") or []
    own.PatientOrientation = list(orientation) if len(orientation) == 2 else None
    laterality = str(source.get("ImageLaterality") or source.get("Laterality") or "")
    own.Laterality = laterality if laterality in ("L", "R") else None
    own.LossyImageCompression = "00"
    if source.get("LossyImageCompression") == "01":
        for keyword in _LOSSY:
            if keyword in source:
                own[keyword] = source[keyword]


def source_reference(source: Dataset, frame: int) -> Dataset:
    """An item that names an image, and its frame if it has several, as what was processed."""
    item = reference(str(source.SOPClassUID), str(source.SOPInstanceUID))
    if named_frames(source, frame):
        item.ReferencedFrameNumber = frame
    item.PurposeOfReferenceCodeSequence = [concept(codes.SOURCE_IMAGE)]
    return item


def _set_pixels(own: Dataset, rgb: NDArray[np.uint8]) -> None:
    own.Rows, own.Columns = rgb.shape[:2]
    own.SamplesPerPixel, own.PhotometricInterpretation, own.PlanarConfiguration = 3, "RGB", 0
    own.BitsAllocated, own.BitsStored, own.HighBit, own.PixelRepresentation = 8, 8, 7, 0
    content = np.ascontiguousarray(rgb).tobytes()
    own.add_new("PixelData", "OB", content + b"\0" * (len(content) % 2))
