"""The housekeeper: closes complete studies, and brings back what is due, lost or was never woken."""

import logging
import signal
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from functools import partial

from celery import Celery

from gsco_pacs.adapters.announcements import Announcements
from gsco_pacs.adapters.archive_counts import ArchiveCounts
from gsco_pacs.adapters.commitment_ledger import Commitments
from gsco_pacs.adapters.corrections import Corrections
from gsco_pacs.adapters.ledger import Database, Ledger
from gsco_pacs.adapters.promises import Promises
from gsco_pacs.adapters.question_ledger import Questions
from gsco_pacs.adapters.queue import NO_JOB, open_app, wake
from gsco_pacs.adapters.upkeep import Upkeep
from gsco_pacs.config import Config
from gsco_pacs.domain.errors import TransientError
from gsco_pacs.domain.job import Stage
from gsco_pacs.intake import compare_variants
from gsco_pacs.outlook import Outlooks
from gsco_pacs.processes.auditing import TransferAuditing, send_audit
from gsco_pacs.processes.cleaning import Cleaning
from gsco_pacs.processes.closing import Closing
from gsco_pacs.processes.counting import Counting
from gsco_pacs.processes.parts import open_database, open_store, start_logging
from gsco_pacs.processes.peers import open_archive

log = logging.getLogger(__name__)

TICK_SECONDS = 0.5
MESSAGE_LOST_AFTER_SECONDS = 60.0
"""A queued job that nobody claimed for this long gets another message; a second message is harmless."""
WOKEN_AGAIN_AFTER_SECONDS = 2.0
"""So long a worker has to take up what is to be confirmed before another one is woken."""


def run_housekeeper(config: Config) -> None:
    """Work until SIGTERM or SIGINT."""
    start_logging("housekeeper")
    database = open_database(config)
    ledger, upkeep, app = Ledger(database), Upkeep(database), open_app(config)
    questions = Questions(database)
    commitments = CommitmentCare(database, config, app)
    cleaning, transfers = Cleaning(database, config), TransferAuditing(database, config)
    watch = LeaseWatch(config.workers.lease_seconds)
    corrections, store = Corrections(database), open_store(config)
    counts = ArchiveCounts(database, config.settle.ask_seconds)
    outlooks = Outlooks(ledger, Announcements(database), corrections, counts, config)
    closing = Closing(ledger, outlooks, Counting(counts, partial(open_archive, config=config)))
    wake_workers = partial(send_wake_ups, upkeep, questions, app)
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    threading.Thread(target=send_audit, args=(config, stop), name="audit", daemon=True).start()
    log.info("The housekeeper is at work.")
    duties: Sequence[Callable[[], object]] = (
        lambda: bring_back(upkeep, watch),
        lambda: compare_variants(corrections, store),
        lambda: closing.tend(wake_workers, TICK_SECONDS),
        wake_workers,
        commitments.tend,
        cleaning.tend,
        transfers.tend,
    )
    while not stop.wait(TICK_SECONDS):
        for duty in duties:
            _do(duty)


def _do(duty: Callable[[], object]) -> None:
    """Do it; whatever it meets keeps no other duty from being done."""
    try:
        duty()
    except TransientError as error:
        log.warning("%s It is tried again.", error)
    except Exception:
        log.exception("A duty failed; it is tried again in the next round.")


class LeaseWatch:
    """Notices leases that nobody extends, by this process's own clock.

    Workers may run on machines with other clocks, so the time in a lease is never compared with ours: it only has to
    move on. Of a time in which this process could not look (a silent database) little counts.
    """

    def __init__(self, lease_seconds: float) -> None:
        self._lease_seconds = lease_seconds
        self._seen: dict[str, tuple[datetime, float]] = {}
        self._looked_at: float | None = None

    def silent(self, leases: Mapping[str, datetime], at: float) -> dict[str, datetime]:
        """The leases that have not moved for lease_seconds; ``at`` is a monotonic time in seconds."""
        since = at - self._looked_at if self._looked_at is not None else 0.0
        observed = min(since, self._lease_seconds / 3)
        self._looked_at = at
        self._seen = {
            lease: (until, self._seen[lease][1] + observed if self._unmoved(lease, until) else 0.0)
            for lease, until in leases.items()
        }
        return {
            lease: until for lease, (until, silence) in self._seen.items() if silence >= self._lease_seconds
        }

    def _unmoved(self, lease: str, until: datetime) -> bool:
        return lease in self._seen and self._seen[lease][0] == until


class CommitmentCare:
    """Ends requests for commitment that are overdue, and wakes a worker for what is to be asked or reported."""

    def __init__(self, database: Database, config: Config, app: Celery) -> None:
        self._commitments = Commitments(database, config.retry)
        self._promises = Promises(database, config.receiver.commitment_days, config.retry)
        self._app = app
        self._woken_at = -WOKEN_AGAIN_AFTER_SECONDS

    def tend(self) -> None:
        """One look; a worker that finds something to do wakes the next one itself."""
        if overdue := self._commitments.pass_deadlines():
            log.warning("%d objects have no commitment by the deadline.", overdue)
        since = time.monotonic() - self._woken_at
        if since < WOKEN_AGAIN_AFTER_SECONDS:
            return
        if self._commitments.is_due() or self._promises.is_due():
            wake(self._app, NO_JOB, Stage.DELIVER)
            self._woken_at = time.monotonic()


def bring_back(upkeep: Upkeep, watch: LeaseWatch) -> None:
    """Take jobs back from workers that are gone, and queue retries that are due."""
    silent = watch.silent(upkeep.leases(), time.monotonic())
    lost = upkeep.take_back(silent) if silent else 0
    due = upkeep.queue_due()
    if lost or due:
        log.info("Jobs taken back from lost workers: %d, retries due: %d.", lost, due)


def send_wake_ups(upkeep: Upkeep, questions: Questions, app: Celery) -> None:
    """Send the messages that are missing, of jobs and of questions."""
    for job in upkeep.unwoken(MESSAGE_LOST_AFTER_SECONDS):
        wake(app, job.job_id, job.stage, stat=job.is_stat)
        upkeep.woken([job.job_id])
    for number, stage in questions.unwoken(MESSAGE_LOST_AFTER_SECONDS):
        wake(app, number, stage)
        questions.woken(number)
