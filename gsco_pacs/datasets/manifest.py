"""Our own layout: a manifest (CSV, one row an image) beside the images, and a file of questions for a module that has one."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from gsco_pacs.datasets.cases import DataSet, EvaluationCase, Split, Task
from gsco_pacs.datasets.files import Row, entries, json_of, rows_of
from gsco_pacs.datasets.images import ImageFiles

_COLUMNS = ("path", "module", "label", "group", "split")
_MODALITIES = {"CR": "X-ray", "DX": "X-ray", "MG": "mammography", "US": "ultrasound", "mixed": "radiology"}
_EXAMINES = {
    "ct_lung": "chest CT",
    "cxr_kermany": "child's chest X-ray",
    "cxr_nih": "chest X-ray",
    "dx_knee": "knee X-ray",
    "mr_tumor": "brain MR",
    "us_busi": "breast ultrasound",
}


def manifest(module: str) -> DataSet:
    """One module of our own manifest as a data set."""
    return DataSet(
        name=f"manifest/{module}",
        title="A department's own images",
        task=Task.QUESTION if module == "vqa_rad" else Task.DIAGNOSIS,
        modality="any",
        examines=_EXAMINES.get(module, ""),
        standing="–",
        layout="`manifest.csv` (path, module, label, group, split); `<module>/qa.json` for questions",
        split="the manifest's",
        source="[specialists.md](specialists.md)",
        reader=_read,
        tested_on="real data",
    )


def read_manifest(path: Path, split: Split, module: str) -> Iterator[EvaluationCase]:
    """The cases of one module; ``path`` is the manifest or its folder."""
    return manifest(module).read(path, split)


def _read(dataset: DataSet, path: Path, split: Split) -> Iterator[EvaluationCase]:
    """Questions if the module's folder has a qa.json, else diagnoses from the labels.

    ``path`` is the manifest or its folder. Labels of an image are joined by a bar; the options are all labels that the
    module has in any split, and one image with two labels makes the module multi-label.
    """
    file = path / "manifest.csv" if path.is_dir() else path
    module = dataset.name.split("/", 1)[1]
    rows = [row for row in rows_of(file, _COLUMNS) if row["module"] == module]
    here = [row for row in rows if row["split"] == split]
    if here and not dataset.examines:
        dataset = replace(dataset, examines=_modality(here[0]))
    questions = file.parent / module / "qa.json"
    if questions.is_file():
        yield from _questions(replace(dataset, task=Task.QUESTION), questions, here)
        return
    options = tuple(sorted({label for row in rows for label in row["label"].split("|")}))
    closed = replace(
        dataset,
        options=options,
        single=not any("|" in row["label"] for row in rows),
        normal=next((option for option in options if option.casefold() == "no finding"), ""),
    )
    for row in here:
        images = ImageFiles(file.parent, (row["path"],))
        yield closed.diagnosis(row["path"], row["group"], images, row["label"].split("|"))


def _modality(row: Row) -> str:
    modality = row.get("modality", "")
    return _MODALITIES.get(modality, modality) or "medical"


def _questions(dataset: DataSet, file: Path, rows: list[Row]) -> Iterator[EvaluationCase]:
    """Every question about the images of ``rows``: {image: [{"q": question, "a": answer, ...}]}."""
    asked = json_of(file)
    for row in rows:
        images = ImageFiles(file.parents[1], (row["path"],))
        for n, item in enumerate(entries(file, asked.get(Path(row["path"]).name, []), ("q", "a"))):
            yield dataset.asked(f"{row['path']}#{n}", row["group"], images, str(item["q"]), str(item["a"]))
