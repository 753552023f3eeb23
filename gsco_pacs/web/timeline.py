"""A job's timeline: every move with its reason, the routes that were tried, and every receipt."""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import datetime
from itertools import pairwise
from pathlib import PurePath
from typing import TYPE_CHECKING

from gsco_pacs.domain.findings import ObjectKind
from gsco_pacs.domain.job import Event
from gsco_pacs.domain.study import Trial
from gsco_pacs.web.words import span, title, tone

if TYPE_CHECKING:
    from gsco_pacs.adapters.audit import Delivery, Moment, Received, Revision


@dataclass(frozen=True)
class Entry:
    """One point of the timeline."""

    at: datetime
    title: str
    text: str
    tone: str
    """good, warn, bad or plain."""
    actor: str
    trials: tuple[Trial, ...] = ()
    evidence: tuple[str, ...] = ()
    """What was known about the completeness of the study when it was closed."""
    since: str = ""
    """Time since the point before; empty for the first one."""


def timeline(revision: "Revision", received: Iterable["Received"]) -> tuple[Entry, ...]:
    """The revision's moves and receipts in the order of time; ``received``: what came for this revision."""
    arrived = _arrived(received)
    entries = [_of_moment(moment, arrived) for moment in revision.moments]
    entries += [_of_delivery(delivery) for delivery in revision.deliveries]
    entries.sort(key=lambda entry: entry.at)
    following = (replace(entry, since=span(before.at, entry.at)) for before, entry in pairwise(entries))
    return (*entries[:1], *following)


def _of_moment(moment: "Moment", arrived: str) -> Entry:
    trials = tuple(Trial(**trial) for trial in moment.detail.get("trials", ()))
    text = moment.reason
    if moment.event == Event.INSTANCE_STORED:
        text = arrived or text
    elif moment.event == Event.CLAIMED:
        text = f"Attempt {moment.detail['attempt']}."
    elif trials and moment.event == Event.NOT_APPLICABLE:
        text = "No route matches this study."
    evidence = tuple(moment.detail.get("evidence", ()))
    return Entry(moment.at, title(moment), text, tone(moment), moment.actor, trials, evidence)


def _of_delivery(delivery: "Delivery") -> Entry:
    # A folder's word is the path that it wrote; its name says enough here.
    word = PurePath(delivery.status).name
    text = f"The {ObjectKind(delivery.kind).words} was taken: {word}"
    return Entry(delivery.taken_at, f"Report at {delivery.destination}", text, "good", "worker")


def _arrived(received: Iterable["Received"]) -> str:
    senders = Counter((r.calling_ae, r.address) for r in received)
    parts = [f"{n} image{'s' * (n > 1)} from {ae} ({address})" for (ae, address), n in senders.items()]
    return "; ".join(parts) + "." if parts else ""
