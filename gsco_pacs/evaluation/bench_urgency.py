"""Whether a STAT study stays quick beside a full backlog of routine ones: both in one run, by the node's own record."""

import statistics
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import cycle, islice
from pathlib import Path
from time import monotonic
from typing import Any

import yaml
from pydicom import dcmread
from pydicom.uid import generate_uid

from gsco_pacs.domain.errors import OutOfResourcesError
from gsco_pacs.domain.job import Stage, State
from gsco_pacs.evaluation.bench_node import BenchNode, bench_node, machine, p95, seconds_to_reports

_STAT = "STAT"
_SENT_AT_ONCE = 5
_LOADING_SECONDS = 300.0


@dataclass(frozen=True)
class UrgencyBench:
    """How much is measured."""

    studies: int = 15
    """STAT studies, idle and under load each."""
    backlog: int = 30
    """Routine studies that are queued whenever a STAT study is sent."""


@dataclass(frozen=True)
class Urgency:
    """Seconds from the last image of each STAT study to its last receipt, minus the quiet time."""

    lanes: bool
    idle: Sequence[float]
    loaded: Sequence[float]

    @property
    def ratio(self) -> float:
        """p95 under load as a multiple of p95 in an idle node."""
        return p95(self.loaded) / p95(self.idle)


def bench_urgency(
    bench: UrgencyBench, images: Sequence[Path], config_file: Path, folder: Path, *, lanes: bool
) -> Urgency:
    """Measure a node with the routes of ``config_file``, each there as STAT, too; ``lanes``: with every STAT lane.

    The images are sent in turns, each time as a new study.
    """
    content = yaml.safe_load(config_file.read_text(encoding="utf-8"))
    changes = {
        "routes": [*map(_as_stat, content["routes"]), *content["routes"]],
        "workers": {**content.get("workers", {}), "stat_lanes": [stage.value for stage in Stage] * lanes},
    }
    with bench_node(config_file, folder, changes) as node:
        stat = _studies(images, folder / "stat.dcm", _STAT)
        routine = _studies(images, folder / "routine.dcm", "routine")
        # Both kinds of worker load their models for the first study that they get.
        node.read(next(routine))
        node.read(next(stat))
        idle = [seconds_to_reports(node.read(path)) for path in islice(stat, bench.studies)]
        loaded = []
        for path in islice(stat, bench.studies):
            _fill(node, bench.backlog, routine)
            loaded.append(seconds_to_reports(node.read(path)))
        return Urgency(lanes, idle, loaded)


def _as_stat(route: dict[str, Any]) -> dict[str, Any]:
    marked = {"tag": "StudyDescription", "equals": _STAT}
    return {
        **route, "name": f"{route['name']}-stat", "priority": "stat", "when": {"all": [route["when"], marked]},
    }  # fmt: skip


def _studies(images: Sequence[Path], file: Path, description: str) -> Iterator[Path]:
    """``file``, each time with another study."""
    for image in cycle(images):
        ds = dcmread(image)
        ds.StudyInstanceUID, ds.SeriesInstanceUID, ds.SOPInstanceUID = (generate_uid() for _ in range(3))
        ds.file_meta.MediaStorageSOPInstanceUID = ds.SOPInstanceUID
        ds.StudyDescription = description
        ds.save_as(file, enforce_file_format=True)
        yield file


def _fill(node: BenchNode, backlog: int, routine: Iterator[Path]) -> None:
    """Send routine studies until ``backlog`` of them are queued; OutOfResourcesError if that is never so."""
    deadline = monotonic() + _LOADING_SECONDS
    while node.audit.counts().get(State.QUEUED, 0) < backlog:
        if monotonic() > deadline:
            raise OutOfResourcesError(
                "Routine studies are read as fast as they are sent; try a smaller --backlog."
            )
        for path in islice(routine, _SENT_AT_ONCE):
            node.send([path])


def table(bench: UrgencyBench, measured: Sequence[Urgency]) -> str:
    """p50 and p95 in Markdown, with the date, the machine and n."""
    head = f"{machine()}, n = {bench.studies} STAT studies a row, at least {bench.backlog} routine studies queued"
    rows = [
        f"| {name}{', with STAT lanes' * urgency.lanes} | {statistics.median(values):.2f} | {p95(values):.2f} | {ratio} |"
        for urgency in measured
        for name, values, ratio in (
            ("idle", urgency.idle, ""), ("beside the backlog", urgency.loaded, f"{urgency.ratio:.2f}"),
        )
    ]  # fmt: skip
    return "\n".join(
        [head, "", "| seconds | p50 | p95 | p95 / idle |", "| --- | --- | --- | --- |", *rows, ""]
    )
