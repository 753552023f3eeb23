"""A specialist is trained from a manifest and comes out as a bundle that can be loaded."""

import csv
import json
from pathlib import Path
from typing import Literal

import numpy as np
import pytest
import torch
import yaml
from hypothesis import given
from hypothesis import strategies as st
from monai.networks.nets.efficientnet import MBConvBlock
from safetensors.torch import load_file

from gsco_pacs.adapters.bundle_format import CASES, METADATA, WEIGHTS
from gsco_pacs.adapters.bundles import load_bundle
from gsco_pacs.adapters.networks import EfficientNetLite0
from gsco_pacs.adapters.photograph_network import imagenet_weights
from gsco_pacs.domain.errors import ConfigError
from gsco_pacs.evaluation.specialist import evaluate_specialist
from gsco_pacs.evaluation.specialist_table import as_markdown
from gsco_pacs.training.augmentation import Augmentation, augmented
from gsco_pacs.training.calibration import chosen_thresholds, fit_platt
from gsco_pacs.training.index import build_index
from gsco_pacs.training.learning import Recipe
from gsco_pacs.training.specialist import TrainingRequest, train_specialist
from gsco_pacs.training.start import load_start
from tests.made_up_data import LABELS, write_data

Kind = Literal["multi-label", "multi-class"]


def train_on_made_up(
    folder: Path, kind: Kind, out: str, soft_labels: Path | None = None
) -> tuple[Path, Path]:
    task, manifest = write_data(folder, kind)
    request = TrainingRequest(
        task,
        manifest,
        folder / out,
        soft_labels=soft_labels,
        size=32,
        recipe=Recipe(epochs=1, batch=4),
        seed=5,
    )
    return train_specialist(request, lambda *_: None), manifest


@pytest.mark.parametrize("kind", ["multi-label", "multi-class"])
def test_one_epoch_writes_a_bundle_that_loads_and_can_be_indexed_and_measured(
    tmp_path: Path, kind: Kind
) -> None:
    bundle, manifest = train_on_made_up(tmp_path, kind, "bundle")
    build_index(bundle, manifest, lambda *_: None)
    specialist = load_bundle(bundle)[0]
    assert [finding.label for finding in specialist.findings] == list(LABELS)
    assert [finding.normal for finding in specialist.findings] == [False, False, True]
    (figures,) = evaluate_specialist(bundle, manifest, lambda *_: None)
    assert figures.n == figures.patients == 3
    assert json.loads((bundle / "docs/evaluation.json").read_text())["macro_auc"]["value"] is not None
    assert all(label in as_markdown([figures], "a test") for label in LABELS)


def test_a_bundle_claims_no_author_and_no_licence_that_its_task_does_not_state(tmp_path: Path) -> None:
    bundle, _ = train_on_made_up(tmp_path, "multi-class", "bundle")
    metadata = json.loads((bundle / METADATA).read_text())
    assert (metadata["authors"], metadata["copyright"]) == ("not stated", "not stated")
    assert not (bundle / "LICENSE").exists()


def test_the_case_index_names_no_file_and_no_patient(tmp_path: Path) -> None:
    bundle, manifest = train_on_made_up(tmp_path, "multi-class", "bundle")
    build_index(bundle, manifest, lambda *_: None)
    written = (bundle / CASES).read_text()
    assert "secret-name" not in written
    assert "patient-" not in written
    with manifest.open(newline="") as lines:
        known = sum(row["split"] == "train" for row in csv.DictReader(lines))
    assert len(json.loads(written)) == known


def test_the_same_request_gives_the_same_weights_and_calibration(tmp_path: Path) -> None:
    first, _ = train_on_made_up(tmp_path, "multi-label", "first")
    second, _ = train_on_made_up(tmp_path, "multi-label", "second")
    for name in (WEIGHTS, METADATA):
        assert (first / name).read_bytes() == (second / name).read_bytes()


def test_a_teachers_probabilities_are_learnt_from_training_images_and_from_no_others(tmp_path: Path) -> None:
    def teacher(name: str, splits: set[str]) -> Path:
        with (tmp_path / "manifest.csv").open(newline="") as lines:
            stems = [Path(row["path"]).stem for row in csv.DictReader(lines) if row["split"] in splits]
        rows = [[f"{stem}.jpg", 0.1 + 0.04 * place, 0.5] for place, stem in enumerate(stems)]
        with (tmp_path / name).open("w", newline="") as lines:
            csv.writer(lines).writerows([["Image Index", "prob_Bright", "prob_Unknown"], *rows])
        return tmp_path / name

    alone, _ = train_on_made_up(tmp_path, "multi-label", "alone")
    taught, _ = train_on_made_up(tmp_path, "multi-label", "taught", teacher("of_train.csv", {"train"}))
    untaught, _ = train_on_made_up(
        tmp_path, "multi-label", "untaught", teacher("of_rest.csv", {"val", "test"})
    )
    assert (alone / WEIGHTS).read_bytes() != (taught / WEIGHTS).read_bytes()
    assert (alone / WEIGHTS).read_bytes() == (untaught / WEIGHTS).read_bytes()


def test_a_label_that_the_task_does_not_know_is_refused_before_training(tmp_path: Path) -> None:
    task, manifest = write_data(tmp_path, "multi-class")
    content = yaml.safe_load(task.read_text())
    content["labels"] = [entry for entry in content["labels"] if entry["label"] != "Striped"]
    task.write_text(yaml.safe_dump(content))
    with pytest.raises(ConfigError, match="Striped"):
        train_specialist(TrainingRequest(task, manifest, tmp_path / "out"), lambda *_: None)


def test_the_photograph_weights_fill_every_layer_but_the_last() -> None:
    network = EfficientNetLite0(num_classes=3, image_size=64)
    before = network._fc.weight.clone()
    load_start(network, imagenet_weights())
    given = torch.load(imagenet_weights(), weights_only=True)
    assert torch.equal(network._fc.weight, before)
    assert torch.equal(network._conv_head.weight, given["_conv_head.weight"])
    assert torch.equal(
        network.get_buffer("_blocks.6.15._bn2.running_var"), given["_blocks.15._bn2.running_var"]
    )
    grey = torch.rand(1, 1, 64, 64)
    colour = torch.nn.functional.conv2d(grey.expand(1, 3, 64, 64), given["_conv_stem.weight"], stride=2)
    assert torch.allclose(network._conv_stem(grey), colour, atol=1e-5)


def test_training_can_go_on_from_an_earlier_bundle_and_only_from_one(tmp_path: Path) -> None:
    bundle, _ = train_on_made_up(tmp_path, "multi-label", "bundle")
    network = EfficientNetLite0(num_classes=3, image_size=48)
    load_start(network, bundle / WEIGHTS)
    assert torch.equal(network._fc.weight, load_file(bundle / WEIGHTS)["_fc.weight"].float())
    for path in (bundle / METADATA, tmp_path / "absent.pth", tmp_path / "manifest.csv"):
        with pytest.raises(ConfigError, match="EfficientNet-lite0"):
            load_start(network, path)


def test_a_padded_depthwise_convolution_computes_what_monai_computes() -> None:
    torch.manual_seed(0)
    ours = EfficientNetLite0(num_classes=2, image_size=64).eval()
    block = ours.get_submodule("_blocks.2.4")
    assert isinstance(block, MBConvBlock)
    x = torch.rand(1, block._depthwise_conv.in_channels, 8, 8)
    apart = torch.nn.functional.conv2d(
        torch.nn.functional.pad(x, (2, 2, 2, 2)), block._depthwise_conv.weight, groups=x.shape[1]
    )
    assert block._depthwise_conv.kernel_size == (5, 5)
    assert torch.allclose(block._depthwise_conv(x), apart, atol=1e-6)


def test_an_augmented_picture_stays_a_picture_and_depends_on_the_generator_alone() -> None:
    pictures = torch.rand(5, 1, 40, 40, generator=torch.Generator().manual_seed(1))
    kept = pictures.clone()
    first, again, other = (
        augmented(pictures, Augmentation(), torch.Generator().manual_seed(s)) for s in (2, 2, 3)
    )
    assert torch.equal(pictures, kept)
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    assert float(first.min()) >= 0
    assert float(first.max()) <= 1


def test_without_flip_a_picture_is_never_mirrored() -> None:
    still = Augmentation(
        rotation=0, zoom=0, stretch=0, shift=0, contrast=0, brightness=0, gamma=0, noise=0, erased=0
    )
    left = torch.zeros(64, 1, 32, 32)
    left[..., :8] = 1
    seen = augmented(left, still, torch.Generator().manual_seed(0))
    assert float(seen[..., 24:].mean()) < float(seen[..., :8].mean())


outputs = st.lists(st.tuples(st.floats(-20, 20), st.booleans()), min_size=2, max_size=60)


@given(outputs)
def test_calibration_never_turns_the_order_of_two_cases(pairs: list[tuple[float, bool]]) -> None:
    logits = np.array([logit for logit, _ in pairs])
    truth = np.array([positive for _, positive in pairs], dtype=np.float64)
    calibrated = fit_platt(logits, truth)(np.sort(logits))
    assert np.all(np.diff(calibrated) >= 0)
    assert np.all((calibrated >= 0) & (calibrated <= 1))


@given(outputs)
def test_thresholds_keep_what_they_promise_on_the_data_they_were_chosen_on(
    pairs: list[tuple[float, bool]],
) -> None:
    probabilities = np.array([(logit + 20) / 41 for logit, _ in pairs])  # a sigmoid is never 1
    truth = np.array([positive for _, positive in pairs], dtype=np.float64)
    chosen = chosen_thresholds(probabilities, truth)
    assert 0 <= chosen.absent_below <= chosen.present_from <= 1
    if 0 < truth.sum() < len(truth):
        assert (probabilities[truth < 0.5] < chosen.absent_below).mean() >= 0.85
        assert chosen.present_from >= 0.5


def test_calibration_brings_overconfident_outputs_back_to_the_observed_share() -> None:
    random = np.random.default_rng(3)
    honest = random.normal(size=4000)
    truth = (random.random(4000) < 1 / (1 + np.exp(-honest))).astype(np.float64)
    platt = fit_platt(5 * honest + 2, truth)
    assert platt.slope == pytest.approx(0.2, abs=0.03)
    assert platt.intercept == pytest.approx(-0.4, abs=0.15)
