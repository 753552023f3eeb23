"""Files under their own hash: what was written once is never changed, and its name can be checked with sha256sum."""

import hashlib
import os
import time
from collections.abc import Collection, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO
from uuid import uuid4

from gsco_pacs.adapters.durable_file import sync_folder
from gsco_pacs.domain.errors import OutOfResourcesError
from gsco_pacs.domain.study import Instance

_LEFTOVER_SECONDS = 600
"""A spool file this old belongs to a process that was killed: an object is written in seconds."""

_FLUSHES = 16
"""Directories that are flushed at the same time; the disk merges them."""


@dataclass(frozen=True)
class Stored:
    """A durable file: the hash and size of its bytes, and its path relative to the store."""

    sha256: str
    size: int
    path: str


class FileStore:
    """Content-addressed files in one directory; any number of threads and processes may write to it."""

    def __init__(self, root: Path, reserve_bytes: int) -> None:
        self.root = root
        self._spool = root / "spool"
        self._reserve_bytes = reserve_bytes
        self._flushes = ThreadPoolExecutor(_FLUSHES, thread_name_prefix="flush")
        for folder in (self._spool, *(root / f"{first:02x}" for first in range(256))):
            folder.mkdir(parents=True, exist_ok=True)
        sync_folder(root)

    def put(self, parts: Sequence[bytes | memoryview]) -> Stored:
        """Write the concatenation of ``parts``; durable when it returns, and nothing is left behind if it raises.

        OutOfResourcesError if less than the reserve would stay free, or if the disk refuses.
        """
        size = sum(len(part) for part in parts)
        digest = hashlib.sha256()
        for part in parts:
            digest.update(part)
        name = digest.hexdigest()
        path = self.path_for(name)
        spooled = self._spool / f"{uuid4().hex}.part"
        self.check_space(size)
        try:
            with open(spooled, "xb", buffering=0) as file:
                write_all(file.fileno(), parts)
                self._publish(file, spooled, self.root / path)
        except OSError as error:
            raise OutOfResourcesError(
                f"The store refused a file: {os.strerror(error.errno or 0)}."
            ) from error
        finally:
            with suppress(OSError):
                spooled.unlink(missing_ok=True)
        return Stored(name, size, path)

    def _publish(self, file: BinaryIO, spooled: Path, final: Path) -> None:
        """Give the written file its name and make both durable.

        The file and its directory are flushed at the same time, which costs one wait for the disk instead of two. A
        name can so be durable before its bytes are, so a file that is there already is never trusted: an equal one is
        written anew and takes its place only when it is durable.
        """
        try:
            os.link(spooled, final)
        except FileExistsError:
            os.fsync(file.fileno())
            os.replace(spooled, final)
            sync_folder(final.parent)
        else:
            directory = self._flushes.submit(sync_folder, final.parent)
            os.fsync(file.fileno())
            directory.result()

    def path_of(self, instance: Instance) -> Path:
        """Where the instance's file lies."""
        return self.root / instance.path

    def holds(self, path: str, size: int) -> bool:
        """Whether a stored file is there with all its bytes."""
        try:
            return (self.root / path).stat().st_size == size
        except FileNotFoundError:
            return False

    def delete(self, paths: Collection[str]) -> None:
        """Delete stored files for good; one that is not there is deleted. OutOfResourcesError if the disk refuses."""
        try:
            for path in paths:
                (self.root / path).unlink(missing_ok=True)
            for folder in {(self.root / path).parent for path in paths}:
                sync_folder(folder)
        except OSError as error:
            raise OutOfResourcesError(
                f"The store deleted no file: {os.strerror(error.errno or 0)}."
            ) from error

    def sweep(self) -> int:
        """Delete what processes that were killed left half written; returns how many files."""
        leftovers = [
            f for f in self._spool.glob("*.part") if time.time() - f.stat().st_mtime > _LEFTOVER_SECONDS
        ]
        for leftover in leftovers:
            leftover.unlink(missing_ok=True)
        return len(leftovers)

    @staticmethod
    def path_for(sha256: str) -> str:
        """Where the file with this hash lies, relative to the store."""
        return f"{sha256[:2]}/{sha256}.dcm"

    def check_space(self, size: int) -> None:
        """OutOfResourcesError if ``size`` more bytes would leave less than the reserve."""
        check_reserve(self.root, self._reserve_bytes, size)


def check_reserve(folder: Path, reserve_bytes: int, size: int = 0) -> None:
    """OutOfResourcesError if ``size`` more bytes would leave less than the reserve on the folder's file system."""
    disk = os.statvfs(folder)
    if disk.f_bavail * disk.f_frsize < reserve_bytes + size:
        raise OutOfResourcesError(
            "Less disk space is free than receiver.reserve_bytes wants; free some, and it goes on by itself."
        )


def write_all(descriptor: int, parts: Sequence[bytes | memoryview]) -> None:
    """Write the concatenation of ``parts``."""
    rest = [memoryview(part) for part in parts if part]
    while rest:
        written = os.writev(descriptor, rest)
        while rest and written >= len(rest[0]):
            written -= len(rest.pop(0))
        if written:
            rest[0] = rest[0][written:]
