"""Every data set that can be evaluated on, by name."""

from collections.abc import Iterator

from gsco_pacs.datasets.cases import DataSet
from gsco_pacs.datasets.folders import FOLDERS
from gsco_pacs.datasets.manifest import manifest
from gsco_pacs.datasets.medmnist import MEDMNIST
from gsco_pacs.datasets.questions import QUESTIONS
from gsco_pacs.datasets.reports import REPORTS
from gsco_pacs.datasets.tables import TABLES
from gsco_pacs.datasets.vindr import VINDR
from gsco_pacs.domain.errors import ConfigError


def data_sets() -> tuple[DataSet, ...]:
    """All of them, our own manifest first; it stands for each of its modules."""
    return (manifest("<module>"), *MEDMNIST, *FOLDERS, *TABLES, *VINDR, *QUESTIONS, *REPORTS)


def data_set(name: str) -> DataSet:
    """The data set called ``name``, or a module of our own manifest (``manifest/<module>``); ConfigError if there is none."""
    if name.startswith("manifest/"):
        return manifest(name.removeprefix("manifest/"))
    for known in data_sets():
        if known.name == name:
            return known
    raise ConfigError(f"There is no data set {name!r}; `gsco-pacs evaluate datasets` lists them.")


def as_markdown() -> str:
    """All data sets as a table."""
    return "\n".join(_lines())


def _lines() -> Iterator[str]:
    yield "| name | data set | task | modality | in MedDr's training | options | split | assumed | layout | tested on | source |"
    yield "| --- | --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |"
    for known in data_sets():
        many = "" if known.single else ", several"
        cells = (
            f"`{known.name}`", known.title, known.task, known.modality, known.standing,
            f"{len(known.options)}{many}" if known.options else "–", known.split, ", ".join(known.assumed) or "–",
            known.layout, known.tested_on, known.source,
        )  # fmt: skip
        yield f"| {' | '.join(cells)} |"
