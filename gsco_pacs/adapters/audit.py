"""What happened: the record as an administrator reads it. Reading only."""

from dataclasses import dataclass, fields
from datetime import datetime
from typing import Any, TypeVar

from sqlalchemy import Connection, Select, func, select

from gsco_pacs.adapters.fetch_ledger import Fetches
from gsco_pacs.adapters.ledger import Database
from gsco_pacs.adapters.question_ledger import Question, Questions
from gsco_pacs.adapters.tables import (
    AttemptRow,
    CommitmentRow,
    DeliveryRow,
    EventRow,
    InstanceRow,
    JobRow,
    PriorSearchRow,
    ProductRow,
    RefusalRow,
    ReportRow,
    StudyRow,
)
from gsco_pacs.domain.commitment import CommitmentState
from gsco_pacs.domain.errors import ConfigError
from gsco_pacs.domain.fetch import Fetch
from gsco_pacs.domain.job import State
from gsco_pacs.domain.prior_search import PriorSearch
from gsco_pacs.domain.registration import Registration


@dataclass(frozen=True)
class JobLine:
    """A job in a list."""

    job_id: int
    study_instance_uid: str
    patient_id: str
    accession_number: str
    revision: int
    state: str
    stage: str
    route: str
    reason: str
    images: int
    first_received_at: datetime
    not_before: datetime | None
    """When a waiting job is tried again."""
    settled_at: datetime | None


@dataclass(frozen=True)
class Moment:
    """One line of a study's timeline."""

    at: datetime
    event: str
    before: str
    after: str
    stage: str
    actor: str
    reason: str
    detail: dict[str, Any]


@dataclass(frozen=True)
class Attempt:
    """One worker's try."""

    stage: str
    number: int
    worker: str
    started_at: datetime
    ended_at: datetime | None
    outcome: str
    error: str


@dataclass(frozen=True)
class Delivery:
    """A report that a destination took."""

    kind: str
    sop_instance_uid: str
    destination: str
    status: str
    taken_at: datetime


@dataclass(frozen=True)
class Confirmation:
    """One try to learn whether a destination keeps a report."""

    kind: str
    sop_instance_uid: str
    destination: str
    number: int
    tries_left: int
    state: str
    transaction_uid: str | None
    known_by: str
    """"commitment" or "query", once it is known."""
    reason: str
    due_at: datetime
    asked_at: datetime | None
    settled_at: datetime | None

    @property
    def words(self) -> str:
        """How it stands, for a person."""
        match self.state:
            case CommitmentState.COMMITTED:
                return f"kept, by {self.known_by}"
            case CommitmentState.ASKED:
                return "asked, not answered yet"
            case CommitmentState.OWED:
                return "to be asked"
        return f"{self.state}, {'sent and asked for again' if self.tries_left else 'unconfirmed for good'}"


@dataclass(frozen=True)
class ReportLine:
    """A stored report."""

    kind: str
    sop_instance_uid: str
    series_instance_uid: str
    sha256: str
    saved_at: datetime
    deleted_at: datetime | None
    """When its bytes were deleted, because its destinations keep it."""


@dataclass(frozen=True)
class Received:
    """A stored instance."""

    sop_instance_uid: str
    series_instance_uid: str
    sop_class_uid: str
    transfer_syntax_uid: str
    kind: str
    revision: int
    size: int
    path: str
    calling_ae: str
    called_ae: str
    address: str
    received_at: datetime
    resent: int
    holding: str
    """Whether its bytes are still here; see domain.storage."""
    header: dict[str, Any]
    changes: dict[str, Any] | None
    """Keyword -> former and newer value, against what came before under its SOP Instance UID."""


@dataclass(frozen=True)
class Revision:
    """One job of a study with everything that it left behind."""

    job: JobLine
    moments: tuple[Moment, ...]
    attempts: tuple[Attempt, ...]
    products: dict[str, Any]
    """Stage -> product (opinions, similar cases, prompt, draft)."""
    reports: tuple[ReportLine, ...]
    deliveries: tuple[Delivery, ...]
    confirmations: tuple[Confirmation, ...]
    """What destinations said about keeping the reports, by report and try."""
    priors: tuple[PriorSearch, ...]
    """What came of the search for its priors; none if its route wants none."""


@dataclass(frozen=True)
class StudyHistory:
    """Everything that the node knows of a study, newest revision first."""

    study_instance_uid: str
    patient_id: str
    accession_number: str
    received: tuple[Received, ...]
    revisions: tuple[Revision, ...]
    questions: tuple[Question, ...]
    """Newest first."""
    fetches: tuple[Fetch, ...]
    """Newest first."""


@dataclass(frozen=True)
class Refusal:
    """Something that was not taken."""

    at: datetime
    calling_ae: str
    called_ae: str
    address: str
    what: str
    reason: str
    times: int


_Value = TypeVar(
    "_Value", Moment, Attempt, Delivery, Confirmation, ReportLine, Received, Refusal, PriorSearch
)


@dataclass(frozen=True)
class Backlog:
    """Jobs that are queued or wait to be tried again, and when the first image of the oldest came."""

    jobs: int
    oldest_since: datetime | None


class Audit:
    """Reads the record; used by the commands and the web pages."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._questions = Questions(database)
        self._fetches = Fetches(database)

    def jobs(
        self, *, state: str = "", search: str = "", limit: int = 50, offset: int = 0
    ) -> tuple[list[JobLine], int]:
        """One page of jobs, newest first, and how many there are; ``search`` is part of a UID, patient ID or accession number."""
        query = _job_lines()
        if state:
            query = query.where(JobRow.state == state)
        if search:
            columns = (StudyRow.study_instance_uid, StudyRow.patient_id, StudyRow.accession_number)
            found = columns[0].contains(search, autoescape=True)
            for column in columns[1:]:
                found |= column.contains(search, autoescape=True)
            query = query.where(found)
        with self._database.reading() as connection:
            count = connection.execute(select(func.count()).select_from(query.subquery())).scalar_one()
            page = query.order_by(JobRow.id.desc()).limit(limit).offset(offset)
            return [_job_line(row) for row in connection.execute(page)], count

    def counts(self) -> dict[str, int]:
        """How many jobs are in each state."""
        query = select(JobRow.state, func.count()).group_by(JobRow.state)
        with self._database.reading() as connection:
            return dict(connection.execute(query).all())

    def backlog(self) -> Backlog:
        """What the workers have before them."""
        query = select(func.count(), func.min(JobRow.first_received_at)).where(
            JobRow.state.in_([State.QUEUED, State.WAITING])
        )
        with self._database.reading() as connection:
            return Backlog(*connection.execute(query).one())

    def study(self, study_instance_uid: str) -> StudyHistory:
        """The whole history of a study; ConfigError if the node has never had an image of it."""
        questions = self._questions.of_study(study_instance_uid)
        fetches = self._fetches.of_study(study_instance_uid)
        with self._database.reading() as connection:
            query = select(StudyRow).where(StudyRow.study_instance_uid == study_instance_uid)
            study = connection.execute(query).first()
            if study is None:
                raise ConfigError(f"The node has no study {study_instance_uid}.")
            instances = select(InstanceRow).where(InstanceRow.study_id == study.id).order_by(InstanceRow.id)
            jobs = _job_lines().where(JobRow.study_id == study.id).order_by(JobRow.revision.desc())
            return StudyHistory(
                study.study_instance_uid,
                study.patient_id,
                study.accession_number,
                tuple(_as(Received, row) for row in connection.execute(instances)),
                tuple(_revision(connection, _job_line(row)) for row in connection.execute(jobs).all()),
                questions,
                fetches,
            )

    def report(self, sop_instance_uid: str) -> bytes:
        """The bytes of a report; ConfigError if there is none."""
        query = select(ReportRow.content).where(ReportRow.sop_instance_uid == sop_instance_uid)
        with self._database.reading() as connection:
            content = connection.execute(query).scalar_one_or_none()
        content = self._questions.report(sop_instance_uid) if content is None else content
        if content is None:
            raise ConfigError(f"The node has no report {sop_instance_uid}.")
        if not content:
            raise ConfigError(f"The report {sop_instance_uid} was deleted here; its destinations keep it.")
        return bytes(content)

    def fetches(self, limit: int) -> tuple[Fetch, ...]:
        """The newest fetches from archives, newest first."""
        return self._fetches.newest(limit)

    def refusals(self, limit: int = 50) -> list[Refusal]:
        """The newest refusals, newest first."""
        query = select(RefusalRow).order_by(RefusalRow.id.desc()).limit(limit)
        with self._database.reading() as connection:
            return [_as(Refusal, row) for row in connection.execute(query)]


def _job_lines() -> Select[Any]:
    images = (
        select(func.count())
        .where(
            InstanceRow.study_id == JobRow.study_id,
            InstanceRow.revision <= JobRow.revision,
            InstanceRow.kind == Registration.KEPT,  # a correction counts as the image that it corrects
        )
        .scalar_subquery()
    )
    return select(
        JobRow.id, StudyRow.study_instance_uid, StudyRow.patient_id, StudyRow.accession_number, JobRow.revision,
        JobRow.state, JobRow.stage, JobRow.route, JobRow.reason, images.label("images"),
        JobRow.first_received_at, JobRow.not_before, JobRow.settled_at,
    ).join(StudyRow, StudyRow.id == JobRow.study_id)  # fmt: skip


def _job_line(row: Any) -> JobLine:
    values = dict(row._mapping)  # noqa: SLF001 - SQLAlchemy's public name
    route = (values.pop("route") or {}).get("name", "")
    return JobLine(job_id=values.pop("id"), route=route, **values)


def _rows(connection: Connection, query: Any) -> list[Any]:
    return list(connection.execute(query).all())


def _revision(connection: Connection, job: JobLine) -> Revision:
    def of(table: Any) -> Select[Any]:
        return select(table).where(table.job_id == job.job_id).order_by(table.id)

    deliveries = (
        select(
            ReportRow.kind,
            ReportRow.sop_instance_uid,
            DeliveryRow.destination,
            DeliveryRow.status,
            DeliveryRow.taken_at,
        )
        .join(ReportRow, ReportRow.id == DeliveryRow.report_id)
        .where(ReportRow.job_id == job.job_id)
        .order_by(DeliveryRow.id)
    )
    confirmations = (
        select(CommitmentRow, ReportRow.kind, ReportRow.sop_instance_uid)
        .join(ReportRow, ReportRow.id == CommitmentRow.report_id)
        .where(ReportRow.job_id == job.job_id)
        .order_by(CommitmentRow.id)
    )
    return Revision(
        job,
        tuple(_as(Moment, row) for row in _rows(connection, of(EventRow))),
        tuple(_as(Attempt, row) for row in _rows(connection, of(AttemptRow))),
        {row.stage: row.content for row in _rows(connection, of(ProductRow))},
        tuple(_as(ReportLine, row) for row in _rows(connection, of(ReportRow))),
        tuple(_as(Delivery, row) for row in _rows(connection, deliveries)),
        tuple(_as(Confirmation, row) for row in _rows(connection, confirmations)),
        tuple(_as(PriorSearch, row) for row in _rows(connection, of(PriorSearchRow))),
    )


def _as(kind: type[_Value], row: Any) -> _Value:
    return kind(**{field.name: getattr(row, field.name) for field in fields(kind)})
