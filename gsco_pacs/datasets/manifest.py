"""Our own layout: a manifest (CSV, one row an image) beside the images, and a file of questions for a module that has one."""

import csv
import json
from collections.abc import Iterator
from pathlib import Path

from gsco_pacs.datasets.cases import EvaluationCase, Split, Task
from gsco_pacs.datasets.images import ImageFiles
from gsco_pacs.domain.errors import ConfigError

Row = dict[str, str]
_COLUMNS = ("path", "module", "label", "group", "split")
_QUESTIONS = "qa.json"
_MODALITIES = {"CR": "X-ray", "DX": "X-ray", "MG": "mammography", "US": "ultrasound", "mixed": "radiology"}
_EXAMINES = {
    "ct_lung": "chest CT",
    "cxr_kermany": "child's chest X-ray",
    "cxr_nih": "chest X-ray",
    "dx_knee": "knee X-ray",
    "mr_tumor": "brain MR",
    "us_busi": "breast ultrasound",
}


def read_manifest(path: Path, split: Split, module: str) -> Iterator[EvaluationCase]:
    """The cases of one module: questions if the module's folder has a qa.json, else diagnoses from the labels.

    ``path`` is the manifest or its folder. Labels of an image are joined by a bar; the options are all labels that the
    module has in any split, and one image with two labels makes the module multi-label.
    """
    manifest = path / "manifest.csv" if path.is_dir() else path
    rows = [row for row in _rows(manifest) if row["module"] == module]
    if not any(row["split"] == split for row in rows):
        raise ConfigError(f"{manifest} has no image of module {module!r} in split {split!r}.")
    questions = manifest.parent / module / _QUESTIONS
    if questions.is_file():
        return _questions(questions, module, [row for row in rows if row["split"] == split])
    return _diagnoses(manifest.parent, module, rows, split)


def _rows(manifest: Path) -> list[Row]:
    try:
        with manifest.open(newline="", encoding="utf-8") as lines:
            rows = list(csv.DictReader(lines))
    except OSError as error:
        raise ConfigError(f"{manifest}: {error.strerror}; a manifest (CSV) is expected here.") from error
    missing = [column for column in _COLUMNS if rows and column not in rows[0]]
    if missing:
        raise ConfigError(f"{manifest} has no column {', '.join(missing)}.")
    return rows


def _examines(module: str, row: Row) -> str:
    modality = row.get("modality", "")
    return _EXAMINES.get(module) or _MODALITIES.get(modality, modality) or "medical"


def _diagnoses(folder: Path, module: str, rows: list[Row], split: Split) -> Iterator[EvaluationCase]:
    options = tuple(sorted({label for row in rows for label in row["label"].split("|")}))
    single = not any("|" in row["label"] for row in rows)
    for row in rows:
        if row["split"] == split:
            yield EvaluationCase(
                key=row["path"],
                dataset=f"manifest/{module}",
                group=row["group"],
                images=ImageFiles(folder, (row["path"],)),
                task=Task.DIAGNOSIS,
                examines=_examines(module, row),
                single=single,
                options=options,
                truth=tuple(row["label"].split("|")),
            )


def _questions(file: Path, module: str, rows: list[Row]) -> Iterator[EvaluationCase]:
    """Every question about the images of ``rows``: {image: [{"q": question, "a": answer, ...}]}."""
    try:
        asked = json.loads(file.read_text(encoding="utf-8"))
        pairs = [
            (row, n, str(item["q"]).strip(), str(item["a"]).strip())
            for row in rows
            for n, item in enumerate(asked.get(Path(row["path"]).name, ()))
        ]
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ConfigError(f'{file} is not of the form {{image: [{{"q": ..., "a": ...}}]}}.') from error
    for row, n, question, answer in pairs:
        yield EvaluationCase(
            key=f"{row['path']}#{n}",
            dataset=f"manifest/{module}",
            group=row["group"],
            images=ImageFiles(file.parents[1], (row["path"],)),
            task=Task.QUESTION,
            examines=_examines(module, row),
            question=question,
            answer=answer,
        )
