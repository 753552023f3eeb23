"""The segmentation (PS3.3 A.51): what a segmenter outlined, voxel by voxel, in the geometry of the images it was shown."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from highdicom import (
    AlgorithmIdentificationSequence,
    PixelMeasuresSequence,
    PlaneOrientationSequence,
    PlanePositionSequence,
)
from highdicom.color import CIELabColor
from highdicom.seg import Segmentation, SegmentDescription
from numpy.typing import NDArray
from pydicom import Dataset
from pydicom.uid import generate_uid

from gsco_pacs.domain.errors import InvalidReportError
from gsco_pacs.domain.findings import ObjectKind, Segment
from gsco_pacs.ports import Volume
from gsco_pacs.sr import codes
from gsco_pacs.sr.codes import concept
from gsco_pacs.sr.evidence import Made, Origin, Part, encode_evidence
from gsco_pacs.sr.identity import tracking_uid, uid_of
from gsco_pacs.sr.wording import plain, short

_NEEDED = (
    "SOPClassUID", "SOPInstanceUID", "StudyInstanceUID", "SeriesInstanceUID", "Modality", "Rows", "Columns",
    "FrameOfReferenceUID", "PositionReferenceIndicator", "NumberOfFrames", "ImagePositionPatient",
    "ImageOrientationPatient", "PixelSpacing", "SharedFunctionalGroupsSequence", "PerFrameFunctionalGroupsSequence",
    "LossyImageCompression", "LossyImageCompressionRatio", "LossyImageCompressionMethod",
)  # fmt: skip
"""Of a source image; who the patient is comes from the image in the file's own way."""
_EMPTY = (
    "PatientID", "PatientName", "PatientBirthDate", "PatientSex", "AccessionNumber", "StudyID", "StudyDate",
    "StudyTime", "ReferringPhysicianName",
)  # fmt: skip


def segmentation(
    found: NDArray[np.uint8],
    segments: Sequence[Segment],
    volume: Volume,
    part: Part,
    origin: Origin,
    headers: Mapping[str, Dataset],
) -> Made:
    """``found``, the number of the segment of each voxel of ``volume``, as a binary Segmentation; none may be empty.

    ``headers``: SOP Instance UID -> header of each of ``part.sources``. InvalidReportError if it cannot be encoded.
    """
    sources = [headers[uid] for uid in part.sources]
    order = _order_of_sources(volume, part.sources)
    placed = _placed(volume, order)
    try:
        made = Segmentation(
            source_images=[
                _bare(header, placed["pixel_measures"][0].SpacingBetweenSlices) for header in sources
            ],
            pixel_array=found[order],
            segmentation_type="BINARY",
            segment_descriptions=[
                _described(number, segment, part, origin) for number, segment in enumerate(segments, start=1)
            ],
            series_instance_uid=generate_uid(),
            series_number=1,
            sop_instance_uid=generate_uid(),
            instance_number=1,
            manufacturer=short(origin.equipment.manufacturer),
            manufacturer_model_name=short(origin.equipment.model_name),
            software_versions=short(origin.node_version),
            device_serial_number=short(origin.equipment.serial_number),
            content_description="AI DRAFT - NOT FOR DIAGNOSIS",
            **placed,
        )
    except (ValueError, TypeError, AttributeError) as error:
        raise InvalidReportError(f"The segmentation cannot be encoded: {type(error).__name__}.") from error
    _pin(made, origin, part)
    return encode_evidence(ObjectKind.SEGMENTATION, made, part, origin, sources)


def _order_of_sources(volume: Volume, sources: Sequence[str]) -> list[int]:
    """The volume's slices in the order of the sources, and of their frames."""
    return sorted(
        range(len(volume.slices)),
        key=lambda number: (sources.index(volume.slices[number][0]), volume.slices[number][1]),
    )


def _bare(header: Dataset, apart: float) -> Dataset:
    bare = Dataset()
    for keyword in _EMPTY:
        setattr(bare, keyword, "")
    for keyword in _NEEDED:
        if keyword in header:
            bare[keyword] = header[keyword]
    bare.SliceThickness = bare.SpacingBetweenSlices = apart
    bare.PatientID = "unnamed"
    bare.file_meta = header.file_meta
    return bare


def _placed(volume: Volume, order: Sequence[int]) -> dict[str, Any]:
    """Where the slices lie, as the volume has it: voxels as thick as the slices are apart."""
    steps = np.linalg.norm(volume.affine[:3, :3], axis=0)
    apart, down, across = (round(float(step), 6) for step in steps)
    directions = volume.affine[:3, :3] / steps
    cosines = [round(float(each), 8) for each in (*directions[:, 2], *directions[:, 1])]
    corners = [volume.affine[:3, 3] + number * volume.affine[:3, 0] for number in order]
    return {
        "pixel_measures": PixelMeasuresSequence([down, across], apart, apart),
        "plane_orientation": PlaneOrientationSequence("PATIENT", cosines),
        "plane_positions": [
            PlanePositionSequence("PATIENT", [round(float(at), 6) for at in corner]) for corner in corners
        ],
    }


def _described(number: int, segment: Segment, part: Part, origin: Origin) -> SegmentDescription:
    label = segment.finding.label
    model = part.specialist
    described = SegmentDescription(
        segment_number=number,
        segment_label=short(segment.finding.text),
        segmented_property_category=concept(segment.category),
        segmented_property_type=concept(segment.finding.code),
        algorithm_type="AUTOMATIC",
        algorithm_identification=AlgorithmIdentificationSequence(
            name=short(model.name), family=concept(codes.ARTIFICIAL_INTELLIGENCE), version=short(model.version),
            parameters={"model_sha256": model.sha256},
        ),
        tracking_uid=tracking_uid(
            origin.study.study_instance_uid, model.name, tracked(label, part.number)
        ),
        tracking_id=plain(f"{model.name} {tracked(label, part.number)}"),
        anatomic_regions=[concept(segment.finding.site)] if segment.finding.site else None,
        display_color=CIELabColor.from_rgb(*segment.colour),
    )  # fmt: skip
    if segment.finding.site and segment.site_modifier:
        described.AnatomicRegionSequence[0].AnatomicRegionModifierSequence = [concept(segment.site_modifier)]
    return described


def tracked(label: str, number: int) -> str:
    """What is tracked: the segment, in the volume with this number (a study may have several)."""
    return label if number == 1 else f"{label} {number}"


def _pin(made: Segmentation, origin: Origin, part: Part) -> None:
    """Replace what highdicom draws by chance, and say what it leaves open."""
    made["PixelData"].VR = "OB"
    organisation = uid_of("dimensions", origin.key, part.specialist.name, part.specialist.sha256, part.number)
    for item in made.DimensionOrganizationSequence:
        item.DimensionOrganizationUID = organisation
    for item in made.DimensionIndexSequence:
        item.DimensionOrganizationUID = organisation
