"""Objects that are durable and acknowledged and not yet in the ledger: a file each, whose name is its index record.

The record is the name and not a line in another file, so that one flush makes both durable. What a record must say
beside the file's own bytes is the hash that proves them whole and who sent them; the rest is read again from the bytes.
"""

import fcntl
import logging
import os
import time
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import lru_cache
from hashlib import sha256
from itertools import count
from pathlib import Path
from uuid import uuid4

from gsco_pacs.adapters.durable_file import sync_folder
from gsco_pacs.adapters.file_store import FileStore, Stored, write_all
from gsco_pacs.domain.errors import OutOfResourcesError
from gsco_pacs.domain.incoming import Arrival
from gsco_pacs.domain.study import Peer

log = logging.getLogger(__name__)

_UNFINISHED = ".part"
_DAMAGED = ".damaged"


class Inbox:
    """A folder of one receiver's own within the store, locked as long as the process lives."""

    def __init__(self, store: FileStore) -> None:
        self._store = store
        self._all = store.root / "inbox"
        self._all.mkdir(exist_ok=True)
        sync_folder(store.root)
        self._folder = self._all / uuid4().hex
        # Locked before it has its name: another receiver that starts takes what nobody holds for a dead one's.
        unnamed = self._all / f".{self._folder.name}"
        unnamed.mkdir()
        self._descriptor = os.open(unnamed, os.O_RDONLY | os.O_DIRECTORY)
        fcntl.flock(self._descriptor, fcntl.LOCK_EX)
        unnamed.rename(self._folder)
        sync_folder(self._all)
        self._numbers = count()

    def entry(self, peer: Peer) -> "Entry":
        """A place for the next object of ``peer``."""
        return Entry(self, peer)

    def put(self, parts: Sequence[bytes | memoryview], peer: Peer) -> tuple[Stored, Path]:
        """Write the concatenation of ``parts`` and its record; durable when it returns, nothing is left behind if it raises.

        OutOfResourcesError if less than the reserve would stay free, or if the disk refuses.
        """
        size = sum(map(len, parts))
        self._store.check_space(size)
        file = f"{self._folder}/{next(self._numbers)}{_UNFINISHED}"
        try:
            descriptor = os.open(file, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o644)
            try:
                write_all(descriptor, parts)
                # The disk may begin to write while the hash is made.
                os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
                digest = _digest(parts)
                record = f"{self._folder}/{time.time_ns():020}.{digest}.{_sender(peer)}"
                os.rename(file, record)
                file = record
                os.fsync(descriptor)
                os.fsync(self._descriptor)
            finally:
                os.close(descriptor)
        except OSError as error:
            with suppress(OSError):
                os.unlink(file)
            raise _refused(error) from error
        return Stored(digest, size, FileStore.path_for(digest)), Path(record)

    def publish(self, arrivals: Sequence[Arrival]) -> None:
        """Give each object its name in the store, which forget() makes durable; OutOfResourcesError if the disk refuses."""
        for arrival in arrivals:
            try:
                os.link(arrival.record, f"{self._store.root}/{arrival.instance.path}")
            except FileExistsError:
                pass  # an equal one: the bytes of whatever has such a name were durable before it had it
            except OSError as error:
                raise _refused(error) from error

    def forget(self, arrivals: Sequence[Arrival]) -> None:
        """Make the names in the store durable and drop the records; the rows must be durable already.

        OutOfResourcesError if the disk refuses; some records may be left then.
        """
        try:
            for folder in {self._store.path_of(arrival.instance).parent for arrival in arrivals}:
                sync_folder(folder)
            for arrival in arrivals:
                arrival.record.unlink(missing_ok=True)
        except OSError as error:
            raise _refused(error) from error

    def take_over(self, file: Callable[[Iterator["Left"]], None]) -> None:
        """Give ``file`` what receivers that are gone acknowledged, one receiver after the other; it must file all of it."""
        for folder in sorted(self._all.glob("[!.]*")):
            with _locked(folder) as nobody_else_has_it:
                if nobody_else_has_it:
                    file(_left_in(folder))
                    with suppress(OSError):  # not empty: something could not be filed
                        folder.rmdir()


class Entry:
    """Takes one object of a peer; ``record`` is where it lies afterwards."""

    def __init__(self, inbox: Inbox, peer: Peer) -> None:
        self._inbox = inbox
        self._peer = peer
        self.record = Path()

    def put(self, parts: Sequence[bytes | memoryview]) -> Stored:
        """Inbox.put for this peer."""
        stored, self.record = self._inbox.put(parts, self._peer)
        return stored


@dataclass(frozen=True)
class Left:
    """An object that was acknowledged and not filed: as good as one that is just being received."""

    record: Path
    peer: Peer
    content: bytes
    sha256: str

    def put(self, _parts: Sequence[bytes | memoryview]) -> Stored:
        """It is there already."""
        return Stored(self.sha256, len(self.content), FileStore.path_for(self.sha256))


@contextmanager
def _locked(folder: Path) -> Iterator[bool]:
    """Whether ``folder`` is there and nobody else holds it; nobody else does in the meantime."""
    try:
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    except FileNotFoundError:  # another receiver that starts has just filed it
        yield False
        return
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        is_free = folder.exists()
    except BlockingIOError:
        is_free = False
    try:
        yield is_free
    finally:
        os.close(descriptor)


def _left_in(folder: Path) -> Iterator[Left]:
    for file in sorted(folder.iterdir()):
        if file.suffix == _UNFINISHED:
            file.unlink()
        elif file.suffix != _DAMAGED:
            _, digest, sender = file.name.split(".")
            content = file.read_bytes()
            if sha256(content).hexdigest() == digest:
                yield Left(file, Peer(*urlsafe_b64decode(sender).decode().split("\n")), content, digest)
            else:
                # Nothing that was acknowledged can be so: its bytes were durable before the answer.
                log.warning("%s is not whole; it was never acknowledged and is put aside.", file)
                file.rename(file.with_name(file.name + _DAMAGED))


@lru_cache(maxsize=256)
def _sender(peer: Peer) -> str:
    return urlsafe_b64encode("\n".join((peer.calling_ae, peer.called_ae, peer.address)).encode()).decode()


def _digest(parts: Sequence[bytes | memoryview]) -> str:
    digest = sha256()
    for part in parts:
        digest.update(part)
    return digest.hexdigest()


def _refused(error: OSError) -> OutOfResourcesError:
    return OutOfResourcesError(f"The store refused a file: {os.strerror(error.errno or 0)}.")
