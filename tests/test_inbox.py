"""The inbox and the filing behind it: what was acknowledged gets its row, whoever dies in between."""

import os
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from pydicom import Dataset
from pynetdicom.dsutils import encode
from sqlalchemy import Engine, event, text

from gsco_pacs.adapters.audit import Audit
from gsco_pacs.adapters.database import migrate, open_engine
from gsco_pacs.adapters.file_store import FileStore
from gsco_pacs.adapters.inbox import Inbox, Left
from gsco_pacs.adapters.ledger import Database, Ledger
from gsco_pacs.domain.errors import OutOfResourcesError
from gsco_pacs.domain.incoming import Arrival, Incoming
from gsco_pacs.domain.study import Peer
from gsco_pacs.intake import take_in
from gsco_pacs.processes.filing import Filing
from gsco_pacs.steps.receive import receive
from gsco_pacs.testing.phantoms import make_ct
from tests.waiting import eventually

PEER = Peer("CT 1/\\Ä", "GSCO", "fe80::1")
KEYWORDS = frozenset(["Modality"])


def incoming(ds: Dataset, peer: Peer = PEER) -> Incoming:
    content = data_set(ds)
    return Incoming(str(ds.SOPClassUID), str(ds.SOPInstanceUID), "1.2.840.10008.1.2.1", content, peer)


def data_set(ds: Dataset) -> bytes:
    content = encode(ds, is_implicit_vr=False, is_little_endian=True)
    assert content is not None
    return content


class Node:
    """A store, its database, and what takes in and files."""

    def __init__(self, folder: Path) -> None:
        url = f"sqlite:///{folder}/ledger.sqlite"
        migrate(url)
        self.engine: Engine = open_engine(url)
        self.ledger, self.audit = Ledger(Database(self.engine)), Audit(Database(self.engine))
        self.store = FileStore(folder / "store", 0)
        self.inbox = Inbox(self.store)
        self.filing = Filing(self.inbox, self.ledger, KEYWORDS)

    def take(self, ds: Dataset) -> None:
        self.filing.check()
        take_in(incoming(ds), self.inbox, KEYWORDS, self.filing.submit)

    def waiting(self) -> list[Path]:
        return [path for path in (self.store.root / "inbox").rglob("*") if path.is_file()]

    def rows(self) -> list[tuple[str, str, str, int]]:
        with self.engine.connect() as connection:
            query = "SELECT sop_instance_uid, calling_ae, path, resent FROM instance ORDER BY id"
            return [tuple(row) for row in connection.execute(text(query))]

    def execute(self, statement: str) -> None:
        with self.engine.begin() as connection:
            connection.execute(text(statement))


@pytest.fixture
def node(tmp_path: Path) -> Iterator[Node]:
    node = Node(tmp_path)
    yield node
    node.engine.dispose()


def killed_receiver(folder: Path, *slices: int) -> None:
    """Acknowledge CT slices in a process that is killed before it files them."""
    program = f"""
import os, signal
from pathlib import Path
from gsco_pacs.adapters.file_store import FileStore
from gsco_pacs.adapters.inbox import Inbox
from gsco_pacs.intake import take_in
from gsco_pacs.testing.phantoms import make_ct
from tests.test_inbox import KEYWORDS, incoming
inbox = Inbox(FileStore(Path({str(folder / "store")!r}), 0))
for number in {slices!r}:
    take_in(incoming(make_ct(slice_number=number)), inbox, KEYWORDS, lambda _: None)
os.kill(os.getpid(), signal.SIGKILL)
"""
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == -signal.SIGKILL


def test_what_is_taken_in_is_filed_in_the_order_of_arrival_and_leaves_the_inbox(node: Node) -> None:
    node.filing.start()
    slices = [make_ct(slice_number=number) for number in range(1, 6)]
    for ds in slices:
        node.take(ds)
    node.filing.stop()
    assert [(uid, calling) for uid, calling, _, _ in node.rows()] == [
        (ds.SOPInstanceUID, PEER.calling_ae) for ds in slices
    ]
    assert all(
        (node.store.root / path).read_bytes().startswith(bytes(128) + b"DICM")
        for _, _, path, _ in node.rows()
    )
    assert node.waiting() == []


def test_what_comes_after_a_long_silence_is_filed_and_leaves_the_inbox_without_an_end(
    node: Node, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gsco_pacs.processes.filing._FORGET_SECONDS", 0.1)
    node.filing.start()
    time.sleep(0.5)
    node.take(make_ct())
    time.sleep(0.5)
    assert len(node.rows()) == 1
    assert node.waiting() == []
    node.filing.stop()


def test_what_a_killed_receiver_acknowledged_is_filed_by_the_next(node: Node, tmp_path: Path) -> None:
    killed_receiver(tmp_path, 1, 2, 3)
    assert len(node.waiting()) == 3
    node.filing.start()
    node.filing.stop()
    wanted = [make_ct(slice_number=number) for number in (1, 2, 3)]
    assert [row[:2] for row in node.rows()] == [(ds.SOPInstanceUID, PEER.calling_ae) for ds in wanted]
    assert (node.store.root / node.rows()[0][2]).read_bytes().endswith(data_set(wanted[0]))
    assert node.waiting() == []
    assert len(list((node.store.root / "inbox").iterdir())) == 1


def test_a_receiver_leaves_the_objects_of_one_that_lives_alone(node: Node) -> None:
    arrivals: list[Arrival] = []
    take_in(incoming(make_ct()), Inbox(node.store), KEYWORDS, arrivals.append)
    node.filing.start()
    node.filing.stop()
    assert node.waiting() == [arrivals[0].record]
    assert node.rows() == []


def test_what_had_its_row_when_the_receiver_was_killed_is_not_counted_as_sent_again(
    node: Node, tmp_path: Path
) -> None:
    killed_receiver(tmp_path, 1)

    def row_only(left: Iterator[Left]) -> None:
        for one in left:
            instance = receive(incoming(make_ct()), one, KEYWORDS)
            node.ledger.register([(instance, PEER)])
            os.link(one.record, node.store.path_of(instance))

    node.inbox.take_over(row_only)
    assert len(node.waiting()) == 1
    node.filing.start()
    node.filing.stop()
    assert [row[3] for row in node.rows()] == [0]
    assert node.waiting() == []


def test_a_file_that_is_not_whole_is_put_aside_and_never_filed(node: Node, tmp_path: Path) -> None:
    """A power cut may leave a name without its bytes; such an object was never acknowledged."""
    killed_receiver(tmp_path, 1, 2)
    torn = sorted(node.waiting())[0]
    torn.write_bytes(torn.read_bytes()[:-100] + bytes(100))
    node.filing.start()
    node.filing.stop()
    assert [row[0] for row in node.rows()] == [make_ct(slice_number=2).SOPInstanceUID]
    assert [path.name for path in node.waiting()] == [torn.name + ".damaged"]


def test_a_file_that_was_not_finished_is_deleted(node: Node, tmp_path: Path) -> None:
    killed_receiver(tmp_path, 1)
    (half,) = node.waiting()
    half.rename(half.with_name("7.part"))
    node.filing.start()
    node.filing.stop()
    assert node.waiting() == []
    assert node.rows() == []


def take_slowly(node: Node) -> None:
    for number in range(2, 100):
        node.take(make_ct(slice_number=number))
        time.sleep(0.05)


def test_while_the_database_is_away_nothing_is_taken_in_and_what_was_is_filed_later(node: Node) -> None:
    node.execute("ALTER TABLE instance RENAME TO away")
    node.filing.start()
    node.take(make_ct())
    with pytest.raises(OutOfResourcesError, match="database"):
        take_slowly(node)
    taken = len(node.waiting())
    node.execute("ALTER TABLE away RENAME TO instance")
    assert eventually(lambda: is_taken(node, make_ct()))
    node.filing.stop()
    assert len(node.rows()) == taken
    assert node.waiting() == []


def is_taken(node: Node, ds: Dataset) -> bool:
    try:
        node.take(ds)
    except OutOfResourcesError:
        return False
    return True


def test_while_somebody_holds_sqlites_write_lock_every_object_is_answered_soon_and_nothing_is_lost(
    node: Node, tmp_path: Path
) -> None:
    event.listen(node.engine, "connect", lambda connection, _: connection.execute("PRAGMA busy_timeout=300"))
    node.engine.dispose()
    node.filing.start()
    other = sqlite3.connect(tmp_path / "ledger.sqlite", isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    answered_after = []
    for number in range(1, 200):
        began = time.monotonic()
        taken_in = is_taken(node, make_ct(slice_number=number))
        answered_after.append(time.monotonic() - began)
        if not taken_in:
            break
        time.sleep(0.02)
    assert not taken_in
    assert max(answered_after) < 2
    taken = len(node.waiting())
    assert taken > 0
    other.execute("ROLLBACK")
    other.close()
    assert eventually(lambda: is_taken(node, make_ct(slice_number=1000)))
    node.filing.stop()
    assert len(node.rows()) == taken + 1
    assert node.waiting() == []


def test_what_a_silent_database_did_not_take_waits_for_the_next_start(node: Node, tmp_path: Path) -> None:
    node.execute("ALTER TABLE instance RENAME TO away")
    node.filing.start()
    node.take(make_ct())
    node.filing.stop()
    assert len(node.waiting()) == 1


def test_an_object_that_the_database_refuses_for_good_stays_in_the_inbox_and_keeps_back_no_other(
    node: Node,
) -> None:
    refused = make_ct(slice_number=2).SOPInstanceUID
    node.execute(
        f"CREATE TRIGGER no BEFORE INSERT ON instance WHEN NEW.sop_instance_uid = '{refused}' "
        "BEGIN SELECT RAISE(ABORT, 'no'); END"
    )
    node.filing.start()
    for number in (1, 2, 3):
        node.take(make_ct(slice_number=number))
    node.filing.stop()
    assert [row[0] for row in node.rows()] == [make_ct(slice_number=n).SOPInstanceUID for n in (1, 3)]
    assert len(node.waiting()) == 1


def test_a_second_object_with_the_same_uid_is_kept_aside(node: Node) -> None:
    node.filing.start()
    node.take(make_ct())
    node.take(make_ct(PatientComments="other bytes"))
    node.take(make_ct())
    node.filing.stop()
    (uid,) = {row[0] for row in node.rows()}
    assert sorted(row[3] for row in node.rows()) == [0, 1]
    assert len({row[2] for row in node.rows()}) == 2
    assert uid == make_ct().SOPInstanceUID


def test_nothing_is_written_when_less_than_the_reserve_would_stay_free(tmp_path: Path) -> None:
    disk = os.statvfs(tmp_path)
    inbox = Inbox(FileStore(tmp_path / "store", reserve_bytes=disk.f_blocks * disk.f_frsize))
    with pytest.raises(OutOfResourcesError, match="reserve_bytes"):
        inbox.put((b"image",), PEER)
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []
