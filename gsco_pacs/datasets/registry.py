"""Every data set that can be evaluated on, by name."""

from functools import partial

from gsco_pacs.datasets.cases import DataSet, Task
from gsco_pacs.datasets.manifest import read_manifest
from gsco_pacs.domain.errors import ConfigError

_MANIFEST = "manifest/"


def data_sets() -> tuple[DataSet, ...]:
    """All of them; our own manifest stands for each of its modules."""
    return (manifest("<module>"),)


def data_set(name: str) -> DataSet:
    """The data set called ``name``, or a module of our own manifest (``manifest/<module>``); ConfigError if there is none."""
    if name.startswith(_MANIFEST):
        return manifest(name.removeprefix(_MANIFEST))
    for known in data_sets():
        if known.name == name:
            return known
    raise ConfigError(f"There is no data set {name!r}; `gsco-pacs evaluate datasets` lists them.")


def manifest(module: str) -> DataSet:
    """One module of our own manifest as a data set."""
    return DataSet(
        name=f"{_MANIFEST}{module}",
        title="a department's own images",
        task=Task.DIAGNOSIS,
        modality="any",
        seen_by_meddr=None,
        layout="manifest.csv: path, module, label, group, split; <module>/qa.json for questions",
        split="the manifest's",
        source="this page",
        read=partial(read_manifest, module=module),
        tested_on="real data",
    )
