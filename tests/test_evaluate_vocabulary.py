"""A bundle's labels are matched to a data set's options by their words, and one that cannot be asked is refused."""

from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest
from typer.testing import CliRunner

from gsco_pacs.cli import app
from gsco_pacs.datasets.cases import EvaluationCase
from gsco_pacs.datasets.medmnist import MEDMNIST
from gsco_pacs.datasets.registry import data_set
from gsco_pacs.domain.errors import ConfigError
from gsco_pacs.domain.findings import Consultation, Mode, SimilarCase
from gsco_pacs.evaluation.contenders import specialists, tasks_of
from gsco_pacs.evaluation.records import RunFolder, Variant, recorded
from gsco_pacs.evaluation.running import Chosen, Plan, run
from gsco_pacs.evaluation.vocabulary import in_words_of, must_understand, option_of
from tests.data_layouts import LAYOUTS
from tests.evaluation_material import LABELS, Parrot, guessers, write_cases

SPELLED = dict(zip(LABELS, ("Glioma", "MENINGIOMA", "no-ne"), strict=True))


def case(tmp_path: Path) -> EvaluationCase:
    """The first of three made-up cases."""
    return next(data_set("manifest/mr").read(write_cases(tmp_path, 3), "test"))


def respelled(one: EvaluationCase) -> EvaluationCase:
    """``one`` as a data set has it that writes its options in another way."""
    return replace(one, options=tuple(SPELLED.values()), truth=tuple(SPELLED[label] for label in one.truth))


def test_a_label_means_the_option_with_the_same_letters_and_digits() -> None:
    chest = next(known for known in MEDMNIST if known.name == "chestmnist").options
    for label in ("Atelectasis", "Pleural_Thickening", "No Finding", "hernia"):
        assert option_of(label, chest) in chest
    assert option_of("Pleural", chest) is None
    assert option_of("T-1", ("T1", "t 1")) is None
    assert option_of("t 1", ("T1", "t 1")) == "t 1"


def test_specialists_that_spell_their_labels_in_another_way_are_as_good(tmp_path: Path) -> None:
    plain = tuple(data_set("manifest/mr").read(write_cases(tmp_path), "test"))
    prompts: list[str] = []
    right = []
    for name, cases in (("plain", plain), ("spelled", tuple(map(respelled, plain)))):
        folder = RunFolder(tmp_path / name)
        variants = (Variant(Mode.MOED_RAD, "gsco"),)
        plan = Plan((Chosen("test", cases, guessers),), variants, partial(Parrot, prompts))
        run(plan, folder, lambda _done, _steps, _line: None)
        (task,) = tasks_of(folder)
        right.append(specialists(task, task.records).right.tolist())
    assert right[0] == right[1]
    assert sum(right[0]) == 7
    assert len(prompts) == 18
    for label, option in SPELLED.items():
        prompts = [prompt.replace(option, label) for prompt in prompts]
    assert prompts[:9] == prompts[9:]


def test_a_similar_case_that_shows_none_of_the_options_is_left_out(tmp_path: Path) -> None:
    record = recorded(case(tmp_path), "test")
    labels = (("Glioma", "Oedema"), ("Oedema",), ())
    similar = tuple(SimilarCase("guesser", "key", one, 0.9, "") for one in labels)
    found = in_words_of(record, Consultation((), (), (), similar, ()))
    assert [one.labels for one in found.cases] == [("glioma", "Oedema"), ()]


def test_a_bundle_that_does_not_know_each_of_the_options_cannot_choose_one(tmp_path: Path) -> None:
    asked = case(tmp_path)
    assert must_understand("b", [*LABELS, "stroke"], asked) == ""
    with pytest.raises(
        ConfigError, match=r"b cannot be asked.*means: meningioma, none\..*no option: stroke\."
    ):
        must_understand("b", ["Glioma", "stroke"], asked)


def test_a_bundle_of_several_labels_is_of_use_from_one_finding_on(tmp_path: Path) -> None:
    asked = replace(case(tmp_path), single=False, normal="none")
    assert must_understand("b", ["Glioma", "None"], asked) == "manifest/mr: b has no opinion on: meningioma."
    with pytest.raises(ConfigError, match=r"means: glioma, meningioma\..*no option: stroke\."):
        must_understand("b", ["None", "stroke"], asked)


def test_the_command_refuses_a_bundle_for_other_options(tmp_path: Path) -> None:
    LAYOUTS["pneumoniamnist"](tmp_path)
    words = ["evaluate", "run", "--out", str(tmp_path / "run"), "--dataset", f"pneumoniamnist={tmp_path}"]
    words += ["--specialist", "pneumoniamnist=cxr_pneumonia"]
    with pytest.raises(ConfigError, match=r"No label of it means: pneumonia\. Its labels .*: bacteria"):
        CliRunner().invoke(app, words, catch_exceptions=False)
