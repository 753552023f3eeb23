"""The record of what archives say they hold of the studies that are arriving."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Connection, Select, insert, select, update

from gsco_pacs.adapters.ledger import Database
from gsco_pacs.adapters.moves import now
from gsco_pacs.adapters.tables import ArchiveCountRow, InstanceRow, JobRow, ReportRow, StudyRow
from gsco_pacs.domain.job import State
from gsco_pacs.domain.registration import Registration

_LONGEST_SECONDS = 300.0
"""Between two tries at an archive that does not answer."""


@dataclass(frozen=True)
class Told:
    """An archive's last word on a study."""

    archive: str
    instances: int | None
    """None: it has not answered yet."""
    times: int
    """Answered so in a row since ``last_received_at``."""
    last_received_at: datetime
    """Of the study, when it was asked."""
    error: str
    """Why the last question was not answered; empty if it was."""
    not_before: datetime
    """When it is asked again."""


class ArchiveCounts:
    """Used by the housekeeper; each method is one transaction."""

    def __init__(self, database: Database, ask_seconds: float) -> None:
        self._database = database
        self._ask_seconds = ask_seconds

    def told(self) -> dict[str, Told]:
        """Study Instance UID -> what was told of it, for each study that is arriving."""
        query = (
            select(ArchiveCountRow)
            .join(StudyRow, StudyRow.study_instance_uid == ArchiveCountRow.study_instance_uid)
            .join(JobRow, JobRow.study_id == StudyRow.id)
            .where(JobRow.state == State.COLLECTING)
        )
        with self._database.reading() as connection:
            return {
                row.study_instance_uid: Told(
                    row.archive, row.instances, row.times, row.last_received_at, row.error, row.not_before
                )
                for row in connection.execute(query)
            }

    def here(self, study_instance_uid: str) -> int:
        """How many SOP Instances of the study are here, without the node's own results."""
        query = (
            select(InstanceRow.sop_instance_uid)
            .join(StudyRow, StudyRow.id == InstanceRow.study_id)
            .where(StudyRow.study_instance_uid == study_instance_uid, InstanceRow.kind != Registration.OWN)
        )
        with self._database.reading() as connection:
            return len(set(connection.execute(query).scalars()))

    def own_series(self, study_instance_uid: str) -> frozenset[str]:
        """The series that the node made of the study: an archive that has them counts them, too."""
        query = select(ReportRow.series_instance_uid).where(
            ReportRow.study_instance_uid == study_instance_uid
        )
        with self._database.reading() as connection:
            return frozenset(connection.execute(query).scalars())

    def keep(self, study_instance_uid: str, archive: str, last_received_at: datetime, instances: int) -> None:
        """Keep an answer."""
        with self._database.writing() as connection:
            known = self._row(connection, study_instance_uid, archive, last_received_at)
            same = known.instances == instances and known.last_received_at == last_received_at
            values = {
                "archive": archive,
                "instances": instances,
                "times": known.times + 1 if same else 1,
                "last_received_at": last_received_at,
                "failures": 0,
                "error": "",
                "not_before": now() + timedelta(seconds=self._ask_seconds),
            }
            connection.execute(update(ArchiveCountRow).where(ArchiveCountRow.id == known.id).values(**values))

    def fail(self, study_instance_uid: str, archive: str, last_received_at: datetime, error: str) -> None:
        """Keep why there is no answer; the next question waits twice as long."""
        with self._database.writing() as connection:
            known = self._row(connection, study_instance_uid, archive, last_received_at)
            wait = min(self._ask_seconds * 2.0 ** min(known.failures + 1, 16), _LONGEST_SECONDS)
            values = {
                "failures": known.failures + 1,
                "error": error,
                "not_before": now() + timedelta(seconds=wait),
            }
            connection.execute(update(ArchiveCountRow).where(ArchiveCountRow.id == known.id).values(**values))

    def _row(
        self, connection: Connection, study_instance_uid: str, archive: str, last_received_at: datetime
    ) -> Any:
        known = connection.execute(_of(study_instance_uid)).first()
        if known is None:
            connection.execute(
                insert(ArchiveCountRow).values(
                    study_instance_uid=study_instance_uid, archive=archive, times=0, failures=0, error="",
                    last_received_at=last_received_at, not_before=now(),
                )
            )  # fmt: skip
            known = connection.execute(_of(study_instance_uid)).one()
        return known


def _of(study_instance_uid: str) -> Select[Any]:
    return select(ArchiveCountRow).where(ArchiveCountRow.study_instance_uid == study_instance_uid)
