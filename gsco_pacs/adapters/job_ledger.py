"""The record of walk 2: who works on which job, what each stage found out, and what was taken where.

Each method is one transaction. The database decides who owns a job; a message is only a wake-up.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from types import MappingProxyType
from typing import Any
from uuid import uuid4

from sqlalchemy import Connection, Select, delete, exists, insert, select, update

from gsco_pacs.adapters.commitment_ledger import owe
from gsco_pacs.adapters.ledger import Database, study_of
from gsco_pacs.adapters.moves import move, now
from gsco_pacs.adapters.prior_moves import IS_PRIOR, awaited
from gsco_pacs.adapters.tables import AttemptRow, DeliveryRow, JobRow, ProductRow, ReportRow
from gsco_pacs.adapters.transfers import note_sent
from gsco_pacs.domain.errors import LostLeaseError
from gsco_pacs.domain.findings import ObjectKind, Predecessor, Receipt, Report
from gsco_pacs.domain.job import Event, Stage, State
from gsco_pacs.domain.study import Study

STAT_IN_A_ROW = 4
"""Under endless stat studies every fifth claim of a stage is a routine one: a fifth of the node is theirs."""


@dataclass(frozen=True)
class Claim:
    """A worker's exclusive right to one stage of one job, for as long as it moves the lease on."""

    job_id: int
    stage: Stage
    worker: str
    lease: str
    attempt: int
    run: int
    route: dict[str, Any]
    stage_began_at: datetime
    study: Study


class JobLedger:
    """The working half of the record; used by workers, the housekeeper and the operator's commands."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def claim(
        self, stage: Stage, worker: str, lease_seconds: float, *, only_stat: bool = False
    ) -> Claim | None:
        """Take the most urgent queued job of ``stage``: stat first, then the longest waiting; None if there is none.

        After STAT_IN_A_ROW stat jobs a routine one is taken, if one waits, so that none waits for ever.
        """
        lease = uuid4().hex
        with self._database.writing() as connection:
            query = _most_urgent(stage, routine_first=_had_only_stat(connection, stage))
            best = query.where(JobRow.priority > 0) if only_stat else query
            job = connection.execute(best.with_for_update(skip_locked=True)).first()
            if job is None:
                return None
            attempt = job.attempts + 1
            move(connection, job.id, State.QUEUED, Event.CLAIMED, stage=stage, actor=worker,
                 detail={"attempt": attempt},
                 columns={"attempts": attempt, "worker": worker, "lease": lease,
                          "lease_until": now() + timedelta(seconds=lease_seconds)})  # fmt: skip
            connection.execute(
                insert(AttemptRow).values(
                    job_id=job.id, stage=stage, number=attempt, lease=lease, worker=worker, started_at=now()
                )
            )
            study = study_of(connection, job.id)
        return Claim(job.id, stage, worker, lease, attempt, job.run, job.route, job.stage_began_at, study)

    def pulse(self, claim: Claim, lease_seconds: float) -> Event | None:
        """Extend the lease; the event that an operator or a newer revision wishes for, or None. LostLeaseError if it is gone."""
        until = now() + timedelta(seconds=lease_seconds)
        extended = (
            update(JobRow)
            .where(JobRow.id == claim.job_id, JobRow.lease == claim.lease, JobRow.state == State.RUNNING)
            .values(lease_until=until)
            .returning(JobRow.wish)
        )
        with self._database.writing() as connection:
            wish = connection.execute(extended).scalar_one_or_none()
        if wish is None:
            raise LostLeaseError
        return Event(wish) if wish else None

    def finish(self, claim: Claim, product: dict[str, Any], reports: Sequence[Report] = ()) -> State:
        """Save what the stage found out and the objects it made; queue the next stage, or end the job after the last.

        A draft waits for its priors, until they are here or their deadline passes; a prior ends after the consultation.
        A wish for cancellation that came meanwhile wins over the next stage, and the product is still saved; what was
        delivered stays delivered.
        """
        with self._database.writing() as connection:
            job = _owned(connection, claim)
            _save_product(connection, claim, product)
            _save_reports(connection, claim, reports)
            following = claim.stage.following
            if following is None:
                return self._end(
                    connection, claim, Event.REPORTS_ACCEPTED, "Every destination took the reports."
                )
            if job.wish:
                return self._end(connection, claim, Event(job.wish), job.wish_reason)
            if job.is_prior:
                return self._end(connection, claim, Event.NOT_APPLICABLE, IS_PRIOR)
            _close_attempt(connection, claim, Event.STAGE_FINISHED, "")
            deadline = awaited(connection, claim.job_id) if claim.stage is Stage.CONSULT else None
            if deadline:
                return move(connection, claim.job_id, State.RUNNING, Event.PRIORS_AWAITED, stage=claim.stage,
                            actor=claim.worker, lease=claim.lease, reason="Its priors are being fetched.",
                            columns={"stage": following, "attempts": 0, "stage_began_at": now(),
                                     "not_before": deadline})  # fmt: skip
            return move(connection, claim.job_id, State.RUNNING, Event.STAGE_FINISHED, stage=claim.stage,
                        actor=claim.worker, lease=claim.lease,
                        columns={"stage": following, "attempts": 0, "stage_began_at": now()})  # fmt: skip

    def end(self, claim: Claim, event: Event, reason: str) -> State:
        """End the job as skipped, failed, cancelled or superseded."""
        with self._database.writing() as connection:
            job = _owned(connection, claim)
            if job.wish:
                return self._end(connection, claim, Event(job.wish), job.wish_reason)
            return self._end(connection, claim, event, reason)

    def postpone(self, claim: Claim, reason: str, delay_seconds: float) -> State:
        """Let the job wait and be tried again after ``delay_seconds``."""
        with self._database.writing() as connection:
            job = _owned(connection, claim)
            if job.wish:
                return self._end(connection, claim, Event(job.wish), job.wish_reason)
            _close_attempt(connection, claim, Event.FAILED_FOR_NOW, reason)
            return move(connection, claim.job_id, State.RUNNING, Event.FAILED_FOR_NOW, stage=claim.stage,
                        actor=claim.worker, reason=reason, lease=claim.lease,
                        columns={"not_before": now() + timedelta(seconds=delay_seconds)})  # fmt: skip

    def _end(self, connection: Connection, claim: Claim, event: Event, reason: str) -> State:
        _close_attempt(connection, claim, event, "" if event is Event.REPORTS_ACCEPTED else reason)
        return move(connection, claim.job_id, State.RUNNING, event, stage=claim.stage, actor=claim.worker,
                    reason=reason, lease=claim.lease)  # fmt: skip

    def product(self, job_id: int, stage: Stage) -> dict[str, Any]:
        """What a finished stage found out."""
        query = select(ProductRow.content).where(ProductRow.job_id == job_id, ProductRow.stage == stage)
        with self._database.reading() as connection:
            content: dict[str, Any] = connection.execute(query).scalar_one()
            return content

    def reports(self, job_id: int) -> tuple[Report, ...]:
        """The job's SRs and their evidence, as they were encoded once."""
        query = select(ReportRow).where(ReportRow.job_id == job_id).order_by(ReportRow.id)
        with self._database.reading() as connection:
            return tuple(
                Report(
                    ObjectKind(row.kind), row.sop_class_uid, row.study_instance_uid, row.series_instance_uid,
                    row.sop_instance_uid, row.content, row.sha256,
                )
                for row in connection.execute(query)
            )  # fmt: skip

    def keep_receipts(
        self, job_id: int, receipts: Sequence[Receipt], confirmed: Mapping[str, int] = MappingProxyType({})
    ) -> None:
        """Keep the destinations' receipts; a receipt that is already there stays.

        ``confirmed`` are the destinations that are to be asked whether they keep what they took, and how often.
        """
        with self._database.writing() as connection:
            known = {(kept.destination, kept.sop_instance_uid) for kept in _receipts(connection, job_id)}
            new = [each for each in receipts if (each.destination, each.sop_instance_uid) not in known]
            columns = (
                ReportRow.id,
                ReportRow.sop_instance_uid,
                ReportRow.study_instance_uid,
                ReportRow.sop_class_uid,
            )
            query = select(*columns).where(ReportRow.job_id == job_id)
            reports = {row.sop_instance_uid: row for row in connection.execute(query)}
            for receipt in new:
                report_id = reports[receipt.sop_instance_uid].id
                connection.execute(
                    insert(DeliveryRow).values(
                        report_id=report_id, destination=receipt.destination, status=receipt.status, taken_at=now()
                    )
                )  # fmt: skip
                if tries := confirmed.get(receipt.destination):
                    owe(connection, report_id, receipt.destination, tries)
            for destination in dict.fromkeys(receipt.destination for receipt in new):
                taken = [reports[each.sop_instance_uid] for each in new if each.destination == destination]
                classes = [row.sop_class_uid for row in taken]
                note_sent(connection, taken[0].study_instance_uid, destination, classes)

    def receipts(self, job_id: int) -> tuple[Receipt, ...]:
        """Every receipt of the job."""
        with self._database.reading() as connection:
            return _receipts(connection, job_id)

    def predecessors(self, job_id: int) -> tuple[Predecessor, ...]:
        """Of each kind the SR of the newest earlier revision that some destination took, or that is just being sent."""
        with self._database.reading() as connection:
            job = connection.execute(select(JobRow).where(JobRow.id == job_id)).one()
            earlier = (
                select(ReportRow, JobRow.revision)
                .join(JobRow, JobRow.id == ReportRow.job_id)
                .where(
                    JobRow.study_id == job.study_id,
                    JobRow.revision < job.revision,
                    ReportRow.kind.in_([ObjectKind.NARRATIVE, ObjectKind.CODED]),
                    exists().where(DeliveryRow.report_id == ReportRow.id)
                    | ((JobRow.state == State.RUNNING) & (JobRow.stage == Stage.DELIVER)),
                )
                .order_by(JobRow.revision.desc(), ReportRow.id)
            )
            newest = {row.kind: row for row in reversed(connection.execute(earlier).all())}
        return tuple(
            Predecessor(
                ObjectKind(row.kind), row.sop_class_uid, row.series_instance_uid, row.sop_instance_uid
            )
            for row in newest.values()
        )


def _most_urgent(stage: Stage, *, routine_first: bool) -> Select[Any]:
    urgency = JobRow.priority.asc() if routine_first else JobRow.priority.desc()
    return (
        select(JobRow)
        .where(JobRow.state == State.QUEUED, JobRow.stage == stage)
        .order_by(urgency, JobRow.queued_at, JobRow.id)
        .limit(1)
    )


def _had_only_stat(connection: Connection, stage: Stage) -> bool:
    newest = (
        select(JobRow.priority)
        .join(AttemptRow, AttemptRow.job_id == JobRow.id)
        .where(AttemptRow.stage == stage)
        .order_by(AttemptRow.id.desc())
        .limit(STAT_IN_A_ROW)
    )
    priorities = connection.execute(newest).scalars().all()
    return len(priorities) == STAT_IN_A_ROW and all(priorities)


def _owned(connection: Connection, claim: Claim) -> Any:
    query = select(JobRow).where(JobRow.id == claim.job_id).with_for_update()
    job = connection.execute(query).one()
    if job.lease != claim.lease or job.state != State.RUNNING:
        raise LostLeaseError
    return job


def _close_attempt(connection: Connection, claim: Claim, outcome: Event, error: str) -> None:
    connection.execute(
        update(AttemptRow)
        .where(AttemptRow.lease == claim.lease)
        .values(ended_at=now(), outcome=outcome, error=error)
    )


def _save_product(connection: Connection, claim: Claim, product: dict[str, Any]) -> None:
    connection.execute(
        delete(ProductRow).where(ProductRow.job_id == claim.job_id, ProductRow.stage == claim.stage)
    )
    connection.execute(
        insert(ProductRow).values(job_id=claim.job_id, stage=claim.stage, content=product, saved_at=now())
    )


def _save_reports(connection: Connection, claim: Claim, reports: Sequence[Report]) -> None:
    """A stage that is gone through again replaces what it made before, of which nothing has left the node yet."""
    made_here = [kind for kind in ObjectKind if kind.is_evidence == (claim.stage is Stage.CONSULT)]
    if claim.stage is not Stage.DELIVER:
        stale = delete(ReportRow).where(ReportRow.job_id == claim.job_id, ReportRow.kind.in_(made_here))
        connection.execute(stale)
    for report in reports:
        connection.execute(
            insert(ReportRow).values(
                job_id=claim.job_id, kind=report.kind, sop_class_uid=report.sop_class_uid,
                study_instance_uid=report.study_instance_uid, series_instance_uid=report.series_instance_uid,
                sop_instance_uid=report.sop_instance_uid, sha256=report.sha256, content=report.content, saved_at=now(),
            )
        )  # fmt: skip


def _receipts(connection: Connection, job_id: int) -> tuple[Receipt, ...]:
    query = (
        select(DeliveryRow.destination, ReportRow.sop_instance_uid, DeliveryRow.status)
        .join(ReportRow, ReportRow.id == DeliveryRow.report_id)
        .where(ReportRow.job_id == job_id)
        .order_by(DeliveryRow.id)
    )
    return tuple(Receipt(*row) for row in connection.execute(query))
