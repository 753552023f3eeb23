"""The record of questions: who asked what of which study, which worker has it, and what was replied.

Each method is one transaction. A question is claimed like a job; its lease outlasts the longest try, so that one that
ran out means a worker that is gone.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from datetime import datetime, timedelta
from typing import Any
from uuid import uuid4

from pydantic import TypeAdapter
from sqlalchemy import Connection, CursorResult, insert, select, update

from gsco_pacs.adapters.ledger import Database, study_of
from gsco_pacs.adapters.moves import now
from gsco_pacs.adapters.retention import has_all_images
from gsco_pacs.adapters.tables import JobRow, ProductRow, QuestionRow, StudyRow
from gsco_pacs.adapters.transfers import note_accessed, note_sent
from gsco_pacs.domain.errors import ConfigError, IllegalMoveError, LostLeaseError, PermanentError
from gsco_pacs.domain.findings import Receipt, Report
from gsco_pacs.domain.job import Stage
from gsco_pacs.domain.question import QuestionState, Reply, checked
from gsco_pacs.domain.study import Study

ATTEMPTS = 5
"""A question is tried so often, then it fails: a person is waiting, and may ask again."""
_FIRST_WAIT = timedelta(seconds=10)
_REPLY = TypeAdapter(Reply)
_REPORT = TypeAdapter(Report)
_WAITING, _WORKING = QuestionState.WAITING, QuestionState.WORKING


@dataclass(frozen=True)
class Question:
    """One question as the record tells it."""

    number: int
    study_instance_uid: str
    revision: int
    question: str
    asked_by: str
    asked_at: datetime
    state: QuestionState
    reason: str
    """Why it waits or failed; empty if nothing went wrong."""
    reply: Reply | None
    replied_at: datetime | None
    seconds: float | None
    """How long the reply took the model, pictures and prompt included."""
    worker: str
    to_be_filed: bool
    sop_instance_uid: str | None
    """The SR that holds question and reply, if one was wanted."""
    receipts: tuple[Receipt, ...]


@dataclass(frozen=True)
class QuestionClaim:
    """A worker's exclusive right to one question."""

    number: int
    lease: str
    attempt: int
    job_id: int
    """Of the revision that it is about."""
    asked_by: str
    question: str
    to_be_filed: bool
    study: Study
    route: dict[str, Any]
    consultation: dict[str, Any]
    reply: Reply | None
    replied_at: datetime | None
    report: Report | None
    receipts: tuple[Receipt, ...]


class Questions:
    """Asked by the command and the web, worked on by the draft and deliver workers."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def ask(self, study_instance_uid: str, question: str, asked_by: str, *, to_be_filed: bool) -> int:
        """Enter a question about the study's newest consulted revision; its number.

        PermanentError if it is none, ConfigError if the node does not know the study or has not consulted it yet.
        """
        line = checked(question)
        newest = (
            select(JobRow.id)
            .join(StudyRow, StudyRow.id == JobRow.study_id)
            .join(ProductRow, (ProductRow.job_id == JobRow.id) & (ProductRow.stage == Stage.CONSULT))
            .where(StudyRow.study_instance_uid == study_instance_uid)
            .order_by(JobRow.revision.desc())
            .limit(1)
        )
        with self._database.writing() as connection:
            job = connection.execute(newest).scalar_one_or_none()
            if job is None:
                raise ConfigError(f"No specialist has been consulted on a study {study_instance_uid}.")
            study = select(JobRow.study_id).where(JobRow.id == job)
            if not has_all_images(connection, connection.execute(study).scalar_one()):
                raise PermanentError("Images of the study were deleted; send them again first.")
            entered = insert(QuestionRow).values(
                job_id=job, question=line, asked_by=asked_by, asked_at=now(), to_be_filed=to_be_filed
            )
            return int(connection.execute(entered.returning(QuestionRow.id)).scalar_one())

    def file(self, number: int) -> None:
        """Have the SR of an answered question made and sent; IllegalMoveError if it is not answered, or is filed already."""
        with self._database.writing() as connection:
            changed: CursorResult[Any] = connection.execute(
                update(QuestionRow)
                .where(QuestionRow.id == number, QuestionRow.state == QuestionState.ANSWERED)
                .values(
                    to_be_filed=True, state=_WAITING, stage=Stage.DELIVER, attempts=0, woken_at=None, not_before=None
                )
            )  # fmt: skip
        if changed.rowcount != 1:
            raise IllegalMoveError(f"Question {number} is not one that is answered and not filed.")

    def question(self, number: int) -> Question:
        """One question; ConfigError if there is none of this number."""
        with self._database.reading() as connection:
            found = connection.execute(_told().where(QuestionRow.id == number)).first()
        if found is None:
            raise ConfigError(f"The node has no question {number}.")
        return _question(found)

    def of_study(self, study_instance_uid: str) -> tuple[Question, ...]:
        """Every question about a study, newest first."""
        query = (
            _told().where(StudyRow.study_instance_uid == study_instance_uid).order_by(QuestionRow.id.desc())
        )
        with self._database.reading() as connection:
            return tuple(_question(row) for row in connection.execute(query))

    def report(self, sop_instance_uid: str) -> bytes | None:
        """The bytes of a question's SR; None if it is no question's."""
        query = select(QuestionRow.content).where(QuestionRow.sop_instance_uid == sop_instance_uid)
        with self._database.reading() as connection:
            return connection.execute(query).scalar_one_or_none()

    def claim(self, stage: Stage, worker: str, seconds: float) -> QuestionClaim | None:
        """Take the oldest question of ``stage`` that is due, or whose worker is gone; None if there is none."""
        best = (
            select(QuestionRow).where(QuestionRow.stage == stage, _ready()).order_by(QuestionRow.id).limit(1)
        )
        lease = uuid4().hex
        with self._database.writing() as connection:
            row = connection.execute(best.with_for_update(skip_locked=True)).first()
            if row is None:
                return None
            if row.attempts >= ATTEMPTS:
                _set(connection, row.id, row.lease, state=QuestionState.FAILED, reason="Its workers died.")
                if row.reply is None:
                    note_accessed(connection, row.job_id, row.asked_by, succeeded=False)
                return None
            held = {"lease": lease, "lease_until": now() + timedelta(seconds=seconds), "worker": worker}
            _set(connection, row.id, row.lease, state=_WORKING, attempts=row.attempts + 1, **held)
            return _claim(connection, row, lease)

    def answered(self, claim: QuestionClaim, reply: Reply, seconds: float) -> QuestionState:
        """Save the reply; if it is to be filed, the question waits for a deliver worker."""
        kept = {"reply": _REPLY.dump_python(reply, mode="json"), "seconds": seconds, "replied_at": now()}
        following = {"stage": Stage.DELIVER, "attempts": 0, "woken_at": None} if claim.to_be_filed else {}
        state = _WAITING if claim.to_be_filed else QuestionState.ANSWERED
        with self._database.writing() as connection:
            _set(connection, claim.number, claim.lease, state=state, lease="", reason="", **kept, **following)
            note_accessed(connection, claim.job_id, claim.asked_by, succeeded=True)
        return state

    def composed(self, claim: QuestionClaim, report: Report) -> None:
        """Save the question's SR, encoded once and sent from here."""
        told = _REPORT.dump_python(replace(report, content=b""), mode="json")
        stored = {"sop_instance_uid": report.sop_instance_uid, "report": told, "content": report.content}
        with self._database.writing() as connection:
            _set(connection, claim.number, claim.lease, **stored)

    def keep_receipts(self, claim: QuestionClaim, receipts: Sequence[Receipt]) -> None:
        """Keep what the destinations said, beside the earlier ones."""
        kept = [asdict(receipt) for receipt in (*claim.receipts, *receipts)]
        query = select(QuestionRow.report).where(QuestionRow.id == claim.number)
        with self._database.writing() as connection:
            _set(connection, claim.number, claim.lease, receipts=kept)
            for receipt in receipts:
                report = connection.execute(query).scalar_one()
                note_sent(
                    connection, report["study_instance_uid"], receipt.destination, [report["sop_class_uid"]]
                )

    def end(self, claim: QuestionClaim, state: QuestionState, reason: str = "") -> QuestionState:
        """End a question as filed or failed."""
        with self._database.writing() as connection:
            _set(connection, claim.number, claim.lease, state=state, reason=reason, lease="")
            if claim.reply is None:  # an answer was told before it was to be filed
                note_accessed(connection, claim.job_id, claim.asked_by, succeeded=False)
        return state

    def postpone(self, claim: QuestionClaim, reason: str) -> QuestionState:
        """Let it wait and be tried again, later each time; failed after ATTEMPTS tries."""
        if claim.attempt >= ATTEMPTS:
            return self.end(claim, QuestionState.FAILED, f"Given up after {claim.attempt} tries: {reason}")
        later = now() + _FIRST_WAIT * 2 ** (claim.attempt - 1)
        with self._database.writing() as connection:
            _set(
                connection, claim.number, claim.lease, state=_WAITING, reason=reason, lease="", not_before=later,
                woken_at=None,
            )  # fmt: skip
        return _WAITING

    def unwoken(self, silent_seconds: float) -> list[tuple[int, Stage]]:
        """Questions that are due or lost and have no message, or one that nobody followed for ``silent_seconds``."""
        silent = now() - timedelta(seconds=silent_seconds)
        unheard = QuestionRow.woken_at.is_(None) | (QuestionRow.woken_at < silent)
        query = select(QuestionRow.id, QuestionRow.stage).where(_ready(), unheard).order_by(QuestionRow.id)
        with self._database.reading() as connection:
            return [(row.id, Stage(row.stage)) for row in connection.execute(query)]

    def woken(self, number: int) -> None:
        """Note that a message was sent for the question."""
        with self._database.writing() as connection:
            connection.execute(update(QuestionRow).where(QuestionRow.id == number).values(woken_at=now()))


def _ready() -> Any:
    """It is due, or its worker is gone."""
    due = QuestionRow.not_before.is_(None) | (QuestionRow.not_before <= now())
    return ((QuestionRow.state == _WAITING) & due) | (
        (QuestionRow.state == _WORKING) & (QuestionRow.lease_until < now())
    )


def _set(connection: Connection, number: int, owner: str, /, **values: Any) -> None:
    """Change a question whose lease is ``owner``; LostLeaseError if another worker has it."""
    owned = update(QuestionRow).where(QuestionRow.id == number, QuestionRow.lease == owner)
    changed: CursorResult[Any] = connection.execute(owned.values(**values))
    if changed.rowcount != 1:
        raise LostLeaseError


def _claim(connection: Connection, row: Any, lease: str) -> QuestionClaim:
    product = select(ProductRow.content).where(
        ProductRow.job_id == row.job_id, ProductRow.stage == Stage.CONSULT
    )
    route = connection.execute(select(JobRow.route).where(JobRow.id == row.job_id)).scalar_one()
    report = replace(_REPORT.validate_python(row.report), content=row.content) if row.report else None
    return QuestionClaim(
        row.id, lease, row.attempts + 1, row.job_id, row.asked_by, row.question, row.to_be_filed, study_of(connection, row.job_id), route,
        connection.execute(product).scalar_one(), _reply(row), row.replied_at, report, _receipts(row),
    )  # fmt: skip


def _told() -> Any:
    return (
        select(QuestionRow, StudyRow.study_instance_uid, JobRow.revision)
        .join(JobRow, JobRow.id == QuestionRow.job_id)
        .join(StudyRow, StudyRow.id == JobRow.study_id)
    )


def _question(row: Any) -> Question:
    return Question(
        row.id, row.study_instance_uid, row.revision, row.question, row.asked_by, row.asked_at,
        QuestionState(row.state), row.reason, _reply(row), row.replied_at, row.seconds, row.worker, row.to_be_filed, row.sop_instance_uid, _receipts(row),
    )  # fmt: skip


def _reply(row: Any) -> Reply | None:
    return _REPLY.validate_python(row.reply) if row.reply else None


def _receipts(row: Any) -> tuple[Receipt, ...]:
    return tuple(Receipt(**receipt) for receipt in row.receipts)
