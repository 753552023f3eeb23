"""The DICOMweb process: STOW-RS, with the first half of walk 1 behind it."""

import logging
import signal

import uvicorn

from gsco_pacs.adapters.ledger import Ledger
from gsco_pacs.adapters.refusal_desk import RefusalDesk
from gsco_pacs.adapters.stow_service import StowService
from gsco_pacs.adapters.tls import https_context
from gsco_pacs.config import Config
from gsco_pacs.domain.errors import ConfigError, TransientError
from gsco_pacs.domain.incoming import Refusal
from gsco_pacs.processes.filing import open_intake
from gsco_pacs.processes.parts import open_database, start_logging

log = logging.getLogger(__name__)

_WAITING = 16
"""Connections beyond dicomweb.maximum_requests, each of which is still heard and told to come again."""
_LAST_SECONDS = 10


def run_dicomweb(config: Config) -> None:
    """Take in studies until SIGTERM or SIGINT; nothing that was reported as stored is lost."""
    start_logging("dicomweb")
    settings = config.dicomweb
    if settings is None:
        raise ConfigError("There is no dicomweb in the configuration: add the group, with its senders.")
    database = open_database(config)
    ledger = Ledger(database)

    def record(refusal: Refusal) -> None:
        try:
            ledger.refuse(refusal)
        except TransientError as error:
            log.warning("A refusal could not be recorded: %s", error)

    desk = RefusalDesk(record, config.receiver.limits.refusals_per_minute)

    def on_refusal(refusal: Refusal) -> None:
        desk.tell(refusal)
        desk.flush()

    tls = settings.tls and https_context(settings.tls, "dicomweb.tls", config.absolute)
    for number in (signal.SIGTERM, signal.SIGINT):
        # uvicorn raises the signal anew when it has stopped; what was taken must be filed still.
        signal.signal(number, lambda *_: None)
    with open_intake(config, database) as on_store:
        log.info("STOW-RS is at %s:%d/studies.", settings.host, settings.port)
        uvicorn.run(
            StowService(settings, on_store, on_refusal).app(),
            host=settings.host,
            port=settings.port,
            log_config=None,
            access_log=False,
            server_header=False,
            proxy_headers=False,
            limit_concurrency=settings.maximum_requests + _WAITING,
            timeout_graceful_shutdown=_LAST_SECONDS,
            ssl_context_factory=(lambda *_: tls) if tls else None,
        )
    desk.flush(everything=True)
