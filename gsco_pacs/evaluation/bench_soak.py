"""Whether the receiver's memory stays flat: many small objects on several associations, and its memory from time to time."""

import os
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from gsco_pacs.domain.errors import ConfigError
from gsco_pacs.evaluation.bench_objects import SMALL, write_objects
from gsco_pacs.evaluation.receivers import NODE, started

_ASSOCIATIONS = 4
_FILES = 25


def soak(objects: int, progress: Callable[[str], None], steps: int = 10) -> str:
    """Send ``objects`` images, each with a SOP Instance UID of its own; a table of memory over time."""
    lines = ["| images | seconds | MiB |", "| --- | --- | --- |"]
    repeats = max(1, round(objects / steps / _ASSOCIATIONS / _FILES))
    with tempfile.TemporaryDirectory(prefix="gsco-bench-") as name:
        folders = write_objects(Path(name), SMALL, _ASSOCIATIONS * _FILES, _ASSOCIATIONS)
        with started(NODE, Path(name), dict(os.environ)) as running:
            began = time.perf_counter()
            for step in range(steps):
                arguments = ("+II", "--repeat", str(repeats), "+sd")
                senders = [
                    running.senders({**os.environ, "TCP_NODELAY": "1"}, *arguments, str(folder))
                    for folder in folders
                ]
                if any([sender.wait() for sender in senders]):  # noqa: C419 - wait for each of them
                    raise ConfigError("The receiver did not take every image.")
                running.settle()
                images = (step + 1) * repeats * _ASSOCIATIONS * _FILES
                seconds = time.perf_counter() - began
                lines.append(f"| {images} | {seconds:.0f} | {running.memory() / 2**20:.1f} |")
                progress(lines[-1])
    return "\n".join(lines)
