"""The receiver as it runs: real processes that are killed, many associations, and peers that do nothing."""

import signal
import socket
import subprocess
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from hashlib import sha256
from itertools import pairwise
from json import dumps
from pathlib import Path
from random import Random
from sys import executable
from typing import Any

import pytest
from sqlalchemy import text

from gsco_pacs.adapters.database import migrate, open_engine
from gsco_pacs.adapters.node_process import free_port
from gsco_pacs.config import Config, load_config
from gsco_pacs.testing.phantoms import encoded, make_ct
from gsco_pacs.testing.private_process import program


class Receiver:
    """``gsco-pacs receiver`` on a free port, with a state directory of its own."""

    def __init__(self, folder: Path, **settings: Any) -> None:
        self.file = folder / "config.yaml"
        receiver = {
            "host": "127.0.0.1",
            "port": free_port(),
            "senders": [{"ae_title": "MODALITY"}],
            **settings,
        }
        self.file.write_text(dumps({"receiver": receiver}))
        self.config: Config = load_config(self.file)
        self.log = folder / "receiver.log"
        migrate(self.config.database_url)

    @property
    def port(self) -> int:
        return self.config.receiver.port

    def start(self) -> "subprocess.Popen[bytes]":
        """The process, listening."""
        with self.log.open("ab") as log:
            process = subprocess.Popen(
                [executable, "-m", "gsco_pacs", "--config", str(self.file), "receiver"],
                stdout=log,
                stderr=log,
            )
        until = time.monotonic() + 30
        while not self._listens():
            assert process.poll() is None, self.log.read_text()
            assert time.monotonic() < until, self.log.read_text()
            time.sleep(0.05)
        return process

    @contextmanager
    def running(self) -> Iterator["subprocess.Popen[bytes]"]:
        """Started, and stopped by SIGTERM at the end."""
        process = self.start()
        try:
            yield process
        finally:
            process.terminate()
            assert process.wait(30) == 0, self.log.read_text()

    def _listens(self) -> bool:
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", self.port)) == 0

    def stored(self) -> dict[str, str]:
        """SOP Instance UID -> hash of every row, after looking at its file."""
        engine = open_engine(self.config.database_url)
        with engine.connect() as connection:
            rows = connection.execute(text("SELECT sop_instance_uid, sha256, path FROM instance")).all()
        engine.dispose()
        for _uid, digest, path in rows:
            assert sha256((self.config.state_dir / "store" / path).read_bytes()).hexdigest() == digest
        return {uid: digest for uid, digest, _ in rows}


def write(folder: Path, numbers: range) -> dict[str, str]:
    """CT slices that differ in their SOP Instance UID: path -> UID."""
    folder.mkdir()
    template = make_ct(rows=256, columns=256, SOPInstanceUID="1.2.3.1000000")
    content = encoded(template)
    written = {}
    for number in numbers:
        uid = f"1.2.3.{1000000 + number}"
        path = folder / f"{number:07}.dcm"
        path.write_bytes(content.replace(b"1.2.3.1000000", uid.encode()))
        written[str(path)] = uid
    return written


def storescu(receiver: Receiver, files: Iterable[str]) -> "subprocess.Popen[str]":
    command = [
        program("storescu", "dcmtk", "/usr/bin"), "-v", "-aet", "MODALITY", "-aec", receiver.config.receiver.ae_title,
        "127.0.0.1", str(receiver.port), *files,
    ]  # fmt: skip
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def acknowledged(said: str) -> list[str]:
    """The files that a storescu got 0x0000 for."""
    lines = [
        line for line in said.splitlines() if "Sending file:" in line or "Store Response (Success)" in line
    ]
    return [
        line.split("Sending file: ")[1].strip()
        for line, after in pairwise(lines)
        if "Sending file:" in line and "Success" in after
    ]


@pytest.fixture
def receiver(tmp_path: Path) -> Receiver:
    return Receiver(tmp_path)


def test_a_receiver_that_is_killed_at_any_moment_loses_nothing_that_it_acknowledged(
    receiver: Receiver, tmp_path: Path
) -> None:
    moments = Random(4)
    uid_of: dict[str, str] = {}
    taken: set[str] = set()
    for kill in range(3):
        process = receiver.start()
        senders = []
        for association in range(3):
            first = 1000 * kill + 300 * association
            files = write(tmp_path / f"{first}", range(first, first + 250))
            uid_of |= files
            senders.append(storescu(receiver, files))
        time.sleep(moments.uniform(0.05, 0.6))
        process.send_signal(signal.SIGKILL)
        process.wait()
        taken |= {
            uid_of[file] for sender in senders for file in acknowledged(sender.communicate(timeout=60)[0])
        }
    with receiver.running():
        pass
    assert len(taken) > 50
    assert taken <= receiver.stored().keys()
    assert [
        path for path in (receiver.config.state_dir / "store" / "inbox").rglob("*") if path.is_file()
    ] == []
