"""What may be deleted, and its deletion: only what is settled and, where destinations are asked, confirmed.

Of an image the row goes first: it says that its bytes are given up, then they are deleted, then it says so. Whatever
is killed in between, the next round goes on, and an equal image that comes again takes the row back.
"""

from collections.abc import Callable, Collection
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Connection, exists, func, select, update

from gsco_pacs.adapters.ledger import Database
from gsco_pacs.adapters.moves import now, record
from gsco_pacs.adapters.tables import (
    CommitmentRow,
    DeliveryRow,
    InstanceRow,
    JobRow,
    QuestionRow,
    ReportRow,
    StudyRow,
)
from gsco_pacs.domain.commitment import CommitmentState
from gsco_pacs.domain.job import Event, Stage, State
from gsco_pacs.domain.question import QuestionState
from gsco_pacs.domain.registration import Registration
from gsco_pacs.domain.storage import Holding

STUDIES = 100
"""Studies of one round."""
REPORTS = 200
"""Reports of one round."""

_OVER = (State.DELIVERED, State.SKIPPED, State.CANCELLED)


class Retention:
    """Used by the housekeeper; ``confirming`` are the destinations that are asked whether they keep what they took."""

    def __init__(self, database: Database, confirming: Collection[str]) -> None:
        self._database = database
        self._confirming = list(confirming)

    def give_up_images(self, days: float) -> int:
        """Give up the images of studies that have been over for ``days``; returns how many images."""
        over_before = now() - timedelta(days=days)
        images = (InstanceRow.study_id == StudyRow.id) & _free()
        query = select(StudyRow.id).where(exists().where(images), *self._over(over_before)).limit(STUDIES)
        with self._database.writing() as connection:
            studies = connection.execute(query.with_for_update(skip_locked=True)).scalars().all()
            # Once more under the lock, and one by one: an image may have come since we looked.
            return sum(self._give_up(connection, study, over_before) for study in studies)

    def _give_up(self, connection: Connection, study: int, over_before: datetime) -> int:
        still = select(StudyRow.id).where(StudyRow.id == study, *self._over(over_before))
        if connection.execute(still).first() is None:
            return 0
        rows = update(InstanceRow).where(InstanceRow.study_id == study, _free())
        count: int = connection.execute(rows.values(holding=Holding.GOING)).rowcount
        newest = select(JobRow).where(JobRow.study_id == study).order_by(JobRow.revision.desc()).limit(1)
        _tell(connection, connection.execute(newest).one(), f"{count} received objects were deleted.")
        return count

    def delete_images(self, delete: Callable[[Collection[str]], None]) -> int:
        """Delete the bytes of what was given up; ``delete`` takes paths within the store. Returns how many objects."""
        with self._database.reading() as connection:
            going = select(InstanceRow.study_id).where(InstanceRow.holding == Holding.GOING).distinct()
            studies = connection.execute(going.limit(STUDIES)).scalars().all()
        return sum(self._delete(study, delete) for study in studies)

    def _delete(self, study: int, delete: Callable[[Collection[str]], None]) -> int:
        with self._database.writing() as connection:
            # The receiver registers images under the same lock, and links them to their names again afterwards.
            connection.execute(select(StudyRow.id).where(StudyRow.id == study).with_for_update())
            of_study = InstanceRow.study_id == study, InstanceRow.holding == Holding.GOING
            paths = connection.execute(select(InstanceRow.path).where(*of_study)).scalars().all()
            delete(paths)
            connection.execute(update(InstanceRow).where(*of_study).values(holding=Holding.GONE))
        return len(paths)

    def delete_reports(self, days: float) -> int:
        """Delete the bytes of reports that were all confirmed ``days`` ago; returns how many."""
        before = now() - timedelta(days=days)
        confirmed = CommitmentRow.report_id == ReportRow.id, CommitmentRow.state == CommitmentState.COMMITTED
        delivered = (
            select(ReportRow.id, ReportRow.job_id)
            .join(JobRow, JobRow.id == ReportRow.job_id)
            .where(
                ReportRow.deleted_at.is_(None),
                JobRow.state == State.DELIVERED,
                exists().where(*confirmed),
                ~exists().where(*confirmed, CommitmentRow.settled_at > before),
                ~self._unconfirmed(DeliveryRow.report_id == ReportRow.id),
            )
            .order_by(ReportRow.id)
            .limit(REPORTS)
        )
        with self._database.writing() as connection:
            rows = connection.execute(delivered.with_for_update(of=ReportRow, skip_locked=True)).all()
            gone = update(ReportRow).where(ReportRow.id.in_([row.id for row in rows]))
            connection.execute(gone.values(content=b"", deleted_at=now()))
            for job in {row.job_id for row in rows}:
                count = sum(row.job_id == job for row in rows)
                done = connection.execute(select(JobRow).where(JobRow.id == job)).one()
                _tell(connection, done, f"{count} reports were deleted; every destination keeps them.")
        return len(rows)

    def _over(self, before: datetime) -> tuple[Any, ...]:
        """Nothing of the study is to be done, or has been done since ``before``."""
        jobs = JobRow.study_id == StudyRow.id
        settled = JobRow.state.in_(_OVER) & (JobRow.settled_at <= before)
        questions = QuestionRow.state.in_([QuestionState.WAITING, QuestionState.WORKING])
        uncompared = InstanceRow.kind == Registration.VARIANT, InstanceRow.changes.is_(None)
        return (
            exists().where(jobs),
            ~exists().where(jobs, ~settled),
            ~exists().where(jobs, QuestionRow.job_id == JobRow.id, questions),
            ~exists().where(InstanceRow.study_id == StudyRow.id, *uncompared),
            ~self._unconfirmed(
                DeliveryRow.report_id == ReportRow.id, ReportRow.job_id == JobRow.id, JobRow.study_id == StudyRow.id
            ),
        )  # fmt: skip

    def _unconfirmed(self, *of_what: Any) -> Any:
        """A destination that is asked took something of it and has not confirmed it."""
        confirmed = exists().where(
            CommitmentRow.report_id == DeliveryRow.report_id,
            CommitmentRow.destination == DeliveryRow.destination,
            CommitmentRow.state == CommitmentState.COMMITTED,
        )
        return exists().where(*of_what, DeliveryRow.destination.in_(self._confirming), ~confirmed)


def has_all_images(connection: Connection, study: int) -> bool:
    """Whether nothing of the study was given up."""
    given_up = select(func.count()).where(InstanceRow.study_id == study, InstanceRow.holding != Holding.HERE)
    return connection.execute(given_up).scalar_one() == 0


def _free() -> Any:
    """Its bytes are here and nobody was promised that they stay."""
    promised = InstanceRow.kept_until > now()
    return (InstanceRow.holding == Holding.HERE) & (InstanceRow.kept_until.is_(None) | ~promised)


def _tell(connection: Connection, job: Any, reason: str) -> None:
    state = State(job.state)
    record(
        connection, job.id, state, state, Event.CLEANED_UP, stage=Stage(job.stage), actor="housekeeper", reason=reason
    )  # fmt: skip
