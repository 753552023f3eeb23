"""The record of what was fetched: who wanted which study from where, and what came of it."""

from collections.abc import Mapping
from dataclasses import fields
from typing import Any

from sqlalchemy import insert, select, update

from gsco_pacs.adapters.ledger import Database
from gsco_pacs.adapters.moves import now
from gsco_pacs.adapters.tables import FetchRow, InstanceRow, StudyRow
from gsco_pacs.domain.fetch import Fetch, FetchState
from gsco_pacs.domain.storage import Holding


class Fetches:
    """Used by ``gsco-pacs fetch``."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def begin(self, study_instance_uid: str, archive: str, asked_by: str, job_id: int | None = None) -> int:
        """Note that a study is being fetched, by a person or for a job that wants it as a prior; returns the row's number."""
        row = {
            "study_instance_uid": study_instance_uid, "archive": archive, "asked_by": asked_by, "asked_at": now(),
            "job_id": job_id, "state": FetchState.RUNNING,
        }  # fmt: skip
        with self._database.writing() as connection:
            return int(connection.execute(insert(FetchRow).returning(FetchRow.id), row).scalar_one())

    def end(
        self, number: int, state: FetchState, reason: str, counts: Mapping[str, int] | None = None
    ) -> None:
        """Note what came of it; ``counts`` by the names of ``domain.fetch.Fetch``."""
        values = {"state": state, "reason": reason, "ended_at": now(), **(counts or {})}
        with self._database.writing() as connection:
            connection.execute(update(FetchRow).where(FetchRow.id == number).values(**values))

    def here(self, study_instance_uid: str) -> frozenset[str]:
        """The SOP Instance UIDs of everything that was received of a study and has not been deleted since."""
        query = (
            select(InstanceRow.sop_instance_uid)
            .join(StudyRow, StudyRow.id == InstanceRow.study_id)
            .where(StudyRow.study_instance_uid == study_instance_uid, InstanceRow.holding == Holding.HERE)
        )
        with self._database.reading() as connection:
            return frozenset(connection.execute(query).scalars())

    def of_study(self, study_instance_uid: str) -> tuple[Fetch, ...]:
        """Every time that the study was fetched, newest first."""
        return self._read(FetchRow.study_instance_uid == study_instance_uid)

    def newest(self, limit: int) -> tuple[Fetch, ...]:
        """The newest of all, newest first."""
        return self._read(FetchRow.id > 0, limit)

    def _read(self, condition: Any, limit: int = 100) -> tuple[Fetch, ...]:
        query = select(FetchRow).where(condition).order_by(FetchRow.id.desc()).limit(limit)
        with self._database.reading() as connection:
            return tuple(_fetch(row) for row in connection.execute(query))


def _fetch(row: Any) -> Fetch:
    return Fetch(**{field.name: getattr(row, field.name) for field in fields(Fetch)})
