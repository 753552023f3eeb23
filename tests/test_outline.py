"""A series comes in, and volumes come out: as a Segmentation, as measurements in the coded SR, and in one sentence."""

from collections.abc import Sequence
from datetime import UTC, datetime
from io import BytesIO
from pathlib import Path
from typing import Any

import highdicom
import numpy as np
import pytest
from highdicom.sr import MeasurementReport, srread
from pydantic import TypeAdapter
from pydicom import Dataset, dcmread

from gsco_pacs.adapters.structured_generalist import StructuredGeneralist
from gsco_pacs.consultation import consult_stage, draft_stage
from gsco_pacs.domain.errors import NotApplicableError
from gsco_pacs.domain.findings import Consultation, ObjectKind, Report
from gsco_pacs.domain.study import StoredFile
from gsco_pacs.ports import Segmenter
from gsco_pacs.settings.processes import Equipment
from gsco_pacs.settings.routes import RouteSettings
from gsco_pacs.sr.reading import as_text
from gsco_pacs.sr.validate import errors_in
from gsco_pacs.testing.hippocampus import made_up_hippocampus, mr_series, turned
from tests.segmentation_material import SeesTruth, stored
from tests.stored_images import origin_of
from tests.test_volumes import SAGITTAL, enhanced

ROUTE = RouteSettings.model_validate(
    {
        "name": "hippocampus",
        "when": {"tag": "BodyPartExamined", "equals": "HIPPOCAMPUS"},
        "specialists": ["sees_truth"],
        "destinations": ["d"],
    }
)


def consulted(
    files: Sequence[StoredFile], segmenter: Segmenter | None = None
) -> tuple[Consultation, tuple[Report, ...]]:
    return consult_stage(files, [segmenter or SeesTruth()], ROUTE, origin_of(*files))


def reported(files: Sequence[StoredFile], consultation: Consultation) -> tuple[Report, ...]:
    """What the draft stage makes of the consultation as the ledger gives it back."""
    kept = TypeAdapter(Consultation)
    origin = origin_of(*files)
    _, reports = draft_stage(
        origin.study, files, kept.validate_python(kept.dump_python(consultation, mode="json")), StructuredGeneralist(),
        route=ROUTE, equipment=Equipment(), predecessors=(), priors=(), run=0, at=datetime(2026, 3, 4, 16, tzinfo=UTC),
    )  # fmt: skip
    return reports


def measured_groups(coded: Report) -> list[Any]:
    """The groups of TID 1411 in the coded report, as highdicom reads them."""
    content = srread(BytesIO(coded.content)).content
    assert isinstance(content, MeasurementReport)
    return list(content.get_volumetric_roi_measurement_groups())


@pytest.fixture
def series(tmp_path: Path) -> tuple[list[Dataset], list[StoredFile]]:
    """A sagittal series, 1.2 mm apart, whose files come in any order."""
    volume = turned(made_up_hippocampus(11)[0], SAGITTAL, (1,))
    volume.affine[:3, 0] *= 1.2
    slices = mr_series(volume)
    return slices, list(reversed(stored(tmp_path, slices)))


def test_each_segment_lies_on_the_slices_that_it_was_seen_in_and_carries_its_name(
    series: tuple[list[Dataset], list[StoredFile]],
) -> None:
    slices, files = series
    consultation, (report,) = consulted(files)
    assert report.kind is ObjectKind.SEGMENTATION
    assert errors_in(report.content) == []
    read = highdicom.seg.segread(BytesIO(report.content))
    assert [read.get_segment_description(n).segment_label for n in (1, 2)] == ["front part", "back part"]
    described = read.get_segment_description(1)
    assert described.algorithm_type.value == "AUTOMATIC"
    assert described.SegmentationAlgorithmIdentificationSequence[0].AlgorithmName == "sees_truth"
    assert described.AnatomicRegionSequence[0].AnatomicRegionModifierSequence[0].CodeMeaning == "Anterior"
    uids = [ds.SOPInstanceUID for ds in slices]
    masks = read.get_pixels_by_source_instance(uids, assert_missing_frames_are_empty=True)
    stack = np.stack([ds.pixel_array for ds in slices])
    assert np.array_equal(masks[..., 0], stack > 590)
    assert np.array_equal(masks[..., 1], (stack > 425) & (stack <= 590))
    assert read.SeriesDescription.startswith("AI DRAFT - NOT FOR DIAGNOSIS - sees_truth 1.0.0")
    assert (read.PatientID, read.StudyInstanceUID) == (slices[0].PatientID, slices[0].StudyInstanceUID)
    assert set(consultation.read) == set(uids)


def test_the_coded_report_has_each_volume_with_its_segment_and_it_is_that_of_its_voxels(
    series: tuple[list[Dataset], list[StoredFile]],
) -> None:
    _, files = series
    consultation, (segmentation,) = consulted(files)
    _, coded, *_ = reported(files, consultation)
    assert errors_in(coded.content) == []
    read = highdicom.seg.segread(BytesIO(segmentation.content))
    groups = measured_groups(coded)
    measures = read.SharedFunctionalGroupsSequence[0].PixelMeasuresSequence[0]
    voxel = float(np.prod([*map(float, measures.PixelSpacing), float(measures.SpacingBetweenSlices)]))
    frames = read.pixel_array
    numbers = np.array(
        [
            group.SegmentIdentificationSequence[0].ReferencedSegmentNumber
            for group in read.PerFrameFunctionalGroupsSequence
        ]
    )
    assert len(groups) == 2
    for number, group in enumerate(groups, start=1):
        assert group.referenced_segment.referenced_sop_instance_uid == segmentation.sop_instance_uid
        assert group.referenced_segment.referenced_segment_numbers == [number]
        (measured,) = group.get_measurements()
        assert (measured.name.value, measured.unit.value) == ("118565006", "mm3")
        assert measured.value == pytest.approx(float(frames[numbers == number].sum()) * voxel, rel=1e-3)
        assert group.finding_type.value == "5366008"
        assert group.finding_sites[0].topographical_modifier.meaning == ("Anterior", "Posterior")[number - 1]
        assert group.tracking_uid == read.get_segment_description(number).tracking_uid
    evidence = str(dcmread(BytesIO(coded.content)).CurrentRequestedProcedureEvidenceSequence)
    assert segmentation.sop_instance_uid in evidence


def test_the_narrative_says_the_volumes_in_one_sentence_and_that_no_norm_was_asked(
    series: tuple[list[Dataset], list[StoredFile]],
) -> None:
    _, files = series
    consultation, _ = consulted(files)
    narrative, _ = reported(files, consultation)
    assert errors_in(narrative.content) == []
    front, back = (one.volume_mm3 for one in consultation.measurements)
    said = as_text(narrative.content)
    assert f"front part {front / 1000:.2f} mL ({front:.0f} mm3), back part {back / 1000:.2f} mL" in said
    assert "not compared with a norm" in said
    assert "No finding was assessed" not in said
    assert "sees_truth: series 9004 image 1, outlined in 34 images of series 1" in said


def test_the_same_series_gives_the_same_bytes_and_another_run_does_not(
    series: tuple[list[Dataset], list[StoredFile]],
) -> None:
    _, files = series
    (first,), (second,) = consulted(files)[1], consulted(files)[1]
    assert first.content == second.content
    _, (other,) = consulted(files[1:])
    assert other.sop_instance_uid != first.sop_instance_uid


def test_a_multi_frame_series_is_outlined_frame_by_frame(tmp_path: Path) -> None:
    image = enhanced(mr_series(turned(made_up_hippocampus(12)[0], SAGITTAL, (1,))))
    files = stored(tmp_path, [image])
    consultation, (report,) = consulted(files)
    assert errors_in(report.content) == []
    read = highdicom.seg.segread(BytesIO(report.content))
    masks = read.get_pixels_by_source_frame(
        image.SOPInstanceUID,
        list(range(1, image.NumberOfFrames + 1)),
        assert_missing_frames_are_empty=True,
    )
    assert np.array_equal(masks[..., 0], image.pixel_array > 590)
    assert consultation.read == (image.SOPInstanceUID,)


def test_two_series_are_two_segmentations_with_trackings_of_their_own(tmp_path: Path) -> None:
    slices = [
        ds
        for name in ("a", "b")
        for ds in mr_series(made_up_hippocampus(13 + ord(name))[0], series=name, SeriesNumber=str(ord(name)))
    ]
    files = stored(tmp_path, slices)
    consultation, made = consulted(files)
    assert len(made) == len({report.sop_instance_uid for report in made}) == 2
    _, coded, *_ = reported(files, consultation)
    groups = measured_groups(coded)
    assert len({group.tracking_uid for group in groups}) == 4
    assert errors_in(coded.content) == []


def test_a_volume_that_cannot_be_is_not_reported(series: tuple[list[Dataset], list[StoredFile]]) -> None:
    _, files = series
    with pytest.raises(NotApplicableError, match=r"the front part would measure .* not plausible"):
        consulted(files, SeesTruth(plausible=(1.0, 10.0)))
