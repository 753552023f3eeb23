"""A node of the bench's own, with the routes of a configuration: studies are sent, and read from its own record."""

import os
import platform
import statistics
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from tempfile import mkdtemp
from time import monotonic, sleep
from types import MappingProxyType
from typing import Any

import yaml

from gsco_pacs.adapters.audit import Audit, StudyHistory
from gsco_pacs.adapters.calling import CalledPeer
from gsco_pacs.adapters.database import migrate, open_engine
from gsco_pacs.adapters.ledger import Database
from gsco_pacs.adapters.node_process import free_port, running_node
from gsco_pacs.adapters.send_files import send_files
from gsco_pacs.config import Config, load_config
from gsco_pacs.domain.errors import OutOfResourcesError
from gsco_pacs.domain.job import SETTLED, Event, State

_QUIET_SECONDS = 1.0
_STUDY_SECONDS = 120.0


@dataclass(frozen=True)
class BenchNode:
    """A node that runs."""

    config: Config
    audit: Audit

    def send(self, paths: Sequence[Path]) -> list[str]:
        """The Study Instance UIDs of what was sent in one association."""
        receiver = self.config.receiver
        scp = CalledPeer(receiver.ae_title, "127.0.0.1", receiver.port, receiver.senders[0].ae_title, 30)
        return [sent.study_instance_uid for sent in send_files(paths, scp, lambda _: None)]

    def read(self, path: Path) -> StudyHistory:
        """The history of a study of one image that was sent and delivered; OutOfResourcesError if it was not."""
        (uid,) = self.send([path])
        deadline = monotonic() + _STUDY_SECONDS
        # It has no row yet when it has been acknowledged.
        while not (lines := self.audit.jobs(search=uid, limit=1)[0]) or State(lines[0].state) not in SETTLED:
            if monotonic() > deadline:
                raise OutOfResourcesError(f"{path.name} was not settled in {_STUDY_SECONDS:g} s.")
            sleep(0.05)
        if lines[0].state != State.DELIVERED:
            raise OutOfResourcesError(f"{path.name} ended as {lines[0].state}: {lines[0].reason}")
        return self.audit.study(uid)


@contextmanager
def bench_node(
    config_file: Path, folder: Path, changes: Mapping[str, Any] = MappingProxyType({})
) -> Iterator[BenchNode]:
    """A running node in ``folder`` with the configuration and ``changes`` to its top level."""
    folder.mkdir(parents=True, exist_ok=True)
    own_file = _own_config(config_file, folder, changes)
    config = load_config(own_file)
    migrate(config.database_url)
    with running_node(config, own_file, folder / "node.log"):
        yield BenchNode(config, Audit(Database(open_engine(config.database_url))))


def _own_config(config_file: Path, folder: Path, changes: Mapping[str, Any]) -> Path:
    content = yaml.safe_load(config_file.read_text(encoding="utf-8"))
    original = load_config(config_file)
    # Nothing of a production node may be touched: a database, a broker and destinations of its own.
    # Nor may what an earlier run left waiting be a load on this one.
    content |= {
        "state": mkdtemp(prefix="state-", dir=folder.absolute()),
        "database": "sqlite",
        "broker": "folder",
    }
    content["models"] = [str(original.absolute(folder)) for folder in original.models]
    content["settle"] = {"quiet_seconds": _QUIET_SECONDS}
    content["receiver"] |= {"host": "127.0.0.1", "port": free_port()}
    content["destinations"] = {
        name: {"kind": "folder", "path": "reports"} for name in content["destinations"]
    }
    path = folder.absolute() / "config.yaml"
    path.write_text(yaml.safe_dump(content | changes), encoding="utf-8")
    return path


def seconds_to_reports(history: StudyHistory) -> float:
    """From the last image to the last receipt, minus the quiet time that a study is waited for."""
    last_image = max(received.received_at for received in history.received)
    moments = history.revisions[0].moments
    end = next(moment.at for moment in moments if moment.event == Event.REPORTS_ACCEPTED)
    return (end - last_image).total_seconds() - _QUIET_SECONDS


def p95(values: Sequence[float]) -> float:
    """The 95th percentile; of few values it lies between the two largest."""
    return statistics.quantiles(values, n=20, method="inclusive")[-1]


def machine() -> str:
    """The date and the machine, for the head of a table."""
    return f"{datetime.now(UTC):%Y-%m-%d}, {platform.machine()}, {len(os.sched_getaffinity(0))} cores"
