"""A node of one's own as a child process: for the demo, the benches and the tests."""

import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from gsco_pacs.config import Config
from gsco_pacs.domain.errors import PeerUnavailableError

_START_SECONDS = 120.0


def free_port() -> int:
    """A TCP port of loopback that nobody listens on at the moment."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def running_node(config: Config, config_file: Path, log: Path) -> Iterator[subprocess.Popen[bytes]]:
    """``gsco-pacs node`` with this configuration, listening; ended by SIGTERM. PeerUnavailableError if it never listens."""
    command = [sys.executable, "-m", "gsco_pacs", "--config", str(config_file), "node"]
    with log.open("ab") as output:
        process = subprocess.Popen(command, stdout=output, stderr=output)
        try:
            wait_for_port(config.receiver.port, log)
            yield process
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait()


def wait_for_port(port: int, log: Path) -> None:
    """Return when somebody listens on ``port``; PeerUnavailableError, which names the log, if nobody ever does."""
    deadline = time.monotonic() + _START_SECONDS
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
        except OSError:
            if time.monotonic() > deadline:
                raise PeerUnavailableError(
                    f"The node did not come up in {_START_SECONDS:g} s: see {log}."
                ) from None
            time.sleep(0.1)
        else:
            return
