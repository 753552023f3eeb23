"""A segmenter is trained from volumes with truth, comes out as a bundle, and finds the same in every orientation."""

import json
import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import numpy as np
import pytest
from nibabel.nifti1 import Nifti1Image
from numpy.typing import NDArray
from typer.testing import CliRunner

from gsco_pacs.adapters.bundle_files import write_sums
from gsco_pacs.adapters.bundle_format import INFERENCE, METADATA, WEIGHTS, segments
from gsco_pacs.adapters.bundle_samples import answers, sample_faults, seal
from gsco_pacs.adapters.labelled_volumes import read_volumes, split_of
from gsco_pacs.adapters.scores import dice
from gsco_pacs.adapters.segmentation_bundles import BundleSegmenter, load_segmenter
from gsco_pacs.adapters.segmentation_format import VolumePrepareEntry
from gsco_pacs.adapters.volume_input import placement_of, segments_of
from gsco_pacs.cli import app
from gsco_pacs.config import Config
from gsco_pacs.domain.errors import BrokenBundleError, ConfigError
from gsco_pacs.evaluation.segmentation import evaluate_segmenter, segmentation_table
from gsco_pacs.pixels.placing import body_axes, voxel_volume
from gsco_pacs.ports import Segmenter, Volume
from gsco_pacs.processes.choices import open_specialists
from gsco_pacs.processes.shelf import described
from gsco_pacs.testing.hippocampus import made_up_hippocampus, turned
from gsco_pacs.training.segmentation import SegmentationRequest, train_segmenter
from tests.segmentation_material import SeesTruth, write_volumes

PREPARE = VolumePrepareEntry(spacing_mm=1.0, patch=(40, 56, 40))


def silent(_done: int, _steps: int, _line: str) -> None:
    """Nobody watches."""


def trained(folder: Path, out: str, epochs: int = 1) -> tuple[Path, Path]:
    task, data = folder / "task.yaml", folder / "data"
    if not task.exists():
        write_volumes(folder, 14)
    request = SegmentationRequest(task, data, folder / out, epochs=epochs, learning_rate=1e-2, seed=3)
    return train_segmenter(request, silent), data


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    return trained(tmp_path_factory.mktemp("segmenter"), "bundle", epochs=8)


@pytest.fixture(scope="module")
def segmenter(bundle: tuple[Path, Path]) -> BundleSegmenter:
    return load_segmenter(bundle[0])


def test_a_few_epochs_suffice_to_outline_a_made_up_body_that_was_not_learnt_from(
    bundle: tuple[Path, Path],
) -> None:
    figures = evaluate_segmenter(*bundle, silent)
    assert figures.n == sum(1 for _ in read_volumes(bundle[1], "test", 2)) > 0
    assert all(one.dice.value > 0.75 for one in figures.segments)
    assert all(one.lowest_dice <= one.dice.value <= 1 for one in figures.segments)
    written = json.loads((bundle[0] / "docs/evaluation.json").read_text())
    assert written["segments"][0]["dice"]["value"] == figures.segments[0].dice.value
    assert "| Posterior |" in segmentation_table(figures, "a test")


def test_the_bundle_says_that_it_segments_and_what(
    segmenter: BundleSegmenter, bundle: tuple[Path, Path]
) -> None:
    port: Segmenter = segmenter
    assert segments(bundle[0])
    assert [one.finding.label for one in port.segments] == ["Anterior", "Posterior"]
    assert port.volume_contract.max_extent == (40.0, 56.0, 40.0)


@pytest.mark.parametrize(
    ("order", "flips"), [((0, 1, 2), ()), ((2, 1, 0), (0, 1)), ((1, 2, 0), (1,)), ((2, 0, 1), (2,))]
)
def test_it_finds_the_same_however_the_slices_were_cut(
    segmenter: BundleSegmenter, order: tuple[int, ...], flips: tuple[int, ...]
) -> None:
    volume, _ = made_up_hippocampus(99)
    expected = segmenter.segment(volume)
    other = segmenter.segment(turned(volume, order, flips))
    back = other
    for axis in reversed(flips):
        back = np.flip(back, axis)
    # An even margin is split the other way round when an axis is turned, which moves the picture by one voxel.
    assert all(dice(np.transpose(back, np.argsort(order)) == n, expected == n) > 0.97 for n in (1, 2))


def test_the_same_request_gives_the_same_weights(tmp_path: Path) -> None:
    write_volumes(tmp_path, 9)
    first, _ = trained(tmp_path, "first")
    second, _ = trained(tmp_path, "second")
    for name in (WEIGHTS, METADATA, INFERENCE):
        assert (first / name).read_bytes() == (second / name).read_bytes()


def test_a_changed_weight_or_a_network_of_another_shape_is_refused(
    bundle: tuple[Path, Path], tmp_path: Path
) -> None:
    copy = Path(shutil.copytree(bundle[0], tmp_path / "copy"))
    network = json.loads((copy / INFERENCE).read_text())
    network["network_def"]["out_channels"] = 4
    (copy / INFERENCE).write_text(json.dumps(network))
    with pytest.raises(BrokenBundleError, match="does not match its checksum"):
        load_segmenter(copy)
    write_sums(copy)
    with pytest.raises(BrokenBundleError, match="does not fit"):
        load_segmenter(copy)


def test_labels_of_another_volume_are_refused_before_training(tmp_path: Path) -> None:
    task, data = write_volumes(tmp_path, 9)
    with pytest.raises(ConfigError, match="1 segments"):
        list(read_volumes(data, "train", 1))
    for path in (data / "images").iterdir():
        path.unlink()
    with pytest.raises(ConfigError, match=r"no images/\*\.nii\.gz"):
        train_segmenter(SegmentationRequest(task, data, tmp_path / "out"), silent)


@pytest.mark.parametrize(
    "given",
    [["--members", "1"], ["--scratch"], ["--start", "x"], ["--size", "320"], ["--soft-labels", "x"]],
    ids=lambda given: given[0],
)
def test_an_option_that_changes_nothing_of_a_segmenter_is_refused(given: list[str], tmp_path: Path) -> None:
    (tmp_path / "task.yaml").write_text("kind: segmentation")
    words = ["train", "specialist", "--task", str(tmp_path / "task.yaml"), "--manifest", "x", "--out", "x"]
    told = CliRunner().invoke(app, [*words, *given])
    assert isinstance(told.exception, ConfigError)
    assert str(told.exception) == f"A task of the kind segmentation takes no {given[0]}."


@pytest.mark.parametrize("kind", ["segmentation", "multi-label"])
@pytest.mark.parametrize("device", ["abacus", "cuda:99"])
def test_a_device_that_is_not_here_is_named_before_anything_is_read(
    kind: str, device: str, tmp_path: Path
) -> None:
    (tmp_path / "task.yaml").write_text(f"kind: {kind}")
    words = ["train", "specialist", "--task", str(tmp_path / "task.yaml"), "--manifest", "x", "--out", "x"]
    told = CliRunner().invoke(app, [*words, "--device", device])
    assert isinstance(told.exception, ConfigError)
    assert f"the device '{device}'" in str(told.exception)


@pytest.mark.parametrize("value", [257, -1, 1.5, np.nan])
def test_a_label_that_no_segment_has_is_refused_as_it_stands_in_the_file(
    tmp_path: Path, value: float
) -> None:
    _, data = write_volumes(tmp_path, 9)
    for path in (data / "labels").iterdir():
        truth = np.asarray(Nifti1Image.from_filename(path).dataobj).astype(np.float32)
        truth[0, 0, 0] = value
        Nifti1Image(truth, np.eye(4)).to_filename(path)
    with pytest.raises(ConfigError, match="whole numbers from 0 to 2"):
        list(read_volumes(data, "train", 2))


def test_labels_that_lie_elsewhere_or_end_early_are_refused(tmp_path: Path) -> None:
    _, data = write_volumes(tmp_path, 9)
    for path in (data / "labels").iterdir():
        truth = np.asarray(Nifti1Image.from_filename(path).dataobj)
        Nifti1Image(truth, np.diag([-1.0, 1, 1, 1])).to_filename(path)
    with pytest.raises(ConfigError, match="not lie in the same place"):
        list(read_volumes(data, "train", 2))
    for path in (data / "labels").iterdir():
        path.write_bytes(path.read_bytes()[:-40])
    with pytest.raises(ConfigError, match="cannot be read"):
        list(read_volumes(data, "train", 2))


def test_a_volume_stays_in_its_split_and_every_split_gets_its_share() -> None:
    splits = [split_of(f"hippocampus_{number:03d}") for number in range(400)]
    assert splits == [split_of(f"hippocampus_{number:03d}") for number in range(400)]
    assert 250 < splits.count("train") < 310
    assert min(splits.count("val"), splits.count("test")) > 35


def test_what_is_placed_in_the_patch_comes_back_to_the_voxels_it_came_from() -> None:
    volume, truth = made_up_hippocampus(5)
    for stored in (turned(volume, (0, 1, 2)), turned(volume, (2, 0, 1), (0,))):
        labels = truth if stored.voxels.shape == truth.shape else np.flip(np.transpose(truth, (2, 0, 1)), 0)
        place = placement_of(stored, PREPARE)
        there = place.placed(np.ascontiguousarray(labels), order=0)
        channels = np.stack([there == n for n in range(3)]).astype(np.float32)
        assert np.array_equal(segments_of(channels, place), labels)


def test_a_coarse_volume_is_resampled_and_keeps_its_size_in_millimetres() -> None:
    volume, truth = made_up_hippocampus(6, (34, 48, 34))
    affine = volume.affine.copy()
    affine[:3, 0] *= 1.2
    thick = Volume(volume.voxels, affine, volume.slices)
    place = placement_of(thick, PREPARE)
    there = place.placed(truth, order=0)
    assert there.sum() == pytest.approx(truth.sum() * voxel_volume(affine), rel=0.05)
    assert body_axes(affine).extent(truth.shape) == pytest.approx((40.8, 48.0, 34.0))


def test_only_the_largest_piece_of_a_segment_is_kept() -> None:
    probabilities: NDArray[np.float32] = np.zeros((2, 40, 56, 40), np.float32)
    probabilities[0] = 0.5
    probabilities[1, 10:20, 10:20, 10:20] = 1
    probabilities[1, 30:32, 30:32, 30:32] = 1
    volume, _ = made_up_hippocampus(1, (40, 56, 40))
    found = segments_of(probabilities, placement_of(volume, PREPARE))
    assert found.sum() == 1000


def test_the_look_through_segmenter_is_a_segmenter() -> None:
    volume, truth = made_up_hippocampus(3)
    port: Segmenter = SeesTruth()
    assert dice(port.segment(volume) == 1, truth == 1) > 0.9


def test_a_route_that_names_such_a_bundle_gets_a_segmenter(bundle: tuple[Path, Path]) -> None:
    config = SimpleNamespace(bundle_dir=lambda _: bundle[0])
    (opened,) = open_specialists("made_up_volumes", cast(Config, config))
    assert isinstance(opened, Segmenter)
    assert opened.identity.name == "made_up_volumes"


def test_the_shelf_tells_what_a_segmenter_reads_and_how_good_it_is(bundle: tuple[Path, Path]) -> None:
    evaluate_segmenter(*bundle, silent)
    told = described(bundle[0])
    assert "field of view from 20 x 30 x 20 to 40 x 56 x 40 mm" in told
    assert "| Posterior | back part |" in told
    assert "all together: Dice 0.9" in told


def test_a_sealed_volume_must_be_outlined_again_as_it_was(bundle: tuple[Path, Path], tmp_path: Path) -> None:
    sealed = seal(Path(shutil.copytree(bundle[0], tmp_path / "bundle")))
    (volumes,) = answers(sealed)["sample.npz"].values()
    assert all(size > 0 for size in volumes.values()), "nothing outlined would prove nothing"
    assert sample_faults(sealed) == ()
    metadata = json.loads((sealed / METADATA).read_text())
    metadata["gsco"]["background"] = 1000.0
    (sealed / METADATA).write_text(json.dumps(metadata))
    write_sums(sealed)
    assert [fault.split(" of ")[0] for fault in sample_faults(sealed)] == [
        f"made_up_volumes says {label} 0.000" for label in volumes
    ]
