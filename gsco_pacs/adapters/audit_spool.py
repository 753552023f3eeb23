"""Audit messages on their way to a collector: durable files, sent in order by syslog over TLS, deleted when they are old."""

import os
import socket
import ssl
import time
import uuid
from collections.abc import Iterator
from contextlib import suppress
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path

from gsco_pacs.adapters.durable_file import write_durably
from gsco_pacs.adapters.tls import TlsArguments
from gsco_pacs.domain.errors import OutOfResourcesError, PeerUnavailableError

_PRIORITY = 85
"""Facility 10 (security), severity 5 (notice): PS3.15 section A.6."""
_SECONDS = 10.0
_DAY = 24 * 3600.0
_AT_ONCE = 1000
"""So many messages share a connection: those of one that breaks are all sent again."""


class AuditSpool:
    """A folder of messages; several processes may write, one sends."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._sent = folder / "sent"
        self._sent.mkdir(parents=True, exist_ok=True)

    def write(self, message: bytes) -> None:
        """Keep a message; durable when it returns. OutOfResourcesError if that can't be."""
        self._keep(f"{time.time_ns()}-{os.getpid()}-{uuid.uuid4().hex[:8]}.xml", message)

    def write_once(self, message: bytes, key: str, at: datetime) -> None:
        """As ``write``, but nothing if a message of this ``key`` about ``at`` was kept or sent already."""
        name = f"{int(at.timestamp() * 1e9)}-{key}.xml"
        if not ((self._folder / name).exists() or (self._sent / name).exists()):
            self._keep(name, message)

    def _keep(self, name: str, message: bytes) -> None:
        try:
            write_durably(self._folder / name, message)
        except OSError as error:
            raise OutOfResourcesError(f"An audit message can't be written: {error.strerror}.") from error

    def send(self, host: str, port: int, tls: TlsArguments) -> int:
        """Send the oldest waiting messages in order; how many. PeerUnavailableError if the collector is away: they wait."""
        waiting = list(islice(self._waiting(), _AT_ONCE))
        if not waiting:
            return 0
        context, host_name = tls
        try:
            with (
                socket.create_connection((host, port), timeout=_SECONDS) as connection,
                context.wrap_socket(connection, server_hostname=host_name) as secured,
            ):
                for path in waiting:
                    secured.sendall(frame(path.read_bytes(), _written_at(path)))
                _say_goodbye(secured)
        except OSError as error:
            raise PeerUnavailableError(
                f"The audit collector {host}:{port} does not take messages: {error}."
            ) from error
        for path in waiting:
            path.replace(self._sent / path.name)
        return len(waiting)

    def forget(self, days: float, *, unsent: bool) -> None:
        """Delete sent messages that are older than ``days``, and with ``unsent`` those that nobody wants."""
        oldest = time.time_ns() - int(days * _DAY * 1e9)
        for path in [*self._sent.glob("*.xml"), *(self._waiting() if unsent else ())]:
            if _stamp(path) < oldest:
                path.unlink()

    def _waiting(self) -> Iterator[Path]:
        return iter(sorted(self._folder.glob("*.xml"), key=_stamp))


def _say_goodbye(connection: ssl.SSLSocket) -> None:
    """Wait until the collector has read everything; it may answer close_notify by its own or by closing (RFC 5425 section 4.4)."""
    with suppress(ssl.SSLEOFError, ssl.SSLSyscallError):
        connection.unwrap()


def frame(message: bytes, at: datetime) -> bytes:
    """An RFC 5424 message with the octet count of RFC 5425 before it."""
    head = f"<{_PRIORITY}>1 {at.isoformat(timespec='milliseconds')} {socket.gethostname()} gsco-pacs {os.getpid()} DICOM+RFC3881 - "
    line = head.encode() + b"\xef\xbb\xbf" + message
    return str(len(line)).encode() + b" " + line


def _stamp(path: Path) -> int:
    return int(path.name.split("-")[0])


def _written_at(path: Path) -> datetime:
    return datetime.fromtimestamp(_stamp(path) / 1e9, UTC)
