"""What a person's commands need: the record to read, the two buttons, and the sender."""

from collections.abc import Sequence
from functools import partial
from pathlib import Path

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

from gsco_pacs.adapters.audit import Audit
from gsco_pacs.adapters.calling import CalledPeer
from gsco_pacs.adapters.conformance import conformance_statement
from gsco_pacs.adapters.database import open_engine
from gsco_pacs.adapters.ledger import Database
from gsco_pacs.adapters.send_files import Sent, find_files, send_files
from gsco_pacs.adapters.tls import tls_arguments
from gsco_pacs.adapters.upkeep import Upkeep
from gsco_pacs.config import Config
from gsco_pacs.domain.errors import ConfigError
from gsco_pacs.processes.parts import open_database
from gsco_pacs.processes.services import services
from gsco_pacs.settings.tls import ClientTls

_SECONDS = 30.0
"""Longest wait for a connection and for each answer."""


def open_audit(config: Config) -> Audit:
    """The record, for reading."""
    return Audit(open_database(config))


def open_upkeep(config: Config) -> Upkeep:
    """The operator's buttons."""
    return Upkeep(open_database(config))


def state_conformance(config: Config) -> str:
    """The conformance statement of a node with this configuration."""
    unused = Database(open_engine("sqlite://"))  # the services are described, not started
    return conformance_statement(config, services(config, unused, lambda _: None))


def send_to(
    config: Config,
    paths: Sequence[Path],
    *,
    host: str | None,
    port: int | None,
    ae_title: str | None,
    calling_ae: str,
    tls: ClientTls | None,
) -> int:
    """Send files with a progress bar and say which were not taken; returns how many were not.

    Without ``host``, ``port`` or ``ae_title`` those of this node; with ``tls`` its TLS port.
    """
    scp = _scp(config, host, port, ae_title, calling_ae, tls)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
    with Progress(*columns) as progress:
        task = progress.add_task(f"sending to {scp.ae_title}", total=len(list(find_files(paths))))

        def show(sent: Sent) -> None:
            progress.advance(task)
            if sent.status != 0:
                answer = "was not taken: its SOP class or transfer syntax is refused" if sent.status is None else (
                    f"was answered with 0x{sent.status:04X}")  # fmt: skip
                progress.console.print(f"{sent.path} {answer}")

        results = send_files(paths, scp, show)
    return sum(sent.status is None or not (sent.status == 0 or sent.status >> 12 == 0xB) for sent in results)


def client_tls(
    authorities: Path | None, certificate: Path | None, private_key: Path | None
) -> ClientTls | None:
    """How TLS is made by the options of a command; None without any, ConfigError if one is missing."""
    if (certificate is None) != (private_key is None):
        raise ConfigError("--tls-certificate and --tls-key belong together: give both or neither.")
    if authorities is None and certificate is None:
        return None
    return ClientTls(authorities=authorities, certificate=certificate, private_key=private_key)


def _scp(
    config: Config,
    host: str | None,
    port: int | None,
    ae_title: str | None,
    calling_ae: str,
    tls: ClientTls | None,
) -> CalledPeer:
    receiver = config.receiver
    here = "127.0.0.1" if receiver.host == "0.0.0.0" else receiver.host  # noqa: S104 - a comparison
    door = receiver.tls if tls else receiver
    called, at = host or here, port or (door.port if door else None)
    if at is None:
        raise ConfigError("This node has no receiver.tls: give --port.")
    arguments = partial(tls_arguments, tls, called, "tls", Path.absolute) if tls else None
    return CalledPeer(ae_title or receiver.ae_title, called, at, calling_ae, _SECONDS, arguments)
