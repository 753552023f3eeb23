"""A Parametric Map (PS3.3 A.75): a value for every pixel of one image, such as where a network looked.

Made by hand but for the mapping of its values: highdicom 0.28 makes none of an image without a frame of reference, which
is what a radiograph is. The IOD asks for a place in space all the same: such a map gets a frame of reference that is its
image's alone, so that nothing can be laid over it by its coordinates but another map of the same image.
"""

import numpy as np
from highdicom.pm import RealWorldValueMapping
from numpy.typing import NDArray
from pydicom import Dataset
from pydicom.datadict import tag_for_keyword
from pydicom.uid import ParametricMapStorage

from gsco_pacs.domain.findings import ObjectKind
from gsco_pacs.sr import codes
from gsco_pacs.sr.capture import refer_to_source, source_reference
from gsco_pacs.sr.codes import concept
from gsco_pacs.sr.evidence import Made, Origin, Part, encode_evidence
from gsco_pacs.sr.identity import uid_of
from gsco_pacs.sr.wording import short

_AXES = {"L": (1, 0, 0), "R": (-1, 0, 0), "P": (0, 1, 0), "A": (0, -1, 0), "H": (0, 0, 1), "F": (0, 0, -1)}
_TYPE = ["DERIVED", "PRIMARY", "VOLUME", "QUANTITY"]


def parametric_map(
    values: NDArray[np.float32], described: str, part: Part, origin: Origin, source: Dataset, frame: int = 1
) -> Made:
    """``values`` in 0..1 as 32-bit floats, as many rows and columns as ``source``, whose frame ``frame`` they explain."""
    own = Dataset()
    own.SOPClassUID, own.Modality, own.ImageType = ParametricMapStorage, "OT", _TYPE
    own.ContentQualification = "RESEARCH"
    own.ContentLabel, own.ContentDescription, own.ContentCreatorName = (
        "CLASS_ACTIVATION",
        short(described),
        None,
    )
    own.BurnedInAnnotation = own.RecognizableVisualFeatures = "NO"
    own.PixelPresentation, own.PresentationLUTShape = "MONOCHROME", "IDENTITY"
    own.AcquisitionContextSequence = []
    refer_to_source(own, source, frame)
    own.ReferencedSeriesSequence = [_series(source)]
    own.FrameOfReferenceUID = source.get("FrameOfReferenceUID") or uid_of("frame", str(source.SOPInstanceUID))
    own.PositionReferenceIndicator = None
    _set_dimension(own, part, origin)
    own.SharedFunctionalGroupsSequence = [_shared(source)]
    own.PerFrameFunctionalGroupsSequence = [_per_frame(source, frame)]
    own.NumberOfFrames, (own.Rows, own.Columns) = 1, values.shape
    own.SamplesPerPixel, own.PhotometricInterpretation, own.BitsAllocated = 1, "MONOCHROME2", 32
    own.FloatPixelData = np.ascontiguousarray(values, "<f4").tobytes()
    return encode_evidence(ObjectKind.PARAMETRIC_MAP, own, part, origin, [source])


def _series(source: Dataset) -> Dataset:
    series = Dataset()
    series.SeriesInstanceUID = source.SeriesInstanceUID
    instance = Dataset()
    instance.ReferencedSOPClassUID = source.SOPClassUID
    instance.ReferencedSOPInstanceUID = source.SOPInstanceUID
    series.ReferencedInstanceSequence = [instance]
    return series


def _set_dimension(own: Dataset, part: Part, origin: Origin) -> None:
    """The one dimension that a single frame needs: its place in its stack."""
    organization, index = Dataset(), Dataset()
    organization.DimensionOrganizationUID = uid_of("dimension", origin.key, part.sources, part.labels)
    index.DimensionOrganizationUID = organization.DimensionOrganizationUID
    index.DimensionIndexPointer = tag_for_keyword("InStackPositionNumber")
    index.FunctionalGroupPointer = tag_for_keyword("FrameContentSequence")
    own.DimensionOrganizationSequence, own.DimensionIndexSequence = [organization], [index]


def _shared(source: Dataset) -> Dataset:
    mapping = RealWorldValueMapping(
        lut_label="0..1",
        lut_explanation="Share of the strongest place in this picture",
        unit=concept(codes.NO_UNITS),
        value_range=(0.0, 1.0),
        quantity_definition=concept(codes.CLASS_ACTIVATION),
    )
    shared = Dataset()
    shared.RealWorldValueMappingSequence = [mapping]
    shared.ParametricMapFrameTypeSequence = [_item(FrameType=_TYPE)]
    shared.PixelValueTransformationSequence = [
        _item(RescaleIntercept="0", RescaleSlope="1", RescaleType="US")
    ]
    shared.FrameVOILUTSequence = [_item(WindowCenter="0.5", WindowWidth="1")]
    spacing = source.get("PixelSpacing") or source.get("ImagerPixelSpacing") or [1, 1]
    thickness = source.get("SliceThickness") or 1
    shared.PixelMeasuresSequence = [_item(PixelSpacing=list(spacing), SliceThickness=thickness)]
    shared.PlaneOrientationSequence = [_item(ImageOrientationPatient=_orientation(source))]
    shared.PlanePositionSequence = [_item(ImagePositionPatient=_position(source))]
    return shared


def _position(source: Dataset) -> list[float]:
    return list(source.get("ImagePositionPatient") or [0, 0, 0])


def _orientation(source: Dataset) -> list[float]:
    """Direction cosines of rows and columns: the image's own, else what Patient Orientation says in letters."""
    if source.get("ImageOrientationPatient"):
        return list(source.ImageOrientationPatient)
    letters = [str(value)[:1] for value in source.get("PatientOrientation") or ()]
    axes = [_AXES[letter] for letter in letters if letter in _AXES]
    if len(axes) == 2 and not np.dot(axes[0], axes[1]):
        return [*axes[0], *axes[1]]
    return [1, 0, 0, 0, 1, 0]


def _per_frame(source: Dataset, frame: int) -> Dataset:
    derived = Dataset()
    reference = source_reference(source, frame)
    reference.SpatialLocationsPreserved = "YES"
    derived.SourceImageSequence = [reference]
    derived.DerivationCodeSequence = [concept(codes.VISUAL_EXPLANATION)]
    item = Dataset()
    item.DerivationImageSequence = [derived]
    item.FrameContentSequence = [_item(StackID="1", InStackPositionNumber=1, DimensionIndexValues=1)]
    return item


def _item(**values: object) -> Dataset:
    item = Dataset()
    for keyword, value in values.items():
        setattr(item, keyword, value)
    return item
