"""What no receiver can be faster than: the bytes of an object over a socket, and the disk that must have them before the answer."""

import os
import socket
import tempfile
import time
from collections.abc import Callable
from multiprocessing import get_context
from pathlib import Path
from statistics import median

from gsco_pacs.adapters.durable_file import sync_folder
from gsco_pacs.evaluation.bench_objects import CT, Kind

_TIMES = 200
_CHUNK = 131072


def measure_limits(kind: Kind = CT) -> str:
    """A table of medians, measured beside the store's usual place in the temporary folder."""
    content = os.urandom(int(kind.megabytes * 1e6))
    with tempfile.TemporaryDirectory(prefix="gsco-bench-") as name:
        folder = Path(name)
        rows = [
            ("4 KB over written blocks, fdatasync", _overwritten(folder, content[:4096])),
            (f"{kind.name} over written blocks, fdatasync", _overwritten(folder, content)),
            (f"{kind.name} as a new file, not synced", _new_files(folder, content, sync=False)),
            (f"{kind.name} as a new file, fsync of file and folder", _new_files(folder, content, sync=True)),
            (f"{kind.name} over a socket, one byte back", _over_a_socket(content, None)),
            (
                f"{kind.name} over a socket, new file, both fsyncs, one byte back",
                _over_a_socket(content, folder),
            ),
        ]
    lines = ["| what is waited for | ms (median) | at most, a second |", "| --- | --- | --- |"]
    return "\n".join([*lines, *(f"| {what} | {1000 * s:.2f} | {1 / s:.0f} |" for what, s in rows)])


def _seconds(one: Callable[[int], object]) -> float:
    measured = []
    for number in range(_TIMES):
        began = time.perf_counter()
        one(number)
        measured.append(time.perf_counter() - began)
    return median(measured)


def _overwritten(folder: Path, content: bytes) -> float:
    with (folder / "journal").open("wb", buffering=0) as file:
        descriptor = file.fileno()
        os.pwrite(descriptor, content, 0)
        os.fsync(descriptor)

        def one(_number: int) -> None:
            os.pwrite(descriptor, content, 0)
            os.fdatasync(descriptor)

        return _seconds(one)


def _write(path: Path, content: bytes | bytearray, *, sync: bool) -> None:
    with path.open("wb", buffering=0) as file:
        file.write(content)
        if sync:
            os.fsync(file.fileno())
    if sync:
        sync_folder(path.parent)


def _new_files(folder: Path, content: bytes, *, sync: bool) -> float:
    place = Path(tempfile.mkdtemp(dir=folder))
    return _seconds(lambda number: _write(place / f"{number}", content, sync=sync))


def _over_a_socket(content: bytes, folder: Path | None) -> float:
    """Seconds until the answer of a process that does nothing but receive, and write if there is a ``folder``."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        ours = socket.create_connection(listener.getsockname())
        theirs, _ = listener.accept()
    for end in (ours, theirs):
        end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    peer = get_context("fork").Process(target=_take, args=(theirs, len(content), folder))
    peer.start()

    def one(_number: int) -> None:
        for start in range(0, len(content), _CHUNK):
            ours.sendall(content[start : start + _CHUNK])
        ours.recv(1)

    try:
        return _seconds(one)
    finally:
        ours.close()
        theirs.close()
        peer.terminate()
        peer.join()


def _take(connection: socket.socket, size: int, folder: Path | None) -> None:
    buffer = bytearray(size)
    for number in range(_TIMES):
        connection.recv_into(buffer, size, socket.MSG_WAITALL)
        if folder is not None:
            _write(folder / f"taken-{number}", buffer, sync=True)
        connection.sendall(b"\0")
