"""Everything that runs have shown, as one JSON document from which the page, the plot and the terminal are made."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from gsco_pacs.datasets.cases import Task
from gsco_pacs.evaluation.contenders import tasks_of
from gsco_pacs.evaluation.page import tables
from gsco_pacs.evaluation.records import RunFolder, as_json
from gsco_pacs.evaluation.results import Prices, diagnoses, over_all_tasks


def summary(folders: Sequence[Path], split: str = "test", prices: Prices | None = None) -> dict[str, Any]:
    """The figures of each run on ``split``; the same run gives the same document."""
    return {"runs": [as_json(_run(RunFolder(path), split, prices or Prices())) for path in folders]}


def _run(folder: RunFolder, split: str, prices: Prices) -> dict[str, Any]:
    models = list(folder.generalists)
    model = models[0] if models else None
    tasks = [task for task in tasks_of(folder) if task.split == split]
    diagnosis = [task for task in tasks if task.task is Task.DIAGNOSIS and task.asked]
    return {
        "generalist": {
            "name": model.name,
            "version": model.version,
            "sha256": model.sha256[:12],
            "parameters": model.parameters,
        }
        if model
        else None,
        "tasks": [diagnoses(task, model, prices) for task in diagnosis],
        "mean": over_all_tasks(diagnosis),
    }


def as_markdown(folder: Path, split: str) -> str:
    """The tables of one run; they are written beside it too (evaluation.md, evaluation.json)."""
    made = summary([folder], split)
    text = tables(made)
    (folder / "evaluation.json").write_text(json.dumps(made, indent=1) + "\n", encoding="utf-8")
    (folder / "evaluation.md").write_text(text, encoding="utf-8")
    return text
