"""Decides whether a study is complete, by evidence and never by the end of an association (PS3.4 B.4)."""

from collections.abc import Iterator
from datetime import datetime

from gsco_pacs.domain.completeness import Announced, Decision, Expected, Grounds, Patience, Standing, Step

STEADY = 2
"""So many equal answers in a row make an archive's count evidence."""


def settle(standing: Standing, patience: Patience, at: datetime) -> Decision:
    """Closed by the first evidence that is satisfied, at the latest by the deadline; the decision says what is missing.

    What speaks against a complete study outweighs quiet time alone. While a correction is only half here, nothing but
    the deadline closes.
    """
    missing = tuple(_missing(standing))
    found = next(_satisfied(standing, patience, at, held_open=bool(missing)), None)
    evidence = (*_known(standing), *missing)
    if found is None:
        return Decision(
            closed=False, reason=_still(standing, patience, at, missing), decided_at=at, evidence=evidence
        )
    grounds, reason = found
    doubts = (*missing, *_doubts(standing))
    if grounds is Grounds.DEADLINE and not missing:
        doubts = ("Images were still arriving.", *doubts)
    return Decision(
        closed=True,
        reason=" ".join((reason, *(f"Incomplete: {doubt}" for doubt in doubts))),
        decided_at=at,
        grounds=grounds,
        evidence=evidence,
        incomplete=" ".join(doubts),
    )


def _satisfied(
    standing: Standing, patience: Patience, at: datetime, *, held_open: bool
) -> Iterator[tuple[Grounds, str]]:
    quiet = (at - standing.last_received_at).total_seconds()
    if not (standing.corrected and standing.corrected.left):
        yield from _early(standing, patience, quiet)
    if quiet >= patience.quiet_seconds and not held_open:
        yield Grounds.QUIET, f"No new image for {patience.quiet_seconds:g} s."
    if (at - standing.first_received_at).total_seconds() >= patience.deadline_seconds:
        yield (
            Grounds.DEADLINE,
            (
                f"Not complete {patience.deadline_seconds:g} s after the first image: it goes on with what is here."
            ),
        )


def _early(standing: Standing, patience: Patience, quiet: float) -> Iterator[tuple[Grounds, str]]:
    """What ends the waiting before the quiet time has passed."""
    if _all_announced_are_here(standing):
        images = sum(each.images for each in standing.announced)
        by = ", ".join(dict.fromkeys(each.by for each in standing.announced))
        yield Grounds.ANNOUNCED, f"All announced images are here: {images}, by {by}."
    # Of a later revision the route's expectations say nothing: the one before has met them already.
    all_met = all(each.here >= each.wanted for each in standing.expected)
    if standing.revision == 1 and standing.expected and all_met and quiet >= patience.settle_seconds:
        what = "; ".join(f"{each.what}: {each.here}" for each in standing.expected)
        yield Grounds.EXPECTED, f"Everything that the route expects is here: {what}."
    counted = standing.counted
    if counted and counted.times >= STEADY and counted.instances == standing.instances:
        yield (
            Grounds.COUNTED,
            (
                f"{counted.archive} holds {counted.instances} instances, as many as are here, and said so {counted.times} times."
            ),
        )


def _all_announced_are_here(standing: Standing) -> bool:
    """Nothing was announced that is missing, nothing is in progress, and nothing came beyond what was announced."""
    finished = all(each.step is not Step.IN_PROGRESS and not each.missing for each in standing.announced)
    return finished and any(each.images for each in standing.announced) and not standing.unannounced


def _missing(standing: Standing) -> Iterator[str]:
    """What is known to be missing: it holds a study open until the deadline."""
    for expected in standing.expected:
        if expected.here < expected.wanted:
            yield f"{_here(expected)}."
    for announced in standing.announced:
        if announced.step is Step.IN_PROGRESS:
            yield f"{announced.by}: the acquisition is in progress."
        if announced.missing:
            yield f"{announced.by}: {announced.missing} of {announced.images} announced images have not come."
    counted = standing.counted
    if counted and counted.instances > standing.instances:
        yield f"{counted.archive} holds {counted.instances} instances; {standing.instances} are here."
    corrected = standing.corrected
    if corrected and corrected.left:
        yield (
            f"Corrected: {', '.join(corrected.keywords)}; images that have the new values: {corrected.images}, "
            f"the former ones: {corrected.left}."
        )


def _doubts(standing: Standing) -> Iterator[str]:
    """What no waiting can mend."""
    for announced in standing.announced:
        if announced.step is Step.DISCONTINUED:
            yield f"{announced.by}: the acquisition was discontinued."


def _known(standing: Standing) -> Iterator[str]:
    """The evidence that speaks for a complete study, or for nothing yet."""
    yield f"Instances here: {standing.instances}."
    for expected in standing.expected:
        if expected.here >= expected.wanted:
            yield f"{_here(expected)}."
    for announced in standing.announced:
        if not announced.missing and announced.step is not Step.IN_PROGRESS:
            yield _whole(announced)
    if standing.unanswered:
        yield f"The archive did not answer: {standing.unanswered}"
    corrected = standing.corrected
    if corrected and not corrected.left:
        yield f"Corrected in all images: {', '.join(corrected.keywords)}."
    counted = standing.counted
    if counted and counted.instances <= standing.instances:
        yield f"{counted.archive} holds {counted.instances} instances (answered so {counted.times} times)."


def _here(expected: Expected) -> str:
    return f"{expected.what}: at least {expected.wanted} expected, {expected.here} here"


def _whole(announced: Announced) -> str:
    return f"{announced.by} ({announced.step.lower()}): all {announced.images} announced images are here."


def _still(standing: Standing, patience: Patience, at: datetime, missing: tuple[str, ...]) -> str:
    quiet = (at - standing.last_received_at).total_seconds()
    return " ".join((f"Quiet for {quiet:.0f} of {patience.quiet_seconds:g} s.", *missing))
