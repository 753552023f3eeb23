"""The housekeeper: closes quiet studies, and brings back what is due, lost or was never woken."""

import logging
import signal
import threading
from datetime import UTC, datetime

from celery import Celery

from gsco_pacs.adapters.ledger import Ledger
from gsco_pacs.adapters.queue import open_app, wake
from gsco_pacs.adapters.upkeep import Upkeep
from gsco_pacs.config import Config
from gsco_pacs.domain.errors import TransientError
from gsco_pacs.intake import close_quiet_studies
from gsco_pacs.processes.parts import open_database, start_logging

log = logging.getLogger(__name__)

TICK_SECONDS = 0.5
MESSAGE_LOST_AFTER_SECONDS = 60.0
"""A queued job that nobody claimed for this long gets another message; a second message is harmless."""


def run_housekeeper(config: Config) -> None:
    """Work until SIGTERM or SIGINT."""
    start_logging("housekeeper")
    database = open_database(config)
    ledger, upkeep, app = Ledger(database), Upkeep(database), open_app(config)
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    log.info("The housekeeper is at work.")
    while not stop.wait(TICK_SECONDS):
        try:
            keep_house(ledger, upkeep, app, config)
        except TransientError as error:
            log.warning("%s It is tried again.", error)
        except Exception:
            log.exception("This round failed; the next one follows.")


def keep_house(ledger: Ledger, upkeep: Upkeep, app: Celery, config: Config) -> None:
    """One round."""
    closed = close_quiet_studies(ledger, config, datetime.now(UTC))
    lost = upkeep.take_back_lost()
    due = upkeep.queue_due()
    if closed or lost or due:
        log.info(
            "Studies closed: %d, jobs taken back from lost workers: %d, retries due: %d.", closed, lost, due
        )
    for job_id, stage in upkeep.unwoken(MESSAGE_LOST_AFTER_SECONDS):
        wake(app, job_id, stage)
        upkeep.woken([job_id])
