import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from pydicom.dataset import Dataset

from gsco_pacs.config import shipped
from gsco_pacs.domain.errors import BrokenBundleError
from gsco_pacs.domain.study import valid_uid
from gsco_pacs.pixels.opening import open_image
from gsco_pacs.ports import InputContract
from gsco_pacs.steps.prepare import misfit
from gsco_pacs.testing.chest_generator import ChestGenerator
from gsco_pacs.testing.copies import measure_copies
from gsco_pacs.testing.radiograph import synthetic_dx
from gsco_pacs.testing.synthetic import DEFAULT_SEED, make_synthetic_study
from gsco_pacs.training.copy_check import check_copies, shifted_correlation, ssim
from gsco_pacs.training.generator import GeneratorRequest, Plan, train_generator, training_pictures

CHEST = InputContract(
    ("CR", "DX"),
    ("1.2.840.10008.5.1.4.1.1.1.1",),
    ("CHEST",),
    ("PA", "AP"),
    min_rows=256,
    min_columns=256,
    max_images=4,
)


@pytest.fixture(scope="module")
def study() -> Dataset:
    return make_synthetic_study(DEFAULT_SEED)


@pytest.fixture(scope="module")
def file(study: Dataset, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("synthetic") / "chest.dcm"
    study.save_as(path, enforce_file_format=True)
    return path


@pytest.fixture(scope="module")
def manifest(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twelve radiograph-like pictures of twelve patients: a shared trunk with lungs, and a texture of each one's own."""
    folder = tmp_path_factory.mktemp("pictures")
    y, x = np.mgrid[-1:1:320j, -1:1:320j]
    trunk = 200 - 140 * (np.hypot((np.abs(x) - 0.45) / 0.3, y / 0.7) < 1)
    lines = ["path,module,group,split,view,age"]
    for number in range(12):
        own = np.random.default_rng(number).normal(0, 60, (20, 20))
        texture = np.asarray(Image.fromarray(own).resize((320, 320), Image.Resampling.BICUBIC))
        Image.fromarray(np.clip(trunk + texture, 0, 255).astype(np.uint8)).save(folder / f"{number}.png")
        lines.append(f"{number}.png,cxr_nih,P{number},train,PA,50")
    (folder / "manifest.csv").write_text("\n".join(lines) + "\n")
    return folder / "manifest.csv"


def test_the_same_seed_gives_the_same_object_and_another_seed_another_one(study: Dataset) -> None:
    assert make_synthetic_study(DEFAULT_SEED) == study
    other = make_synthetic_study(DEFAULT_SEED + 1)
    assert other.PixelData != study.PixelData
    assert other.StudyInstanceUID != study.StudyInstanceUID


def test_the_object_passes_dciodvfy_without_an_error(file: Path) -> None:
    command = [str(Path(sys.executable).with_name("dciodvfy")), str(file)]
    said = subprocess.run(command, capture_output=True, text=True, check=False).stderr
    assert "DXImageForPresentation" in said
    assert "Error" not in said


def test_the_object_says_that_it_is_synthetic(study: Dataset) -> None:
    assert study.SyntheticData == "YES"
    said = ("PatientID", "StudyDescription", "SeriesDescription", "ImageComments", "PatientComments")
    assert all("SYNTHETIC" in study[keyword].value for keyword in said)
    assert list(study.ImageType)[:2] == ["DERIVED", "SECONDARY"]
    assert not study.PatientBirthDate


def test_every_uid_is_valid_and_used_for_one_thing(study: Dataset) -> None:
    uids = [study.StudyInstanceUID, study.SeriesInstanceUID, study.SOPInstanceUID]
    assert all(valid_uid(uid).startswith("2.25.") for uid in uids)
    assert len(set(uids)) == 3


def test_the_picture_fills_its_twelve_bits_without_being_flat_or_clipped(study: Dataset) -> None:
    pixels = study.pixel_array
    assert pixels.shape == (1024, 1024)
    assert pixels.max() <= 4095
    assert pixels.std() > 500
    assert np.mean((pixels == 0) | (pixels == 4095)) < 0.3


def test_the_picture_is_darker_in_both_lungs_than_in_the_midline(study: Dataset) -> None:
    rows = study.pixel_array[350:550]
    right, midline, left = rows[:, 200:350].mean(), rows[:, 480:560].mean(), rows[:, 680:830].mean()
    assert right < midline - 400
    assert left < midline - 400


def test_the_object_fits_what_a_chest_specialist_reads(file: Path) -> None:
    assert misfit(open_image(file), CHEST) == ""


def test_weights_that_are_not_the_listed_ones_are_refused(tmp_path: Path) -> None:
    folder = tmp_path / "changed"
    shutil.copytree(shipped("models") / "synthetic_chest", folder)
    weights = folder / "detail.safetensors"
    content = bytearray(weights.read_bytes())
    content[-1] ^= 1
    weights.write_bytes(content)
    with pytest.raises(BrokenBundleError, match=r"detail\.safetensors"):
        ChestGenerator(folder)


def test_the_object_is_written_without_torch() -> None:
    code = "import sys, gsco_pacs.testing.radiograph; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_any_square_picture_becomes_an_object_with_the_same_values() -> None:
    picture = np.linspace(0, 1, 64 * 64, dtype=np.float32).reshape(64, 64)
    assert np.array_equal(synthetic_dx(picture, 3).pixel_array, np.round(4095 * picture))


def test_a_trained_generator_can_be_loaded_and_sampled(manifest: Path, tmp_path: Path) -> None:
    request = GeneratorRequest(manifest, tmp_path / "made", coarse=Plan(2, batch=2), detail=Plan(2, batch=2))
    told: list[tuple[int, int]] = []
    folder = train_generator(request, lambda done, steps, _: told.append((done, steps)))
    assert told == [(1, 2), (2, 2), (1, 2), (2, 2)]
    sample = ChestGenerator(folder).sample(1)
    assert sample.shape == (288, 288)
    assert 0 <= sample.min() < sample.max() <= 1


def test_training_pictures_given_as_samples_are_found_to_be_copies(manifest: Path) -> None:
    seen = training_pictures(manifest)[..., 6:-6, 6:-6]
    noisy = seen + 0.1 * torch.randn(seen.shape, generator=torch.Generator().manual_seed(1))
    for nearness in check_copies(((noisy[:, 0] + 2) / 4).numpy(), manifest):
        assert not any(nearness.passed), nearness.measure


def test_the_table_of_copies_has_a_line_for_each_measure(manifest: Path) -> None:
    table = measure_copies(manifest, [DEFAULT_SEED])
    assert "n = 1 samples against 11 training images" in table
    assert table.count(" of 1 |") == 6


def test_a_picture_is_wholly_like_itself_and_like_itself_moved() -> None:
    pictures = torch.rand(3, 1, 32, 32, generator=torch.Generator().manual_seed(1))
    moved = torch.roll(pictures, (2, -2), dims=(-2, -1))
    assert torch.allclose(shifted_correlation(pictures, moved, 2).diagonal(), torch.ones(3), atol=1e-5)
    likeness = ssim(pictures, pictures)
    assert torch.allclose(likeness.diagonal(), torch.ones(3), atol=1e-5)
    assert likeness[0, 1] < 0.5
