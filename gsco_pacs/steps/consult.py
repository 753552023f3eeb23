"""Asks the specialists (MoED): each looks at the pictures that meet its contract, and its looks become opinions."""

from collections.abc import Sequence
from dataclasses import dataclass

from gsco_pacs.domain.findings import Opinion
from gsco_pacs.ports import Look, Picture, Specialist


@dataclass(frozen=True, eq=False)
class Consulted:
    """What one specialist said, and its look at each picture (recall needs the features)."""

    opinions: tuple[Opinion, ...]
    looks: tuple[tuple[Picture, Look], ...]


def consult(specialist: Specialist, pictures: Sequence[Picture]) -> Consulted:
    """One opinion for each finding of the specialist.

    A study shows a finding as clearly as its clearest picture does: the highest probability counts.
    For the label that says "nothing found" the lowest counts, since one abnormal picture is enough.
    """
    looks = tuple(zip(pictures, specialist.look(pictures), strict=True))
    opinions: list[Opinion] = []
    for position, (finding, thresholds) in enumerate(
        zip(specialist.findings, specialist.thresholds, strict=True)
    ):
        choose = min if finding.normal else max
        picture, look = choose(looks, key=lambda pair: pair[1].probabilities[position])
        opinions.append(
            Opinion(
                specialist.identity.name, finding, look.probabilities[position],
                thresholds.absent_below, thresholds.present_from, picture.sop_instance_uid,
            )
        )  # fmt: skip
    return Consulted(tuple(opinions), looks)
