"""Files under their own hash: what was written once is never changed, and its name can be checked with sha256sum."""

import hashlib
import os
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from uuid import uuid4

from gsco_pacs.domain.errors import OutOfResourcesError
from gsco_pacs.domain.study import Instance

_LEFTOVER_SECONDS = 600
"""A spool file this old belongs to a process that was killed: an object is written in seconds."""


@dataclass(frozen=True)
class Stored:
    """A durable file: the hash and size of its bytes, and its path relative to the store."""

    sha256: str
    size: int
    path: str


class FileStore:
    """Content-addressed files in one directory; any number of threads and processes may write to it."""

    def __init__(self, root: Path, reserve_bytes: int) -> None:
        self._root = root
        self._spool = root / "spool"
        self._reserve_bytes = reserve_bytes
        for folder in (self._spool, *(root / f"{first:02x}" for first in range(256))):
            folder.mkdir(parents=True, exist_ok=True)
        _sync_directory(root)

    def put(self, parts: Sequence[bytes]) -> Stored:
        """Write the concatenation of ``parts``; durable when it returns, and nothing is left behind if it raises.

        OutOfResourcesError if less than the reserve would stay free, or if the disk refuses.
        """
        size = sum(len(part) for part in parts)
        digest = hashlib.sha256()
        for part in parts:
            digest.update(part)
        name = digest.hexdigest()
        path = f"{name[:2]}/{name}.dcm"
        spooled = self._spool / f"{uuid4().hex}.part"
        try:
            self._check_space(size)
            _write_durably(spooled, parts)
            # Also over an equal file: after a crash of the machine an old one need not be whole.
            os.replace(spooled, self._root / path)
            _sync_directory(self._root / name[:2])
        except OSError as error:
            with suppress(OSError):
                spooled.unlink(missing_ok=True)
            raise OutOfResourcesError(
                f"The store refused a file: {os.strerror(error.errno or 0)}."
            ) from error
        return Stored(name, size, path)

    def path_of(self, instance: Instance) -> Path:
        """Where the instance's file lies."""
        return self._root / instance.path

    def sweep(self) -> int:
        """Delete what processes that were killed left half written; returns how many files."""
        leftovers = [
            f for f in self._spool.glob("*.part") if time.time() - f.stat().st_mtime > _LEFTOVER_SECONDS
        ]
        for leftover in leftovers:
            leftover.unlink(missing_ok=True)
        return len(leftovers)

    def _check_space(self, size: int) -> None:
        disk = os.statvfs(self._root)
        if disk.f_bavail * disk.f_frsize < self._reserve_bytes + size:
            raise OutOfResourcesError("Less disk space is free than receiver.reserve_bytes wants.")


def _write_durably(path: Path, parts: Sequence[bytes]) -> None:
    with open(path, "xb", buffering=0) as file:
        for part in parts:
            rest = memoryview(part)
            while rest:
                rest = rest[file.write(rest) :]
        os.fsync(file.fileno())


def _sync_directory(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
