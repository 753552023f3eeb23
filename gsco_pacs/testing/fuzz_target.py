"""The node that is attacked: a receiver and a housekeeper of the campaign's own, and what must hold after every batch."""

import hashlib
import os
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from subprocess import Popen
from typing import Any

import yaml
from sqlalchemy import func, select

from gsco_pacs.adapters.database import migrate, open_engine
from gsco_pacs.adapters.ledger import Database
from gsco_pacs.adapters.node_process import free_port, wait_for_port
from gsco_pacs.adapters.tables import InstanceRow
from gsco_pacs.config import load_config, shipped
from gsco_pacs.testing.hostile_commands import c_echo, encoded, message
from gsco_pacs.testing.hostile_pdus import CALLED, CALLING, PLAIN, request
from gsco_pacs.testing.hostile_peer import Attack, Hear, HostilePeer, Outcome, Say

PATIENCE_SECONDS = 30.0
"""How long the node may take to answer or to hang up; generous, because the machine has other work."""

_IDLE_SECONDS = 2
_CALM_SECONDS = 15.0
_SPARE_THREADS, _SPARE_DESCRIPTORS = 24, 48
"""What a receiver may open once and keep: threads that flush folders, connections to the database."""
_SPARE_BYTES = 300_000_000
_PARAMETERS = 500


@dataclass(frozen=True)
class Vitals:
    """What the receiver uses at the moment."""

    threads: int
    descriptors: int
    resident_bytes: int


class Target:
    """A receiver and a housekeeper on loopback."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.log = folder / "node.log"
        self._file = folder / "config.yaml"
        self._file.write_text(yaml.safe_dump(_settings()))
        self._config = load_config(self._file)
        migrate(self._config.database_url)
        self.database = Database(open_engine(self._config.database_url))
        self.port = self._config.receiver.port
        self.store = self._config.state_dir / "store"
        self._processes: list[Popen[bytes]] = []

    @contextmanager
    def running(self) -> Iterator[None]:
        """Both processes, up and listening; ended by SIGTERM."""
        with self.log.open("ab") as output, ExitStack() as stack:
            for name in ("receiver", "housekeeper"):
                command = [sys.executable, "-m", "gsco_pacs", "--config", str(self._file), name]
                process = stack.enter_context(Popen(command, stdout=output, stderr=output))
                stack.callback(process.terminate)
                self._processes.append(process)
            wait_for_port(self.port, self.log)
            yield

    def dead(self) -> list[int]:
        """The exit codes of processes that have ended."""
        return [p.returncode for p in self._processes if p.poll() is not None]

    def vitals(self) -> Vitals:
        """What the receiver's processes use together."""
        parent = self._processes[0].pid
        children = Path(f"/proc/{parent}/task/{parent}/children").read_text().split()
        threads, descriptors, pages = 0, 0, 0
        for folder in (Path("/proc") / pid for pid in (f"{parent}", *children)):
            threads += len(os.listdir(folder / "task"))
            descriptors += len(os.listdir(folder / "fd"))
            pages += int((folder / "statm").read_text().split()[1])
        return Vitals(threads, descriptors, pages * os.sysconf("SC_PAGE_SIZE"))


class Inspection:
    """Looks after a batch whether everything still holds; remembers how far the log was read and how it began."""

    def __init__(self, target: Target) -> None:
        self._target = target
        self._answers_echo()
        self._before = target.vitals()
        self._read = target.log.stat().st_size

    def faults(self, outcomes: Sequence[Outcome]) -> Iterator[str]:
        """What must not be, each as a sentence."""
        if codes := self._target.dead():
            yield f"A process ended with {codes}."
            return
        if not self._answers_echo():
            yield "C-ECHO was not answered."
        for complaint in (self._uses_too_much, self._is_unfiled):
            if what := _lasting(complaint):
                yield what
        yield from self._lost(outcomes)
        yield from self._unknown()
        yield from self._logged()

    def _answers_echo(self) -> bool:
        echo = Attack(-1, "echo", "", request(PLAIN), (Say(message(1, encoded(c_echo()), None)), Hear()))
        outcome = HostilePeer(self._target.port, PATIENCE_SECONDS).play(echo)
        return outcome.ended == "answered" and not outcome.fault

    def _uses_too_much(self) -> str:
        vitals = self._target.vitals()
        if vitals.threads > self._before.threads + _SPARE_THREADS:
            return f"{vitals.threads} threads are left; {self._before.threads} at the start."
        if vitals.descriptors > self._before.descriptors + _SPARE_DESCRIPTORS:
            return f"{vitals.descriptors} descriptors are left open; {self._before.descriptors} at the start."
        if vitals.resident_bytes > self._before.resident_bytes + _SPARE_BYTES:
            return f"{vitals.resident_bytes >> 20} MiB of memory; {self._before.resident_bytes >> 20} at the start."
        return ""

    def _is_unfiled(self) -> str:
        store = self._target.store
        files = len([*store.glob("inbox/*/*"), *store.glob("spool/*")])
        return f"{files} files are left in the inbox or the spool." if files else ""

    def _lost(self, outcomes: Sequence[Outcome]) -> Iterator[str]:
        """What was acknowledged and is not there as it was sent."""
        claims = [(uid, outcome.attack) for outcome in outcomes for uid in outcome.acknowledged]
        rows = self._rows(sorted({uid for uid, _ in claims}))
        for uid, attack in claims:
            hashes = rows.get(uid, {})
            if attack.sha256 and attack.sha256 not in hashes:
                yield f"{attack.number}: {uid} was acknowledged and has no row of its bytes."
            if not hashes:
                yield f"{attack.number}: {uid} was acknowledged and has no row."
        for sha256, path in {pair for hashes in rows.values() for pair in hashes.items()}:
            if self._hash_of(path) != sha256:
                yield f"{path} is missing or not what its row says."

    def _rows(self, uids: Sequence[str]) -> dict[str, dict[str, str]]:
        """SOP Instance UID -> hash -> path of what the ledger holds."""
        found: dict[str, dict[str, str]] = {}
        columns = (InstanceRow.sop_instance_uid, InstanceRow.sha256, InstanceRow.path)
        with self._target.database.reading() as connection:
            for start in range(0, len(uids), _PARAMETERS):
                some = InstanceRow.sop_instance_uid.in_(uids[start : start + _PARAMETERS])
                for uid, sha256, path in connection.execute(select(*columns).where(some)):
                    found.setdefault(uid, {})[sha256] = path
        return found

    def _hash_of(self, path: str) -> str:
        file = self._target.store / path
        return hashlib.sha256(file.read_bytes()).hexdigest() if file.is_file() else ""

    def _unknown(self) -> Iterator[str]:
        """Files in the store that no row speaks of."""
        with self._target.database.reading() as connection:
            rows = connection.execute(select(func.count(InstanceRow.sha256.distinct()))).scalar_one()
        if (files := sum(1 for _ in self._target.store.glob("??/*.dcm"))) != rows:
            yield f"{files} files are in the store; the ledger knows {rows}."

    def _logged(self) -> Iterator[str]:
        with self._target.log.open("rb") as log:
            log.seek(self._read)
            lines = log.read().decode(errors="replace").splitlines()
        self._read = self._target.log.stat().st_size
        for number, line in enumerate(lines):
            if line.startswith("Traceback") or "ended with code" in line:
                yield "In the log: " + " | ".join(
                    [*lines[max(0, number - 1) : number + 1], *lines[number + 1 : number + 40]]
                )
                return


def _lasting(complaint: Callable[[], str]) -> str:
    """What the complaint says, if it still says it after a time of calm."""
    deadline = time.monotonic() + _CALM_SECONDS
    while (what := complaint()) and time.monotonic() < deadline:
        time.sleep(0.1)
    return what


def _settings() -> dict[str, Any]:
    content: dict[str, Any] = yaml.safe_load(shipped("config.yaml").read_text())
    content |= {"state": "state", "database": "sqlite", "broker": "folder", "settle": {"quiet_seconds": 1}}
    content["receiver"] = {
        "ae_title": CALLED.decode(),
        "host": "127.0.0.1",
        "port": free_port(),
        "senders": [{"ae_title": CALLING.decode(), "addresses": ["127.0.0.1"]}],
        "idle_seconds": _IDLE_SECONDS,
        "reserve_bytes": 0,
    }
    return content
