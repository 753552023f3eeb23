"""The audit trail of the receiver: what is written, and the thread that sends it."""

import logging
import threading
from datetime import UTC, datetime

from gsco_pacs.adapters.audit_message import application_activity, security_alert
from gsco_pacs.adapters.audit_spool import AuditSpool
from gsco_pacs.adapters.tls import tls_arguments
from gsco_pacs.config import Config
from gsco_pacs.domain.errors import GscoError
from gsco_pacs.domain.incoming import Refusal

log = logging.getLogger(__name__)

_SECONDS = 5.0


class Auditing:
    """Writes audit messages; a message that can't be written is an error in the log and never in the way of images."""

    def __init__(self, config: Config) -> None:
        self._ae_title = config.receiver.ae_title
        self._spool = AuditSpool(config.state_dir / "audit")

    def refused(self, refusal: Refusal) -> None:
        """Somebody was refused."""
        self._write(security_alert(refusal, self._ae_title, refusal.at))

    def runs(self, *, starts: bool) -> None:
        """The receiver starts or stops."""
        self._write(application_activity(self._ae_title, datetime.now(UTC), starts=starts))

    def _write(self, message: bytes) -> None:
        try:
            self._spool.write(message)
        except GscoError as error:
            log.error("%s", error)  # noqa: TRY400 - the traceback says nothing more


def send_audit(config: Config, stop: threading.Event) -> None:
    """Send what is written and delete what is old, until ``stop``; the body of a thread."""
    spool, syslog = AuditSpool(config.state_dir / "audit"), config.audit.syslog
    while not stop.wait(_SECONDS):
        try:
            if syslog:
                spool.send(
                    syslog.host,
                    syslog.port,
                    tls_arguments(syslog.tls, syslog.host, "audit.syslog.tls", config.absolute),
                )
            spool.forget(config.audit.keep_days, unsent=syslog is None)
        except (GscoError, OSError) as error:
            log.warning("%s It is tried again.", error)
