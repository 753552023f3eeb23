"""The ledger's tables; ``alembic/versions`` builds the same, and a test compares the two."""

from datetime import datetime
from typing import Any

from sqlalchemy import (
    JSON,
    BigInteger,
    CheckConstraint,
    ForeignKey,
    Index,
    LargeBinary,
    String,
    Text,
    UniqueConstraint,
    text,
)
from sqlalchemy.orm import Mapped, mapped_column

from gsco_pacs.adapters.table_base import Base
from gsco_pacs.domain.commitment import CommitmentState
from gsco_pacs.domain.completeness import Step
from gsco_pacs.domain.fetch import FetchState
from gsco_pacs.domain.job import Stage, State
from gsco_pacs.domain.prior_search import SearchState
from gsco_pacs.domain.question import QuestionState
from gsco_pacs.domain.storage import Holding


class StudyRow(Base):
    """A study that at least one image was received of."""

    __tablename__ = "study"
    id: Mapped[int] = mapped_column(primary_key=True)
    study_instance_uid: Mapped[str] = mapped_column(String(64), unique=True)
    patient_id: Mapped[str]
    accession_number: Mapped[str]
    created_at: Mapped[datetime]


class InstanceRow(Base):
    """A stored SOP Instance: kept (part of the study), variant (same UID, other bytes), corrected, attached (no image), own (our result)."""

    __tablename__ = "instance"
    __table_args__ = (
        UniqueConstraint("sop_instance_uid", "sha256"),
        Index("instance_of_study", "study_id", "revision"),
        Index("instance_by_uid", "sop_instance_uid"),
        Index("instance_by_holding", "holding"),
        CheckConstraint("kind IN ('kept', 'variant', 'corrected', 'attached', 'own')", name="instance_kind"),
    )
    id: Mapped[int] = mapped_column(primary_key=True)
    study_id: Mapped[int] = mapped_column(ForeignKey("study.id"))
    revision: Mapped[int]
    kind: Mapped[str] = mapped_column(String(16))
    series_instance_uid: Mapped[str] = mapped_column(String(64))
    sop_instance_uid: Mapped[str] = mapped_column(String(64))
    sop_class_uid: Mapped[str] = mapped_column(String(64))
    transfer_syntax_uid: Mapped[str] = mapped_column(String(64))
    sha256: Mapped[str] = mapped_column(String(64))
    size: Mapped[int] = mapped_column(BigInteger)
    path: Mapped[str]
    header: Mapped[dict[str, Any]]
    changes: Mapped[dict[str, Any] | None] = mapped_column(JSON(none_as_null=True))
    """Keyword -> [former, newer value] against the object that had the SOP Instance UID before; None: not compared."""
    calling_ae: Mapped[str] = mapped_column(String(16))
    called_ae: Mapped[str] = mapped_column(String(16))
    address: Mapped[str] = mapped_column(String(64))
    received_at: Mapped[datetime]
    resent: Mapped[int] = mapped_column(default=0)
    holding: Mapped[str] = mapped_column(String(8), default=Holding.HERE.value, server_default="here")
    """Whether the bytes are still in the store; see domain.storage."""
    kept_until: Mapped[datetime | None]
    """A modality was promised that it is kept so long."""


class AnnouncementRow(Base):
    """Images of a study that a modality (MPPS) or an archive (Instance Availability Notification) has announced."""

    __tablename__ = "announcement"
    __table_args__ = (
        UniqueConstraint("sop_instance_uid", "study_instance_uid"),
        Index("announcement_of_study", "study_instance_uid"),
        CheckConstraint(f"step IN ({', '.join(repr(s.value) for s in Step)})", name="announcement_step"),
    )
    id: Mapped[int] = mapped_column(primary_key=True)
    sop_instance_uid: Mapped[str] = mapped_column(String(64))
    study_instance_uid: Mapped[str] = mapped_column(String(64))
    kind: Mapped[str] = mapped_column(String(32))
    step: Mapped[str] = mapped_column(String(16))
    images: Mapped[list[Any]]
    """SOP Instance UIDs."""
    calling_ae: Mapped[str] = mapped_column(String(16))
    address: Mapped[str] = mapped_column(String(64))
    received_at: Mapped[datetime]
    changed_at: Mapped[datetime]


class ArchiveCountRow(Base):
    """What the archive of its route said last that it holds of an arriving study."""

    __tablename__ = "archive_count"
    id: Mapped[int] = mapped_column(primary_key=True)
    study_instance_uid: Mapped[str] = mapped_column(String(64), unique=True)
    archive: Mapped[str]
    instances: Mapped[int | None]
    times: Mapped[int]
    """Answered so in a row since the study's newest image of ``last_received_at``."""
    last_received_at: Mapped[datetime]
    failures: Mapped[int]
    error: Mapped[str] = mapped_column(Text)
    not_before: Mapped[datetime]


class JobRow(Base):
    """One revision of a study on its way; the states and moves are those of domain.job."""

    __tablename__ = "job"
    __table_args__ = (
        UniqueConstraint("study_id", "revision"),
        CheckConstraint(f"state IN ({', '.join(repr(s.value) for s in State)})", name="job_state"),
        CheckConstraint(f"stage IN ({', '.join(repr(s.value) for s in Stage)})", name="job_stage"),
        Index(
            "one_collecting_job",
            "study_id",
            unique=True,
            sqlite_where=text("state = 'collecting'"),
            postgresql_where=text("state = 'collecting'"),
        ),
        Index("job_to_claim", "state", "stage", "priority", "queued_at"),
    )
    id: Mapped[int] = mapped_column(primary_key=True)
    study_id: Mapped[int] = mapped_column(ForeignKey("study.id"))
    revision: Mapped[int]
    state: Mapped[str] = mapped_column(String(16))
    stage: Mapped[str] = mapped_column(String(16), default=Stage.CONSULT.value)
    priority: Mapped[int] = mapped_column(default=0)
    route: Mapped[dict[str, Any] | None] = mapped_column(JSON)
    reason: Mapped[str] = mapped_column(Text, default="")
    incomplete: Mapped[str] = mapped_column(Text, default="")
    """What was missing or in doubt when the study was closed."""
    attempts: Mapped[int] = mapped_column(default=0)
    run: Mapped[int] = mapped_column(default=0)
    first_received_at: Mapped[datetime]
    last_received_at: Mapped[datetime]
    queued_at: Mapped[datetime | None]
    woken_at: Mapped[datetime | None]
    stage_began_at: Mapped[datetime | None]
    not_before: Mapped[datetime | None]
    lease_until: Mapped[datetime | None]
    lease: Mapped[str] = mapped_column(String(32), default="")
    worker: Mapped[str] = mapped_column(default="")
    wish: Mapped[str] = mapped_column(String(16), default="")
    """A request that a running job must look at: cancelled or superseded."""
    wish_reason: Mapped[str] = mapped_column(Text, default="")
    is_prior: Mapped[bool] = mapped_column(default=False)
    """It is only compared with: the job ends after the consultation."""
    told: Mapped[int] = mapped_column(default=0)
    """The highest id of the instances that are noted for the audit trail."""
    settled_at: Mapped[datetime | None]


class PriorSearchRow(Base):
    """The search for the priors that a job wants to compare with."""

    __tablename__ = "prior_search"
    __table_args__ = (
        CheckConstraint(
            f"state IN ({', '.join(repr(s.value) for s in SearchState)})", name="prior_search_state"
        ),
    )
    id: Mapped[int] = mapped_column(primary_key=True)
    job_id: Mapped[int] = mapped_column(ForeignKey("job.id"), unique=True)
    archive: Mapped[str]
    deadline_at: Mapped[datetime]
    state: Mapped[str] = mapped_column(String(16))
    reason: Mapped[str] = mapped_column(Text, default="")
    ended_at: Mapped[datetime | None]


class EventRow(Base):
    """One move of a job: written in the transaction that made it."""

    __tablename__ = "job_event"
    __table_args__ = (Index("event_of_job", "job_id", "id"),)
    id: Mapped[int] = mapped_column(primary_key=True)
    job_id: Mapped[int] = mapped_column(ForeignKey("job.id"))
    event: Mapped[str] = mapped_column(String(32))
    before: Mapped[str] = mapped_column(String(16))
    after: Mapped[str] = mapped_column(String(16))
    stage: Mapped[str] = mapped_column(String(16))
    at: Mapped[datetime]
    actor: Mapped[str]
    reason: Mapped[str] = mapped_column(Text)
    detail: Mapped[dict[str, Any]]


class AttemptRow(Base):
    """One worker's try at one stage of a job."""

    __tablename__ = "attempt"
    __table_args__ = (Index("attempt_of_job", "job_id", "id"),)
    id: Mapped[int] = mapped_column(primary_key=True)
    job_id: Mapped[int] = mapped_column(ForeignKey("job.id"))
    stage: Mapped[str] = mapped_column(String(16))
    number: Mapped[int]
    lease: Mapped[str] = mapped_column(String(32), unique=True)
    worker: Mapped[str]
    started_at: Mapped[datetime]
    ended_at: Mapped[datetime | None]
    outcome: Mapped[str] = mapped_column(String(32), default="")
    error: Mapped[str] = mapped_column(Text, default="")


class ProductRow(Base):
    """What a finished stage found out, as JSON; a retry goes on from here."""

    __tablename__ = "product"
    __table_args__ = (UniqueConstraint("job_id", "stage"),)
    id: Mapped[int] = mapped_column(primary_key=True)
    job_id: Mapped[int] = mapped_column(ForeignKey("job.id"))
    stage: Mapped[str] = mapped_column(String(16))
    content: Mapped[dict[str, Any]]
    saved_at: Mapped[datetime]


class ReportRow(Base):
    """An SR document or its evidence, encoded once and re-sent from here."""

    __tablename__ = "report"
    __table_args__ = (Index("report_of_job", "job_id", "id"),)
    id: Mapped[int] = mapped_column(primary_key=True)
    job_id: Mapped[int] = mapped_column(ForeignKey("job.id"))
    kind: Mapped[str] = mapped_column(String(16))
    sop_class_uid: Mapped[str] = mapped_column(String(64))
    study_instance_uid: Mapped[str] = mapped_column(String(64))
    series_instance_uid: Mapped[str] = mapped_column(String(64))
    sop_instance_uid: Mapped[str] = mapped_column(String(64), unique=True)
    sha256: Mapped[str] = mapped_column(String(64))
    content: Mapped[bytes] = mapped_column(LargeBinary)
    """Empty when it was deleted."""
    saved_at: Mapped[datetime]
    deleted_at: Mapped[datetime | None]


class DeliveryRow(Base):
    """A destination's receipt for a report."""

    __tablename__ = "delivery"
    __table_args__ = (UniqueConstraint("report_id", "destination"),)
    id: Mapped[int] = mapped_column(primary_key=True)
    report_id: Mapped[int] = mapped_column(ForeignKey("report.id"))
    destination: Mapped[str]
    status: Mapped[str] = mapped_column(Text)
    taken_at: Mapped[datetime]


class CommitmentRow(Base):
    """One try to learn whether a destination keeps a report; the newest one says how it stands."""

    __tablename__ = "commitment"
    __table_args__ = (
        UniqueConstraint("report_id", "destination", "number"),
        Index("commitment_due", "state", "due_at"),
        Index("commitment_of_transaction", "transaction_uid"),
        CheckConstraint(
            f"state IN ({', '.join(repr(s.value) for s in CommitmentState)})", name="commitment_state"
        ),
    )
    id: Mapped[int] = mapped_column(primary_key=True)
    report_id: Mapped[int] = mapped_column(ForeignKey("report.id"))
    destination: Mapped[str]
    number: Mapped[int]
    """Counts the tries from 1."""
    tries_left: Mapped[int]
    """Tries that may follow this one."""
    state: Mapped[str] = mapped_column(String(16))
    transaction_uid: Mapped[str | None] = mapped_column(String(64))
    known_by: Mapped[str] = mapped_column(String(16), default="")
    reason: Mapped[str] = mapped_column(Text, default="")
    owed_at: Mapped[datetime]
    due_at: Mapped[datetime]
    """Owed: when it is asked (again). Asked: when the answer is overdue."""
    asked_at: Mapped[datetime | None]
    settled_at: Mapped[datetime | None]


class PromiseRow(Base):
    """A modality's request for storage commitment, what was promised, and whether it knows."""

    __tablename__ = "promise"
    __table_args__ = (
        UniqueConstraint("calling_ae", "transaction_uid"),
        Index("promise_due", "state", "due_at"),
        CheckConstraint("state IN ('owed', 'reported', 'unreported')", name="promise_state"),
    )
    id: Mapped[int] = mapped_column(primary_key=True)
    transaction_uid: Mapped[str] = mapped_column(String(64))
    calling_ae: Mapped[str] = mapped_column(String(16))
    committed: Mapped[list[Any]]
    """SOP Class and Instance UID of each object that is kept."""
    failed: Mapped[list[Any]]
    """SOP Class and Instance UID of each other one, and the Failure Reason (0008,1197)."""
    state: Mapped[str] = mapped_column(String(16))
    reason: Mapped[str] = mapped_column(Text, default="")
    asked_at: Mapped[datetime]
    due_at: Mapped[datetime]
    reported_at: Mapped[datetime | None]


class QuestionRow(Base):
    """A person's question about a consulted job, who has it, what was replied, and the SR if one was wanted."""

    __tablename__ = "question"
    __table_args__ = (
        Index("question_of_job", "job_id", "id"),
        Index("question_to_claim", "state", "stage", "id"),
        CheckConstraint(
            f"state IN ({', '.join(repr(s.value) for s in QuestionState)})", name="question_state"
        ),
    )
    id: Mapped[int] = mapped_column(primary_key=True)
    job_id: Mapped[int] = mapped_column(ForeignKey("job.id"))
    question: Mapped[str] = mapped_column(Text)
    asked_by: Mapped[str]
    asked_at: Mapped[datetime]
    to_be_filed: Mapped[bool]
    state: Mapped[str] = mapped_column(String(16), default=QuestionState.WAITING.value)
    stage: Mapped[str] = mapped_column(String(16), default=Stage.DRAFT.value)
    """Draft: a reply is wanted. Deliver: its SR is on the way."""
    attempts: Mapped[int] = mapped_column(default=0)
    not_before: Mapped[datetime | None]
    woken_at: Mapped[datetime | None]
    lease: Mapped[str] = mapped_column(String(32), default="")
    lease_until: Mapped[datetime | None]
    worker: Mapped[str] = mapped_column(default="")
    reason: Mapped[str] = mapped_column(Text, default="")
    reply: Mapped[dict[str, Any] | None] = mapped_column(JSON)
    replied_at: Mapped[datetime | None]
    seconds: Mapped[float | None]
    sop_instance_uid: Mapped[str | None] = mapped_column(String(64), unique=True)
    report: Mapped[dict[str, Any] | None] = mapped_column(JSON)
    content: Mapped[bytes | None] = mapped_column(LargeBinary)
    receipts: Mapped[list[Any]] = mapped_column(JSON, default=list)


class RefusalRow(Base):
    """An association or an image that was not taken, or is odd, and why: what to look at when nothing arrives."""

    __tablename__ = "refusal"
    __table_args__ = (Index("refusal_at", "at"), Index("refusal_of", "what"))
    id: Mapped[int] = mapped_column(primary_key=True)
    at: Mapped[datetime]
    calling_ae: Mapped[str]
    called_ae: Mapped[str]
    address: Mapped[str] = mapped_column(String(64))
    what: Mapped[str]
    reason: Mapped[str] = mapped_column(Text)
    times: Mapped[int] = mapped_column(default=1, server_default="1")
    """How often it happened; equal refusals of a minute are one row."""


class FetchRow(Base):
    """A study that was wanted from an archive: by a person, or by a job as a prior."""

    __tablename__ = "fetch"
    __table_args__ = (
        Index("fetch_of_study", "study_instance_uid"),
        Index("fetch_of_job", "job_id"),
        CheckConstraint(f"state IN ({', '.join(repr(s.value) for s in FetchState)})", name="fetch_state"),
    )
    id: Mapped[int] = mapped_column(primary_key=True)
    study_instance_uid: Mapped[str] = mapped_column(String(64))
    archive: Mapped[str]
    asked_by: Mapped[str]
    asked_at: Mapped[datetime]
    job_id: Mapped[int | None] = mapped_column(ForeignKey("job.id"))
    """The job that wants it as a prior."""
    state: Mapped[str] = mapped_column(String(16))
    listed: Mapped[int] = mapped_column(default=0)
    not_taken: Mapped[int] = mapped_column(default=0)
    here: Mapped[int] = mapped_column(default=0)
    completed: Mapped[int] = mapped_column(default=0)
    """Sub-operations as the archive counted them, and the next two."""
    failed: Mapped[int] = mapped_column(default=0)
    warning: Mapped[int] = mapped_column(default=0)
    tries: Mapped[int] = mapped_column(default=0)
    reason: Mapped[str] = mapped_column(Text, default="")
    ended_at: Mapped[datetime | None]


class TransferRow(Base):
    """A transfer or an access that the audit trail has not told yet; see domain.transfer."""

    __tablename__ = "transfer"
    __table_args__ = {"sqlite_autoincrement": True}  # noqa: RUF012 - SQLAlchemy's way; a number names a message for ever
    id: Mapped[int] = mapped_column(primary_key=True)
    facts: Mapped[dict[str, Any]]
