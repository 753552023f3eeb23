"""Several networks of one task in one bundle: each is asked, each has an opinion, the first recalls the cases."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from numpy.typing import NDArray
from safetensors.torch import load_file
from typer.testing import CliRunner

from gsco_pacs.adapters.bundle_files import write_sums
from gsco_pacs.adapters.bundle_format import EVALUATION, METADATA, PICKLED, WEIGHTS
from gsco_pacs.adapters.bundles import load_bundle
from gsco_pacs.cli import app
from gsco_pacs.consultation import consult_stage
from gsco_pacs.domain.errors import BrokenBundleError, ConfigError
from gsco_pacs.evaluation.specialist import evaluate_specialist
from gsco_pacs.evaluation.specialist_table import as_markdown
from gsco_pacs.pixels.decoding import Decoder
from gsco_pacs.pixels.display import display
from gsco_pacs.pixels.opening import ImageFile
from gsco_pacs.ports import Picture
from gsco_pacs.settings.routes import RouteSettings
from gsco_pacs.testing.phantoms import encoded, make_dx
from gsco_pacs.training.bundle_writer import rewrite_section
from gsco_pacs.training.index import build_index
from gsco_pacs.training.joining import join_bundles
from gsco_pacs.training.learning import Recipe
from gsco_pacs.training.specialist import TrainingRequest, train_specialist
from tests.made_up_data import LABELS, write_data
from tests.stored_images import origin_of, stored_file

GREY = Picture("1", np.full((40, 40), 0.5, np.float32))


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Two bundles of one task, of which the first has a case index; the second sees smaller pictures."""
    folder = tmp_path_factory.mktemp("members")
    task, manifest = write_data(folder, "multi-class")
    made = []
    for seed, size in ((1, 48), (2, 32)):
        request = TrainingRequest(
            task, manifest, folder / f"{seed}", size=size, recipe=Recipe(epochs=1, batch=8), seed=seed
        )
        made.append(train_specialist(request, lambda *_: None))
    build_index(made[0], manifest, lambda *_: None)
    rewrite_section(made[0], {"familiar_from": None})  # whatever a test shows them may be assessed
    return made


@pytest.fixture(scope="module")
def pair(trained: list[Path]) -> Path:
    return join_bundles(trained[0].parent / "pair", trained)


def test_each_member_answers_as_it_did_alone_and_has_a_name_and_a_hash_of_its_own(
    trained: list[Path], pair: Path
) -> None:
    members = load_bundle(pair)
    alone = [load_bundle(bundle)[0] for bundle in trained]
    assert [member.identity.name for member in members] == ["made_up.1", "made_up.2"]
    assert [member.identity.sha256 for member in members] == [one.identity.sha256 for one in alone]
    assert len({member.identity.sha256 for member in members}) == 2
    for member, one in zip(members, alone, strict=True):
        assert member.look([GREY])[0].probabilities == one.look([GREY])[0].probabilities
        assert member.thresholds == one.thresholds
        assert member.contract == members[0].contract
    assert members[0].look([GREY])[0].probabilities != members[1].look([GREY])[0].probabilities


def test_only_the_first_member_recalls_cases(pair: Path) -> None:
    first, second = load_bundle(pair)
    assert first.similar(first.look([GREY])[0], 3, "nobody")
    assert second.similar(second.look([GREY])[0], 3, "nobody") == ()


def test_a_bundle_of_one_network_keeps_its_name_and_its_bytes(trained: list[Path], tmp_path: Path) -> None:
    again = join_bundles(tmp_path / "again", trained[:1])
    assert load_bundle(again)[0].identity.name == "made_up"
    assert json.loads((again / METADATA).read_text())["gsco"]["members"] == []
    assert (again / WEIGHTS).read_bytes() == (trained[0] / WEIGHTS).read_bytes()


def test_a_bundle_that_is_joined_into_one_of_the_others_keeps_nothing_of_what_was_there(
    trained: list[Path], tmp_path: Path
) -> None:
    first, second = (Path(shutil.copytree(bundle, tmp_path / bundle.name)) for bundle in trained)
    torch.save(load_file(first / WEIGHTS), first / PICKLED)
    (first / WEIGHTS).unlink()
    (second / "LICENSE").write_text("of the second alone")
    write_sums(first)
    alone = [load_bundle(bundle)[0].look([GREY])[0].probabilities for bundle in (first, second)]
    join_bundles(second, [first, second])
    assert [member.look([GREY])[0].probabilities for member in load_bundle(second)] == alone
    assert sorted(path.name for path in (second / "models").iterdir()) == ["model.2.safetensors", "model.pt"]
    join_bundles(second, [trained[1]])
    assert not list((second / "index").iterdir())
    assert [path.name for path in (second / "configs").glob("inference*")] == ["inference.json"]
    assert not (second / "LICENSE").exists()


def test_a_changed_byte_of_a_further_member_is_refused(pair: Path, tmp_path: Path) -> None:
    copy = join_bundles(tmp_path / "copy", [pair])
    weights = copy / "models/model.2.safetensors"
    content = bytearray(weights.read_bytes())
    content[-1] ^= 1
    weights.write_bytes(content)
    with pytest.raises(BrokenBundleError, match=r"model\.2\.safetensors does not match"):
        load_bundle(copy)


def _changed(bundle: Path, out: Path, change: Callable[[dict[str, object]], object]) -> Path:
    task = out.with_suffix(".yaml")
    content = yaml.safe_load((bundle / "configs/task.yaml").read_text())
    change(content)
    task.write_text(yaml.safe_dump(content))
    return task


def test_bundles_that_read_other_images_are_not_joined(trained: list[Path], tmp_path: Path) -> None:
    task = _changed(trained[1], tmp_path / "other", lambda c: c.update(input={"modalities": ["CT"]}))
    other = join_bundles(tmp_path / "other", trained[1:], task)
    with pytest.raises(ConfigError, match="differ in input"):
        join_bundles(tmp_path / "mixed", [trained[0], other])
    with pytest.raises(ConfigError, match="the same weights"):
        join_bundles(tmp_path / "twice", [trained[0], trained[0]])


def test_a_task_file_brings_other_words_and_codes_without_a_new_training(
    trained: list[Path], tmp_path: Path
) -> None:
    def rename(content: dict[str, object]) -> None:
        labels = content["labels"]
        assert isinstance(labels, list)
        labels[0]["text"] = "bright patch"
        labels[0]["code"] = {"value": "111286", "scheme": "DCM", "meaning": "No abnormality"}
        content.update(name="renamed", version="2.0.0", title="Other words", modality_phrase="other pattern")

    task = _changed(trained[0], tmp_path / "task", rename)
    pair = join_bundles(tmp_path / "renamed", trained, task)
    first, second = load_bundle(pair)
    assert [first.identity.name, second.identity.name] == ["renamed.1", "renamed.2"]
    assert first.findings[0].text == second.findings[0].text == "bright patch"
    assert first.findings[0].code.value == "111286"
    assert first.examines == "other pattern"
    assert first.look([GREY])[0].probabilities == load_bundle(trained[0])[0].look([GREY])[0].probabilities
    assert (pair / "configs/task.yaml").read_bytes() == task.read_bytes()


def test_a_task_file_does_not_make_a_foreign_bundle_ours(trained: list[Path], tmp_path: Path) -> None:
    foreign = join_bundles(tmp_path / "foreign", trained[:1])
    stated = json.loads((foreign / METADATA).read_text()) | {"copyright": "Copyright (c) others"}
    (foreign / METADATA).write_text(json.dumps(stated))
    (foreign / "LICENSE").write_text("Their licence")
    write_sums(foreign)
    task = _changed(
        trained[0],
        tmp_path / "task",
        lambda c: c.update(name="renamed", version="2.0.0", authors="us", copyright="ours", licence="MIT"),
    )
    renamed = join_bundles(tmp_path / "renamed", [foreign], task)
    metadata = json.loads((renamed / METADATA).read_text())
    assert (metadata["name"], metadata["copyright"]) == ("renamed", "Copyright (c) others")
    assert metadata["authors"] == "us", "the foreign bundle states none"
    assert set(metadata["changelog"]) == {"1.0.0", "2.0.0"}
    assert metadata["network_data_format"] == stated["network_data_format"]
    assert (renamed / "LICENSE").read_text() == "Their licence"


def test_a_task_file_with_other_labels_is_refused(trained: list[Path], tmp_path: Path) -> None:
    def swap(content: dict[str, object]) -> None:
        labels = content["labels"]
        assert isinstance(labels, list)
        labels.reverse()

    with pytest.raises(ConfigError, match="differ in labels"):
        join_bundles(tmp_path / "out", trained, _changed(trained[0], tmp_path / "task", swap))


def test_the_members_and_their_mean_are_measured(trained: list[Path], pair: Path) -> None:
    figures = evaluate_specialist(pair, pair.parent / "manifest.csv", lambda *_: None)
    assert [each.name for each in figures] == ["made_up.1", "made_up.2", "mean of made_up"]
    written = json.loads((pair / EVALUATION).read_text())
    assert written["weights_sha256"] == figures[0].weights_sha256
    assert [each["name"] for each in written["further"]] == ["made_up.2", "mean of made_up"]
    table = as_markdown(figures, "a test")
    assert table.startswith("mean of made_up 1.0.0 on made_up")
    assert all(f"| {each.name} " in table for each in figures)


def test_a_study_gets_an_opinion_of_each_member_and_is_decoded_once(
    pair: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "chest.dcm"
    ds = make_dx(80, 60, ViewPosition="PA")
    file.write_bytes(encoded(ds))
    decoded: list[int] = []

    def counted(image: ImageFile, frame: int, decoder: Decoder) -> NDArray[np.float32]:
        decoded.append(frame)
        return display(image, frame, decoder)

    monkeypatch.setattr("gsco_pacs.steps.prepare.display", counted)
    route = RouteSettings.model_validate(
        {
            "name": "r",
            "when": {"tag": "Modality", "equals": "DX"},
            "specialists": ["made_up"],
            "destinations": ["d"],
        }
    )
    stored = stored_file(file, str(ds.SOPInstanceUID))
    consultation, _ = consult_stage([stored], load_bundle(pair), route, origin_of(stored))
    assert decoded == [1]
    assert [model.name for model in consultation.specialists] == ["made_up.1", "made_up.2"]
    assert [opinion.specialist for opinion in consultation.opinions] == ["made_up.1"] * 3 + ["made_up.2"] * 3
    assert {case.specialist for case in consultation.cases} == {"made_up.1"}


def test_one_command_trains_several_members_and_joins_them_into_a_bundle_that_is_right(
    tmp_path: Path,
) -> None:
    task, manifest = write_data(tmp_path, "multi-class")
    task.write_text(task.read_text() + "authors: A hospital\nlicence: MIT\n")
    words = ["train", "specialist", "--task", str(task), "--manifest", str(manifest), "--scratch"]
    words += [
        "--out",
        str(tmp_path / "net"),
        "--epochs",
        "1",
        "--size",
        "32",
        "--seed",
        "7",
        "--members",
        "2",
    ]
    ended = CliRunner().invoke(app, words)
    assert ended.exit_code == 0, ended.output
    first, second = load_bundle(tmp_path / "net")
    assert first.identity.sha256 == load_bundle(tmp_path / "net.1")[0].identity.sha256
    assert second.identity.sha256 == load_bundle(tmp_path / "net.2")[0].identity.sha256
    assert [finding.label for finding in second.findings] == list(LABELS)
    metadata = json.loads((tmp_path / "net" / METADATA).read_text())
    assert (metadata["authors"], metadata["copyright"]) == ("A hospital", "not stated")
    verified = CliRunner().invoke(app, ["models", "verify", str(tmp_path / "net")])
    assert verified.exit_code == 0, verified.output
