"""Where the search for a job's priors stands."""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum


class SearchState(StrEnum):
    """A search ends when the priors have been consulted on, when there are none, or when its deadline passes."""

    WAITING = "waiting"
    """To be looked for, or just being fetched."""
    CONSULTING = "consulting"
    """They are here; the specialists are asked about them."""
    ENDED = "ended"


@dataclass(frozen=True)
class PriorSearch:
    """The search for the priors that a job wants to compare with."""

    job_id: int
    archive: str
    deadline_at: datetime
    state: SearchState
    reason: str
    """What came of it."""
    ended_at: datetime | None
