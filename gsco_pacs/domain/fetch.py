"""Where a fetch of a study from an archive stands."""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum


class FetchState(StrEnum):
    """A fetch is running until it has ended in one of the others."""

    WAITING = "waiting"
    RUNNING = "running"
    COMPLETE = "complete"
    """All that the node takes of it is here."""
    INCOMPLETE = "incomplete"
    """Some of it did not come, however often it was asked for."""
    FAILED = "failed"
    """The archive refused, or has nothing of it."""


@dataclass(frozen=True)
class Fetch:
    """A study that somebody wanted from an archive, and what came of it."""

    study_instance_uid: str
    archive: str
    asked_by: str
    asked_at: datetime
    state: FetchState
    listed: int
    """Objects that the archive says it holds of it."""
    not_taken: int
    """Of these, those of a SOP class that the node takes from nobody."""
    here: int
    """Of these, those that are here."""
    completed: int
    """Sub-operations as the archive counted them, and the next two."""
    failed: int
    warning: int
    tries: int
    reason: str
    ended_at: datetime | None
