"""What brings a stuck job back: due retries, lost leases, lost messages; and the operator's two buttons."""

from collections.abc import Sequence
from datetime import timedelta
from typing import Any

from sqlalchemy import Connection, select, update

from gsco_pacs.adapters.ledger import Database
from gsco_pacs.adapters.moves import move, now
from gsco_pacs.adapters.tables import AttemptRow, JobRow, StudyRow
from gsco_pacs.domain.errors import ConfigError
from gsco_pacs.domain.job import Event, Stage, State

CRASHES_ALLOWED = 3
"""Attempts of one stage that may end with a dead worker; then the job is taken for poison and fails."""


class Upkeep:
    """Moves that no worker makes; used by the housekeeper and by ``gsco-pacs retry`` and ``cancel``."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def take_back_lost(self) -> int:
        """Let jobs wait whose worker's lease ran out; a job that killed too many workers fails. Returns how many."""
        lost = select(JobRow).where(JobRow.state == State.RUNNING, JobRow.lease_until < now())
        with self._database.writing() as connection:
            jobs = connection.execute(lost.with_for_update(skip_locked=True)).all()
            for job in jobs:
                self._take_back(connection, job)
        return len(jobs)

    def _take_back(self, connection: Connection, job: Any) -> None:
        reason = f"The worker {job.worker} gave no sign of life."
        stage = Stage(job.stage)
        connection.execute(
            update(AttemptRow)
            .where(AttemptRow.lease == job.lease)
            .values(ended_at=now(), outcome=Event.LEASE_LOST, error=reason)
        )
        if job.wish:
            move(
                connection,
                job.id,
                State.RUNNING,
                Event(job.wish),
                stage=stage,
                actor="housekeeper",
                reason=job.wish_reason,
            )
            return
        crashes = select(AttemptRow.id).where(
            AttemptRow.job_id == job.id, AttemptRow.outcome == Event.LEASE_LOST,
            AttemptRow.started_at >= job.stage_began_at,
        )  # fmt: skip
        move(connection, job.id, State.RUNNING, Event.LEASE_LOST, stage=stage, actor="housekeeper",
             reason=reason, columns={"not_before": now()})  # fmt: skip
        if len(connection.execute(crashes).all()) >= CRASHES_ALLOWED:
            poison = (
                f"{CRASHES_ALLOWED} workers died at this stage; look at their logs, then `gsco-pacs retry`."
            )
            move(
                connection,
                job.id,
                State.WAITING,
                Event.FAILED_FOR_GOOD,
                stage=stage,
                actor="housekeeper",
                reason=poison,
            )

    def queue_due(self) -> int:
        """Queue waiting jobs whose time has come; returns how many."""
        due = select(JobRow).where(JobRow.state == State.WAITING, JobRow.not_before <= now())
        with self._database.writing() as connection:
            jobs = connection.execute(due.with_for_update(skip_locked=True)).all()
            for job in jobs:
                move(
                    connection, job.id, State.WAITING, Event.DUE, stage=Stage(job.stage), actor="housekeeper"
                )
        return len(jobs)

    def unwoken(self, silent_seconds: float) -> list[tuple[int, Stage]]:
        """Queued jobs for which no message was sent, or whose message is older than ``silent_seconds``; stat first."""
        query = (
            select(JobRow.id, JobRow.stage)
            .where(
                JobRow.state == State.QUEUED,
                JobRow.woken_at.is_(None) | (JobRow.woken_at < now() - timedelta(seconds=silent_seconds)),
            )
            .order_by(JobRow.priority.desc(), JobRow.queued_at)
        )
        with self._database.reading() as connection:
            return [(row.id, Stage(row.stage)) for row in connection.execute(query)]

    def woken(self, job_ids: Sequence[int]) -> None:
        """Note that messages were sent for these jobs."""
        with self._database.writing() as connection:
            connection.execute(update(JobRow).where(JobRow.id.in_(job_ids)).values(woken_at=now()))

    def cancel(self, study_instance_uid: str, actor: str) -> str:
        """Cancel the study's newest job; a running one is asked to stop after its step. Returns what happened."""
        with self._database.writing() as connection:
            job = _newest(connection, study_instance_uid)
            reason = f"Cancelled by {actor}."
            if job.state == State.RUNNING:
                wish = {"wish": Event.CANCELLED.value, "wish_reason": reason}
                connection.execute(update(JobRow).where(JobRow.id == job.id).values(**wish))
                return "running: it is cancelled at the end of its stage"
            return move(
                connection,
                job.id,
                State(job.state),
                Event.CANCELLED,
                stage=Stage(job.stage),
                actor=actor,
                reason=reason,
            )

    def requeue(self, study_instance_uid: str, actor: str) -> str:
        """Queue a failed job again, at the stage that failed; a waiting one is tried at once."""
        with self._database.writing() as connection:
            job = _newest(connection, study_instance_uid)
            event = Event.DUE if job.state == State.WAITING else Event.REQUEUED
            columns = {"attempts": 0, "stage_began_at": now()}
            return move(connection, job.id, State(job.state), event, stage=Stage(job.stage), actor=actor,
                        reason=f"Tried again by {actor}.", columns=columns)  # fmt: skip


def _newest(connection: Connection, study_instance_uid: str) -> Any:
    query = (
        select(JobRow)
        .join(StudyRow, StudyRow.id == JobRow.study_id)
        .where(StudyRow.study_instance_uid == study_instance_uid)
        .order_by(JobRow.revision.desc())
        .limit(1)
    )
    job = connection.execute(query.with_for_update()).first()
    if job is None:
        raise ConfigError(f"The node has no study {study_instance_uid}.")
    return job
