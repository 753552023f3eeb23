"""A series becomes a volume only if its slices are an even stack that the segmenter knows how to read."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydicom import Dataset
from pydicom.dataset import FileMetaDataset
from pydicom.uid import EnhancedMRImageStorage, ExplicitVRLittleEndian

from gsco_pacs.adapters.labelled_volumes import read_volumes
from gsco_pacs.domain.study import StoredFile
from gsco_pacs.pixels.placing import body_axes
from gsco_pacs.ports import Volume
from gsco_pacs.steps.prepare import prepare_volumes
from gsco_pacs.testing.hippocampus import made_up_hippocampus, mr_series, turned
from tests.segmentation_material import SeesTruth, stored

CONTRACT = SeesTruth.volume_contract
SAGITTAL = (0, 2, 1)
"""Slices along right-left, rows along feet-head."""


def reasons(files: list[StoredFile]) -> set[str]:
    """Why nothing was read; every file must say so."""
    prepared = prepare_volumes(files, CONTRACT)
    assert prepared.volumes == ()
    assert {exclusion.subject for exclusion in prepared.exclusions} == {
        file.instance.sop_instance_uid for file in files
    }
    return {exclusion.reason for exclusion in prepared.exclusions}


@pytest.mark.parametrize(("order", "flips"), [(SAGITTAL, (1,)), ((1, 2, 0), (1, 2)), ((2, 1, 0), (0, 1))])
def test_a_series_in_any_order_of_files_becomes_the_volume_that_it_was_made_of(
    tmp_path: Path, order: tuple[int, ...], flips: tuple[int, ...]
) -> None:
    made = turned(made_up_hippocampus(1)[0], order, flips)
    slices = mr_series(made, RescaleSlope="2", RescaleIntercept="-10")
    files = stored(tmp_path, slices)
    (volume,) = prepare_volumes(list(reversed(files)), CONTRACT).volumes
    if (
        volume.slices[0][0] != slices[0].SOPInstanceUID
    ):  # stacked along the normal, which may run the other way
        made, slices = turned(made, (0, 1, 2), (0,)), slices[::-1]
    assert np.allclose(volume.voxels, 2 * np.rint(made.voxels) - 10)
    assert np.allclose(volume.affine, made.affine)
    assert [uid for uid, _ in volume.slices] == [ds.SOPInstanceUID for ds in slices]


def test_a_multi_frame_image_is_the_same_volume_as_its_slices(tmp_path: Path) -> None:
    slices = mr_series(turned(made_up_hippocampus(2)[0], SAGITTAL, (1,)))
    (single,) = prepare_volumes(stored(tmp_path, slices), CONTRACT).volumes
    (multi,) = prepare_volumes(stored(tmp_path, [enhanced(slices)]), CONTRACT).volumes
    assert np.array_equal(single.voxels, multi.voxels)
    assert np.allclose(single.affine, multi.affine)
    assert sorted(frame for _, frame in multi.slices) == list(range(1, len(slices) + 1))


def test_two_fitting_series_are_two_volumes_in_the_order_of_their_numbers(tmp_path: Path) -> None:
    volume, _ = made_up_hippocampus(3)
    second = mr_series(volume, series="a", SeriesNumber="7")
    first = mr_series(volume, series="b", SeriesNumber="3")
    volumes = prepare_volumes(stored(tmp_path, [*second, *first]), CONTRACT).volumes
    assert [{uid for uid, _ in one.slices} for one in volumes] == [
        {ds.SOPInstanceUID for ds in series} for series in (first, second)
    ]


def shift(slices: list[Dataset]) -> None:
    slices[9].ImagePositionPatient[0] += 0.3


def drop(slices: list[Dataset]) -> None:
    del slices[9]


def double(slices: list[Dataset]) -> None:
    slices[9].ImagePositionPatient = list(slices[8].ImagePositionPatient)


def shear(slices: list[Dataset]) -> None:
    for number, ds in enumerate(slices):
        ds.ImagePositionPatient[1] += 0.3 * number


def fan(slices: list[Dataset]) -> None:
    slices[9].ImageOrientationPatient[3], slices[9].ImageOrientationPatient[5] = 0.02, -0.9998


def change(keyword: str, value: Any) -> Callable[[list[Dataset]], None]:
    return lambda slices: setattr(slices[9], keyword, value)


@pytest.mark.parametrize(
    ("spoil", "reason"),
    [
        (shift, "not equally spaced"),
        (drop, "not equally spaced"),
        (double, "at the same place"),
        (shear, "displaced sideways"),
        (fan, "not parallel"),
        (change("FrameOfReferenceUID", "1.2.3"), "do not share one"),
        (change("PixelSpacing", [1.0, 1.1]), "Pixel Spacing: the slices differ"),
        (change("ImagePositionPatient", None), "missing or not readable"),
        (change("ImageOrientationPatient", [1.0, 0, 0, 1.0, 0, 0]), "not one that can be"),
    ],
)
def test_slices_that_are_no_even_stack_are_left_out_with_the_reason(
    tmp_path: Path, spoil: Callable[[list[Dataset]], None], reason: str
) -> None:
    slices = mr_series(turned(made_up_hippocampus(4)[0], SAGITTAL, (1,)))
    spoil(slices)
    (said,) = reasons(stored(tmp_path, slices))
    assert reason in said


def test_a_file_that_is_not_readable_takes_its_whole_series_out(tmp_path: Path) -> None:
    files = stored(tmp_path, mr_series(made_up_hippocampus(5)[0]))
    files[3].path.write_bytes(files[3].path.read_bytes()[:-100])
    prepared = prepare_volumes(files, CONTRACT)
    assert prepared.volumes == ()
    assert sum(exclusion.failed for exclusion in prepared.exclusions) == 1
    assert len(prepared.exclusions) == len(files)


def test_a_whole_brain_is_not_read_and_the_reason_says_why(tmp_path: Path) -> None:
    volume, _ = made_up_hippocampus(6, (40, 90, 34))
    (said,) = reasons(stored(tmp_path, mr_series(volume)))
    assert "Field of view 40 x 90 x 34 mm" in said
    assert "cropped" in said


def test_a_turned_head_a_coarse_or_a_small_series_is_not_read(tmp_path: Path) -> None:
    volume, _ = made_up_hippocampus(7)
    angle = np.radians(20)
    turn = np.eye(4)
    turn[:2, :2] = [[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]
    tilted = turned(volume, (0, 1, 2))
    tilted.affine[:] = turn @ volume.affine
    assert body_axes(tilted.affine).tilt == pytest.approx(20)
    assert any("turned by 20 degrees" in said for said in reasons(stored(tmp_path, mr_series(tilted))))
    coarse = turned(made_up_hippocampus(7, (20, 40, 30))[0], (0, 1, 2))
    coarse.affine[:3, 0] *= 1.8
    assert any("coarser than 1.5 mm" in said for said in reasons(stored(tmp_path, mr_series(coarse))))
    small, _ = made_up_hippocampus(7, (17, 48, 34))
    assert any("smaller than" in said for said in reasons(stored(tmp_path, mr_series(small))))


def test_a_real_crop_of_a_hippocampus_comes_through_dicom_as_it_was(
    tmp_path: Path, shared_data: Path
) -> None:
    case = next(read_volumes(shared_data / "mr_hippocampus", "test", 2))
    crop = turned(case.volume, SAGITTAL, (1,))
    scale = float(crop.voxels.max()) / 60000
    made = Volume(np.rint(crop.voxels / scale), crop.affine, crop.slices)
    (volume,) = prepare_volumes(stored(tmp_path, mr_series(made)), CONTRACT).volumes
    axes, back = body_axes(volume.affine), body_axes(case.volume.affine)
    assert axes.extent(volume.voxels.shape) == back.extent(case.truth.shape)
    assert volume.voxels.sum() == pytest.approx(made.voxels.sum())


def enhanced(slices: list[Dataset]) -> Dataset:
    """The slices as the frames of one Enhanced MR image, last one first."""
    slices = slices[::-1]
    ds = Dataset()
    ds.file_meta = FileMetaDataset()
    ds.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    first = slices[0]
    kept = ("StudyInstanceUID", "FrameOfReferenceUID", "PatientID", "PatientName", "Modality", "Rows", "Columns",
            "SamplesPerPixel", "PhotometricInterpretation", "PixelRepresentation", "BitsAllocated", "BitsStored",
            "HighBit", "BodyPartExamined")  # fmt: skip
    for keyword in kept:
        setattr(ds, keyword, first[keyword].value)
    ds.SOPClassUID, ds.SOPInstanceUID, ds.SeriesInstanceUID = EnhancedMRImageStorage, "1.2.3.4.5", "1.2.3.4"
    ds.file_meta.MediaStorageSOPClassUID, ds.file_meta.MediaStorageSOPInstanceUID = (
        ds.SOPClassUID,
        ds.SOPInstanceUID,
    )
    ds.ImageType, ds.NumberOfFrames = ["ORIGINAL", "PRIMARY", "VOLUME", "NONE"], len(slices)
    measures, orientation, shared = Dataset(), Dataset(), Dataset()
    measures.PixelSpacing, measures.SliceThickness = first.PixelSpacing, first.SliceThickness
    orientation.ImageOrientationPatient = first.ImageOrientationPatient
    shared.PixelMeasuresSequence, shared.PlaneOrientationSequence = [measures], [orientation]
    ds.SharedFunctionalGroupsSequence = [shared]
    groups = []
    for one in slices:
        position, group = Dataset(), Dataset()
        position.ImagePositionPatient = one.ImagePositionPatient
        group.PlanePositionSequence = [position]
        groups.append(group)
    ds.PerFrameFunctionalGroupsSequence = groups
    ds.PixelData = b"".join(one.PixelData for one in slices)
    ds["PixelData"].VR = "OW"
    return ds
