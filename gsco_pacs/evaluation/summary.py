"""Everything that runs have shown, as one JSON document from which the page, the plot and the terminal are made."""

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from gsco_pacs.datasets.cases import Task
from gsco_pacs.domain.findings import Mode
from gsco_pacs.evaluation.ablation import ablation
from gsco_pacs.evaluation.aims import aims
from gsco_pacs.evaluation.consulting import latest
from gsco_pacs.evaluation.contenders import TaskData, tasks_of, with_thresholds_of
from gsco_pacs.evaluation.gating import chosen_gate, when_unsure
from gsco_pacs.evaluation.overruling import overruling
from gsco_pacs.evaluation.page import put_between_marks, tables
from gsco_pacs.evaluation.records import Generalist, RunFolder, Variant, as_json
from gsco_pacs.evaluation.results import Prices, diagnoses, over_all_tasks
from gsco_pacs.evaluation.text_metrics import TextMeasure
from gsco_pacs.evaluation.texts import questions, reports
from gsco_pacs.settings.routes import GateSettings

GATES = "gates.json"


def summary(
    folders: Sequence[Path],
    split: str = "test",
    prices: Prices | None = None,
    measures: Mapping[str, TextMeasure] | None = None,
) -> dict[str, Any]:
    """The figures of each run on ``split``; the same run gives the same document."""
    return {"runs": [_run(RunFolder(path), split, prices or Prices(), measures) for path in folders]}


def as_markdown(folder: Path, split: str) -> str:
    """The tables of one run; they are written into it too (evaluation.md, evaluation.json)."""
    made = summary([folder], split)
    text = tables(made)
    (folder / "evaluation.json").write_text(json.dumps(made, indent=1) + "\n", encoding="utf-8")
    (folder / "evaluation.md").write_text(text, encoding="utf-8")
    return text


def write_page(
    page: Path,
    folders: Sequence[Path],
    split: str,
    prices: Prices,
    measures: Mapping[str, TextMeasure] | None = None,
) -> None:
    """Put the tables between the marks of ``page``; the same figures beside it as .json, and drawn as .svg."""
    from gsco_pacs.evaluation.plot import draw

    made = summary(folders, split, prices, measures)
    text = page.read_text(encoding="utf-8") if page.is_file() else ""
    figures, drawn = page.with_suffix(".json"), page.with_suffix(".svg")
    figures.write_text(json.dumps(made, indent=1) + "\n", encoding="utf-8")
    draw(made, drawn)
    shown = f"![Macro-F1 of each on each task]({drawn.name})\n\nThe same figures: [{figures.name}]({figures.name}).\n\n"
    page.write_text(put_between_marks(text, shown + tables(made)), encoding="utf-8")


def choose_gates(folder: Path) -> dict[str, GateSettings]:
    """For each data set the gate chosen on val for both briefings together; they are kept in the run (gates.json)."""
    found: dict[str, dict[str, GateSettings]] = {}
    for task in tasks_of(RunFolder(folder)):
        if task.split == "val" and task.task is Task.DIAGNOSIS and task.consulted:
            for variant in _both(task):
                fitted = with_thresholds_of(task, task)  # as they will count beside the gate
                found.setdefault(variant.name, {})[task.dataset] = chosen_gate(fitted, variant)
    content = {
        name: {dataset: gate.model_dump(mode="json") for dataset, gate in gates.items()}
        for name, gates in found.items()
    }
    (folder / GATES).write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
    return {f"{dataset} ({name})": gate for name, gates in found.items() for dataset, gate in gates.items()}


def _run(
    folder: RunFolder, split: str, prices: Prices, measures: Mapping[str, TextMeasure] | None
) -> dict[str, Any]:
    models = list(folder.generalists)
    model = models[0] if models else None
    tasks = [task for task in tasks_of(folder) if task.split == split and task.asked]
    diagnosis = [task for task in tasks if task.task is Task.DIAGNOSIS]
    briefed = list(dict.fromkeys(variant for task in diagnosis for variant in _both(task)))
    gates = _gates(folder.path) if split != "val" else {}  # what was chosen on val says nothing about itself
    unsure = [when_unsure(diagnosis, variant, gates.get(variant.name, {})) for variant in briefed]
    made = {
        "generalist": _told(model) if model else None,
        "mean": over_all_tasks(diagnosis),
        "tasks": [
            diagnoses(task, model, prices)
            | {
                "overruling": [
                    {"name": variant.name, "bins": overruling(task, task.asked, variant)}
                    for variant in _both(task)
                    if task.consulted
                ]
            }
            for task in diagnosis
        ],
        "when_unsure": [each for each in unsure if each],
        "reports": [reports(task, model, prices, measures) for task in tasks if task.task is Task.REPORT],
        "questions": [questions(task, model, prices) for task in tasks if task.task is Task.QUESTION],
        "ablation": [
            {"template": template, "rows": rows}
            for template in dict.fromkeys(variant.template for variant in briefed)
            if (rows := ablation(diagnosis, template))
        ],
    }
    if lost := _unread(folder, split):
        made["unread"] = lost
    plain: dict[str, Any] = as_json(made)
    return plain | {"aims": aims(plain)}


def _unread(folder: RunFolder, split: str) -> list[dict[str, Any]]:
    """How many cases of each data set take no part, because their images cannot be read."""
    cases = {record.id: record for record in folder.cases if record.split == split}
    lost = [cases[id_].dataset for id_, said in latest(folder).items() if said.failure and id_ in cases]
    return [{"dataset": dataset, "n": n} for dataset, n in Counter(lost).items()]


def _both(task: TaskData) -> list[Variant]:
    """The plain variants with opinions and similar cases."""
    return [v for v in task.answers if v == Variant(Mode.MOED_RAD, v.template)]


def _gates(folder: Path) -> Mapping[str, Mapping[str, GateSettings]]:
    if not (folder / GATES).is_file():
        return {}
    content = json.loads((folder / GATES).read_text(encoding="utf-8"))
    return {
        name: {dataset: GateSettings(**gate) for dataset, gate in gates.items()}
        for name, gates in content.items()
    }


def _told(model: Generalist) -> dict[str, Any]:
    return asdict(model) | {"sha256": model.sha256[:12]}
