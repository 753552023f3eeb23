"""A bundle is loaded only if every byte is as listed, and brings numbers, never code."""

import hashlib
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from monai.bundle.config_parser import ConfigParser
from monai.networks.nets.densenet import DenseNet
from safetensors.torch import load_file, save_file

from gsco_pacs.adapters.bundle_files import write_sums
from gsco_pacs.adapters.bundle_format import CASES, FEATURES, INFERENCE, METADATA, SUMS, WEIGHTS, InputEntry
from gsco_pacs.adapters.bundles import BundleSpecialist, load_bundle
from gsco_pacs.adapters.labelled_images import read_images, read_pixels, truth_of
from gsco_pacs.adapters.network_input import squared
from gsco_pacs.adapters.networks import EfficientNetLite0
from gsco_pacs.adapters.scores import probabilities_of
from gsco_pacs.config import shipped
from gsco_pacs.domain.errors import BrokenBundleError, OutOfResourcesError
from gsco_pacs.domain.findings import Code
from gsco_pacs.evaluation.metrics import auc
from gsco_pacs.ports import Picture, Specialist
from gsco_pacs.training.index import build_index
from gsco_pacs.training.learning import Recipe
from gsco_pacs.training.specialist import TrainingRequest, train_specialist
from tests.made_up_data import LABELS, write_data

# Frozen: label, scheme, value, meaning. SNOMED CT ids are as verified for the project; see also the check digit below.
CXR_CODES = {
    "Atelectasis": ("SCT", "46621007"),
    "Cardiomegaly": ("SCT", "8186001"),
    "Consolidation": ("SCT", "95436008"),
    "Edema": ("SCT", "19242006"),
    "Effusion": ("SCT", "60046008"),
    "Emphysema": ("SCT", "87433001"),
    "Fibrosis": ("SCT", "51615001"),
    "Hernia": ("SCT", "39839004"),
    "Infiltration": ("DCM", "112121"),
    "Mass": ("SCT", "309529002"),
    "Nodule": ("SCT", "786838002"),
    "Pleural_Thickening": ("RADLEX", "RID28509"),
    "Pneumonia": ("SCT", "233604007"),
    "Pneumothorax": ("SCT", "36118008"),
    "No Finding": ("DCM", "111286"),
}


@pytest.fixture(scope="module")
def made_up(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("bundle")
    task, manifest = write_data(folder, "multi-label")
    request = TrainingRequest(task, manifest, folder / "made_up", size=32, recipe=Recipe(epochs=1, batch=8))
    return build_index(train_specialist(request, lambda *_: None), manifest, lambda *_: None)


@pytest.fixture
def bundle(made_up: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(made_up, tmp_path / "made_up"))


@pytest.fixture(scope="module")
def chest() -> BundleSpecialist:
    return load_bundle(shipped("models") / "cxr_findings")[0]


def edit(bundle: Path, name: str, change: Callable[[Any], object]) -> None:
    content = json.loads((bundle / name).read_text())
    change(content)
    (bundle / name).write_text(json.dumps(content))
    write_sums(bundle)


@pytest.mark.parametrize("name", [METADATA, INFERENCE, WEIGHTS, FEATURES, CASES])
def test_one_changed_byte_in_any_file_that_is_opened_is_refused(bundle: Path, name: str) -> None:
    content = bytearray((bundle / name).read_bytes())
    content[len(content) // 2] ^= 1
    (bundle / name).write_bytes(content)
    with pytest.raises(BrokenBundleError, match=f"{name} does not match its checksum"):
        load_bundle(bundle)


@pytest.mark.parametrize("name", [METADATA, INFERENCE, WEIGHTS, FEATURES, CASES, SUMS])
def test_a_missing_file_is_named(bundle: Path, name: str) -> None:
    (bundle / name).unlink()
    with pytest.raises(BrokenBundleError, match=name):
        load_bundle(bundle)


def test_a_file_that_is_not_listed_is_not_opened(bundle: Path) -> None:
    lines = (bundle / SUMS).read_text().splitlines(keepends=True)
    (bundle / SUMS).write_text("".join(line for line in lines if WEIGHTS not in line))
    with pytest.raises(BrokenBundleError, match="not listed"):
        load_bundle(bundle)


@pytest.mark.parametrize(
    "value",
    [
        "$open('{mark}', 'w').close() or 3",
        "$__import__('pathlib').Path('{mark}').touch()",
        "$import antigravity",
        "%configs/metadata.json::gsco",
    ],
)
def test_an_expression_in_the_network_definition_is_never_evaluated(
    bundle: Path, tmp_path: Path, value: str
) -> None:
    mark = tmp_path / "evaluated"
    expression = value.replace("{mark}", str(mark))
    edit(bundle, INFERENCE, lambda content: content["network_def"].update(num_classes=expression))
    with pytest.raises(BrokenBundleError, match="no network can be made"):
        load_bundle(bundle)
    assert not mark.exists()


def test_an_expression_beside_the_network_definition_is_inert(bundle: Path, tmp_path: Path) -> None:
    mark = tmp_path / "evaluated"
    edit(bundle, INFERENCE, lambda content: content.update(imports=f"$open('{mark}', 'w').close()"))
    load_bundle(bundle)
    assert not mark.exists()


@pytest.mark.parametrize("target", ["os.system", "subprocess.run", "monai.bundle.ConfigParser", "torch.load"])
def test_a_class_from_elsewhere_is_refused(bundle: Path, target: str) -> None:
    edit(bundle, INFERENCE, lambda content: content["network_def"].update(_target_=target))
    with pytest.raises(BrokenBundleError, match="must come from"):
        load_bundle(bundle)


def test_something_that_is_no_network_is_refused(bundle: Path) -> None:
    definition = {
        "network_def": {
            "_target_": "monai.networks.nets.get_efficientnet_image_size",
            "model_name": "efficientnet-b0",
        }
    }
    edit(bundle, INFERENCE, lambda content: content.update(definition))
    with pytest.raises(BrokenBundleError, match="not a network"):
        load_bundle(bundle)


def test_a_network_of_monai_itself_can_be_named(bundle: Path) -> None:
    arguments: dict[str, Any] = {
        "spatial_dims": 2,
        "in_channels": 1,
        "out_channels": 3,
        "block_config": [1, 1],
        "init_features": 8,
    }
    save_file(DenseNet(**arguments).state_dict(), bundle / WEIGHTS)
    shutil.rmtree(bundle / "index")
    edit(bundle, METADATA, lambda content: content["gsco"].update(patient_salt=None))
    edit(
        bundle,
        INFERENCE,
        lambda content: content.update(network_def={"_target_": "monai.networks.nets.DenseNet", **arguments}),
    )
    (look,) = load_bundle(bundle)[0].look([Picture("1", np.full((40, 40), 0.5, np.float32))])
    assert len(look.probabilities) == 3
    assert np.linalg.norm(look.features) == pytest.approx(1, abs=1e-5)


def test_monais_own_parser_makes_the_same_network_of_the_definition(made_up: Path) -> None:
    parser = ConfigParser()
    parser.read_config(made_up / INFERENCE)
    network = parser.get_parsed_content("network_def")
    assert isinstance(network, EfficientNetLite0)
    assert set(load_file(made_up / WEIGHTS)) == set(network.state_dict())


def test_want_of_memory_is_a_failure_that_may_pass(made_up: Path) -> None:
    class Hungry(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.last = torch.nn.Linear(1, 3)

        def forward(self, inputs: torch.Tensor) -> torch.Tensor:
            return inputs.new_zeros(2**60)

    whole = load_bundle(made_up)[0]
    starved = BundleSpecialist(whole.identity, whole.section, Hungry(), None)
    with pytest.raises(OutOfResourcesError):
        starved.look([Picture("1", np.zeros((40, 40), np.float32))])


class Flat(torch.nn.Module):
    """Reads pictures of 64 x 64 alone, and answers once more than it is asked."""

    def __init__(self) -> None:
        super().__init__()
        self.last = torch.nn.Linear(64 * 64, 3)

    def forward(self, inputs: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        return self.last(inputs.flatten(1)), inputs


@pytest.mark.parametrize(
    ("size", "reason"), [(32, "cannot read a picture: mat1"), (64, "must end in its last fully connected")]
)
def test_a_network_that_cannot_look_is_a_broken_bundle_with_the_cause(
    made_up: Path, size: int, reason: str
) -> None:
    whole = load_bundle(made_up)[0]
    prepare = whole.section.prepare.model_copy(update={"size": size})
    section = whole.section.model_copy(update={"prepare": prepare})
    with pytest.raises(BrokenBundleError, match=reason):
        BundleSpecialist(whole.identity, section, Flat(), None).look(
            [Picture("1", np.zeros((9, 9), np.float32))]
        )


def test_code_strings_are_compared_as_dicom_has_them_in_upper_case() -> None:
    wanted = InputEntry.model_validate({"modalities": ["cr"], "body_parts": [" Chest"], "views": ["pa"]})
    assert (wanted.modalities, wanted.body_parts, wanted.views) == (("CR",), ("CHEST",), ("PA",))


@pytest.mark.parametrize(
    "change",
    [
        lambda gsco: gsco["labels"].pop(),
        lambda gsco: gsco["labels"][0].update(slope=-1.0),
        lambda gsco: gsco["labels"][0].update(label=LABELS[1]),
        lambda gsco: gsco["labels"][0].update(absent_below=0.9, present_from=0.1),
        lambda gsco: gsco["labels"][0]["code"].update(meaning="x" * 65),
        lambda gsco: gsco.update(normal_label="Nothing"),
        lambda gsco: gsco.update(schema=2),
        lambda gsco: gsco.update(unheard_of=1),
    ],
    ids=["fewer labels", "falling", "twice", "crossed", "long meaning", "normal", "schema", "unknown key"],
)
def test_metadata_that_contradict_themselves_or_the_weights_are_refused(
    bundle: Path, change: Callable[[Any], object]
) -> None:
    edit(bundle, METADATA, lambda content: change(content["gsco"]))
    with pytest.raises(BrokenBundleError):
        load_bundle(bundle)


def test_the_order_of_the_labels_is_the_order_of_findings_thresholds_and_probabilities(bundle: Path) -> None:
    edit(bundle, METADATA, lambda content: [
        entry.update(slope=1e-9, intercept=place - 1.0, absent_below=place / 10, present_from=place / 10 + 0.5)
        for place, entry in enumerate(content["gsco"]["labels"])
    ])  # fmt: skip
    specialist = load_bundle(bundle)[0]
    (look,) = specialist.look([Picture("1", np.zeros((40, 40), np.float32))])
    assert [finding.label for finding in specialist.findings] == list(LABELS)
    assert [pair.absent_below for pair in specialist.thresholds] == [0, 0.1, 0.2]
    assert look.probabilities == pytest.approx([1 / (1 + np.e), 0.5, np.e / (1 + np.e)], abs=1e-6)


def test_the_same_picture_gives_the_same_look_alone_and_among_others(made_up: Path) -> None:
    random = np.random.default_rng(1)
    one, two, three = (Picture(str(n), random.random((50, 60), dtype=np.float32)) for n in range(3))
    specialist = load_bundle(made_up)[0]
    (alone,) = specialist.look([one])
    among = load_bundle(made_up)[0].look([two, one, three])[1]
    assert alone.probabilities == among.probabilities
    assert np.array_equal(alone.features, among.features)
    assert alone.probabilities != specialist.look([two])[0].probabilities


def test_a_reference_image_is_found_again_unless_its_own_patient_asks(made_up: Path) -> None:
    specialist: Specialist = load_bundle(made_up)[0]
    (look,) = specialist.look([Picture("1", read_pixels(made_up.parent / "secret-name-1.png", 1))])
    everybody = {case.key for case in specialist.similar(look, 100, "somebody else")}
    others = {case.key for case in specialist.similar(look, 100, "patient-1")}
    assert specialist.similar(look, 1, "somebody else")[0].similarity == pytest.approx(1, abs=2e-3)
    assert len(everybody - others) == 1
    assert len(others) == len(everybody) - 1


def test_a_picture_is_squared_by_stretching_or_by_padding_with_black() -> None:
    wide = np.ones((20, 40), np.float32)
    assert float(squared(wide, 32, "stretch").min()) == pytest.approx(1)
    padded = squared(wide, 32, "pad")
    assert float(padded[:7].max()) == float(padded[-7:].max()) == 0
    assert float(padded[10:22].min()) == pytest.approx(1)
    assert squared(np.ones((20, 40, 3), np.float32), 32, "stretch").mean() == pytest.approx(1, abs=1e-6)


def test_probabilities_of_classes_that_exclude_each_other_sum_to_one() -> None:
    logits = np.array([[2.0, -1.0, 0.5], [30.0, -30.0, 0.0]])
    plain = probabilities_of(logits, "multi-class", np.ones(3), np.zeros(3))
    softmax = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    assert plain == pytest.approx(softmax)
    bent = probabilities_of(logits, "multi-class", np.array([0.5, 2, 1]), np.array([0.1, -1, 2]))
    assert bent.sum(axis=1) == pytest.approx([1, 1])


def test_the_chest_bundle_says_its_findings_in_the_verified_codes(chest: BundleSpecialist) -> None:
    assert {f.label: (f.code.scheme, f.code.value) for f in chest.findings} == CXR_CODES
    assert [f.label for f in chest.findings if f.normal] == ["No Finding"]
    thickening = next(f for f in chest.findings if f.label == "Pleural_Thickening")
    assert thickening.site == Code("3120008", "SCT", "Pleural structure")


def test_the_chest_bundles_snomed_codes_have_the_right_check_digit(chest: BundleSpecialist) -> None:
    sites = [f.site for f in chest.findings if f.site]
    for code in [*(f.code for f in chest.findings), *sites]:
        if code.scheme == "SCT":
            assert verhoeff_sum(code.value) == 0, code


def test_the_chest_bundle_tells_a_bright_hemithorax_from_an_empty_picture(chest: BundleSpecialist) -> None:
    empty = np.zeros((300, 300), np.float32)
    looks = chest.look([Picture("1", empty), Picture("2", 1 - empty)])
    assert all(0 < p < 1 for look in looks for p in look.probabilities)
    assert looks[0].probabilities != looks[1].probabilities
    assert len(chest.similar(looks[0], 10, "")) == 10


def test_the_chest_bundle_is_a_monai_bundle_with_the_parts_that_the_format_asks_for() -> None:
    folder = shipped("models") / "cxr_findings"
    metadata = json.loads((folder / METADATA).read_text())
    wanted = {
        "version",
        "changelog",
        "monai_version",
        "pytorch_version",
        "numpy_version",
        "task",
        "description",
    }
    assert wanted | {"authors", "copyright", "network_data_format"} <= set(metadata)
    assert (folder / "LICENSE").is_file()
    assert (folder / "docs/README.md").is_file()
    assert sum(path.stat().st_size for path in folder.rglob("*")) < 40e6
    figures = json.loads((folder / "docs/evaluation.json").read_text())
    assert figures["split"] == "test"
    assert figures["weights_sha256"] == hashlib.sha256((folder / WEIGHTS).read_bytes()).hexdigest()


def test_the_chest_bundle_still_reaches_its_published_figures(
    shared_data: Path, chest: BundleSpecialist
) -> None:
    labels = [finding.label for finding in chest.findings]
    images = read_images(shared_data / "manifest.csv", "cxr_nih", "test", labels)
    looks = [chest.look([Picture("", read_pixels(image.path, 1))])[0] for image in images]
    said = np.array([look.probabilities for look in looks])
    figures = json.loads((shipped("models") / "cxr_findings/docs/evaluation.json").read_text())
    for column, entry in enumerate(figures["labels"]):
        if entry["positives"] >= 10:
            area = auc(said[:, column], truth_of(images, labels)[:, column])
            assert area == pytest.approx(entry["auc"]["value"], abs=0.01), entry["label"]


def verhoeff_sum(digits: str) -> int:
    """0 if the last digit is the Verhoeff check digit of the others (dihedral group D5)."""

    def multiplied(a: int, b: int) -> int:
        turned = (a + b) % 5 if a < 5 else (a - b) % 5
        return turned + 5 * ((a < 5) != (b < 5))

    swap = [0, 1, 2, 3, 4, 5, 6, 7, 8, 9]
    permutation = [1, 5, 7, 6, 2, 8, 3, 0, 9, 4]
    total = 0
    for digit in reversed(digits):
        total = multiplied(total, swap[int(digit)])
        swap = [permutation[value] for value in swap]
    return total
