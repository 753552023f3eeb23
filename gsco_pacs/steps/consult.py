"""Asks the specialists (MoED): each looks at the pictures that meet its contract, and its looks become opinions."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import fmean

from gsco_pacs.domain.findings import Finding, Opinion
from gsco_pacs.ports import Look, Picture, Pooling, Specialist

_Seen = tuple[Picture, Look]


@dataclass(frozen=True, eq=False)
class Consulted:
    """What one specialist said, and its look at each picture (recall needs the features)."""

    opinions: tuple[Opinion, ...]
    looks: tuple[tuple[Picture, Look], ...]
    how: str = ""
    """How the looks became opinions, such as "the highest estimate counts"."""


def consult(specialist: Specialist, pictures: Sequence[Picture]) -> Consulted:
    """One opinion for each finding of the specialist, pooled over the pictures as its ``pooling`` says.

    A study shows a finding as clearly as its most telling pictures do: those with the highest estimate, or with the
    lowest for the label that says "nothing found". Where labels exclude each other the same pictures count for all
    of them, the least normal ones, so that the probabilities of a study still sum to 1 and "normal" is what is left.
    """
    looks = tuple(zip(pictures, specialist.look(pictures), strict=True))
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
                thresholds.absent_below, thresholds.present_from, picture.sop_instance_uid,
            )
        )  # fmt: skip
    exclusive = any(finding.exclusive for finding in specialist.findings)
    return Consulted(tuple(opinions), looks, _told(specialist.pooling, exclusive=exclusive))


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
