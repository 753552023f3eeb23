"""The facts that pages and JSON share: one page of jobs, a study, the refusals and how the node does."""

import shutil
import threading
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

from gsco_pacs import __version__
from gsco_pacs.config import Config
from gsco_pacs.domain.job import ACTIVE, State
from gsco_pacs.domain.study import valid_uid
from gsco_pacs.web.refused import Refused, gather
from gsco_pacs.web.words import why

if TYPE_CHECKING:
    from gsco_pacs.adapters.audit import Audit, Backlog, JobLine, StudyHistory

PAGE = 50
"""Jobs on one page."""
_REFUSALS = 500
"""So many of the newest refusals are looked at."""


@dataclass(frozen=True)
class ListedJob:
    """A job and why it is where it is."""

    job: "JobLine"
    why: str


@dataclass(frozen=True)
class JobPage:
    """One page of the job list."""

    jobs: tuple[ListedJob, ...]
    count: int
    """Jobs that the filter lets through, on all pages."""
    page: int
    pages: int
    counts: dict[str, int]
    """State -> how many jobs there are in all."""


@dataclass(frozen=True)
class Status:
    """How the node does."""

    version: str
    ae_title: str
    port: int
    counts: dict[str, int]
    unfinished: int
    oldest_unfinished: "JobLine | None"
    free_bytes: int
    takes_images: bool
    """False when less is free than receiver.reserve_bytes, so that images are refused."""
    backlog: "Backlog"
    is_behind: bool
    """Whether more jobs are queued or wait than workers.backlog_warning."""
    at: datetime


@dataclass(frozen=True)
class Facts:
    """Everything that the site knows, read anew for each request."""

    audit: "Audit"
    store: Path
    """Directory that the paths of received images start from."""
    config: Config
    rendering: threading.Lock = field(default_factory=threading.Lock)
    """One picture at a time: a large one takes a gigabyte while it is rendered."""

    def jobs(self, state: str, search: str, page: int) -> JobPage:
        """Page ``page`` (1 = newest) of the jobs in ``state`` ("" = any) that ``search`` finds."""
        lines, count = self.audit.jobs(
            state=state, search=search.strip(), limit=PAGE, offset=(page - 1) * PAGE
        )
        listed = tuple(ListedJob(line, why(line)) for line in lines)
        return JobPage(listed, count, page, max(1, -(-count // PAGE)), self._counts())

    def study(self, study_instance_uid: str) -> "StudyHistory":
        """The study's history; BadUidError for what is no UID, ConfigError for a study that the node never had."""
        return self.audit.study(valid_uid(study_instance_uid))

    def report(self, sop_instance_uid: str) -> bytes:
        """The bytes of a report; BadUidError or ConfigError as for a study."""
        return self.audit.report(valid_uid(sop_instance_uid))

    def refused(self) -> list[Refused]:
        """What was turned away lately, newest first."""
        return gather(self.audit.refusals(_REFUSALS), self.config.receiver)

    def status(self) -> Status:
        """How the node does at this moment."""
        counts = self._counts()
        active = {state: counts[state] for state in ACTIVE if counts[state]}
        oldest = [self.audit.jobs(state=state, limit=1, offset=n - 1)[0] for state, n in active.items()]
        jobs = [job for page in oldest for job in page]
        free = shutil.disk_usage(self.store).free
        receiver, backlog = self.config.receiver, self.audit.backlog()
        return Status(
            version=__version__,
            ae_title=receiver.ae_title,
            port=receiver.port,
            counts=counts,
            unfinished=sum(active.values()),
            oldest_unfinished=min(jobs, key=lambda job: job.first_received_at, default=None),
            free_bytes=free,
            takes_images=free >= receiver.reserve_bytes,
            backlog=backlog,
            is_behind=backlog.jobs > self.config.workers.backlog_warning,
            at=datetime.now().astimezone(),
        )

    def _counts(self) -> dict[str, int]:
        counted = self.audit.counts()
        return {state.value: counted.get(state.value, 0) for state in State}
