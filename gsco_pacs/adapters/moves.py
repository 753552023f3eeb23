"""Moves a job: the new state, the guard on the old one and the event row in one transaction."""

from datetime import UTC, datetime
from typing import Any

from sqlalchemy import Connection, CursorResult, insert, select, update

from gsco_pacs.adapters.tables import EventRow, JobRow
from gsco_pacs.domain.errors import IllegalMoveError, LostLeaseError
from gsco_pacs.domain.job import SETTLED, Event, Stage, State, after


def now() -> datetime:
    """The current time, in UTC."""
    return datetime.now(UTC)


def move(
    connection: Connection,
    job_id: int,
    before: State,
    event: Event,
    *,
    stage: Stage,
    actor: str,
    reason: str = "",
    detail: dict[str, Any] | None = None,
    lease: str | None = None,
    columns: dict[str, Any] | None = None,
) -> State:
    """Apply ``event`` to a job that is in state ``before`` and write the event row; ``columns`` are set as well.

    IllegalMoveError if the table of domain.job forbids it or the job is in another state by now;
    LostLeaseError if ``lease`` is given and is not the job's.
    """
    target = after(before, event)
    values = dict(columns or {})
    if before in SETTLED:
        values |= {"settled_at": None}
    if target in SETTLED:
        values |= {"settled_at": now(), "wish": "", "wish_reason": ""}
    if target is State.QUEUED:
        values |= {"queued_at": now(), "woken_at": None, "not_before": None}
    if before is State.RUNNING:
        values |= {"lease": "", "lease_until": None}
    guarded = update(JobRow).where(JobRow.id == job_id, JobRow.state == before)
    if lease is not None:
        guarded = guarded.where(JobRow.lease == lease)
    told = {"reason": reason} if reason else {}
    changed: CursorResult[Any] = connection.execute(guarded.values(state=target, **told | values))
    if changed.rowcount != 1:
        raise (
            LostLeaseError if lease is not None else IllegalMoveError(f"Job {job_id} is no longer {before}.")
        )
    record(connection, job_id, before, target, event, stage=stage, actor=actor, reason=reason, detail=detail)
    return target


def record(
    connection: Connection,
    job_id: int,
    before: State,
    target: State,
    event: Event,
    *,
    stage: Stage,
    actor: str,
    reason: str = "",
    detail: dict[str, Any] | None = None,
) -> None:
    """Write the row of an event that was just applied."""
    connection.execute(
        insert(EventRow).values(
            job_id=job_id, event=event, before=before, after=target, stage=stage,
            at=now(), actor=actor, reason=reason, detail=detail or {},
        )
    )  # fmt: skip


def supersede_older(connection: Connection, study_id: int, revision: int, what: str) -> None:
    """End the unfinished jobs of earlier revisions; ``what`` opened this one. A running job is asked to stop."""
    older = select(JobRow).where(
        JobRow.study_id == study_id,
        JobRow.revision < revision,
        JobRow.state.in_([State.QUEUED, State.WAITING, State.RUNNING]),
    )
    reason = f"{what} revision {revision}."
    for job in connection.execute(older.with_for_update()).all():
        if job.state == State.RUNNING:
            wish = update(JobRow).where(JobRow.id == job.id).values(wish=Event.SUPERSEDED, wish_reason=reason)
            connection.execute(wish)
        else:
            move(connection, job.id, State(job.state), Event.SUPERSEDED, stage=Stage(job.stage),
                 actor="housekeeper", reason=reason)  # fmt: skip
