"""One data set of each layout goes through `gsco-pacs evaluate run` from its files to the table."""

import os
from collections import Counter
from pathlib import Path

import pytest
import yaml
from typer.testing import CliRunner

from gsco_pacs.cli import app
from gsco_pacs.datasets.registry import data_set, data_sets
from gsco_pacs.domain.errors import ConfigError
from gsco_pacs.domain.findings import Consultation, Mode
from gsco_pacs.evaluation.asking import asked, inquiry
from gsco_pacs.evaluation.consulting import findings_of
from gsco_pacs.evaluation.records import RunFolder, Variant, recorded
from gsco_pacs.evaluation.texts import score
from tests.data_layouts import LAYOUTS
from tests.evaluation_material import Parrot
from tests.tiny_checkpoints import build, llava

ONE_OF_EACH = {
    "pneumoniamnist": 2,  # arrays
    "retoct": 8,  # a folder for each class
    "fmc_endo": 1,  # a table of several labels
    "vindr_spinexr": 2,  # DICOM
    "slake": 1,  # free questions
    "omnimedvqa": 1,  # questions with choices
    "iu_xray": 2,  # reports
}
"""How many cases of test each has in its made-up directory."""


def test_every_kind_of_data_set_goes_through_the_whole_command(tmp_path: Path) -> None:
    tiny = {"kind": "transformers", "path": str(build(llava, tmp_path / "tiny")), "max_new_tokens": 2}
    (tmp_path / "config.yaml").write_text(yaml.safe_dump({"generalists": {"tiny": tiny}}))
    words = ["--config", str(tmp_path / "config.yaml"), "evaluate", "run", "--out", str(tmp_path / "run")]
    words += ["--generalist", "tiny", "--specialist", "iu_xray=cxr_findings"]
    for mode in ("specialists", "moed+rad"):
        words += ["--mode", mode]
    for name in ONE_OF_EACH:
        (tmp_path / name).mkdir()
        LAYOUTS[name](tmp_path / name)
        words += ["--dataset", f"{name}={tmp_path / name}"]
    done = CliRunner().invoke(app, words, catch_exceptions=False)
    assert done.exit_code == 0
    folder = RunFolder(tmp_path / "run")
    cases = {record.id: record for record in folder.cases}
    assert Counter(record.dataset for record in cases.values()) == ONE_OF_EACH
    briefed = [answer for answer in folder.answers if answer.variant.mode is Mode.MOED_RAD]
    assert {answer.case for answer in briefed} == set(cases)
    (report,) = {answer.text for answer in briefed if cases[answer.case].dataset == "iu_xray"}
    assert report  # worded from the specialist's opinions; none of the tiny generalist's words stands
    for name in ("pneumoniamnist", "retoct", "fmc_endo", "vindr_spinexr"):
        assert f"#### {name} (" in done.output


def test_a_generalist_without_words_is_refused_where_it_would_have_to_answer_and_words_reports(
    tmp_path: Path,
) -> None:
    def command(name: str, *more: str) -> list[str]:
        (tmp_path / name).mkdir(exist_ok=True)
        LAYOUTS[name](tmp_path / name)
        data = f"{name}={tmp_path / name}"
        return ["evaluate", "run", "--out", str(tmp_path / f"{name}-run"), "--dataset", data, *more]

    for words in (command("retoct", "--mode", "moed"), command("slake"), command("slake", "--mode", "rad")):
        with pytest.raises(ConfigError, match=r"'structured' is no language model.* --generalist"):
            CliRunner().invoke(app, words, catch_exceptions=False)
    for words in (command("retoct"), command("iu_xray", "--mode", "moed"), command("iu_xray")):
        assert CliRunner().invoke(app, words, catch_exceptions=False).exit_code == 0
    assert not list(RunFolder(tmp_path / "retoct-run").answers)
    reports = list(RunFolder(tmp_path / "iu_xray-run").answers)
    assert [one.variant.mode for one in reports] == [Mode.MOED] * 2 + [Mode.SPECIALISTS] * 2
    assert all(one.text for one in reports)


def test_a_prompt_offers_the_data_set_s_own_word_for_nothing(tmp_path: Path) -> None:
    LAYOUTS["vindr_spinexr"](tmp_path)
    case = next(data_set("vindr_spinexr").read(tmp_path, "test"))
    nobody = Consultation((), (), (), (), (), case.examines)
    record = recorded(case, "test")
    told = inquiry(record, case, Variant(Mode.GENERALIST, "gsco"), findings_of(record, nobody), nobody)
    assert "You are given a spine X-ray image." in told.briefing.prompt
    assert "you can choose 'No finding'." in told.briefing.prompt


def test_pcam200_is_asked_with_the_published_prompt_of_gsco_word_for_word(tmp_path: Path) -> None:
    LAYOUTS["pcam200"](tmp_path)
    case = next(data_set("pcam200").read(tmp_path, "test"))
    nobody = Consultation((), (), (), (), (), case.examines)
    record = recorded(case, "test")
    told = inquiry(record, case, Variant(Mode.MOED_RAD, "gsco"), findings_of(record, nobody), nobody)
    assert told.briefing.prompt == (
        " You are a helpful medical assistant. Your task is disease diagnosis. You are given a pathology image. "
        "The possible diagnoses are: 'normal', 'tumor'. The diagnoses of the most similar cases are none. "
        "The diagnoses of the specialist models are none. The response should only contain one option. "
    )


def test_the_prompts_published_for_the_generalist_alone_come_with_the_cases(tmp_path: Path) -> None:
    for name in ("pcam200", "vindr_spinexr", "slake", "iu_xray"):
        (tmp_path / name).mkdir()
        LAYOUTS[name](tmp_path / name)
    prompts = {
        name: next(data_set(name).read(tmp_path / name, "test")).prompt for name in os.listdir(tmp_path)
    }
    assert prompts["pcam200"].endswith("You should answer with normal or tumor.")
    assert prompts["vindr_spinexr"].endswith("you can choose 'No finding'.")
    assert prompts["slake"].endswith("medical image.The question is Which organ?.")
    assert prompts["iu_xray"].endswith("generate a summary report about the image.")


def test_the_command_that_lists_them_names_every_data_set() -> None:
    listed = CliRunner().invoke(app, ["evaluate", "datasets"], catch_exceptions=False).output
    assert [known.name for known in data_sets() if f"| `{known.name}` |" not in listed] == []


def test_any_of_several_right_answers_counts(tmp_path: Path) -> None:
    LAYOUTS["vqa_med"](tmp_path)
    record = recorded(next(data_set("vqa_med").read(tmp_path, "test")), "test")
    said = ("a large lipoma", "lipoma", "fatty mass", "a mass", "nothing")
    assert [score(one, record) for one in said] == [1, 1, 1, 0.5, 0]


def test_a_closed_answer_that_is_not_yes_or_no_is_scored_as_a_whole(tmp_path: Path) -> None:
    LAYOUTS["slake"](tmp_path)
    record = recorded(next(data_set("slake").read(tmp_path, "test")), "test")
    assert [score(said, record) for said in ("Liver.", "the liver", "no liver")] == [1, 0, 0]


def test_the_published_template_puts_the_paper_s_own_prompt_to_the_generalist_alone(tmp_path: Path) -> None:
    nobody = Consultation((), (), (), (), (), "pathology")
    for name in ("pcam200", "slake", "pneumoniamnist"):
        (tmp_path / name).mkdir()
        LAYOUTS[name](tmp_path / name)
        case = next(data_set(name).read(tmp_path / name, "test"))
        record = recorded(case, "test")
        alone, briefed, ours = (
            inquiry(
                record, case, Variant(mode, template), findings_of(record, nobody), nobody
            ).briefing.prompt
            for mode, template in (
                (Mode.GENERALIST, "published"),
                (Mode.MOED, "published"),
                (Mode.MOED, "gsco"),
            )
        )
        assert briefed == ours
        assert alone == case.prompt or (name == "pneumoniamnist" and "possible diagnoses" in alone)


def test_a_report_on_the_published_prompt_is_measured_in_the_generalist_s_own_words(tmp_path: Path) -> None:
    LAYOUTS["iu_xray"](tmp_path)
    case = next(data_set("iu_xray").read(tmp_path, "test"))
    record, nobody = recorded(case, "test"), Consultation((), (), (), (), (), case.examines)
    question = inquiry(record, case, Variant(Mode.GENERALIST, "published"), (), nobody)
    assert asked(Parrot(), question).text == "influenza"
