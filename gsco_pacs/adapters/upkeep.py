"""What brings a stuck job back: due retries, lost leases, lost messages; and the operator's two buttons."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Connection, select, update

from gsco_pacs.adapters.arrivals import lock_study
from gsco_pacs.adapters.ledger import Database
from gsco_pacs.adapters.moves import move, now
from gsco_pacs.adapters.retention import has_all_images
from gsco_pacs.adapters.tables import AttemptRow, JobRow
from gsco_pacs.adapters.transfers import note_closed
from gsco_pacs.domain.errors import ConfigError, IllegalMoveError
from gsco_pacs.domain.job import SETTLED, Event, Stage, State

CRASHES_ALLOWED = 3
"""Attempts in a row that may end with a dead worker; then the job is taken for poison and fails."""


WOKEN_AGAIN = 10
"""So many jobs of each queue get another message when they are silent."""


@dataclass(frozen=True)
class Unwoken:
    """A queued job that no worker may know of."""

    job_id: int
    stage: Stage
    is_stat: bool


class Upkeep:
    """Moves that no worker makes; used by the housekeeper and by ``gsco-pacs retry`` and ``cancel``."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def leases(self) -> dict[str, datetime]:
        """Every running job's lease and the time in it, which a worker that lives moves on."""
        query = select(JobRow.lease, JobRow.lease_until).where(JobRow.state == State.RUNNING)
        with self._database.reading() as connection:
            return {row.lease: row.lease_until for row in connection.execute(query)}

    def take_back(self, leases: Mapping[str, datetime]) -> int:
        """Let the jobs wait whose leases are still these; a job that killed too many workers in a row fails. Returns how many."""
        lost = select(JobRow).where(JobRow.state == State.RUNNING, JobRow.lease.in_(leases))
        with self._database.writing() as connection:
            jobs = connection.execute(lost.with_for_update(skip_locked=True)).all()
            unmoved = [job for job in jobs if job.lease_until == leases[job.lease]]
            for job in unmoved:
                self._take_back(connection, job)
        return len(unmoved)

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
        newest = (
            select(AttemptRow.outcome)
            .where(AttemptRow.job_id == job.id, AttemptRow.started_at >= job.stage_began_at)
            .order_by(AttemptRow.id.desc())
            .limit(CRASHES_ALLOWED)
        )
        move(connection, job.id, State.RUNNING, Event.LEASE_LOST, stage=stage, actor="housekeeper",
             reason=reason, columns={"not_before": now()})  # fmt: skip
        outcomes = connection.execute(newest).scalars().all()
        if outcomes == [Event.LEASE_LOST] * CRASHES_ALLOWED:
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

    def unwoken(self, silent_seconds: float) -> list[Unwoken]:
        """Queued jobs without a message, and of the first in each queue those whose message is older than ``silent_seconds``.

        Only the first few, because where no worker runs at all the messages would only pile up.
        """
        query = (
            select(JobRow.id, JobRow.stage, JobRow.priority, JobRow.woken_at)
            .where(JobRow.state == State.QUEUED)
            .order_by(JobRow.priority.desc(), JobRow.queued_at, JobRow.id)
        )
        with self._database.reading() as connection:
            rows = connection.execute(query).all()
        first = [row for stage in Stage for row in [r for r in rows if r.stage == stage][:WOKEN_AGAIN]]
        silent_since = now() - timedelta(seconds=silent_seconds)
        wanted = [r for r in rows if r.woken_at is None or (r in first and r.woken_at < silent_since)]
        return [Unwoken(row.id, Stage(row.stage), row.priority > 0) for row in wanted]

    def woken(self, job_ids: Sequence[int]) -> None:
        """Note that messages were sent for these jobs."""
        with self._database.writing() as connection:
            connection.execute(update(JobRow).where(JobRow.id.in_(job_ids)).values(woken_at=now()))

    def cancel(self, study_instance_uid: str, actor: str) -> str:
        """Cancel every unfinished job of the study; a running one is asked to stop. Returns what happened."""
        reason = f"Cancelled by {actor}."
        with self._database.writing() as connection:
            jobs = _jobs(connection, study_instance_uid)
            active = [job for job in jobs if State(job.state) not in SETTLED]
            if not active:
                raise IllegalMoveError(f"The study's newest job is {jobs[0].state} already.")
            for job in active:
                _cancel(connection, job, actor, reason)
        if any(job.state == State.RUNNING for job in active):
            return "running: it is cancelled before its next step"
        return State.CANCELLED

    def requeue(self, study_instance_uid: str, actor: str) -> str:
        """Try the study's newest job again: a failed one at the stage that failed, a waiting one at once.

        A skipped one is routed anew, by the configuration as it is now.
        """
        with self._database.writing() as connection:
            job = _jobs(connection, study_instance_uid)[0]
            if not has_all_images(connection, job.study_id):
                raise IllegalMoveError("Images of the study were deleted; send them again first.")
            event = Event.DUE if job.state == State.WAITING else Event.REQUEUED
            columns = {"attempts": 0, "stage_began_at": now(), "stage": job.stage}
            if job.state == State.SKIPPED:
                columns |= {"stage": Stage.CONSULT, "route": None}
            return move(connection, job.id, State(job.state), event, stage=Stage(job.stage), actor=actor,
                        reason=f"Tried again by {actor}.", columns=columns)  # fmt: skip


def _cancel(connection: Connection, job: Any, actor: str, reason: str) -> None:
    if job.state == State.RUNNING:
        wish = {"wish": Event.CANCELLED.value, "wish_reason": reason}
        connection.execute(update(JobRow).where(JobRow.id == job.id).values(**wish))
        return
    if job.state == State.COLLECTING:
        note_closed(connection, job)
    move(
        connection,
        job.id,
        State(job.state),
        Event.CANCELLED,
        stage=Stage(job.stage),
        actor=actor,
        reason=reason,
    )


def _jobs(connection: Connection, study_instance_uid: str) -> Sequence[Any]:
    """The study's jobs, newest first; the study's row is locked, as the receiver does it too."""
    study = lock_study(connection, study_instance_uid)
    jobs = connection.execute(
        select(JobRow).where(JobRow.study_id == study).order_by(JobRow.revision.desc())
    ).all()
    if not jobs:
        raise ConfigError(f"The node has no job of the study {study_instance_uid}.")
    return jobs
