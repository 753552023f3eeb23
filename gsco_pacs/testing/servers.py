"""PostgreSQL, Redis, RabbitMQ and Orthanc of a test's own: free ports, temporary folders, nothing left behind."""

import json
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import psycopg
import redis
from psycopg import sql

from gsco_pacs.adapters.node_process import free_port
from gsco_pacs.testing.private_process import as_user, listens, program, running

_LIBRARIES = {
    "orthanc-dicomweb": "libOrthancDicomWeb.so",
    "orthanc-python": "libOrthancPython.so",
}
"""Orthanc's plugins by the package that brings them."""


@dataclass(frozen=True)
class PostgresqlServer:
    """A PostgreSQL cluster with the superuser ``gsco``."""

    port: int
    pid: int

    @property
    def url(self) -> str:
        """SQLAlchemy URL of the database that is always there."""
        return self._url("postgres")

    def new_database(self) -> str:
        """SQLAlchemy URL of a fresh, empty database."""
        name = f"gsco_{uuid.uuid4().hex}"
        with psycopg.connect(self._dsn, autocommit=True) as connection:
            connection.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))
        return self._url(name)

    @property
    def _dsn(self) -> str:
        return f"postgresql://gsco@127.0.0.1:{self.port}/postgres"

    def _url(self, database: str) -> str:
        return f"postgresql+psycopg://gsco@127.0.0.1:{self.port}/{database}"


@dataclass(frozen=True)
class RedisServer:
    """A Redis that keeps nothing on disk."""

    port: int
    pid: int

    @property
    def url(self) -> str:
        """Broker URL."""
        return f"redis://127.0.0.1:{self.port}/0"


@dataclass(frozen=True)
class RabbitmqServer:
    """A RabbitMQ node with the user guest."""

    port: int
    pid: int

    @property
    def url(self) -> str:
        """Broker URL."""
        return f"amqp://guest:guest@127.0.0.1:{self.port}//"


@dataclass(frozen=True)
class OrthancServer:
    """An Orthanc that takes everything from everybody."""

    ae_title: str
    dicom_port: int
    http_port: int
    pid: int

    @property
    def url(self) -> str:
        """Root of its REST API."""
        return f"http://127.0.0.1:{self.http_port}"

    @property
    def dicomweb(self) -> str:
        """Root of its DICOMweb services."""
        return f"{self.url}/dicom-web"

    def get(self, path: str) -> Any:
        """The answer to a GET of its REST API, parsed from JSON."""
        return httpx.get(f"{self.url}{path}").raise_for_status().json()

    def find(self, level: str, query: Mapping[str, str]) -> list[dict[str, Any]]:
        """Patients, studies, series or instances ("Study", ...) whose DICOM attributes match ``query``."""
        wanted = {"Level": level, "Query": dict(query), "Expand": True}
        found = httpx.post(f"{self.url}/tools/find", json=wanted).raise_for_status().json()
        return list(found)


@contextmanager
def private_postgresql() -> Iterator[PostgresqlServer]:
    """A fresh cluster; as root it runs as the user postgres, because PostgreSQL refuses root."""
    port = free_port()
    binaries = os.pathsep.join(
        str(folder) for folder in sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)
    )
    initdb, postgres = (program(name, "postgresql", binaries) for name in ("initdb", "postgres"))
    user = "postgres" if os.geteuid() == 0 else None
    with _own_folder(user) as folder:
        data = folder / "data"
        # No fsync: a test kills processes, never the machine.
        make = [
            initdb,
            "-D",
            str(data),
            "-U",
            "gsco",
            "--auth=trust",
            "--no-sync",
            "-E",
            "UTF8",
            "--locale=C",
        ]
        subprocess.run([*as_user(user), *make], cwd=folder, check=True, stdout=subprocess.DEVNULL)
        options = {
            "listen_addresses": "127.0.0.1",
            "port": port,
            "unix_socket_directories": folder,
            "fsync": "off",
        }
        serve = [postgres, "-D", str(data), *(f"--{name}={value}" for name, value in options.items())]
        with running(serve, folder, lambda: _postgresql_answers(port), user=user, stop=signal.SIGQUIT) as pid:
            yield PostgresqlServer(port, pid)


@contextmanager
def private_redis(port: int = 0) -> Iterator[RedisServer]:
    """A fresh Redis, on ``port`` or on a free one."""
    port = port or free_port()
    serve = [program("redis-server", "redis-server"), "--port", str(port), "--bind", "127.0.0.1"]
    with (
        _own_folder() as folder,
        running([*serve, "--save", "", "--appendonly", "no"], folder, lambda: _redis_answers(port)) as pid,
    ):
        yield RedisServer(port, pid)


@contextmanager
def private_rabbitmq() -> Iterator[RabbitmqServer]:
    """A fresh RabbitMQ node (up in some seconds) with an Erlang port mapper and a cookie of its own."""
    port, mapper_port, distribution_port = free_port(), free_port(), free_port()
    serve = program("rabbitmq-server", "rabbitmq-server", "/usr/lib/rabbitmq/bin")
    map_ports = [program("epmd", "erlang-base"), "-port", str(mapper_port), "-address", "127.0.0.1"]
    with (
        _own_folder() as folder,
        running(map_ports, folder, lambda: listens(mapper_port)),
        running(
            [serve],
            folder,
            lambda: _rabbitmq_answers(port),
            environment=_rabbitmq_environment(folder, port, mapper_port, distribution_port),
            seconds=120,
        ) as pid,
    ):
        yield RabbitmqServer(port, pid)


def _rabbitmq_environment(
    folder: Path, port: int, mapper_port: int, distribution_port: int
) -> dict[str, str]:
    (folder / "rabbitmq.conf").write_text(f"listeners.tcp.1 = 127.0.0.1:{port}\n")
    return {
        "HOME": str(folder),
        "ERL_EPMD_PORT": str(mapper_port),
        "RABBITMQ_CONF_ENV_FILE": str(folder / "none"),
        "RABBITMQ_CONFIG_FILE": str(folder / "rabbitmq.conf"),
        "RABBITMQ_ENABLED_PLUGINS_FILE": str(folder / "enabled_plugins"),
        "RABBITMQ_NODENAME": f"gsco{port}@localhost",
        "RABBITMQ_DIST_PORT": str(distribution_port),
        "RABBITMQ_MNESIA_BASE": str(folder / "mnesia"),
        "RABBITMQ_LOG_BASE": str(folder / "log"),
        "RABBITMQ_LOGS": "-",
        "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": "-start_epmd false -kernel inet_dist_use_interface {127,0,0,1}",
        # The start script then becomes the server instead of watching over it.
        "RUNNING_UNDER_SYSTEMD": "1",
    }


@contextmanager
def private_orthanc(
    peers: Mapping[str, tuple[str, str, int]] | None = None,
    plugins: Sequence[str] = ("orthanc-dicomweb",),
    **more: Any,
) -> Iterator[OrthancServer]:
    """A fresh Orthanc; ``peers`` maps a symbolic name to (AE title, host, port) of those that it may call back.

    ``plugins`` are names of Debian's packages, ``more`` further settings of its configuration.

    Orthanc 1.10 listens on all interfaces; access from elsewhere than loopback is refused for REST, not for DICOM.
    """
    dicom_port, http_port = free_port(), free_port()
    with _own_folder() as folder:
        settings = {
            "StorageDirectory": str(folder),
            "IndexDirectory": str(folder),
            "DicomAet": "ORTHANC",
            "DicomPort": dicom_port,
            "HttpPort": http_port,
            "RemoteAccessAllowed": False,
            **{f"DicomAlwaysAllow{service}": True for service in ("Echo", "Store", "Find", "Move", "Get")},
            "Plugins": [str(_plugin(package)) for package in plugins],
            "DicomModalities": {name: list(peer) for name, peer in (peers or {}).items()},
            **more,
        }
        (folder / "orthanc.json").write_text(json.dumps(settings))
        # Without TCP_NODELAY every C-STORE to or from DCMTK waits 40 ms.
        with running(
            [program("Orthanc", "orthanc"), str(folder / "orthanc.json")],
            folder,
            lambda: listens(dicom_port) and _http_answers(f"http://127.0.0.1:{http_port}/system"),
            environment={"TCP_NODELAY": "1"},
        ) as pid:
            yield OrthancServer("ORTHANC", dicom_port, http_port, pid)


def _plugin(package: str) -> Path:
    plugin = Path("/usr/share/orthanc/plugins") / _LIBRARIES[package]
    if not plugin.is_file():
        raise FileNotFoundError(f"{plugin} is missing: install the package {package}.")
    return plugin


@contextmanager
def _own_folder(user: str | None = None) -> Iterator[Path]:
    # Not below pytest's temporary folder: that one is closed to other users.
    with tempfile.TemporaryDirectory(prefix="gsco-pacs-") as name:
        if user is not None:
            shutil.chown(name, user, user)
        yield Path(name)


def _postgresql_answers(port: int) -> bool:
    with suppress(psycopg.OperationalError):
        psycopg.connect(f"postgresql://gsco@127.0.0.1:{port}/postgres").close()
        return True
    return False


def _redis_answers(port: int) -> bool:
    with suppress(redis.ConnectionError), redis.Redis(port=port) as client:
        return bool(client.ping())
    return False


def _rabbitmq_answers(port: int) -> bool:
    with suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=2) as probe:
        probe.sendall(b"AMQP\x00\x00\x09\x01")
        return probe.recv(1) == b"\x01"  # a method frame: Connection.Start
    return False


def _http_answers(url: str) -> bool:
    with suppress(httpx.TransportError):
        return httpx.get(url).is_success
    return False
