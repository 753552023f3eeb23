"""How long a study takes from its last image to the report at its destination, by stage, read from the node's own record."""

import os
import platform
import statistics
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from time import monotonic, sleep

import yaml

from gsco_pacs.adapters.audit import Audit, Revision
from gsco_pacs.adapters.database import migrate, open_engine
from gsco_pacs.adapters.ledger import Database
from gsco_pacs.adapters.node_process import free_port, running_node
from gsco_pacs.adapters.send_files import Scp, send_files
from gsco_pacs.config import Config, load_config
from gsco_pacs.domain.errors import OutOfResourcesError
from gsco_pacs.domain.job import SETTLED, Event, Stage, State

_QUIET_SECONDS = 1.0
_STUDY_SECONDS = 120.0


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
    """Send the files, each a study, one after the other to a node with the routes of ``config_file``."""
    folder.mkdir(parents=True, exist_ok=True)
    own_file = _own_config(config_file, folder)
    config = load_config(own_file)
    migrate(config.database_url)
    audit = Audit(Database(open_engine(config.database_url)))
    with running_node(config, own_file, folder / "node.log"):
        return [
            timing
            for number, path in enumerate(files)
            for timing in _timed(path, config, audit, warm=number > 0)
        ]


def _own_config(config_file: Path, folder: Path) -> Path:
    content = yaml.safe_load(config_file.read_text(encoding="utf-8"))
    original = load_config(config_file)
    # Nothing of a production node may be touched: a database, a broker and destinations of its own.
    content |= {"state": "state", "database": "sqlite", "broker": "folder"}
    content["models"] = [str(original.absolute(folder)) for folder in original.models]
    content["settle"] = {"quiet_seconds": _QUIET_SECONDS}
    content["receiver"] |= {"host": "127.0.0.1", "port": free_port()}
    content["destinations"] = {
        name: {"kind": "folder", "path": "reports"} for name in content["destinations"]
    }
    path = folder.absolute() / "config.yaml"
    path.write_text(yaml.safe_dump(content), encoding="utf-8")
    return path


def _timed(path: Path, config: Config, audit: Audit, *, warm: bool) -> Iterator[Timing]:
    """The study's timing; nothing for the first study, which waits for the models to load."""
    receiver = config.receiver
    scp = Scp("127.0.0.1", receiver.port, receiver.ae_title, receiver.senders[0].ae_title)
    (sent,) = send_files([path], scp, lambda _: None)
    deadline = monotonic() + _STUDY_SECONDS
    while State((history := audit.study(sent.study_instance_uid)).revisions[0].job.state) not in SETTLED:
        if monotonic() > deadline:
            raise OutOfResourcesError(f"{path.name} was not settled in {_STUDY_SECONDS:g} s.")
        sleep(0.05)
    revision = history.revisions[0]
    if revision.job.state != State.DELIVERED:
        raise OutOfResourcesError(f"{path.name} ended as {revision.job.state}: {revision.job.reason}")
    if warm:
        yield _timing(revision, max(received.received_at for received in history.received))


def _timing(revision: Revision, last_image: datetime) -> Timing:
    stages = {
        attempt.stage: (attempt.ended_at - attempt.started_at).total_seconds()
        for attempt in revision.attempts
        if attempt.ended_at
    }
    end = next(moment.at for moment in revision.moments if moment.event == Event.REPORTS_ACCEPTED)
    total = (end - last_image).total_seconds() - _QUIET_SECONDS
    consult, draft, deliver = (stages[stage] for stage in Stage)
    return Timing(consult, draft, deliver, waiting=total - consult - draft - deliver, total=total)


def table(timings: Sequence[Timing]) -> str:
    """p50 and p95 in Markdown, with the date, the machine and n."""
    rows = [
        f"| {part} | {statistics.median(values):.2f} | {_p95(values):.2f} |"
        for part in ("consult", "draft", "deliver", "waiting", "total")
        for values in [[getattr(timing, part) for timing in timings]]
    ]
    head = f"{datetime.now(UTC):%Y-%m-%d}, {platform.machine()}, {_cores()} cores, n = {len(timings)} studies"
    return "\n".join([head, "", "| seconds | p50 | p95 |", "| --- | --- | --- |", *rows, ""])


def _p95(values: Sequence[float]) -> float:
    return statistics.quantiles(values, n=20, method="inclusive")[-1]


def _cores() -> int:
    return len(os.sched_getaffinity(0))
