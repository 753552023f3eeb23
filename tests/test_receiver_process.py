"""The receiver as it runs: real processes that are killed, many associations, and peers that do nothing."""

import os
import re
import signal
import socket
import subprocess
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from hashlib import sha256
from itertools import pairwise
from json import dumps
from pathlib import Path
from random import Random
from sys import executable
from typing import Any

import pytest
from pynetdicom import AE, build_context
from pynetdicom.association import Association
from sqlalchemy import text

from gsco_pacs.adapters.database import migrate, open_engine
from gsco_pacs.adapters.node_process import free_port
from gsco_pacs.config import Config, load_config
from gsco_pacs.processes.commands import open_audit
from gsco_pacs.testing.phantoms import encoded, make_ct
from gsco_pacs.testing.private_process import program
from tests.waiting import eventually


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
        self.started: list[subprocess.Popen[bytes]] = []
        migrate(self.config.database_url)

    @property
    def port(self) -> int:
        return self.config.receiver.port

    def start(self) -> "subprocess.Popen[bytes]":
        """The process, listening."""
        # One that was killed may have a process that is still about to die, and its port takes connections until then.
        assert eventually(lambda: not self._listens())
        with self.log.open("ab") as log:
            process = subprocess.Popen(
                [executable, "-m", "gsco_pacs", "--config", str(self.file), "receiver"],
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        self.started.append(process)
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

    def unfiled(self) -> list[Path]:
        """What is acknowledged and has no row yet, or just has one."""
        return [path for path in (self.config.state_dir / "store" / "inbox").rglob("*") if path.is_file()]

    def kept(self) -> int:
        """How many objects the store holds, with a row or without."""
        files = [path.name for path in (self.config.state_dir / "store").rglob("*") if path.is_file()]
        return len({digest for name in files for digest in re.findall("[0-9a-f]{64}", name)})

    def keeps_more_than(self, files: int) -> bool:
        return self.kept() > files

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


def code(sender: "subprocess.Popen[str]") -> int:
    sender.communicate(timeout=60)
    return sender.returncode


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


def associate(receiver: Receiver) -> Association:
    ae = AE("MODALITY")
    ae.acse_timeout = ae.dimse_timeout = ae.network_timeout = 30
    return ae.associate(
        "127.0.0.1", receiver.port, [build_context("1.2.840.10008.1.1")], receiver.config.receiver.ae_title
    )


def wire(association: Association) -> socket.socket:
    assert association.dul.socket is not None
    assert association.dul.socket.socket is not None
    return association.dul.socket.socket


def children(pid: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def private_bytes(pid: int) -> int:
    """Memory of a process that it does not share."""
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    return sum(1024 * int(line.split()[1]) for line in lines if line.startswith("Private_"))


@pytest.fixture
def receiver(tmp_path: Path) -> Iterator[Receiver]:
    receiver = Receiver(tmp_path)
    yield receiver
    for process in receiver.started:  # a test that failed may have left its own running
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def test_a_receiver_that_is_killed_at_any_moment_loses_nothing_that_it_acknowledged(
    receiver: Receiver, tmp_path: Path
) -> None:
    moments = Random(4)
    uid_of: dict[str, str] = {}
    taken: set[str] = set()
    for kill in range(3):
        process, kept = receiver.start(), receiver.kept()
        senders = []
        for association in range(3):
            first = 1000 * kill + 300 * association
            files = write(tmp_path / f"{first}", range(first, first + 250))
            uid_of |= files
            senders.append(storescu(receiver, files))
        assert eventually(partial(receiver.keeps_more_than, kept + 30))
        time.sleep(moments.uniform(0, 0.5))
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        taken |= {
            uid_of[file] for sender in senders for file in acknowledged(sender.communicate(timeout=60)[0])
        }
    with receiver.running():
        assert eventually(lambda: not receiver.unfiled())
    assert len(taken) > 50
    assert taken <= receiver.stored().keys()


def test_one_of_its_processes_that_is_killed_loses_nothing_and_is_replaced(
    receiver: Receiver, tmp_path: Path
) -> None:
    files = write(tmp_path / "files", range(200))
    with receiver.running() as process:
        assert eventually(lambda: len(children(process.pid)) == receiver.config.receiver.processes)
        before = children(process.pid)
        senders = [storescu(receiver, files) for _ in range(3)]
        time.sleep(0.3)
        os.kill(before[0], signal.SIGKILL)
        taken = {files[f] for sender in senders for f in acknowledged(sender.communicate(timeout=60)[0])}
        assert eventually(lambda: len(set(children(process.pid)) - {before[0]}) == len(before))
        assert eventually(lambda: not receiver.unfiled())
        assert code(storescu(receiver, files)) == 0
    assert taken <= receiver.stored().keys()
    assert len(taken) > 50


def test_when_the_receiver_is_killed_its_processes_end_and_free_the_port(receiver: Receiver) -> None:
    process = receiver.start()
    assert eventually(lambda: len(children(process.pid)) == 2)
    before = children(process.pid)
    process.kill()
    process.wait()
    assert eventually(lambda: not any(Path(f"/proc/{pid}").exists() for pid in before))
    with receiver.running():
        pass


def test_a_hundred_associations_may_be_open_and_one_more_is_rejected(receiver: Receiver) -> None:
    with receiver.running():
        held = [associate(receiver) for _ in range(100)]
        assert all(association.is_established for association in held)
        time.sleep(0.2)  # each process tells the others every tenth of a second how many it has
        more = associate(receiver)
        assert more.is_rejected
        assert held[0].send_c_echo().Status == held[-1].send_c_echo().Status == 0x0000
        for association in held:
            association.release()
        assert eventually(lambda: associate(receiver).is_established)


def test_24_associations_store_while_others_do_nothing(receiver: Receiver, tmp_path: Path) -> None:
    with receiver.running():
        idle = [associate(receiver) for _ in range(3)]
        silent = socket.create_connection(("127.0.0.1", receiver.port))
        stalled = associate(receiver)
        wire(stalled).sendall(b"\4\0\0\1\0\0\0\0")  # a P-DATA-TF PDU that does not go on
        senders = [
            storescu(receiver, write(tmp_path / f"{n}", range(10 * n, 10 * n + 10))) for n in range(24)
        ]
        assert [code(sender) for sender in senders] == 24 * [0]
        assert [association.send_c_echo().Status for association in idle] == 3 * [0x0000]
        for association in (*idle, stalled):
            association.abort()
        silent.close()
    assert len(receiver.stored()) == 240


def test_memory_stays_flat_however_many_images_come(receiver: Receiver, tmp_path: Path) -> None:
    files = write(tmp_path / "files", range(300))
    with receiver.running() as process:
        sizes = []
        for _ in range(5):
            assert [code(s) for s in [storescu(receiver, files) for _ in range(2)]] == [0, 0]
            assert eventually(lambda: not receiver.unfiled())
            sizes.append(sum(private_bytes(pid) for pid in children(process.pid)))
    first = sizes[1]  # in the first round buffers and statements are made that stay
    assert sizes[-1] - first < 4 << 20, sizes


def test_on_a_full_disk_a_sender_is_told_to_come_again_and_the_record_says_why(tmp_path: Path) -> None:
    receiver = Receiver(tmp_path, reserve_bytes=10**18)
    files = write(tmp_path / "files", range(1))
    with receiver.running():
        said, _ = storescu(receiver, files).communicate(timeout=60)
        echo = associate(receiver)
        assert echo.send_c_echo().Status == 0x0000
        echo.release()
    assert "Rejected Transient" in said
    assert "Temporary Congestion" in said
    assert receiver.stored() == {}
    assert receiver.unfiled() == []
    (refusal,) = open_audit(receiver.config).refusals()
    assert "receiver.reserve_bytes" in refusal.reason
