"""The record of priors that are wanted: which job waits for which, until when, and what came of it."""

from collections.abc import Collection
from dataclasses import fields
from typing import Any

from sqlalchemy import select, update

from gsco_pacs.adapters.ledger import Database
from gsco_pacs.adapters.moves import now
from gsco_pacs.adapters.tables import FetchRow, JobRow, PriorSearchRow, StudyRow
from gsco_pacs.domain.job import SETTLED, Stage, State
from gsco_pacs.domain.prior_search import PriorSearch, SearchState


class PriorSearches:
    """Used by the fetcher."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def in_state(self, state: SearchState) -> tuple[PriorSearch, ...]:
        """The searches in ``state``, the most urgent first."""
        query = select(PriorSearchRow).where(PriorSearchRow.state == state)
        with self._database.reading() as connection:
            rows = connection.execute(query.order_by(PriorSearchRow.deadline_at)).all()
        return tuple(_search(row) for row in rows)

    def of_job(self, job_id: int) -> PriorSearch | None:
        """The search of a job, if it has one."""
        query = select(PriorSearchRow).where(PriorSearchRow.job_id == job_id)
        with self._database.reading() as connection:
            row = connection.execute(query).first()
        return _search(row) if row else None

    def known(self, uids: Collection[str]) -> frozenset[str]:
        """Those of the studies that the node has received something of."""
        query = select(StudyRow.study_instance_uid).where(StudyRow.study_instance_uid.in_(uids))
        with self._database.reading() as connection:
            return frozenset(connection.execute(query).scalars())

    def rule(self, job_id: int) -> dict[str, Any]:
        """The route's rule, as it was when the study was closed."""
        with self._database.reading() as connection:
            route = connection.execute(select(JobRow.route).where(JobRow.id == job_id)).scalar_one()
        rule: dict[str, Any] = route["priors"]
        return rule

    def proceed(self, job_id: int, state: SearchState, reason: str) -> None:
        """Note how far the search is; if it has ended, a draft that waits for it is due at once."""
        at = now()
        values = {"state": state, "reason": reason, "ended_at": at if state is SearchState.ENDED else None}
        search = update(PriorSearchRow).where(PriorSearchRow.job_id == job_id).values(**values)
        with self._database.writing() as connection:
            # The job's row first, as the worker does it that may just be finishing the consultation.
            connection.execute(select(JobRow.id).where(JobRow.id == job_id).with_for_update())
            connection.execute(search)
            if state is SearchState.ENDED:
                connection.execute(update(JobRow).where(*_waits(job_id)).values(not_before=at))

    def unread(self, job_id: int) -> int:
        """How many of the job's priors have a job that has not settled."""
        query = (
            select(JobRow.id)
            .join(StudyRow, StudyRow.id == JobRow.study_id)
            .join(FetchRow, FetchRow.study_instance_uid == StudyRow.study_instance_uid)
            .where(FetchRow.job_id == job_id, JobRow.state.not_in(SETTLED))
        )
        with self._database.reading() as connection:
            return len(set(connection.execute(query).scalars()))


def _waits(job_id: int) -> tuple[Any, ...]:
    # One that waits for a retry of the draft has had an attempt.
    return (
        JobRow.id == job_id,
        JobRow.state == State.WAITING,
        JobRow.stage == Stage.DRAFT,
        JobRow.attempts == 0,
    )


def _search(row: Any) -> PriorSearch:
    return PriorSearch(**{field.name: getattr(row, field.name) for field in fields(PriorSearch)})
