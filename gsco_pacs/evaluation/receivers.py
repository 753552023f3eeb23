"""The receivers that are compared: this node, Orthanc and DCMTK's storescp, each a fresh one in a folder of its own."""

import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from json import dumps
from pathlib import Path

from gsco_pacs.adapters.database import migrate
from gsco_pacs.config import load_config
from gsco_pacs.domain.errors import ConfigError

PDU = 131072
NODE, ORTHANC, STORESCP = "gsco_pacs", "Orthanc", "DCMTK storescp"
_AE = "GSCO"
_TICKS = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True)
class Running:
    """A server that listens."""

    pid: int
    port: int
    folder: Path

    def senders(self, environment: dict[str, str], *arguments: str) -> "subprocess.Popen[bytes]":
        """A storescu on one association."""
        command = [program("storescu", "dcmtk"), "-pdu", str(PDU), "-aet", "BENCH", "-aec", _AE]
        return subprocess.Popen([*command, "127.0.0.1", str(self.port), *arguments], env=environment)

    def come_to_rest(self) -> None:
        """Wait until its processes have nothing more to do: what it takes to start is not what it takes to receive."""
        before = -1.0
        while (used := self.cpu_seconds()) > before:
            before = used
            time.sleep(0.4)

    def settle(self) -> None:
        """Wait until the node has filed what it acknowledged; the others have nothing of that kind."""
        inbox = self.folder / "gsco-state" / "store" / "inbox"
        until = time.monotonic() + 60
        while any(path.is_file() for path in inbox.rglob("*")) and time.monotonic() < until:
            time.sleep(0.05)

    def cpu_seconds(self) -> float:
        """CPU time of its processes, those that have ended included."""
        return sum(_cpu_seconds(pid, with_ended=pid == self.pid) for pid in self._processes())

    def memory(self) -> int:
        """Bytes of memory of its processes, each shared page divided among them (Pss)."""
        return sum(_pss(pid) for pid in self._processes())

    def _processes(self) -> list[int]:
        children = Path(f"/proc/{self.pid}/task/{self.pid}/children").read_text().split()
        return [self.pid, *map(int, children)]


def _cpu_seconds(pid: int, *, with_ended: bool) -> float:
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return 0.0  # it has just ended, and its parent counts it
    return sum(map(int, fields[11 : 15 if with_ended else 13])) / _TICKS


def _pss(pid: int) -> int:
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    return next(1024 * int(line.split()[1]) for line in lines if line.startswith("Pss:"))


def program(name: str, package: str) -> str:
    """Path of a system program; ConfigError if it is not installed."""
    # Not the scripts of the same names that pynetdicom puts into a virtual environment.
    found = shutil.which(name, path="/usr/bin:/usr/sbin:/usr/local/bin:/usr/local/sbin")
    if found is None:
        raise ConfigError(f"{name} is not installed: apt-get install {package}")
    return found


@contextmanager
def started(server: str, within: Path, environment: dict[str, str]) -> Iterator[Running]:
    """A fresh server that writes into a new folder in ``within``; ConfigError if it does not start.

    Its files are emptied at the end and not deleted: for a minute ext4 gives no inode anew, and the search for another one
    would be charged to whichever server comes next.
    """
    folder = Path(tempfile.mkdtemp(dir=within))
    try:
        with _in_folder(server, folder, environment) as running:
            yield running
    finally:
        for file in folder.rglob("*"):
            if file.is_file():
                os.truncate(file, 0)


@contextmanager
def _in_folder(server: str, folder: Path, environment: dict[str, str]) -> Iterator[Running]:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = int(probe.getsockname()[1])
    with (folder / "log").open("wb") as log:
        command = SERVERS[server](folder, port)
        process = subprocess.Popen(command, cwd=folder, env=environment, stdout=log, stderr=log)
    try:
        _wait_for(process, port, server)
        running = Running(process.pid, port, folder)
        running.come_to_rest()
        yield running
    finally:
        process.terminate()
        process.wait(60)


def _wait_for(process: "subprocess.Popen[bytes]", port: int, server: str) -> None:
    until = time.monotonic() + 120
    while process.poll() is None and time.monotonic() < until:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.1)
    raise ConfigError(f"{server} did not start.")


def _node(folder: Path, port: int) -> list[str]:
    settings = {
        "ae_title": _AE,
        "host": "127.0.0.1",
        "port": port,
        "senders": [{"ae_title": "BENCH"}],
        "maximum_pdu": PDU,
    }
    config = folder / "config.yaml"
    config.write_text(dumps({"receiver": settings}))  # JSON is YAML
    migrate(load_config(config).database_url)
    return [sys.executable, "-m", "gsco_pacs", "--config", str(config), "receiver"]


def _orthanc(folder: Path, port: int) -> list[str]:
    """Orthanc with its defaults: it syncs each file, not its index."""
    settings = {
        "StorageDirectory": str(folder),
        "IndexDirectory": str(folder),
        "HttpServerEnabled": False,
        "DicomAet": _AE,
        "DicomPort": port,
        "DicomAlwaysAllowStore": True,
    }
    (folder / "orthanc.json").write_text(dumps(settings))
    return [program("Orthanc", "orthanc"), str(folder / "orthanc.json")]


def _storescp(folder: Path, port: int) -> list[str]:
    """DCMTK's storescp: files only, nothing is synced, no index."""
    return [
        program("storescp", "dcmtk"),
        "--fork",
        "+B",
        "-pdu",
        str(PDU),
        "-aet",
        _AE,
        "-od",
        str(folder),
        str(port),
    ]


SERVERS: dict[str, Callable[[Path, int], list[str]]] = {
    NODE: _node,
    ORTHANC: _orthanc,
    STORESCP: _storescp,
}
