"""All processes of the node on one machine: started together, restarted when they die, stopped together."""

import fcntl
import logging
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from gsco_pacs.adapters.database import migrate
from gsco_pacs.config import Config
from gsco_pacs.domain.errors import ConfigError
from gsco_pacs.domain.job import Stage
from gsco_pacs.processes.parts import end_with_parent, start_logging

log = logging.getLogger(__name__)

STOP_SECONDS = 20.0
"""A process that has not ended this long after SIGTERM is killed; its job comes back at the next start."""
RESTART_SECONDS = 2.0


@dataclass
class _Child:
    arguments: tuple[str, ...]
    process: subprocess.Popen[bytes] | None = None
    started: float = field(default=0.0)

    def start(self, config_file: Path) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-m", "gsco_pacs", "--config", str(config_file), *self.arguments],
            start_new_session=True,
            preexec_fn=partial(end_with_parent, os.getpid()),  # noqa: PLW1509 - the node has one thread
        )
        self.started = time.monotonic()


def _alone(config: Config) -> int:
    """Hold the state directory for this node; ConfigError if another one has it."""
    config.state_dir.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(config.state_dir / "node.lock", os.O_CREAT | os.O_RDWR | os.O_CLOEXEC)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise ConfigError(f"A node is running already on {config.state_dir}.") from None
    return descriptor


def run_node(config: Config, config_file: Path, *, web: bool) -> None:
    """Run receiver, housekeeper, the three workers and, if wanted, DICOMweb and the web pages until SIGTERM or SIGINT."""
    start_logging("node")
    lock = _alone(config)
    migrate(config.database_url)
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    workers = [("worker", stage.value) for stage in Stage]
    lanes = [("worker", stage.value, "--stat") for stage in config.workers.stat_lanes]
    commands: list[tuple[str, ...]] = [("receiver",), ("housekeeper",), *workers, *lanes]
    commands += [("dicomweb",)] if config.dicomweb else []
    commands += [("fetcher",)] if any(route.priors for route in config.routes) else []
    children = [_Child(arguments) for arguments in [*commands, *([("web",)] if web else [])]]
    for child in children:
        child.start(config_file)
    log.info("The node is starting: %s.", ", ".join(" ".join(child.arguments) for child in children))
    while not stop.wait(0.5):
        _restart_dead(children, config_file)
    log.info("Stopping.")
    _stop(children)
    os.close(lock)


def _restart_dead(children: Sequence[_Child], config_file: Path) -> None:
    for child in children:
        if child.process is None or child.process.poll() is None:
            continue
        if time.monotonic() - child.started >= RESTART_SECONDS:
            log.error(
                "%s ended with code %s and is started again.",
                " ".join(child.arguments),
                child.process.returncode,
            )
            child.start(config_file)


def _stop(children: Sequence[_Child]) -> None:
    running = [child.process for child in children if child.process is not None]
    for process in running:
        process.terminate()
    deadline = time.monotonic() + STOP_SECONDS
    for process in running:
        try:
            process.wait(max(0.1, deadline - time.monotonic()))
        except subprocess.TimeoutExpired:
            _kill_session(process)


def _kill_session(process: subprocess.Popen[bytes]) -> None:
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
