"""The job's states, events and moves: everything that decides what may happen to a job stands in this file.

``docs/states.md`` is drawn from this table. A stage (consult, draft, deliver) is a column, not a state;
a request (cancel, supersede) is a flag that the worker turns into an event.
"""

from enum import StrEnum

from gsco_pacs.domain.errors import IllegalMoveError


class State(StrEnum):
    """Where a job stands."""

    COLLECTING = "collecting"
    QUEUED = "queued"
    RUNNING = "running"
    WAITING = "waiting"
    DELIVERED = "delivered"
    SKIPPED = "skipped"
    FAILED = "failed"
    CANCELLED = "cancelled"


ACTIVE = frozenset({State.COLLECTING, State.QUEUED, State.RUNNING, State.WAITING})
SETTLED = frozenset(State) - ACTIVE


class Stage(StrEnum):
    """What the job does next; each stage is a queue, because each needs another machine."""

    CONSULT = "consult"
    DRAFT = "draft"
    DELIVER = "deliver"

    @property
    def following(self) -> "Stage | None":
        """The stage after this one, or None after the last."""
        stages = list(Stage)
        position = stages.index(self) + 1
        return stages[position] if position < len(stages) else None


class Event(StrEnum):
    """What happened to a job, in the past tense."""

    INSTANCE_STORED = "instance_stored"
    STUDY_CLOSED = "study_closed"
    CLAIMED = "claimed"
    STAGE_FINISHED = "stage_finished"
    PRIORS_AWAITED = "priors_awaited"
    REPORTS_ACCEPTED = "reports_accepted"
    NOT_APPLICABLE = "not_applicable"
    FAILED_FOR_NOW = "failed_for_now"
    FAILED_FOR_GOOD = "failed_for_good"
    LEASE_LOST = "lease_lost"
    DUE = "due"
    CANCELLED = "cancelled"
    SUPERSEDED = "superseded"
    REQUEUED = "requeued"
    CLEANED_UP = "cleaned_up"


MOVES: dict[tuple[State, Event], State] = {
    (State.COLLECTING, Event.INSTANCE_STORED): State.COLLECTING,
    (State.COLLECTING, Event.STUDY_CLOSED): State.QUEUED,
    (State.COLLECTING, Event.NOT_APPLICABLE): State.SKIPPED,
    (State.COLLECTING, Event.CANCELLED): State.CANCELLED,
    (State.QUEUED, Event.CLAIMED): State.RUNNING,
    (State.QUEUED, Event.CANCELLED): State.CANCELLED,
    (State.QUEUED, Event.SUPERSEDED): State.CANCELLED,
    (State.RUNNING, Event.STAGE_FINISHED): State.QUEUED,
    (State.RUNNING, Event.PRIORS_AWAITED): State.WAITING,
    (State.RUNNING, Event.REPORTS_ACCEPTED): State.DELIVERED,
    (State.RUNNING, Event.NOT_APPLICABLE): State.SKIPPED,
    (State.RUNNING, Event.FAILED_FOR_NOW): State.WAITING,
    (State.RUNNING, Event.FAILED_FOR_GOOD): State.FAILED,
    (State.RUNNING, Event.LEASE_LOST): State.WAITING,
    (State.RUNNING, Event.CANCELLED): State.CANCELLED,
    (State.RUNNING, Event.SUPERSEDED): State.CANCELLED,
    (State.WAITING, Event.DUE): State.QUEUED,
    (State.WAITING, Event.FAILED_FOR_GOOD): State.FAILED,
    (State.WAITING, Event.CANCELLED): State.CANCELLED,
    (State.WAITING, Event.SUPERSEDED): State.CANCELLED,
    (State.FAILED, Event.REQUEUED): State.QUEUED,
    (State.SKIPPED, Event.REQUEUED): State.COLLECTING,
    (State.DELIVERED, Event.CLEANED_UP): State.DELIVERED,
    (State.SKIPPED, Event.CLEANED_UP): State.SKIPPED,
    (State.CANCELLED, Event.CLEANED_UP): State.CANCELLED,
}


def after(state: State, event: Event) -> State:
    """The state that ``event`` leads to from ``state``; IllegalMoveError for a pair that is not in the table."""
    try:
        return MOVES[state, event]
    except KeyError:
        raise IllegalMoveError(f"A job that is {state} cannot take the event {event}.") from None
