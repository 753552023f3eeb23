"""How long a study takes from its last image to the report at its destination, by stage, read from the node's own record."""

import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from gsco_pacs.adapters.audit import StudyHistory
from gsco_pacs.domain.job import Stage
from gsco_pacs.evaluation.bench_node import bench_node, machine, p95, seconds_to_reports


@dataclass(frozen=True)
class Timing:
    """Seconds of one study."""

    consult: float
    draft: float
    deliver: float
    waiting: float
    """Between the stages, and until the housekeeper noticed that the study was quiet."""
    total: float
    """From the last image to the last receipt, minus the quiet time."""


def bench_walk(files: Sequence[Path], config_file: Path, folder: Path) -> list[Timing]:
    """Send the files, each a study, one after the other to a node with the routes of ``config_file``.

    The first study waits for the models to load and has no timing.
    """
    with bench_node(config_file, folder) as node:
        return [_timing(node.read(path)) for path in files][1:]


def _timing(history: StudyHistory) -> Timing:
    stages = {
        attempt.stage: (attempt.ended_at - attempt.started_at).total_seconds()
        for attempt in history.revisions[0].attempts
        if attempt.ended_at
    }
    total = seconds_to_reports(history)
    consult, draft, deliver = (stages[stage] for stage in Stage)
    return Timing(consult, draft, deliver, waiting=total - consult - draft - deliver, total=total)


def table(timings: Sequence[Timing]) -> str:
    """p50 and p95 in Markdown, with the date, the machine and n."""
    rows = [
        f"| {part} | {statistics.median(values):.2f} | {p95(values):.2f} |"
        for part in ("consult", "draft", "deliver", "waiting", "total")
        for values in [[getattr(timing, part) for timing in timings]]
    ]
    head = f"{machine()}, n = {len(timings)} studies"
    return "\n".join([head, "", "| seconds | p50 | p95 |", "| --- | --- | --- |", *rows, ""])
