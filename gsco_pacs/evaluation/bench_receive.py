"""How fast the node receives, beside Orthanc and DCMTK's storescp on the same machine, objects and settings."""

import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import product
from json import dumps
from pathlib import Path
from statistics import median

import numpy as np
from pydicom import Dataset
from pydicom.dataset import FileMetaDataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, generate_uid

from gsco_pacs.adapters.database import migrate
from gsco_pacs.config import load_config
from gsco_pacs.domain.errors import ConfigError

PDU = 131072
_AE = "GSCO"
_TICKS = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True)
class ReceiveBench:
    """What is measured: CT images of 0.5 MB with random pixels, over loopback, with DCMTK's storescu as sender."""

    objects: int = 300
    rounds: int = 3
    associations: tuple[int, ...] = (1, 4)
    nagle: bool = False
    """Leave Nagle's algorithm on in DCMTK and Orthanc, as they do unless TCP_NODELAY=1 is set: a C-STORE may then wait
    40 ms for a delayed acknowledgement. What is compared so is the setting, not the server."""


@dataclass(frozen=True)
class ReceiveRate:
    """Medians over the rounds of one server."""

    server: str
    associations: int
    images_per_second: float
    cpu_seconds_per_1000: float


def bench_receive(request: ReceiveBench, progress: Callable[[str], None]) -> tuple[ReceiveRate, ...]:
    """Measure every server in turns, each time a fresh one; ConfigError if a program is missing or a server does not start."""
    measured: dict[tuple[str, int], list[tuple[float, float]]] = {}
    with tempfile.TemporaryDirectory(prefix="gsco-bench-") as name:
        folder = Path(name)
        for associations in request.associations:
            _write_objects(folder / f"{associations}", request.objects, associations)
        for _, associations, server in product(range(request.rounds), request.associations, _SERVERS):
            images, cpu = _run(server, folder / f"{associations}", request)
            measured.setdefault((server, associations), []).append((images, cpu))
            progress(
                f"{server}, {associations} associations: {images:.0f} images/s, load {os.getloadavg()[0]:.1f}"
            )
    return tuple(
        ReceiveRate(server, associations, median(i for i, _ in runs), median(c for _, c in runs))
        for (server, associations), runs in measured.items()
    )


def receive_table(rates: Sequence[ReceiveRate]) -> str:
    """The rates as text, with the ratio to Orthanc."""
    orthanc = {rate.associations: rate.images_per_second for rate in rates if rate.server == "Orthanc"}
    lines = [f"{'server':<16}{'associations':>13}{'images/s':>10}{'x Orthanc':>11}{'CPU s per 1000':>16}"]
    for rate in sorted(rates, key=lambda rate: (rate.associations, rate.server)):
        ratio = rate.images_per_second / orthanc[rate.associations]
        lines.append(
            f"{rate.server:<16}{rate.associations:>13}{rate.images_per_second:>10.0f}{ratio:>11.2f}"
            f"{rate.cpu_seconds_per_1000:>16.2f}"
        )
    return "\n".join(lines)


def _program(name: str, package: str) -> str:
    # Not the scripts of the same names that pynetdicom puts into a virtual environment.
    found = shutil.which(name, path="/usr/bin:/usr/sbin:/usr/local/bin:/usr/local/sbin")
    if found is None:
        raise ConfigError(f"{name} is not installed: apt-get install {package}")
    return found


def _write_objects(folder: Path, objects: int, associations: int) -> None:
    """One folder for each association; all images are of one study."""
    random = np.random.default_rng(0)
    ds = Dataset()
    ds.SOPClassUID, ds.Modality, ds.PatientID, ds.PatientName = CTImageStorage, "CT", "BENCH", "Bench"
    ds.StudyInstanceUID, ds.SeriesInstanceUID = generate_uid(), generate_uid()
    ds.Rows = ds.Columns = 512
    ds.SamplesPerPixel, ds.PhotometricInterpretation = 1, "MONOCHROME2"
    ds.BitsAllocated, ds.BitsStored, ds.HighBit, ds.PixelRepresentation = 16, 12, 11, 0
    ds.file_meta = FileMetaDataset()
    ds.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    for number in range(objects):
        ds.SOPInstanceUID, ds.InstanceNumber = generate_uid(), number + 1
        ds.file_meta.MediaStorageSOPInstanceUID = ds.SOPInstanceUID
        ds.PixelData = random.integers(0, 4096, 512 * 512, dtype=np.uint16).tobytes()
        place = folder / f"{number % associations}"
        place.mkdir(parents=True, exist_ok=True)
        ds.save_as(place / f"{number}.dcm", enforce_file_format=True)


def _run(server: str, objects: Path, request: ReceiveBench) -> tuple[float, float]:
    """Images per second, and CPU seconds of the server for 1000 images."""
    environment = {**os.environ, "TCP_NODELAY": "0" if request.nagle else "1"}
    with (
        tempfile.TemporaryDirectory(prefix="gsco-bench-") as name,
        _started(server, Path(name), environment) as (pid, port),
    ):
        storescu = [
            _program("storescu", "dcmtk"),
            "-pdu",
            str(PDU),
            "-aet",
            "BENCH",
            "-aec",
            _AE,
            "+sd",
            "127.0.0.1",
            str(port),
        ]
        cpu, began = _cpu_seconds(pid), time.perf_counter()
        senders = [
            subprocess.Popen([*storescu, str(folder)], env=environment) for folder in objects.iterdir()
        ]
        if any([sender.wait() for sender in senders]):  # noqa: C419 - wait for each of them
            raise ConfigError(f"{server} did not take every image.")
        seconds = time.perf_counter() - began
        return request.objects / seconds, (_cpu_seconds(pid) - cpu) * 1000 / request.objects


def _cpu_seconds(pid: int) -> float:
    """CPU time of a process and its children, which storescp makes of each association."""
    total = 0.0
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text().rpartition(")")[2].split()
        except OSError:
            continue  # it has just ended
        if int(stat.parent.name) == pid:
            total += sum(map(int, fields[11:15])) / _TICKS
        elif int(fields[1]) == pid:
            total += sum(map(int, fields[11:13])) / _TICKS
    return total


@contextmanager
def _started(server: str, folder: Path, environment: dict[str, str]) -> Iterator[tuple[int, int]]:
    """The server's process id and port; everything that it writes goes to ``folder``."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = int(probe.getsockname()[1])
    with (folder / "log").open("wb") as log:
        command = _SERVERS[server](folder, port)
        process = subprocess.Popen(command, cwd=folder, env=environment, stdout=log, stderr=log)
    try:
        _wait_for(process, port, server)
        yield process.pid, port
    finally:
        process.terminate()
        process.wait(60)


def _wait_for(process: "subprocess.Popen[bytes]", port: int, server: str) -> None:
    until = time.monotonic() + 120
    while process.poll() is None and time.monotonic() < until:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.1)
    raise ConfigError(f"{server} did not start.")


def _node(folder: Path, port: int) -> list[str]:
    settings = {
        "ae_title": _AE,
        "host": "127.0.0.1",
        "port": port,
        "senders": [{"ae_title": "BENCH"}],
        "maximum_pdu": PDU,
    }
    config = folder / "config.yaml"
    config.write_text(dumps({"receiver": settings}))  # JSON is YAML
    migrate(load_config(config).database_url)
    return [sys.executable, "-m", "gsco_pacs", "--config", str(config), "receiver"]


def _orthanc(folder: Path, port: int) -> list[str]:
    """Orthanc with its defaults: it syncs each file, not its index."""
    settings = {
        "StorageDirectory": str(folder),
        "IndexDirectory": str(folder),
        "HttpServerEnabled": False,
        "DicomAet": _AE,
        "DicomPort": port,
        "DicomAlwaysAllowStore": True,
    }
    (folder / "orthanc.json").write_text(dumps(settings))
    return [_program("Orthanc", "orthanc"), str(folder / "orthanc.json")]


def _storescp(folder: Path, port: int) -> list[str]:
    """DCMTK's storescp: files only, nothing is synced, no index."""
    return [
        _program("storescp", "dcmtk"),
        "--fork",
        "+B",
        "-pdu",
        str(PDU),
        "-aet",
        _AE,
        "-od",
        str(folder),
        str(port),
    ]


_SERVERS: dict[str, Callable[[Path, int], list[str]]] = {
    "gsco_pacs": _node,
    "Orthanc": _orthanc,
    "DCMTK storescp": _storescp,
}
