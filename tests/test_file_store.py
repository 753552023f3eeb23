"""The store: durable files under their own hash, no leftovers, and a disk that says no in time."""

import errno
import hashlib
import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from gsco_pacs.adapters.file_store import FileStore
from gsco_pacs.domain.errors import OutOfResourcesError
from gsco_pacs.domain.study import Instance


@pytest.fixture
def store(tmp_path: Path) -> FileStore:
    return FileStore(tmp_path / "store", reserve_bytes=0)


def files(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file()]


def test_a_file_is_found_under_the_hash_of_its_bytes(store: FileStore, tmp_path: Path) -> None:
    stored = store.put((b"head", b"data set"))
    assert stored.sha256 == hashlib.sha256(b"headdata set").hexdigest()
    assert stored.size == 12
    instance = Instance(
        "1.1", "1.2", "1.3", "1.4", "1.2.840.10008.1.2", stored.sha256, stored.size, stored.path
    )
    assert store.path_of(instance).read_bytes() == b"headdata set"
    assert files(tmp_path) == [store.path_of(instance)]


def test_equal_bytes_are_kept_once_however_many_threads_bring_them(store: FileStore, tmp_path: Path) -> None:
    content = os.urandom(300_000)
    threads = [threading.Thread(target=store.put, args=((content,),)) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    (only,) = files(tmp_path)
    assert only.read_bytes() == content


def test_what_a_crash_of_the_machine_left_under_the_name_is_replaced(
    store: FileStore, tmp_path: Path
) -> None:
    path = tmp_path / "store" / store.put((b"the whole image",)).path
    path.write_bytes(b"the who")
    store.put((b"the whole image",))
    assert path.read_bytes() == b"the whole image"


def test_leftovers_of_a_killed_process_are_swept_and_files_being_written_are_not(
    store: FileStore, tmp_path: Path
) -> None:
    old, young = (tmp_path / "store" / "spool" / name for name in ("old.part", "young.part"))
    old.write_bytes(b"half")
    young.write_bytes(b"half")
    os.utime(old, (0, 0))
    assert store.sweep() == 1
    assert files(tmp_path) == [young]


def test_nothing_is_written_when_less_than_the_reserve_would_stay_free(tmp_path: Path) -> None:
    disk = os.statvfs(tmp_path)
    greedy = FileStore(tmp_path / "store", reserve_bytes=disk.f_blocks * disk.f_frsize)
    with pytest.raises(OutOfResourcesError, match="reserve_bytes"):
        greedy.put((b"image",))
    assert files(tmp_path) == []


def test_a_write_that_the_system_refuses_leaves_nothing_behind(tmp_path: Path) -> None:
    """A file size limit makes write() fail after the first bytes, as a full disk does, and needs no root."""
    program = f"""
import resource, signal
from pathlib import Path
from gsco_pacs.adapters.file_store import FileStore
from gsco_pacs.domain.errors import OutOfResourcesError
store = FileStore(Path({str(tmp_path)!r}), 0)
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
try:
    store.put((bytes(1_000_000),))
except OutOfResourcesError as error:
    print(error)
"""
    said = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout
    assert os.strerror(errno.EFBIG) in said
    assert files(tmp_path) == []


def test_a_disk_that_is_really_full_is_out_of_resources_and_takes_images_again_when_there_is_room(
    tmp_path: Path,
) -> None:
    """The disk is a tmpfs of 4 MB in a mount namespace of its own, which without root is one of a user namespace."""
    program = f"""
import os
from pathlib import Path
from gsco_pacs.adapters.file_store import FileStore
from gsco_pacs.domain.errors import OutOfResourcesError
root = Path({str(tmp_path)!r})
store = FileStore(root, 0)
kept = []
try:
    for _ in range(100):
        kept.append(store.put((os.urandom(300_000),)))
except OutOfResourcesError:
    pass
names = sorted(path.name for path in root.rglob("*") if path.is_file())
assert 0 < len(kept) < 100 and names == sorted(Path(k.path).name for k in kept), names
(root / kept[0].path).unlink()
store.put((os.urandom(300_000),))
print("took it")
"""
    script = f'mount -t tmpfs -o size=4m tmpfs "{tmp_path}" && exec "$0" -c "$1"'
    own_mounts = ["unshare", "--mount", *([] if os.geteuid() == 0 else ["--map-root-user"])]
    done = subprocess.run(
        [*own_mounts, "sh", "-c", script, sys.executable, program],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout == "took it\n", done.stderr
