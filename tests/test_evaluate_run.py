"""`gsco-pacs evaluate run` asks each case once in each mode, goes on after a kill, and writes what it found."""

import csv
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from PIL import Image
from typer.testing import CliRunner

from gsco_pacs.cli import app
from gsco_pacs.datasets.cases import Task
from gsco_pacs.datasets.registry import data_set
from gsco_pacs.domain.errors import ConfigError, PermanentError
from gsco_pacs.domain.findings import Answer, Briefing, Mode, ModelIdentity
from gsco_pacs.evaluation.contenders import tasks_of
from gsco_pacs.evaluation.page import tables
from gsco_pacs.evaluation.records import AnswerRecord, Generalist, Lines, RunFolder, Variant
from gsco_pacs.evaluation.running import Chosen, Plan, must_be_the_same, run
from gsco_pacs.evaluation.spreading import spread
from gsco_pacs.evaluation.summary import summary
from gsco_pacs.ports import Look, Picture
from tests.evaluation_material import Guesser, Parrot, dying, guessers, refusing, write_cases
from tests.tiny_checkpoints import build, llava

MODES = tuple(Variant(mode, "gsco") for mode in Mode)


def plan(manifest: Path, prompts: list[str], **settings: Any) -> Plan:
    cases = tuple(data_set("manifest/mr").read(manifest, "test"))
    chosen = (Chosen("test", cases, guessers),)
    return Plan(chosen, MODES, partial(Parrot, prompts), **settings)


def silent(done: int, steps: int, line: str) -> None:
    """Nobody watches."""


def test_each_mode_shows_what_it_should_and_an_answer_outside_the_options_is_a_failure(
    tmp_path: Path,
) -> None:
    prompts: list[str] = []
    run(plan(write_cases(tmp_path), prompts), RunFolder(tmp_path / "run"), silent)
    (task,) = summary([tmp_path / "run"])["runs"][0]["tasks"]
    rows = {row["name"]: row for row in task["rows"]}
    assert list(rows) == ["specialists", "generalist, gsco", "moed, gsco", "rad, gsco", "moed+rad, gsco"]
    wrong = len([n for n in range(9) if n % 4 == 3])
    assert rows["specialists"]["accuracy"]["value"] == pytest.approx((9 - wrong) / 9, abs=1e-4)
    assert (
        rows["moed+rad, gsco"]["accuracy"]
        == rows["moed, gsco"]["accuracy"]
        == rows["specialists"]["accuracy"]
    )
    assert rows["generalist, gsco"]["failures"] == rows["rad, gsco"]["failures"] == 9
    assert rows["generalist, gsco"]["accuracy"]["value"] == rows["rad, gsco"]["macro_f1"]["value"] == 0
    assert (rows["generalist, gsco"]["calls"], rows["moed, gsco"]["calls"]) == (18, 9)
    assert any("cannot be used" in prompt for prompt in prompts)


def test_the_second_try_can_name_nothing_but_options_as_in_the_node(tmp_path: Path) -> None:
    constrained: list[bool] = []

    class Watched(Parrot):
        def answer(self, briefing: Briefing, pictures: Sequence[Picture]) -> Answer:
            constrained.append(briefing.constrained)
            return super().answer(briefing, pictures)

    before = plan(write_cases(tmp_path, 1), [])
    asked = Plan(before.chosen, (Variant(Mode.GENERALIST, "gsco"),), Watched)
    run(asked, RunFolder(tmp_path / "run"), silent)
    assert constrained == [False, True]


def test_nothing_is_asked_twice_and_a_new_case_is_asked_alone(tmp_path: Path) -> None:
    prompts: list[str] = []
    manifest = write_cases(tmp_path)
    run(plan(manifest, prompts, per_task=4), RunFolder(tmp_path / "run"), silent)
    first = len(prompts)
    run(plan(manifest, prompts, per_task=4), RunFolder(tmp_path / "run"), silent)
    assert len(prompts) == first == 4 * (2 + 1 + 2 + 1)
    run(plan(manifest, prompts, per_task=5), RunFolder(tmp_path / "run"), silent)
    assert len(prompts) == first + 6


def test_a_changed_specialist_is_consulted_anew_and_only_changed_briefings_are_asked_again(
    tmp_path: Path,
) -> None:
    prompts: list[str] = []
    before = plan(write_cases(tmp_path), prompts)
    run(before, RunFolder(tmp_path / "run"), silent)
    first = len(prompts)
    run(consulting(before, Newer()), RunFolder(tmp_path / "run"), silent)
    changed = [n for n in range(9) if (n % 3 + (n % 4 == 3)) % 3 != 0]
    assert len(prompts) == first + len(changed) * (1 + 1 + 2)  # moed, moed+rad, and rad with its retry


class Newer(Guesser):
    """The guesser after more training: always for the first label."""

    identity = ModelIdentity("guesser", "2", "c" * 64)

    def look(self, pictures: Sequence[Picture]) -> tuple[Look, ...]:
        return tuple(Look((0.7, 0.2, 0.1), look.features) for look in super().look(pictures))


def consulting(before: Plan, *specialists: Guesser) -> Plan:
    """``before`` with other specialists."""
    return replace(before, chosen=(replace(before.chosen[0], open_specialists=lambda: specialists),))


def test_the_specialists_that_a_run_names_last_are_those_that_count(tmp_path: Path) -> None:
    before, folder = plan(write_cases(tmp_path, 3), []), RunFolder(tmp_path / "run")
    for specialist in (Guesser(), Newer(), Guesser()):
        run(consulting(before, specialist), folder, silent)
    (task,) = tasks_of(folder)
    assert {c.specialists[0].version for c in task.consultations.values()} == {"1"}


def test_a_report_is_made_anew_from_other_opinions_whatever_its_prompt_shows(tmp_path: Path) -> None:
    before, folder = (
        replace(plan(write_cases(tmp_path, 3), []), variants=MODES[:2]),
        RunFolder(tmp_path / "run"),
    )
    cases = tuple(replace(case, task=Task.REPORT, reference="Glioma.") for case in before.chosen[0].cases)
    before = replace(before, chosen=(replace(before.chosen[0], cases=cases),))
    for specialist in (Guesser(), Newer(), Newer()):
        run(consulting(before, specialist), folder, silent)
    texts = [answer.text for answer in folder.answers]
    assert len(texts) == 2 * 3 * 2
    assert ["70 %" in text for text in texts] == [False] * 6 + [True] * 6


def test_the_answers_of_a_run_from_before_reports_had_a_second_key_hold(tmp_path: Path) -> None:
    prompts: list[str] = []
    asked, folder = plan(write_cases(tmp_path), prompts), RunFolder(tmp_path / "run")
    run(asked, folder, silent)
    for name, key in (("answers", "consultation_sha256"), ("consultations", "failure")):
        lines = [json.loads(line) for line in (folder.path / f"{name}.jsonl").read_text().splitlines()]
        old = [json.dumps({k: v for k, v in line.items() if k != key}) + "\n" for line in lines]
        (folder.path / f"{name}.jsonl").write_text("".join(old))
    first = len(prompts)
    run(asked, folder, silent)
    assert len(prompts) == first


def test_a_case_that_cannot_be_read_is_counted_and_asked_once_it_can_be(tmp_path: Path) -> None:
    prompts: list[str] = []
    told: list[str] = []
    asked, folder = plan(write_cases(tmp_path), prompts), RunFolder(tmp_path / "run")
    whole = (tmp_path / "mr" / "2.png").read_bytes()
    (tmp_path / "mr" / "2.png").write_bytes(whole[:50])
    for _ in range(2):
        run(asked, folder, lambda _done, _steps, line: told.append(line))
    assert [line for line in told if line] == [told[2]] * 2
    assert told[2].startswith("manifest/mr|test|mr/2.png could not be read: 2.png is not a readable image")
    assert len(list(folder.consultations)) == 9
    (made,) = summary([folder.path])["runs"]
    assert (made["unread"], made["tasks"][0]["n"]) == ([{"dataset": "manifest/mr", "n": 1}], 8)
    assert "| manifest/mr | 1 |" in tables({"runs": [made]})
    first = len(prompts)
    (tmp_path / "mr" / "2.png").write_bytes(whole)
    run(asked, folder, silent)
    assert len(prompts) == first + 2 + 1 + 2 + 1
    assert [len(task.asked) for task in tasks_of(folder)] == [9]


def test_a_file_that_breaks_after_the_consultation_takes_its_case_out(tmp_path: Path) -> None:
    asked, folder = plan(write_cases(tmp_path, 4), []), RunFolder(tmp_path / "run")
    run(replace(asked, variants=()), folder, silent)
    (tmp_path / "mr" / "1.png").write_bytes(b"")
    run(asked, folder, silent)
    assert [len(task.asked) for task in tasks_of(folder)] == [3]


def test_a_torn_last_line_is_cut_off(tmp_path: Path) -> None:
    lines = Lines(tmp_path / "answers.jsonl", AnswerRecord)
    record = AnswerRecord("c", Variant(Mode.MOED), "0", "text", ("none",), "", 1, 0.5, {"none": 0.9})
    lines.add(record)
    with (tmp_path / "answers.jsonl").open("ab") as file:
        file.write(b'{"case": "torn')
    again = Lines(tmp_path / "answers.jsonl", AnswerRecord)
    again.add(record)
    assert list(again) == [record, record]


def test_a_file_of_something_else_is_named(tmp_path: Path) -> None:
    (tmp_path / "answers.jsonl").write_text('{"no": "answer"}\n')
    with pytest.raises(ConfigError, match="line 1"):
        list(Lines(tmp_path / "answers.jsonl", AnswerRecord))


@pytest.fixture(scope="module")
def command(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], list[str]]:
    """The whole command on twelve made-up chest images, the shipped specialist and a tiny generalist."""
    folder = tmp_path_factory.mktemp("evaluate")
    random = np.random.default_rng(3)
    rows = [["path", "module", "modality", "label", "group", "split"]]
    (folder / "cxr_nih").mkdir()
    for n in range(12):
        Image.fromarray(random.integers(0, 255, (64, 64)).astype(np.uint8)).save(
            folder / "cxr_nih" / f"{n}.png"
        )
        label = ("Effusion|Mass", "No Finding", "Nodule")[n % 3]
        rows.append([f"cxr_nih/{n}.png", "cxr_nih", "DX", label, f"p{n // 2}", "test"])
    with (folder / "manifest.csv").open("w", newline="") as lines:
        csv.writer(lines).writerows(rows)
    tiny = {"kind": "transformers", "path": str(build(llava, folder / "tiny")), "max_new_tokens": 4}
    (folder / "config.yaml").write_text(yaml.safe_dump({"generalists": {"tiny": tiny}}))

    def words(out: str, *more: str) -> list[str]:
        given = ["--manifest", str(folder / "manifest.csv"), "--dataset", "cxr_nih", "--generalist", "tiny"]
        return [
            "--config",
            str(folder / "config.yaml"),
            "evaluate",
            "run",
            "--out",
            str(folder / out),
            *given,
            *more,
        ]

    return words


def without_seconds(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: without_seconds(item) for key, item in value.items() if key != "seconds"}
    return [without_seconds(item) for item in value] if isinstance(value, list) else value


def figures(words: list[str]) -> Any:
    return without_seconds(
        json.loads((Path(words[words.index("--out") + 1]) / "evaluation.json").read_text())
    )


def test_a_killed_run_goes_on_and_ends_with_the_same_figures(command: Callable[[str], list[str]]) -> None:
    whole = command("whole")
    done = CliRunner().invoke(app, whole, catch_exceptions=False)
    assert "| moed+rad, gsco |" in done.output
    torn = command("torn")
    answers = Path(torn[torn.index("--out") + 1]) / "answers.jsonl"
    process = subprocess.Popen(
        [sys.executable, "-m", "gsco_pacs", *torn], env=os.environ, stdout=subprocess.DEVNULL
    )
    deadline = time.monotonic() + 120
    while not (answers.is_file() and answers.read_bytes().count(b"\n") >= 3):
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    process.wait()
    kept = answers.read_bytes()
    assert kept.count(b"\n") < 12 * 4
    CliRunner().invoke(app, torn, catch_exceptions=False)
    assert answers.read_bytes().startswith(kept[: kept.rfind(b"\n") + 1])
    assert figures(torn) == figures(whole)


def test_two_processes_find_what_one_finds(tmp_path: Path) -> None:
    chosen = plan(write_cases(tmp_path), []).chosen
    for jobs in (1, 2):
        run(Plan(chosen, MODES, Parrot, jobs=jobs), RunFolder(tmp_path / str(jobs)), silent)
    alone, shared = (without_seconds(summary([tmp_path / str(jobs)])) for jobs in (1, 2))
    assert alone == shared


def test_what_goes_wrong_in_a_process_is_raised_here() -> None:
    with pytest.raises(ConfigError, match="of two"):
        list(spread(refusing, [1, 2, 3], 2))
    with pytest.raises(PermanentError, match="has ended"):
        list(spread(dying, [1, 2, 3], 2))


def test_another_generalist_is_refused_in_the_same_folder(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path / "run")
    assert not must_be_the_same(folder, "parrot", "b")
    folder.generalists.add(Generalist("parrot", "1", "b"))
    assert must_be_the_same(folder, "parrot", "b")
    with pytest.raises(ConfigError, match="another folder"):
        must_be_the_same(folder, "parrot", "c")
