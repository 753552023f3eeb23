"""A bundle that was not trained here, in the shape of MONAI's model zoo, becomes a specialist as docs/own_specialist.md says."""

import json
import pickle
import re
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from monai.bundle.config_parser import ConfigParser
from monai.networks.nets.densenet import DenseNet121
from numpy.typing import NDArray
from PIL import Image
from pydicom import Dataset
from typer.testing import CliRunner

from gsco_pacs.adapters.bundle_files import write_sums
from gsco_pacs.adapters.bundle_format import INFERENCE, METADATA
from gsco_pacs.adapters.bundle_samples import seal
from gsco_pacs.adapters.bundles import load_bundle
from gsco_pacs.adapters.labelled_images import read_images, truth_of
from gsco_pacs.adapters.network_files import colours_of, network_of
from gsco_pacs.adapters.network_input import batch, squared
from gsco_pacs.cli import app
from gsco_pacs.consultation import consult_stage
from gsco_pacs.domain.errors import BrokenBundleError, ConfigError
from gsco_pacs.evaluation.specialist import evaluate_specialist
from gsco_pacs.ports import Picture
from gsco_pacs.processes.shelf import described
from gsco_pacs.settings.routes import RouteSettings
from gsco_pacs.testing.phantoms import encoded, make_dx
from gsco_pacs.training.fitting import fit_bundle
from tests.made_up_data import LABELS, write_data
from tests.stored_images import origin_of, stored_file

TINY: dict[str, Any] = {
    "spatial_dims": 2, "in_channels": 3, "out_channels": 3,
    "init_features": 8, "growth_rate": 4, "block_config": [1, 1],
}  # fmt: skip
DOCS = Path(__file__).parent.parent / "docs/own_specialist.md"


def foreign(folder: Path, **definition: Any) -> Path:
    """A classification bundle as the zoo has them: expressions around the network, MONAI's loader, pickled weights, no section of ours."""
    torch.manual_seed(3)
    bundle = folder / "inbody"
    for name in ("configs", "models", "docs"):
        (bundle / name).mkdir(parents=True)
    config = {
        "imports": ["$import os", "$import torch"],
        "bundle_root": ".",
        "device": "$torch.device('cuda:0' if torch.cuda.is_available() else 'cpu')",
        "channels": 3,
        "network_def": {"_target_": "DenseNet121", **TINY, "in_channels": "@channels", **definition},
        "network": "$@network_def.to(@device)",
        "preprocessing": {
            "_target_": "Compose",
            "transforms": [
                {"_target_": "LoadImaged", "keys": "image"},
                {"_target_": "EnsureChannelFirstd", "keys": "image"},
                {"_target_": "Resized", "keys": "image", "spatial_size": [64, 64], "mode": "bilinear"},
                {"_target_": "CastToTyped", "dtype": "$torch.float32", "keys": "image"},
                {"_target_": "NormalizeIntensityd", "channel_wise": True, "keys": "image"},
                {"_target_": "EnsureTyped", "keys": "image"},
            ],
        },
        "dataset": {"_target_": "Dataset", "data": "@test_dict", "transform": "@preprocessing"},
        "handlers": [{"_target_": "CheckpointLoader", "load_path": "$@bundle_root + '/models/model.pt'"}],
        "evaluating": ["$@evaluator.run()"],
    }
    (bundle / INFERENCE).write_text(json.dumps(config))
    metadata = {
        "schema": "https://example.org/meta_schema.json",
        "version": "0.5.1",
        "monai_version": "1.4.0",
        "name": "Endoscopic inbody classification",
        "task": "Classification of RGB frames",
        "description": "Three classes.",
        "copyright": "Copyright (c) somebody",
        "network_data_format": {
            "inputs": {"image": {"num_channels": 3}},
            "outputs": {"pred": {"num_channels": 3}},
        },
    }
    (bundle / METADATA).write_text(json.dumps(metadata))
    torch.save({"model": DenseNet121(**TINY).state_dict()}, bundle / "models/model.pt")
    (bundle / "LICENSE").write_text("Apache License\nVersion 2.0, January 2004\n")
    (bundle / "docs/README.md").write_text("# Inbody\n\nA foreign network.\n\n## Data\n")
    return bundle


def section_of_the_page() -> dict[str, Any]:
    """The example section that the page tells a department to write."""
    (block,) = re.findall(r"```json\n(.*?)```", DOCS.read_text(encoding="utf-8"), flags=re.DOTALL)
    section: dict[str, Any] = json.loads(block)["gsco"]
    return section


def with_section(bundle: Path, **changes: Any) -> Path:
    metadata = json.loads((bundle / METADATA).read_text())
    metadata["gsco"] = section_of_the_page() | changes
    (bundle / METADATA).write_text(json.dumps(metadata))
    return bundle


def for_made_up_pictures(bundle: Path) -> Path:
    """The sealed bundle with a section for the pictures of ``write_data``."""
    code = section_of_the_page()["labels"][0]["code"]
    labels = [{"label": label, "text": label.lower(), "code": code} for label in LABELS]
    return seal(with_section(bundle, labels=labels, normal_label="Plain", module="made_up"))


def coloured(folder: Path) -> None:
    """Make the pictures of ``write_data`` RGB."""
    for path in folder.glob("secret-name-*.png"):
        grey = np.asarray(Image.open(path))
        Image.fromarray(np.stack([grey, 255 - grey, grey // 2], axis=2)).save(path)


def bytes_of(bundle: Path) -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in sorted(bundle.rglob("*")) if path.is_file()}


def frame() -> NDArray[np.uint8]:
    """A colour picture that is wider than high, with bands of red across and of green along."""
    pixels = np.random.default_rng(1).integers(1, 90, (40, 56, 3)).astype(np.uint8)
    pixels[::8, :, 0] += 160
    pixels[:, ::14, 1] += 100
    return pixels


def as_monai_answers(bundle: Path, pixels: NDArray[np.uint8]) -> list[float]:
    """What the network makes of a picture that the bundle's own preprocessing reads from a file."""
    parser = ConfigParser()
    parser.read_config(bundle / INFERENCE)
    file = bundle / "frame.png"
    Image.fromarray(pixels).save(file)
    network = DenseNet121(**TINY).eval()
    network.load_state_dict(torch.load(bundle / "models/model.pt", weights_only=True)["model"])
    with torch.inference_mode():
        inputs = parser.get_parsed_content("preprocessing")({"image": str(file)})["image"].as_tensor()
        answers: list[float] = network(inputs[None]).softmax(1)[0].tolist()
    return answers


def endoscopic(pixels: NDArray[np.uint8]) -> Dataset:
    """The picture as an endoscope sends it (VL Endoscopic Image)."""
    return make_dx(
        *pixels.shape[:2], SOPClassUID="1.2.840.10008.5.1.4.1.1.77.1.1", Modality="ES",
        SamplesPerPixel=3, PhotometricInterpretation="RGB", PlanarConfiguration=0,
        BitsAllocated=8, BitsStored=8, HighBit=7, PixelData=pixels.tobytes(), WindowCenter=None, WindowWidth=None,
    )  # fmt: skip


def models(folder: Path, *words: str) -> tuple[int, str]:
    config = folder / "config.yaml"
    config.write_text(yaml.safe_dump({"models": [str(folder / "models")]}))
    ended = CliRunner().invoke(app, ["--config", str(config), "models", *words])
    return ended.exit_code, ended.output


def test_a_foreign_bundle_works_after_the_steps_of_the_page(tmp_path: Path) -> None:
    wanted = {"modalities": ["es"], "max_images": 4}
    bundle = with_section(foreign(tmp_path / "models"), input=wanted)
    assert models(tmp_path, "seal", str(bundle))[0] == 0
    code, said = models(tmp_path, "verify", "inbody")
    assert (code, said.count("are right")) == (0, 1), said
    assert "| inbody | 0.5.1 |" in models(tmp_path, "list")[1]
    assert "A foreign network." in models(tmp_path, "describe", "inbody")[1]
    file = tmp_path / "frame.dcm"
    ds = endoscopic(frame())
    file.write_bytes(encoded(ds))
    stored = stored_file(file, str(ds.SOPInstanceUID))
    route = RouteSettings.model_validate(
        {
            "name": "r",
            "when": {"tag": "Modality", "equals": "ES"},
            "specialists": ["inbody"],
            "destinations": ["d"],
        }
    )
    specialists = load_bundle(bundle)
    consultation, _ = consult_stage([stored], specialists, route, origin_of(stored))
    assert [model.name for model in consultation.specialists] == ["inbody"]
    opinions = [opinion.probability for opinion in consultation.opinions]
    assert opinions == pytest.approx(as_monai_answers(bundle, frame()), abs=1e-4)
    turned = as_monai_answers(bundle, frame().swapaxes(0, 1))
    assert max(abs(one - other) for one, other in zip(opinions, turned, strict=True)) > 0.05


def test_its_word_is_the_networks_own_until_it_is_fitted_to_a_departments_images(tmp_path: Path) -> None:
    _, manifest = write_data(tmp_path, "multi-class", patients=36)
    coloured(tmp_path)
    bundle = for_made_up_pictures(foreign(tmp_path / "models"))
    picture = np.asarray(frame() / 255, np.float32)
    (specialist,) = load_bundle(bundle)
    assert specialist.look([Picture("1", picture)])[0].probabilities == pytest.approx(
        as_monai_answers(bundle, frame()), abs=1e-4
    )
    assert specialist.similar(specialist.look([Picture("1", picture)])[0], 3, "nobody") == ()
    assert models(tmp_path, "fit", str(bundle), "--manifest", str(manifest))[0] == 0
    (fitted,) = load_bundle(bundle)
    assert len(fitted.similar(fitted.look([Picture("1", picture)])[0], 3, "nobody")) == 3
    assert any(entry.slope != 1.0 for entry in fitted.section.labels)
    assert models(tmp_path, "verify", str(bundle))[0] == 0


def test_a_manifest_that_cannot_be_used_leaves_the_bundle_as_it_was(tmp_path: Path) -> None:
    _, manifest = write_data(tmp_path, "multi-class", patients=9)
    bundle = for_made_up_pictures(foreign(tmp_path / "models"))
    before, rows = bytes_of(bundle), manifest.read_text()
    (tmp_path / "text.png").write_text("no picture")
    for content in (
        rows.replace("group", "patient", 1),
        rows.replace(",train,", ",test,"),
        rows.replace("secret-name-0.png", "text.png"),
    ):
        manifest.write_text(content)
        with pytest.raises(ConfigError):
            fit_bundle(bundle, manifest, lambda *_: None)
        assert bytes_of(bundle) == before


def test_a_network_for_colours_is_fitted_indexed_and_measured_on_the_colours_that_it_is_shown(
    tmp_path: Path,
) -> None:
    _, manifest = write_data(tmp_path, "multi-class", patients=9)
    coloured(tmp_path)
    bundle = fit_bundle(for_made_up_pictures(foreign(tmp_path / "models")), manifest, lambda *_: None)
    (specialist,) = load_bundle(bundle)
    cases = read_images(manifest, "made_up", "train", LABELS)
    shown = [np.asarray(Image.open(case.path), np.float32) / np.float32(255) for case in cases]
    looks = specialist.look([Picture("", pixels) for pixels in shown])
    assert specialist.similar(looks[0], 1, "nobody")[0].similarity == pytest.approx(1, abs=1e-3)
    (figures,) = evaluate_specialist(bundle, manifest, lambda *_: None, split="train")
    errors = (np.array([look.probabilities for look in looks]) - truth_of(cases, LABELS)) ** 2
    assert [one.brier for one in figures.labels] == pytest.approx(errors.mean(axis=0))


@pytest.mark.parametrize(
    ("definition", "reason"),
    [
        ({"out_channels": "$open('{mark}', 'w').close() or 3"}, "never evaluated"),
        ({"out_channels": "%configs/metadata.json::gsco"}, "never evaluated"),
        ({"out_channels": "@network"}, "never evaluated"),
        ({"out_channels": "@nowhere"}, "not a value of the file"),
        ({"out_channels": "@network_def::out_channels"}, "refers to itself"),
        ({"norm": {"_target_": "os.system", "command": "touch {mark}"}}, "only plain values"),
        ({"pretrained": True}, "set it to false"),
        (
            {"_target_": "HoVerNet", "pretrained_url": "https://example.org/w.pt"},
            "'pretrained_url' would fetch",
        ),
        ({"norm": ["batch", {"from": "https://example.org"}]}, "'norm' would fetch"),
        ({"_target_": "TorchVisionFCModel", "weights": "DEFAULT"}, "'weights' would fetch"),
        ({"_target_": "Transchex"}, "take another network"),
        ({"_target_": "Compose"}, "no network can be made"),
        ({"_target_": ""}, "no network can be made"),
        ({"_target_": "monai.bundle.ConfigParser"}, "must come from"),
        ({"_target_": "monai.networks.nets.efficientnet.get_efficientnet_image_size"}, "is not a network"),
    ],
)
def test_what_is_more_than_a_class_and_values_is_refused_and_never_run(
    tmp_path: Path, definition: dict[str, Any], reason: str
) -> None:
    mark = tmp_path / "ran"
    filled = json.loads(json.dumps(definition).replace("{mark}", str(mark)))
    bundle = with_section(foreign(tmp_path / "models", **filled))
    write_sums(bundle)
    with pytest.raises(BrokenBundleError, match=reason):
        load_bundle(bundle)
    assert not mark.exists()


def test_a_network_that_fetches_weights_unless_told_not_to_is_made_without_the_internet(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(socket, "socket", lambda *_, **__: pytest.fail("It asked the Internet."))
    definition = {
        "_target_": "EfficientNetBN",
        "model_name": "efficientnet-b0",
        "in_channels": 3,
        "num_classes": 2,
    }
    network = network_of(json.dumps({"network_def": definition}).encode(), INFERENCE)
    assert colours_of(network) == 3


def wrong_weights(bundle: Path, **changes: Any) -> Path:
    torch.save(DenseNet121(**TINY | changes).state_dict(), bundle / "models/model.pt")
    return bundle


def under_a_prefix(bundle: Path) -> None:
    weights = {f"net.{key}": value for key, value in DenseNet121(**TINY).state_dict().items()}
    torch.save(weights, bundle / "models/model.pt")


def redefined(bundle: Path, **changes: Any) -> None:
    config = json.loads((bundle / INFERENCE).read_text())
    config["network_def"].update(changes)
    (bundle / INFERENCE).write_text(json.dumps(config))


def renamed(bundle: Path, name: str, other: str) -> None:
    (bundle / name).rename(bundle / other)


def prepared(bundle: Path, **changes: Any) -> None:
    with_section(bundle, prepare=section_of_the_page()["prepare"] | changes)


@pytest.mark.parametrize(
    ("spoil", "reason"),
    [
        (
            lambda bundle: redefined(wrong_weights(bundle, spatial_dims=3), spatial_dims=3),
            "reads volumes",
        ),
        (
            lambda bundle: wrong_weights(bundle, in_channels=2),
            "conv0.weight is 8 x 2 x 7 x 7, the network's 8 x 3 x 7 x 7",
        ),
        (
            lambda bundle: wrong_weights(bundle, block_config=[1, 2]),
            r"it has features\.denseblock2\.\S+ and \d+ more too",
        ),
        (lambda bundle: wrong_weights(bundle, block_config=[1]), r"it lacks features\.\S+ and \d+ more"),
        (lambda bundle: (bundle / INFERENCE).write_text("{}"), "it has no `network_def`"),
        (under_a_prefix, "begin with 'net.': write them without"),
        (
            lambda bundle: torch.jit.save(
                torch.jit.script(torch.nn.Linear(2, 2)), bundle / "models/model.pt"
            ),
            "TorchScript, a program; .* state_dict alone",
        ),
        (
            lambda bundle: torch.save(torch.nn.Linear(2, 2), bundle / "models/model.pt"),
            "no code is run: .* state_dict alone",
        ),
        (
            lambda bundle: torch.save({"epoch": 3}, bundle / "models/model.pt"),
            "no state dictionary: .* state_dict alone",
        ),
        (lambda bundle: (bundle / "models/model.pt").write_bytes(b"\x80"), "damaged"),
        (
            lambda bundle: (bundle / "models/model.safetensors").write_bytes(b"{}"),
            "model.safetensors cannot be read",
        ),
        (
            lambda bundle: renamed(bundle, "models/model.pt", "models/model.ts"),
            "model.safetensors is missing, and model.ts is not read",
        ),
        (
            lambda bundle: renamed(bundle, INFERENCE, "configs/inference.yaml"),
            "inference.json is missing, and inference.yaml is not read",
        ),
        (lambda bundle: (bundle / METADATA).write_text('{"name": 1,}'), "is not JSON: .* line 1 column 12"),
        (lambda bundle: (bundle / METADATA).write_text("{}"), "no section `gsco`: docs/own_specialist.md"),
        (lambda bundle: (bundle / METADATA).unlink(), "metadata.json: No such file"),
        (lambda bundle: with_section(bundle, prepare={"size": 64}), r"gsco\.prepare\.fit: Field required"),
        (lambda bundle: with_section(bundle, members=[3]), r"gsco\.members\.0"),
        (
            lambda bundle: redefined(bundle, _target_="ViT", img_size=[64, 64], patch_size=[16, 16]),
            "no network can be made of it: .*argument",
        ),
        (lambda bundle: prepared(bundle, transpose=None), "`transpose: true`"),
    ],
)
def test_what_cannot_be_used_is_refused_with_its_cause_and_without_a_traceback(
    tmp_path: Path, spoil: Callable[[Path], object], reason: str
) -> None:
    bundle = with_section(foreign(tmp_path / "models"))
    spoil(bundle)
    with pytest.raises(BrokenBundleError, match=reason) as caught:
        seal(bundle)
    assert "\n" not in str(caught.value)


def test_a_directory_without_our_section_is_not_described_but_told_what_it_lacks(tmp_path: Path) -> None:
    bundle = foreign(tmp_path)
    with pytest.raises(BrokenBundleError, match="has no section `gsco`"):
        described(bundle)
    with_section(bundle, labels=[{"label": "mass"}])
    with pytest.raises(BrokenBundleError, match=r"gsco\.labels\.0\.text: Field required"):
        described(bundle)


class Touch:
    """Runs a command when it is unpickled."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return Path.touch, (self.mark,)  # type: ignore[return-value]


def test_pickled_code_in_the_weights_is_refused_and_never_run(tmp_path: Path) -> None:
    bundle, mark = with_section(foreign(tmp_path / "models")), tmp_path / "ran"
    (bundle / "models/model.pt").write_bytes(pickle.dumps(Touch(mark)))
    write_sums(bundle)
    with pytest.raises(BrokenBundleError, match="no code is run"):
        load_bundle(bundle)
    assert not mark.exists()


def test_outputs_that_are_no_label_are_left_out(tmp_path: Path) -> None:
    section = section_of_the_page()
    bundle = with_section(foreign(tmp_path / "models"), labels=section["labels"][::2], normal_label=None)
    write_sums(bundle)
    with pytest.raises(BrokenBundleError, match=r"gsco\.outputs can say"):
        load_bundle(bundle)
    picture = Picture("1", np.full((50, 50), 0.5, np.float32))
    write_sums(with_section(bundle))
    (whole,) = load_bundle(bundle)[0].look([picture])
    write_sums(with_section(bundle, labels=section["labels"][::2], normal_label=None, outputs=[0, 2]))
    (two,) = load_bundle(bundle)[0].look([picture])
    kept = np.array(whole.probabilities)[[0, 2]]
    assert two.probabilities == pytest.approx(kept / kept.sum(), abs=1e-5)
    write_sums(with_section(bundle, labels=section["labels"][::2], normal_label=None, outputs=[0, 3]))
    with pytest.raises(BrokenBundleError, match="does not have"):
        load_bundle(bundle)


def test_colours_stay_apart_for_a_network_that_reads_them_and_are_mixed_for_one_that_does_not() -> None:
    red = np.zeros((40, 30, 3), np.float32)
    red[..., 0] = 1
    assert squared(red, 32, "stretch", 3).mean(dim=(1, 2)).tolist() == pytest.approx([1, 0, 0])
    assert float(squared(red, 32, "stretch").mean()) == pytest.approx(0.299, abs=1e-4)
    assert squared(red[..., 0], 32, "pad", 3).shape == (3, 32, 32)
    own = batch([squared(red, 32, "stretch", 3)], (0.5, 0.0, 0.25), (0.5, 1.0, 0.5))
    assert own[0].mean(dim=(1, 2)).tolist() == pytest.approx([1, 0, -0.5])
    noise = np.random.default_rng(2).random((40, 40), dtype=np.float32)
    scaled = batch([squared(noise, 32, "stretch")], 0.0, 1.0, "picture")
    assert (float(scaled.mean()), float(scaled.std())) == pytest.approx((0, 1), abs=1e-3)
