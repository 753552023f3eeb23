"""The record of walk 1: what was received, what was refused, and how a study was closed. Each method is one transaction."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import datetime
from itertools import groupby
from typing import Any

from sqlalchemy import Connection, Engine, select
from sqlalchemy.exc import DBAPIError, InterfaceError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError

from gsco_pacs.adapters.arrivals import Arrivals, lock_study, newest_of_each
from gsco_pacs.adapters.database import READING
from gsco_pacs.adapters.moves import move, now, supersede_older
from gsco_pacs.adapters.prior_moves import came_as_prior, want_priors
from gsco_pacs.adapters.refusals import note
from gsco_pacs.adapters.tables import InstanceRow, JobRow, StudyRow
from gsco_pacs.adapters.transfers import note_closed
from gsco_pacs.domain.completeness import Decision
from gsco_pacs.domain.errors import OutOfResourcesError, PermanentError
from gsco_pacs.domain.incoming import Refusal
from gsco_pacs.domain.job import Event, Stage, State
from gsco_pacs.domain.registration import PART_OF_STUDY, Registration
from gsco_pacs.domain.storage import Holding
from gsco_pacs.domain.study import Instance, Peer, Routing, Study


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
    except (OperationalError, InterfaceError, PoolTimeoutError) as error:
        raise OutOfResourcesError(f"The database does not answer: {type(error).__name__}.") from None
    except DBAPIError as error:
        raise PermanentError(f"The database refused: {type(error.orig).__name__}.") from None


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
            for _uid, group in groupby(order, key=lambda i: batch[i][0].study_instance_uid):
                indexes = list(group)
                arrivals = Arrivals(connection, batch[indexes[0]][0])
                entered = arrivals.enter([batch[index] for index in indexes])
                result.update(zip(indexes, entered, strict=True))
        return [result[index] for index in range(len(batch))]

    def has(self, instance: Instance) -> bool:
        """Whether these bytes are registered as this SOP Instance, and kept."""
        query = select(InstanceRow.id).where(
            InstanceRow.sop_instance_uid == instance.sop_instance_uid,
            InstanceRow.sha256 == instance.sha256,
            InstanceRow.holding == Holding.HERE,
        )
        with self._database.reading() as connection:
            return connection.execute(query).first() is not None

    def refuse(self, refusal: Refusal) -> None:
        """Note what was not taken."""
        with self._database.writing() as connection:
            note(connection, refusal.peer, refusal.what, refusal.reason, refusal.times, refusal.at)

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
            lock_study(connection, collecting.study_instance_uid)
            job = connection.execute(select(JobRow).where(JobRow.id == collecting.job_id)).one()
            if job.state != State.COLLECTING or job.last_received_at != collecting.last_received_at:
                return False
            note_closed(connection, job)
            detail = {
                "trials": [asdict(trial) for trial in routing.trials], "closed": decision.reason,
                "grounds": decision.grounds, "evidence": decision.evidence, "incomplete": decision.incomplete,
            }  # fmt: skip
            is_prior = came_as_prior(connection, job, collecting.study_instance_uid)
            if route is None:
                reason = "No route matches: " + "; ".join(f"{t.route}: {t.reason}" for t in routing.trials)
                move(connection, job.id, State.COLLECTING, Event.NOT_APPLICABLE, stage=Stage.CONSULT,
                     actor="housekeeper", reason=reason if routing.trials else "No route is configured.", detail=detail)  # fmt: skip
            else:
                move(connection, job.id, State.COLLECTING, Event.STUDY_CLOSED, stage=Stage.CONSULT,
                     actor="housekeeper", reason=decision.reason, detail=detail,
                     columns={"route": route, "priority": int(is_prior or route["priority"] == "stat"),
                              "stage_began_at": now(), "incomplete": decision.incomplete,
                              "is_prior": is_prior})  # fmt: skip
                if route.get("priors") and not is_prior:
                    want_priors(connection, job.id, route["priors"])
            if route is not None:
                supersede_older(connection, job.study_id, job.revision, "Late images opened")
            return True


def study_of(connection: Connection, job_id: int) -> Study:
    """The study that a job reads, with the newest header of each image."""
    query = (
        select(
            InstanceRow, StudyRow.study_instance_uid, JobRow.revision.label("job_revision"), JobRow.incomplete
        )
        .join(StudyRow, StudyRow.id == InstanceRow.study_id)
        .join(JobRow, JobRow.study_id == StudyRow.id)
        .where(
            JobRow.id == job_id,
            InstanceRow.revision <= JobRow.revision,
            InstanceRow.kind.in_(PART_OF_STUDY),
            InstanceRow.holding == Holding.HERE,
        )
        .order_by(InstanceRow.id)
    )
    rows = newest_of_each(connection.execute(query))
    first = rows[0]
    return Study(
        first.study_instance_uid, first.job_revision, tuple(map(instance_of, rows)), first.incomplete
    )


def instance_of(row: Any) -> Instance:
    """The instance of a row that is joined with its study."""
    return Instance(
        row.study_instance_uid, row.series_instance_uid, row.sop_instance_uid, row.sop_class_uid,
        row.transfer_syntax_uid, row.sha256, row.size, row.path, row.header,
    )  # fmt: skip
