"""What the search for priors means to a job's moves; each function is part of the move's transaction."""

from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Connection, exists, insert, select

from gsco_pacs.adapters.moves import now
from gsco_pacs.adapters.tables import FetchRow, PriorSearchRow, ProductRow
from gsco_pacs.domain.prior_search import SearchState

IS_PRIOR = "It came as a prior of another study and was consulted on to be compared with; `gsco-pacs retry` drafts on it, too."


def want_priors(connection: Connection, job_id: int, rule: dict[str, Any]) -> None:
    """Enter the search for a job's priors; one that is there already (the job was routed anew) stays."""
    search = {
        "job_id": job_id, "archive": rule["from"], "state": SearchState.WAITING, "reason": "",
        "deadline_at": now() + timedelta(seconds=rule["deadline_seconds"]),
    }  # fmt: skip
    if not connection.execute(select(PriorSearchRow.id).where(PriorSearchRow.job_id == job_id)).first():
        connection.execute(insert(PriorSearchRow), search)


def awaited(connection: Connection, job_id: int) -> datetime | None:
    """When the draft of a job stops waiting for its priors; None if it waits for none."""
    query = select(PriorSearchRow.deadline_at).where(
        PriorSearchRow.job_id == job_id,
        PriorSearchRow.state != SearchState.ENDED,
        PriorSearchRow.deadline_at > now(),
    )
    deadline: datetime | None = connection.execute(query).scalar()
    return deadline


def came_as_prior(connection: Connection, job: Any, study_instance_uid: str) -> bool:
    """Whether a study is here only because another job wanted it as a prior, and nobody asked for more since.

    Later images of it make a revision of their own, which is drafted on; so is a job that a person tries again.
    """
    wanted = exists().where(
        FetchRow.study_instance_uid == study_instance_uid,
        FetchRow.job_id.is_not(None),
        FetchRow.asked_at <= job.first_received_at,
    )
    consulted = exists().where(ProductRow.job_id == job.id)
    return job.revision == 1 and bool(connection.execute(select(wanted & ~consulted)).scalar())
