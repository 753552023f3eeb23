"""How near an image lies to what a specialist has learnt from."""

from collections.abc import Sequence
from dataclasses import dataclass

NEAREST = 5
"""So many reference cases tell how near a picture lies to them: one alone may be an odd one."""


def nearness(similarities: Sequence[float]) -> float:
    """The mean of the nearest reference cases' similarities (nearest first), of as many as count."""
    return sum(similarities[:NEAREST]) / len(similarities[:NEAREST])


@dataclass(frozen=True)
class Familiarity:
    """How near the pictures that a specialist read lie to what it learnt from."""

    specialist: str
    similarity: float
    """`nearness` of the picture for which it is lowest."""
    familiar_from: float | None = None
    """The bundle's own limit; None if it has none."""
