"""Bootstrap over patients: how often each case counts in each round, and what follows for a figure or a difference."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from gsco_pacs.evaluation.metrics import Interval

Weights = NDArray[np.float64]
"""[rounds, cases]: how often a case was drawn in a round."""
Figure = Callable[[Weights], NDArray[np.float64]]
"""A figure of merit for every round, [rounds]; NaN where it is not defined."""


@dataclass(frozen=True)
class Difference:
    """How much one contender is above another: with its 95 % interval and a two-sided p-value, both by bootstrap."""

    value: float
    low: float
    high: float
    p: float


def drawn(groups: Sequence[str], rounds: int = 1000, seed: int = 1) -> Weights:
    """Whole groups (patients) are drawn with replacement; the same groups and seed give the same weights."""
    names, which = np.unique(np.asarray(groups), return_inverse=True)
    random = np.random.default_rng(seed)
    counts = random.multinomial(len(names), np.full(len(names), 1 / len(names)), size=rounds)
    return counts[:, which].astype(np.float64)


def once(cases: int) -> Weights:
    """One round in which every case counts once."""
    return np.ones((1, cases))


def interval(figure: Figure, groups: Sequence[str], rounds: int = 1000, seed: int = 1) -> Interval:
    """``figure`` of all cases with its percentile interval; rounds in which it is not defined are left out."""
    value = float(figure(once(len(groups)))[0])
    low, high = _limits(figure(drawn(groups, rounds, seed)))
    return Interval(value, low, high)


def mean_difference(
    pairs: Sequence[tuple[Figure, Figure]], groups: Sequence[Sequence[str]], rounds: int = 2000, seed: int = 1
) -> Difference:
    """The mean over tasks of (first - second), each task drawn for itself; a pair is drawn together.

    p is two-sided: twice the share of rounds on the other side of zero, never below what the rounds can tell.
    """
    value = np.mean(
        [first(once(len(g)))[0] - second(once(len(g)))[0] for (first, second), g in _zip(pairs, groups)]
    )
    each = []
    for task, ((first, second), names) in enumerate(_zip(pairs, groups)):
        weights = drawn(names, rounds, seed + task)
        each.append(first(weights) - second(weights))
    values = np.mean(each, axis=0)
    low, high = _limits(values)
    return Difference(float(value), low, high, _two_sided(values))


def mcnemar(first: NDArray[np.bool_], second: NDArray[np.bool_], groups: Sequence[str]) -> float:
    """Exact two-sided p-value of the difference of two contenders' right answers, by patients; 1 if they never differ.

    The cases of a patient (a group) are no independent trials: if neither contender is better, all of a patient's cases
    change hands at once, so the sign of each patient's difference is thrown like a coin (Fisher 1935, The Design of
    Experiments, section 21). With one case a patient this is McNemar's exact test (1947).
    """
    _, which = np.unique(np.asarray(groups), return_inverse=True)
    differences = np.bincount(which, first.astype(float) - second.astype(float)).astype(int)
    total = int(np.abs(differences).sum())
    chances = np.zeros(2 * total + 1)  # of each sum from -total to total
    chances[total] = 1
    for size in np.abs(differences[differences != 0]):
        chances = (np.roll(chances, size) + np.roll(chances, -size)) / 2
    reached = np.abs(np.arange(-total, total + 1)) >= abs(int(differences.sum()))
    return float(min(1.0, chances[reached].sum()))


def _two_sided(values: NDArray[np.float64]) -> float:
    values = values[np.isfinite(values)]
    if not len(values):
        return float("nan")
    one_sided = min((values <= 0).sum(), (values >= 0).sum())
    return float(min(1.0, 2 * (one_sided + 1) / (len(values) + 1)))


def _limits(values: NDArray[np.float64]) -> tuple[float, float]:
    values = values[np.isfinite(values)]
    if not len(values):
        return float("nan"), float("nan")
    low, high = np.percentile(values, [2.5, 97.5])
    return float(low), float(high)


def _zip(
    pairs: Sequence[tuple[Figure, Figure]], groups: Sequence[Sequence[str]]
) -> list[tuple[tuple[Figure, Figure], Sequence[str]]]:
    return list(zip(pairs, groups, strict=True))
