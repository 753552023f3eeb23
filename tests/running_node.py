"""A whole node of a test's own: real processes, a free port, a state directory, and the record to look at."""

import json
import os
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import yaml

from gsco_pacs.adapters.audit import Audit, StudyHistory
from gsco_pacs.adapters.bundle_files import write_sums
from gsco_pacs.adapters.bundle_format import METADATA, SUMS
from gsco_pacs.adapters.calling import CalledPeer
from gsco_pacs.adapters.database import migrate, open_engine
from gsco_pacs.adapters.ledger import Database
from gsco_pacs.adapters.node_process import free_port, running_node
from gsco_pacs.adapters.send_files import Sent, send_files
from gsco_pacs.config import Config, load_config, shipped
from gsco_pacs.domain.errors import ConfigError
from gsco_pacs.domain.job import SETTLED, State


def unguarded_bundle(name: str, folder: Path) -> Path:
    """The folder of a copy of a shipped bundle that assesses whatever it is shown: phantoms are unlike any real image."""
    copy = folder / name
    shutil.copytree(shipped("models") / name, copy, copy_function=os.symlink)
    metadata = json.loads((copy / METADATA).read_bytes())
    metadata["gsco"]["familiar_from"] = None
    for changed in (METADATA, SUMS):
        (copy / changed).unlink()
    (copy / METADATA).write_text(json.dumps(metadata))
    write_sums(copy)
    return folder


class Node:
    """A node on loopback; its processes can be killed one by one."""

    def __init__(self, folder: Path, **changes: Any) -> None:
        content = yaml.safe_load(shipped("config.yaml").read_text())
        content |= {"state": "state", "settle": {"quiet_seconds": 1}, "workers": {"lease_seconds": 3}}
        content["receiver"] |= {"port": free_port()}
        # One route: each further one would have its networks loaded before the first study.
        content["routes"] = [route for route in content["routes"] if route["name"] == "chest-radiograph"]
        content["models"] = [str(unguarded_bundle("cxr_findings", folder / "bundles"))]
        content["retry"] = {"first_seconds": 0.5, "longest_seconds": 1}
        self.file = folder / "config.yaml"
        self.file.write_text(yaml.safe_dump(content | changes))
        self.log = folder / "node.log"
        self.config: Config = load_config(self.file)
        migrate(self.config.database_url)
        self.audit = Audit(Database(open_engine(self.config.database_url)))

    @contextmanager
    def running(self) -> Iterator[subprocess.Popen[bytes]]:
        """The node's processes, up and listening; stopped by SIGTERM at the end."""
        with running_node(self.config, self.file, self.log) as process:
            yield process

    def send(self, *paths: Path) -> list[Sent]:
        """C-STORE the files to the node."""
        receiver = self.config.receiver
        scp = CalledPeer(receiver.ae_title, "127.0.0.1", receiver.port, receiver.senders[0].ae_title, 30)
        return send_files(paths, scp, lambda _: None)

    def settled(self, uid: str, seconds: float = 120) -> StudyHistory:
        """The study's history, when its newest job has settled."""
        return self.wait(uid, lambda history: State(history.revisions[0].job.state) in SETTLED, seconds)

    def wait(self, uid: str, until: Callable[[StudyHistory], bool], seconds: float = 120) -> StudyHistory:
        """The study's history as soon as ``until`` holds."""
        deadline = time.monotonic() + seconds
        while (history := self._history(uid)) is None or not until(history):
            job = history and history.revisions[0].job
            assert time.monotonic() < deadline, f"{job}\n{self.log.read_text()[-3000:]}"
            time.sleep(0.03)
        return history

    def _history(self, uid: str) -> StudyHistory | None:
        """None while what was acknowledged has no row yet."""
        try:
            return self.audit.study(uid)
        except ConfigError:
            return None

    def processes(self, command: str) -> list[int]:
        """Process ids, oldest first, of this node's processes that were started as ``command``, children included."""
        wanted = [str(self.file), *command.split()]
        return [pid for pid, words in _commands() if _contains(words, wanted)]


def _commands() -> Iterator[tuple[int, list[str]]]:
    for pid in sorted(int(name) for name in os.listdir("/proc") if name.isdigit()):
        try:
            yield pid, Path(f"/proc/{pid}/cmdline").read_text().split("\0")
        except OSError:
            continue


def _contains(words: Sequence[str], wanted: Sequence[str]) -> bool:
    return any(list(words[start : start + len(wanted)]) == list(wanted) for start in range(len(words)))
