"""Asks the specialists (MoED): each looks at the pictures that meet its contract, and its looks become opinions."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import fmean

from gsco_pacs.domain.familiarity import NEAREST, Familiarity, nearness
from gsco_pacs.domain.findings import Exclusion, Finding, Opinion
from gsco_pacs.ports import Look, Picture, Pooling, Specialist

_Seen = tuple[Picture, Look]


@dataclass(frozen=True, eq=False)
class Consulted:
    """What one specialist said, and its look at each picture that it assessed (recall needs the features)."""

    opinions: tuple[Opinion, ...]
    """None if every picture is strange to it."""
    looks: tuple[_Seen, ...]
    how: str = ""
    """How the looks became opinions, such as "the highest estimate counts"."""
    strange: tuple[Exclusion, ...] = ()
    """One for each picture that it did not assess because it is unlike its reference images."""
    familiarity: Familiarity | None = None
    """None without a case index, or if no picture was assessed."""


def consult(
    specialist: Specialist, pictures: Sequence[Picture], patient_id: str, *, strangers: bool = False
) -> Consulted:
    """One opinion for each finding of the specialist, from the pictures that are not strange to it.

    ``strangers``: assess those as well, to measure what would come of it.
    """
    looks: list[_Seen] = []
    strange: list[Exclusion] = []
    near: list[float] = []
    for picture, look in zip(pictures, specialist.look(pictures), strict=True):
        nearest = [case.similarity for case in specialist.similar(look, NEAREST, patient_id)]
        reason = _strange(specialist, nearest)
        if reason and not strangers:
            strange.append(
                Exclusion(picture.sop_instance_uid, reason, strange_to=specialist.bundle, frame=picture.frame)
            )
            continue
        looks.append((picture, look))
        near += [nearness(nearest)] if nearest else []
    exclusive = any(finding.exclusive for finding in specialist.findings)
    return Consulted(
        opinions=_pooled(specialist, looks) if looks else (),
        looks=tuple(looks),
        how=_told(specialist.pooling, exclusive=exclusive),
        strange=tuple(strange),
        familiarity=Familiarity(specialist.identity.name, min(near), specialist.familiar_from)
        if near
        else None,
    )


def _strange(specialist: Specialist, nearest: Sequence[float]) -> str:
    """Why the picture must not be assessed; "" if it may."""
    limit = specialist.familiar_from
    if limit is None or not nearest or nearness(nearest) >= limit:
        return ""
    return (
        f"It is unlike the reference images of {specialist.bundle}: "
        f"similarity {nearness(nearest):.2f}, familiar from {limit:.2f}."
    )


def _pooled(specialist: Specialist, looks: Sequence[_Seen]) -> tuple[Opinion, ...]:
    """The looks as the specialist's ``pooling`` says.

    A study shows a finding as clearly as its most telling pictures do: those with the highest estimate, or with the
    lowest for the label that says "nothing found". Where labels exclude each other the same pictures count for all
    of them, the least normal ones, so that the probabilities of a study still sum to 1 and "normal" is what is left.
    """
    opinions: list[Opinion] = []
    for position, (finding, thresholds) in enumerate(
        zip(specialist.findings, specialist.thresholds, strict=True)
    ):
        telling = sorted(looks, key=_less_telling(specialist.findings, position))
        counted = telling[: _number(specialist.pooling, len(telling))]
        choose = min if finding.normal else max
        picture, _ = choose(counted, key=lambda seen: seen[1].probabilities[position])
        opinions.append(
            Opinion(
                specialist.identity.name, finding, fmean(look.probabilities[position] for _, look in counted),
                thresholds.absent_below, thresholds.present_from, picture.sop_instance_uid, picture.frame,
            )
        )  # fmt: skip
    return tuple(opinions)


def _less_telling(findings: Sequence[Finding], position: int) -> Callable[[_Seen], float]:
    """Sorts the most telling pictures for a finding first; equal ones stay in their order."""
    finding = findings[position]
    if not finding.exclusive:
        sign = 1 if finding.normal else -1
        return lambda seen: sign * seen[1].probabilities[position]
    normal = next((place for place, each in enumerate(findings) if each.normal), None)
    if normal is None:
        return lambda seen: -max(seen[1].probabilities)
    return lambda seen: seen[1].probabilities[normal]


def _number(pooling: Pooling, pictures: int) -> int:
    return {"max": 1, "mean": pictures, "top": pooling.top}[pooling.how]


def _told(pooling: Pooling, *, exclusive: bool) -> str:
    if pooling.how == "mean":
        return "the mean of the estimates counts"
    if pooling.how == "max" or pooling.top == 1:
        return "the most telling image counts" if exclusive else "the highest estimate counts"
    if exclusive:
        return f"the mean of the {pooling.top} most telling images counts"
    return f"the mean of the {pooling.top} highest estimates counts"
