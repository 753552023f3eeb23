"""The page's tables are the JSON's figures, and what is derived from stored answers needs no new ones."""

import json
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from gsco_pacs.cli import app
from gsco_pacs.datasets.cases import Task
from gsco_pacs.datasets.registry import data_set
from gsco_pacs.domain.findings import Answer, Briefing, Mode
from gsco_pacs.evaluation.ablation import ablation_variants
from gsco_pacs.evaluation.aims import aims
from gsco_pacs.evaluation.consulting import consulted, varied
from gsco_pacs.evaluation.contenders import TaskData, generalist, specialists, tasks_of, tuned
from gsco_pacs.evaluation.gating import chosen_gate, gated
from gsco_pacs.evaluation.overruling import overruling
from gsco_pacs.evaluation.page import BEGIN, END, put_between_marks, tables
from gsco_pacs.evaluation.records import AnswerRecord, RunFolder, Variant
from gsco_pacs.evaluation.resampling import once
from gsco_pacs.evaluation.results import decisions_of
from gsco_pacs.evaluation.running import Chosen, Plan, run
from gsco_pacs.evaluation.summary import choose_gates, summary
from gsco_pacs.ports import Picture
from gsco_pacs.settings.routes import GateSettings
from tests.evaluation_material import LABELS, Guesser, Parrot, guessers, write_cases

DOCS = Path(__file__).parents[1] / "docs"
BOTH = Variant(Mode.MOED_RAD, "gsco")
PLAIN = tuple(Variant(mode, "gsco") for mode in Mode)


def silent(done: int, steps: int, line: str) -> None:
    """Nobody watches."""


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run over val and test, and an ablation beside it."""
    folder = tmp_path_factory.mktemp("page")
    manifest = write_cases(folder, 24)
    text = manifest.read_text().splitlines()
    halves = [line.replace(",test", ",val") if n <= 12 else line for n, line in enumerate(text)]
    manifest.write_text("\n".join(halves) + "\n")
    for name, variants in (("run", PLAIN), ("ablation", ablation_variants("gsco", 1))):
        for split in ("val", "test"):
            cases = tuple(data_set("manifest/mr").read(manifest, split))
            plan = Plan((Chosen(split, cases, guessers),), variants, partial(Parrot, []))
            run(plan, RunFolder(folder / name), silent)
    return folder


def only(folder: Path, split: str = "test") -> TaskData:
    (task,) = (task for task in tasks_of(RunFolder(folder)) if task.split == split)
    return task


def answering(task: TaskData, said: dict[str, str]) -> TaskData:
    """``task`` with other answers of both briefings: case -> label, "" for one that could not be read."""
    answers = {
        case: AnswerRecord(
            case, BOTH, "", label, (label,) if label else (), "" if label else "no option", 1, 0.1
        )
        for case, label in said.items()
    }
    return replace(task, answers={BOTH: answers})


def test_a_page_has_every_figure_of_the_json(done: Path) -> None:
    page = done / "evaluation.md"
    page.write_text(f"Before.\n\n{BEGIN}\nold\n{END}\n\nAfter.\n")
    choose_gates(done / "run")
    shown = CliRunner().invoke(
        app,
        ["evaluate", "report", str(done / "run"), str(done / "ablation"), "--page", str(page)],
        catch_exceptions=False,
    )
    assert str(page) in shown.output
    text, made = page.read_text(), json.loads(page.with_suffix(".json").read_text())
    assert text.startswith("Before.")
    assert text.rstrip().endswith("After.")
    assert "old" not in text
    assert tables(made) in text
    (task,) = made["runs"][0]["tasks"]
    for row in task["rows"]:
        assert f"| {row['name']} | {row['macro_f1']['value']:.3f} (" in text
    assert made["runs"][0]["when_unsure"]
    assert len(made["runs"][1]["ablation"][0]["rows"]) == len(ablation_variants("gsco", 1))
    drawn = page.with_suffix(".svg").read_bytes()
    assert b"<svg" in drawn
    assert len(drawn) < 200_000


def test_the_projects_own_page_has_the_tables_of_its_json() -> None:
    text = (DOCS / "evaluation.md").read_text()
    if BEGIN in text:
        assert tables(json.loads((DOCS / "evaluation.json").read_text())) in text
    else:
        assert not (DOCS / "evaluation.json").exists()


def test_the_same_run_gives_the_same_document_and_page(done: Path) -> None:
    first, again = (summary([done / "run"]) for _ in range(2))
    assert first == again
    page = put_between_marks("Text.\n", tables(first))
    assert put_between_marks(page, tables(first)) == page


def test_every_number_of_a_table_has_a_column(done: Path) -> None:
    blocks = [block for block in tables(summary([done / "run"])).split("\n\n") if block.startswith("|")]
    assert len(blocks) > 4
    for block in blocks:
        assert len({line.count("|") for line in block.splitlines()}) == 1


def test_the_gate_never_asked_is_the_specialists_and_always_asked_the_generalist(done: Path) -> None:
    task = only(done / "run")
    never, always = (gated(task, task.asked, BOTH, GateSettings(policy=p)) for p in ("never", "always"))
    assert (never.saved, always.saved) == (1, 0)
    weights = once(len(task.asked))
    assert never.decided.accuracy(weights) == specialists(task, task.asked).accuracy(weights)
    assert (
        always.decided.said == specialists(task, task.asked).said
    ).all()  # the parrot says what it was told


def test_a_gate_that_costs_nothing_saves_all_calls_and_one_that_costs_much_is_not_taken(done: Path) -> None:
    val = only(done / "run", "val")
    assert chosen_gate(val, BOTH).policy == "never"
    better = answering(val, {record.id: record.truth[0] for record in val.records})
    assert not specialists(val, val.records).right.all()
    gate = chosen_gate(better, BOTH)
    kept = gated(better, better.records, BOTH, gate).decided.macro_f1(once(len(val.records)))[0]
    assert kept >= 1 - 0.005


def test_the_generalist_overrules_rightly_wrongly_or_unreadably(done: Path) -> None:
    task = only(done / "run")
    theirs = specialists(task, task.records)
    wrong = [r for r, right in zip(task.records, theirs.right, strict=True) if not right]
    said = {r.id: LABELS[list(row).index(True)] for r, row in zip(task.records, theirs.said, strict=True)}
    said[wrong[0].id] = wrong[0].truth[0]
    right = [r for r, ok in zip(task.records, theirs.right, strict=True) if ok]
    said[right[0].id] = next(label for label in LABELS if label not in right[0].truth)
    said[right[1].id] = ""
    found = overruling(answering(task, said), task.records, BOTH)
    total: dict[str, Any] = {key: sum(one[key] for one in found) for key in found[0]}
    assert (total["n"], total["overruled"]) == (len(task.records), 2)
    assert (total["rightly"], total["wrongly"], total["unreadable"]) == (1, 1, 1)
    assert {(one["from"], one["n"]) for one in found} >= {(0.7, len(task.records))}  # the guesser's 0.8


def test_exchanged_opinions_mislead_whoever_repeats_them(done: Path) -> None:
    (part,) = summary([done / "ablation"])["runs"][0]["ablation"]
    rows = {row["name"]: row for row in part["rows"]}
    whole, half = rows["moed+rad, gsco"], rows["moed+rad, gsco, 50 % corrupted"]
    assert half["macro_f1"]["value"] < whole["macro_f1"]["value"]
    assert half["macro_f1"] == half["specialists"]
    assert rows["moed+rad, gsco, 0 similar cases"]["against_base"]["value"] == 0


def test_without_probabilities_a_briefing_holds_each_members_own_diagnosis_alone(done: Path) -> None:
    task = only(done / "run")
    variant = replace(BOTH, labels_only=True)
    for record in task.records:
        opinions = varied(record, variant, task.consultations, task.records).opinions
        before = task.consultations[record.id].opinions
        assert {o.probability for o in opinions} == {0.0, 1.0}
        leading = max(before, key=lambda opinion: opinion.probability).finding
        assert [o.finding for o in opinions if o.probability] == [leading]


def test_scores_are_held_against_thresholds_from_val_as_the_specialists_are(done: Path) -> None:
    task = only(done / "run")
    scores = {label: 0.3 if n == 0 else 0.1 for n, label in enumerate(LABELS)}
    answers = {r.id: AnswerRecord(r.id, BOTH, "", "", (), "no option", 1, 0.1, scores) for r in task.records}
    limits = {BOTH: (0.2,) * 3}
    made = replace(task, answers={BOTH: answers}, own_thresholds=limits)
    assert tuned(made, task.records, BOTH).said.tolist() == [[True, False, False]] * len(task.records)
    assert not generalist(replace(made, own_thresholds={}), task.records, BOTH).said.any()


def test_what_was_fitted_or_chosen_on_val_is_no_figure_of_val(tmp_path: Path) -> None:
    class Scoring(Parrot):
        def answer(self, briefing: Briefing, pictures: Sequence[Picture]) -> Answer:
            return replace(super().answer(briefing, pictures), scores=dict.fromkeys(LABELS, 0.3))

    manifest = write_cases(tmp_path, 6)
    folder = RunFolder(tmp_path / "run")
    for split in ("val", "test"):
        read = data_set("manifest/mr").read(manifest, "test")
        cases = tuple(replace(case, single=False, normal="none") for case in read)
        run(Plan((Chosen(split, cases, guessers),), (BOTH,), Scoring), folder, silent)
    (folder.path / "gates.json").write_text('{"moed+rad, gsco": {"manifest/mr": {"policy": "never"}}}')
    names = {task.split: [*decisions_of(task, task.asked)] for task in tasks_of(folder)}
    assert names["val"] == ["specialists", "moed+rad, gsco"]
    fitted = {"specialists, threshold 0.5", "moed+rad, gsco, thresholds from val"}
    assert {*names["test"]} - {*names["val"]} == fitted
    (val,) = summary([folder.path], "val")["runs"]
    assert ([row["name"] for row in val["tasks"][0]["rows"]], val["when_unsure"]) == (names["val"], [])
    assert not [aim for aim in val["aims"] if "thresholds" in aim["aim"] or "unsure" in aim["aim"]]
    assert "any of 3 options, each named by the specialists from 0.5)" in tables({"runs": [val]})


def test_an_aim_is_met_only_by_the_figures() -> None:
    def found(both: float, alone: float, p: float, saved: float, lost: float) -> list[bool]:
        rows = [("specialists", 0.6), ("generalist, gsco", alone), ("moed+rad, gsco", both)]
        names = {"first": "moed+rad, gsco", "second": "specialists"}
        run = {
            "tasks": [{"dataset": "d", "rows": [{"name": n, "macro_f1": {"value": v}} for n, v in rows]}],
            "mean": {"paired": [names | {"macro_f1": {"value": both - 0.6, "p": p}}]},
            "when_unsure": [{"name": "moed+rad, gsco", "saved": saved, "difference": {"value": -lost}}],
            "questions": [{"dataset": "q", "paired": [names | {"score": {"value": both - alone, "p": p}}]}],
        }
        return [one["met"] for one in aims(run)]

    assert found(0.7, 0.5, 0.01, 0.6, 0.005) == [True, True, True, True]
    assert found(0.55, 0.5, 0.01, 0.7, 0.0) == [False, False, True, True]
    assert found(0.7, 0.5, 0.06, 0.59, 0.0) == [True, False, False, False]
    assert found(0.7, 0.8, 0.01, 0.9, 0.006) == [False, True, False, False]


def test_a_question_is_asked_under_the_briefing_and_without_it_in_its_own_words(tmp_path: Path) -> None:
    manifest = write_cases(tmp_path, 3)
    asked = {
        f"{n}.png": [{"q": "Is there a tumour?", "a": "yes"}, {"q": "Where?", "a": "right lobe"}]
        for n in range(3)
    }
    (tmp_path / "mr" / "qa.json").write_text(json.dumps(asked))
    prompts: list[str] = []

    class Doctor(Parrot):
        def answer(self, briefing: Briefing, pictures: Sequence[Picture]) -> Answer:
            self.prompts.append(briefing.prompt)
            right = "likelihood" in briefing.prompt and "tumour" in briefing.prompt
            return Answer("Yes." if right else "the left lobe", self.identity, image_seen=True)

    cases = tuple(data_set("manifest/mr").read(manifest, "test"))
    run(
        Plan((Chosen("test", cases, guessers),), PLAIN, lambda: Doctor(prompts)),
        RunFolder(tmp_path / "run"),
        silent,
    )
    plain = 'Answer this question about the image in a few words: "Where?"'
    assert prompts.count(plain) == 3
    assert any(
        p.startswith("Similar cases (10): ") and "\nSpecialist models" in p and p.endswith(plain)
        for p in prompts
    )
    (task,) = summary([tmp_path / "run"])["runs"][0]["questions"]
    rows = {row["name"]: row for row in task["rows"]}
    assert set(rows) == {"generalist", "moed", "rad", "moed+rad"}
    assert (rows["generalist"]["closed"]["value"], rows["moed+rad"]["closed"]["value"]) == (0, 1)
    assert rows["rad"]["open"]["value"] == 0.5
    assert (rows["rad"]["closed_n"], rows["rad"]["open_n"], rows["rad"]["calls"]) == (3, 3, 6)


def test_a_specialist_that_does_not_know_such_images_is_silent_on_a_question_only(tmp_path: Path) -> None:
    class Choosy(Guesser):
        familiar_from = 1.1

    (case, *_) = data_set("manifest/mr").read(write_cases(tmp_path, 3), "test")
    asked = replace(case, task=Task.QUESTION, question="Where?", answer="left")
    assert consulted(case, "d", [Choosy()]).consultation.opinions
    silent_one = consulted(asked, "q", [Choosy()]).consultation
    assert (silent_one.opinions, silent_one.cases) == ((), ())
    further = consulted(
        asked, "q", [Choosy(), Guesser()]
    ).consultation  # of the same bundle, without reference cases
    assert further.opinions == ()


def test_reports_are_compared_with_the_radiologists(tmp_path: Path) -> None:
    manifest = write_cases(tmp_path, 3)
    read = data_set("manifest/mr").read(manifest, "test")
    cases = tuple(replace(case, task=Task.REPORT, reference="There is glioma.") for case in read)
    folder = RunFolder(tmp_path / "run")
    run(Plan((Chosen("test", cases, guessers),), PLAIN[:1], Parrot), folder, silent)
    (task,) = summary([tmp_path / "run"])["runs"][0]["reports"]
    (row,) = task["rows"]
    assert row["name"] == "specialists"
    assert 0 < row["figures"]["BLEU-1"] < 1
    assert "| METEOR | " in tables(summary([tmp_path / "run"]))
