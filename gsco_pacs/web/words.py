"""The record's terms in the words of the pages: states, events, reasons, spans of time and sizes."""

from datetime import datetime
from typing import TYPE_CHECKING

from gsco_pacs.domain.job import Event, State

if TYPE_CHECKING:
    from gsco_pacs.adapters.audit import JobLine, Moment

MEANINGS = {
    State.COLLECTING: "images are still arriving",
    State.QUEUED: "waits for a free worker",
    State.RUNNING: "a worker has it",
    State.WAITING: "failed for now, is tried again by itself",
    State.DELIVERED: "every destination took the reports",
    State.SKIPPED: "nothing for the node to do",
    State.FAILED: "a person is needed",
    State.CANCELLED: "ended by an operator or by newer images",
}
"""State -> what it means to an administrator."""

_TITLES = {
    Event.INSTANCE_STORED: "Images received",
    Event.STUDY_CLOSED: "Study complete",
    Event.CLAIMED: "{stage} begun",
    Event.STAGE_FINISHED: "{stage} finished",
    Event.PRIORS_AWAITED: "{stage} finished, priors awaited",
    Event.REPORTS_ACCEPTED: "Delivered",
    Event.NOT_APPLICABLE: "Skipped",
    Event.FAILED_FOR_NOW: "{stage} failed for now",
    Event.FAILED_FOR_GOOD: "{stage} failed for good",
    Event.LEASE_LOST: "Worker lost during {stage}",
    Event.DUE: "Due for another try",
    Event.CANCELLED: "Cancelled",
    Event.SUPERSEDED: "Superseded",
    Event.REQUEUED: "Queued again",
    Event.CLEANED_UP: "Cleaned up",
}

_TONES = {
    Event.STAGE_FINISHED: "good",
    Event.PRIORS_AWAITED: "good",
    Event.REPORTS_ACCEPTED: "good",
    Event.FAILED_FOR_NOW: "warn",
    Event.LEASE_LOST: "warn",
    Event.FAILED_FOR_GOOD: "bad",
}


def title(moment: "Moment") -> str:
    """What happened, in a few words."""
    words = _TITLES[Event(moment.event)].format(stage=moment.stage)
    return words[0].upper() + words[1:]


def tone(moment: "Moment") -> str:
    """How it went: good, warn, bad or plain."""
    if moment.detail.get("incomplete"):
        return "warn"
    return _TONES.get(Event(moment.event), "plain")


def why(job: "JobLine") -> str:
    """Why the job is where it is; for an unfinished one also what it waits for."""
    match State(job.state):
        case State.COLLECTING:
            return (
                "Images are still arriving: the study is closed when the evidence says that it is complete."
            )
        case State.QUEUED:
            return f"Waits for a free {job.stage} worker."
        case State.RUNNING:
            return f"A {job.stage} worker has it."
        case State.WAITING:
            at = f" at {clock(job.not_before)}" if job.not_before else ""
            return f"The {job.stage} stage is tried again{at}: {job.reason}"
    return job.reason


def clock(at: datetime) -> str:
    """A point in time on the node's own clock."""
    return f"{at.astimezone():%Y-%m-%d %H:%M:%S}"


def span(begin: datetime, end: datetime) -> str:
    """The time between two points, as exact as a person wants it."""
    seconds = (end - begin).total_seconds()
    for unit, length in (("d", 86400), ("h", 3600), ("min", 60)):
        if seconds >= 2 * length:
            return f"{seconds / length:.0f} {unit}"
    return f"{seconds:.0f} s" if seconds >= 10 else f"{seconds:.1f} s"


def size(count: int) -> str:
    """A number of bytes in decimal units."""
    number = float(count)
    for unit in ("B", "kB", "MB", "GB"):
        if number < 1000:
            return f"{number:.3g} {unit}"
        number /= 1000
    return f"{number:.3g} TB"
