"""The record of walk 1: what was received, what was refused, and how a study was closed. Each method is one transaction."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any

from sqlalchemy import Connection, Engine, func, insert, select, update
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.exc import DBAPIError

from gsco_pacs.adapters.database import READING
from gsco_pacs.adapters.moves import move, now, record
from gsco_pacs.adapters.tables import InstanceRow, JobRow, RefusalRow, ReportRow, StudyRow
from gsco_pacs.domain.errors import OutOfResourcesError
from gsco_pacs.domain.job import Event, Stage, State
from gsco_pacs.domain.study import Decision, Instance, Peer, Routing, Study


class Registration(StrEnum):
    """What a received object turned out to be."""

    NEW = "kept"
    EQUAL = "equal"
    """The same bytes again: counted, otherwise ignored."""
    VARIANT = "variant"
    """A known SOP Instance UID with other bytes: kept aside and shown, never part of the study."""
    OWN = "own"
    """One of the node's own results came back: counted, never read."""


@dataclass(frozen=True)
class Collecting:
    """A study that is still arriving."""

    job_id: int
    study_instance_uid: str
    revision: int
    first_received_at: datetime
    last_received_at: datetime


class Database:
    """Transactions on the ledger's engine; a database that fails is a TransientError to everybody above."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    @contextmanager
    def writing(self) -> Iterator[Connection]:
        """A transaction that writes; committed at the end, undone by an exception."""
        with _mapped(), self._engine.begin() as connection:
            yield connection

    @contextmanager
    def reading(self) -> Iterator[Connection]:
        """A transaction that only reads."""
        with _mapped(), self._engine.execution_options(**READING).begin() as connection:
            yield connection


@contextmanager
def _mapped() -> Iterator[None]:
    try:
        yield
    except DBAPIError as error:
        raise OutOfResourcesError(f"The database refused: {type(error.orig).__name__}.") from error


class Ledger:
    """The intake half of the record; used by the receiver and the housekeeper."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def register(self, batch: Sequence[tuple[Instance, Peer]]) -> list[Registration]:
        """Enter received instances and open their studies' jobs; durable when it returns.

        Studies are locked in the order of their UIDs, so that two receivers never wait for each other.
        """
        order = sorted(range(len(batch)), key=lambda i: batch[i][0].study_instance_uid)
        result: dict[int, Registration] = {}
        with self._database.writing() as connection:
            studies: dict[str, int] = {}
            for index in order:
                instance, peer = batch[index]
                uid = instance.study_instance_uid
                if uid not in studies:
                    studies[uid] = _lock_study(connection, instance)
                result[index] = _register_one(connection, studies[uid], instance, peer)
        return [result[index] for index in range(len(batch))]

    def refuse(self, peer: Peer, what: str, reason: str) -> None:
        """Note an association or an image that was not taken."""
        with self._database.writing() as connection:
            connection.execute(
                insert(RefusalRow).values(
                    at=now(), calling_ae=peer.calling_ae, called_ae=peer.called_ae, address=peer.address,
                    what=what, reason=reason,
                )
            )  # fmt: skip

    def collecting(self) -> list[Collecting]:
        """Every study that is still arriving, oldest first."""
        query = (
            select(JobRow, StudyRow.study_instance_uid)
            .join(StudyRow, StudyRow.id == JobRow.study_id)
            .where(JobRow.state == State.COLLECTING)
            .order_by(JobRow.id)
        )
        with self._database.reading() as connection:
            return [
                Collecting(
                    row.id, row.study_instance_uid, row.revision, row.first_received_at, row.last_received_at
                )
                for row in connection.execute(query)
            ]

    def study(self, job_id: int) -> Study:
        """The study as the job means it: every kept instance up to the job's revision."""
        with self._database.reading() as connection:
            return study_of(connection, job_id)

    def close(
        self, collecting: Collecting, decision: Decision, routing: Routing, route: dict[str, Any] | None
    ) -> bool:
        """Queue the job on its route, or end it as skipped if no route matched; older unfinished revisions are superseded.

        False, and nothing is changed, if an image came after ``collecting`` was read. ``route`` is the snapshot of
        the route's settings that the job keeps.
        """
        with self._database.writing() as connection:
            _lock(connection, collecting.study_instance_uid)
            job = connection.execute(select(JobRow).where(JobRow.id == collecting.job_id)).one()
            if job.state != State.COLLECTING or job.last_received_at != collecting.last_received_at:
                return False
            detail = {"trials": [asdict(trial) for trial in routing.trials], "closed": decision.reason}
            if route is None:
                reason = "No route matches: " + "; ".join(f"{t.route}: {t.reason}" for t in routing.trials)
                move(connection, job.id, State.COLLECTING, Event.NOT_APPLICABLE, stage=Stage.CONSULT,
                     actor="housekeeper", reason=reason if routing.trials else "No route is configured.", detail=detail)  # fmt: skip
            else:
                move(connection, job.id, State.COLLECTING, Event.STUDY_CLOSED, stage=Stage.CONSULT,
                     actor="housekeeper", reason=decision.reason, detail=detail,
                     columns={"route": route, "priority": int(route["priority"] == "stat"),
                              "stage_began_at": now()})  # fmt: skip
            _supersede_older(connection, job.study_id, job.revision)
            return True


def study_of(connection: Connection, job_id: int) -> Study:
    """The study that a job reads, in the order of arrival."""
    query = (
        select(InstanceRow, StudyRow.study_instance_uid, JobRow.revision.label("job_revision"))
        .join(StudyRow, StudyRow.id == InstanceRow.study_id)
        .join(JobRow, JobRow.study_id == StudyRow.id)
        .where(
            JobRow.id == job_id, InstanceRow.revision <= JobRow.revision, InstanceRow.kind == Registration.NEW
        )
        .order_by(InstanceRow.id)
    )
    rows = connection.execute(query).all()
    return Study(rows[0].study_instance_uid, rows[0].job_revision, tuple(_instance(row) for row in rows))


def _instance(row: Any) -> Instance:
    return Instance(
        row.study_instance_uid, row.series_instance_uid, row.sop_instance_uid, row.sop_class_uid,
        row.transfer_syntax_uid, row.sha256, row.size, row.path, row.header,
    )  # fmt: skip


def _lock_study(connection: Connection, instance: Instance) -> int:
    dialect = postgresql if connection.dialect.name == "postgresql" else sqlite
    connection.execute(
        dialect.insert(StudyRow)
        .values(
            study_instance_uid=instance.study_instance_uid,
            patient_id=_text(instance, "PatientID"),
            accession_number=_text(instance, "AccessionNumber"),
            created_at=now(),
        )
        .on_conflict_do_nothing()
    )
    return _lock(connection, instance.study_instance_uid)


def _lock(connection: Connection, study_instance_uid: str) -> int:
    query = select(StudyRow.id).where(StudyRow.study_instance_uid == study_instance_uid)
    return connection.execute(query.with_for_update()).scalar_one()


def _text(instance: Instance, keyword: str) -> str:
    # PostgreSQL takes no NUL in text.
    return str(instance.header.get(keyword, "")).replace("\0", "")[:255]


def _register_one(connection: Connection, study_id: int, instance: Instance, peer: Peer) -> Registration:
    known = connection.execute(
        select(InstanceRow.id, InstanceRow.sha256).where(
            InstanceRow.sop_instance_uid == instance.sop_instance_uid
        )
    ).all()
    equal = next((row.id for row in known if row.sha256 == instance.sha256), None)
    if equal is not None:
        connection.execute(
            update(InstanceRow).where(InstanceRow.id == equal).values(resent=InstanceRow.resent + 1)
        )
        return Registration.EQUAL
    registration = _kind(connection, instance, known=bool(known))
    revision = (
        _join_job(connection, study_id)
        if registration is Registration.NEW
        else _revision(connection, study_id)
    )
    connection.execute(
        insert(InstanceRow).values(
            study_id=study_id, revision=revision, kind=registration, received_at=now(), resent=0,
            series_instance_uid=instance.series_instance_uid, sop_instance_uid=instance.sop_instance_uid,
            sop_class_uid=instance.sop_class_uid, transfer_syntax_uid=instance.transfer_syntax_uid,
            sha256=instance.sha256, size=instance.size, path=instance.path, header=dict(instance.header),
            calling_ae=peer.calling_ae, called_ae=peer.called_ae, address=peer.address,
        )
    )  # fmt: skip
    return registration


def _kind(connection: Connection, instance: Instance, *, known: bool) -> Registration:
    own = select(ReportRow.id).where(ReportRow.sop_instance_uid == instance.sop_instance_uid)
    if connection.execute(own).first():
        return Registration.OWN
    return Registration.VARIANT if known else Registration.NEW


def _revision(connection: Connection, study_id: int) -> int:
    return (
        connection.execute(select(func.max(JobRow.revision)).where(JobRow.study_id == study_id)).scalar() or 0
    )


def _join_job(connection: Connection, study_id: int) -> int:
    """The revision of the study's collecting job, which is opened if there is none."""
    open_job = select(JobRow.id, JobRow.revision).where(
        JobRow.study_id == study_id, JobRow.state == State.COLLECTING
    )
    job = connection.execute(open_job).first()
    at = now()
    if job is not None:
        connection.execute(update(JobRow).where(JobRow.id == job.id).values(last_received_at=at))
        return int(job.revision)
    revision = _revision(connection, study_id) + 1
    made = connection.execute(
        insert(JobRow)
        .values(
            study_id=study_id, revision=revision, state=State.COLLECTING, stage=Stage.CONSULT,
            first_received_at=at, last_received_at=at,
        )
        .returning(JobRow.id)
    )  # fmt: skip
    # The first image opens the job and is its first event; later images only touch the time.
    record(connection, made.scalar_one(), State.COLLECTING, State.COLLECTING, Event.INSTANCE_STORED,
           stage=Stage.CONSULT, actor="receiver", reason=f"The first image of revision {revision} was stored.")  # fmt: skip
    return revision


def _supersede_older(connection: Connection, study_id: int, revision: int) -> None:
    older = select(JobRow).where(
        JobRow.study_id == study_id,
        JobRow.revision < revision,
        JobRow.state.in_([State.QUEUED, State.WAITING, State.RUNNING]),
    )
    reason = f"Late images opened revision {revision}."
    for job in connection.execute(older.with_for_update()).all():
        if job.state == State.RUNNING:
            wish = update(JobRow).where(JobRow.id == job.id).values(wish=Event.SUPERSEDED, wish_reason=reason)
            connection.execute(wish)
        else:
            move(connection, job.id, State(job.state), Event.SUPERSEDED, stage=Stage(job.stage),
                 actor="housekeeper", reason=reason)  # fmt: skip
