"""How fast the node receives, beside Orthanc and DCMTK's storescp on the same machine, objects and settings."""

import os
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from statistics import median

from gsco_pacs.domain.errors import ConfigError
from gsco_pacs.evaluation.bench_objects import CT, DX, Kind, write_objects
from gsco_pacs.evaluation.receivers import ORTHANC, SERVERS, STORESCP, started


@dataclass(frozen=True)
class ReceiveBench:
    """What is measured: CT and DX images over loopback, with DCMTK's storescu as sender."""

    objects: int = 500
    large: int = 20
    rounds: int = 5
    associations: tuple[int, ...] = (1, 4)
    nagle: bool = False
    """Leave Nagle's algorithm on in DCMTK and Orthanc, as they do unless TCP_NODELAY=1 is set: a C-STORE may then wait
    40 ms for a delayed acknowledgement. What is compared so is the setting, not the server."""

    @property
    def environment(self) -> dict[str, str]:
        """The environment of the DCMTK tools and of Orthanc."""
        return {**os.environ, "TCP_NODELAY": "0" if self.nagle else "1"}


@dataclass(frozen=True)
class ReceiveRate:
    """Medians over the rounds of one server."""

    server: str
    kind: Kind
    associations: int
    images_per_second: float
    cpu_seconds_per_1000: float


def bench_receive(request: ReceiveBench, progress: Callable[[str], None]) -> tuple[ReceiveRate, ...]:
    """Measure every server in turns, each time a fresh one; ConfigError if a program is missing or a server does not start."""
    wanted = [(kind, count) for kind, count in ((CT, request.objects), (DX, request.large)) if count]
    measured: dict[tuple[Kind, int, str], list[tuple[float, float]]] = {}
    for kind, count in wanted:
        with tempfile.TemporaryDirectory(prefix="gsco-bench-") as name:
            folders = {
                associations: write_objects(Path(name) / f"{associations}", kind, count, associations)
                for associations in request.associations
            }
            for _, associations, server in product(range(request.rounds), request.associations, SERVERS):
                images, cpu = _run(server, Path(name), folders[associations], request)
                measured.setdefault((kind, associations, server), []).append((images, cpu))
                progress(
                    f"{server}, {kind.name}, {associations} associations: {images:.0f} images/s, "
                    f"{cpu:.2f} CPU s per 1000, load {os.getloadavg()[0]:.1f}"
                )
    return tuple(
        ReceiveRate(server, kind, associations, median(i for i, _ in runs), median(c for _, c in runs))
        for (kind, associations, server), runs in measured.items()
    )


def _run(server: str, within: Path, folders: Sequence[Path], request: ReceiveBench) -> tuple[float, float]:
    """Images per second, and CPU seconds of the server for 1000 images, what it does behind its answers included."""
    sizes = [file.stat().st_size for folder in folders for file in folder.iterdir()]
    with started(server, within, request.environment) as running:
        _warm(running.folder, sizes)
        cpu, began = running.cpu_seconds(), time.perf_counter()
        senders = [running.senders(request.environment, "+sd", str(folder)) for folder in folders]
        if any([sender.wait() for sender in senders]):  # noqa: C419 - wait for each of them
            raise ConfigError(f"{server} did not take every image.")
        seconds = time.perf_counter() - began
        running.settle()
        return len(sizes) / seconds, (running.cpu_seconds() - cpu) * 1000 / len(sizes)


def _warm(folder: Path, sizes: Sequence[int]) -> None:
    """Write pieces of these sizes and delete them.

    A virtual machine pays for memory that its host gives anew, and else whoever writes into it first would; in a machine
    that has long been in use, all memory has been written before.
    """
    scratch = folder / "scratch"
    with scratch.open("wb") as file:
        for size in sizes:
            file.write(bytes(size))
    scratch.unlink()


def receive_table(rates: Sequence[ReceiveRate]) -> str:
    """The rates as a table, with the ratios to both other servers."""
    by = {(rate.kind, rate.associations, rate.server): rate for rate in rates}
    lines = [
        "| objects | associations | server | images/s | MB/s | × Orthanc | × storescp | CPU s per 1000 | CPU × Orthanc |",
        "| --- | --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    for rate in sorted(rates, key=lambda rate: (rate.kind.megabytes, rate.associations, rate.server)):
        orthanc, storescp = (by[rate.kind, rate.associations, peer] for peer in (ORTHANC, STORESCP))
        cells = (
            rate.kind.name,
            f"{rate.associations}",
            rate.server,
            f"{rate.images_per_second:.0f}",
            f"{rate.images_per_second * rate.kind.megabytes:.0f}",
            f"{rate.images_per_second / orthanc.images_per_second:.2f}",
            f"{rate.images_per_second / storescp.images_per_second:.2f}",
            f"{rate.cpu_seconds_per_1000:.2f}",
            f"{rate.cpu_seconds_per_1000 / orthanc.cpu_seconds_per_1000:.2f}",
        )
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)
