"""The audit trail: what is written, and the thread that sends it."""

import logging
import threading
import time
from datetime import UTC, datetime

from gsco_pacs.adapters.audit_message import (
    Party,
    accessed,
    application_activity,
    queried,
    security_alert,
    transferred,
)
from gsco_pacs.adapters.audit_spool import AuditSpool
from gsco_pacs.adapters.ledger import Database
from gsco_pacs.adapters.tls import tls_arguments
from gsco_pacs.adapters.transfers import forget_told, untold
from gsco_pacs.config import Config
from gsco_pacs.domain.archive import Query
from gsco_pacs.domain.errors import GscoError
from gsco_pacs.domain.incoming import Refusal
from gsco_pacs.domain.study import Peer
from gsco_pacs.domain.transfer import Access, Transfer
from gsco_pacs.settings.archives import DimseArchive
from gsco_pacs.settings.destinations import DicomwebDestination, DimseDestination, FolderDestination

log = logging.getLogger(__name__)

_SECONDS = 5.0
_TIDY_SECONDS = 600.0
"""Messages of months are many files to look through."""
_MOST = 20
"""So many notes are told in one round, so that slow disks keep no study open for long."""


class Auditing:
    """Writes audit messages of what is not in the record; a message that can't be written is an error in the log and never in the way of images."""

    def __init__(self, config: Config) -> None:
        self._ae_title = config.receiver.ae_title
        self._spool = AuditSpool(config.state_dir / "audit")

    def refused(self, refusal: Refusal) -> None:
        """Somebody was refused."""
        self._write(security_alert(refusal, self._ae_title, refusal.at))

    def runs(self, *, starts: bool) -> None:
        """The receiver starts or stops."""
        self._write(application_activity(self._ae_title, datetime.now(UTC), starts=starts))

    def asked(self, archive: DimseArchive, query: Query) -> None:
        """A query is just being sent."""
        other = Party(archive.ae_title, archive.host)
        self._write(queried(query, self._ae_title, other, datetime.now(UTC)))

    def _write(self, message: bytes) -> None:
        try:
            self._spool.write(message)
        except GscoError as error:
            log.error("%s", error)  # noqa: TRY400 - the traceback says nothing more


class TransferAuditing:
    """Tells of each transfer and access that the record notes, once: its note is dropped when its message is durable."""

    def __init__(self, database: Database, config: Config) -> None:
        self._database = database
        self._config = config
        self._spool = AuditSpool(config.state_dir / "audit")

    def tend(self) -> None:
        """Write the oldest messages; TransientError if disk or database do not take it, and it is tried again."""
        with self._database.reading() as connection:
            notes = untold(connection, _MOST)
        if not notes:
            return
        if self._config.audit.transfers:
            for number, told in notes.items():
                # If this ends before the note is dropped, the next round finds the message by its name.
                self._spool.write_once(self._message(told), f"transfer{number}", told.at)
        with self._database.writing() as connection:
            forget_told(connection, list(notes))

    def _message(self, told: Transfer | Access) -> bytes:
        here = self._config.receiver.ae_title
        return accessed(told, here) if isinstance(told, Access) else self._transferred(told, here)

    def _transferred(self, transfer: Transfer, here: str) -> bytes:
        source = transfer.source
        if source is None:
            return transferred(transfer, here, self._receiver(transfer.destination))
        asked_by = next(
            (who for archive, who in transfer.fetched_by.items() if self._is_of(archive, source)), ""
        )
        return transferred(transfer, here, Party(source.calling_ae, source.address), asked_by)

    def _receiver(self, destination: str) -> Party:
        match self._config.destinations.get(destination):
            case DimseDestination() as pacs:
                return Party(pacs.ae_title, pacs.host)
            case DicomwebDestination() as service:
                return Party(service.url, service.url)
            case FolderDestination() as folder:
                return Party(self._config.absolute(folder.path).as_uri(), is_medium=True)
        return Party(destination)  # it is no longer in the configuration

    def _is_of(self, archive: str, source: Peer) -> bool:
        """Whether it is the archive that sent; its studies may come from elsewhere at the same time."""
        settings = self._config.archives.get(archive)
        title = settings.ae_title if isinstance(settings, DimseArchive) else archive[:16]
        return settings is not None and title == source.calling_ae


def send_audit(config: Config, stop: threading.Event) -> None:
    """Send what is written and delete what is old, until ``stop``; the body of a thread."""
    spool, syslog = AuditSpool(config.state_dir / "audit"), config.audit.syslog
    tidied_at = -_TIDY_SECONDS
    while not stop.wait(_SECONDS):
        try:
            if syslog:
                spool.send(
                    syslog.host,
                    syslog.port,
                    tls_arguments(syslog.tls, syslog.host, "audit.syslog.tls", config.absolute),
                )
            if time.monotonic() - tidied_at >= _TIDY_SECONDS:
                tidied_at = time.monotonic()
                spool.forget(config.audit.keep_days, unsent=syslog is None)
        except (GscoError, OSError) as error:
            log.warning("%s It is tried again.", error)
