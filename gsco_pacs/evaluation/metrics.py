"""Figures of merit for probabilities against truth; each function takes one label's values, [n]."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.stats import rankdata

Floats = NDArray[np.floating]


@dataclass(frozen=True)
class Interval:
    """A figure with its 95 % bootstrap interval; all NaN where it is not defined."""

    value: float
    low: float
    high: float


def auc(probabilities: Floats, truth: Floats) -> float:
    """Return the area under the ROC curve (Mann-Whitney, ties count half); NaN without both kinds of cases."""
    positive = truth > 0.5
    n, m = int(positive.sum()), int((~positive).sum())
    if not n or not m:
        return float("nan")
    return float((rankdata(probabilities)[positive].sum() - n * (n + 1) / 2) / (n * m))


def sensitivity(probabilities: Floats, truth: Floats, threshold: float) -> float:
    """Return the share of positives at or above ``threshold``; NaN without positives."""
    positives = probabilities[truth > 0.5]
    return float((positives >= threshold).mean()) if len(positives) else float("nan")


def specificity(probabilities: Floats, truth: Floats, threshold: float) -> float:
    """Return the share of negatives below ``threshold``; NaN without negatives."""
    negatives = probabilities[truth <= 0.5]
    return float((negatives < threshold).mean()) if len(negatives) else float("nan")


def balanced_accuracy(probabilities: Floats, truth: Floats, threshold: float) -> float:
    """Return the mean of sensitivity and specificity at ``threshold``."""
    return (sensitivity(probabilities, truth, threshold) + specificity(probabilities, truth, threshold)) / 2


def brier(probabilities: Floats, truth: Floats) -> float:
    """Return the mean squared difference of probability and truth (Brier 1950); 0 is best."""
    return float(np.mean((probabilities - truth) ** 2))


def expected_calibration_error(probabilities: Floats, truth: Floats, bins: int = 10) -> float:
    """Return the mean gap of stated probability and observed share over equally wide bins, weighted by their cases."""
    where = np.minimum((probabilities * bins).astype(int), bins - 1)
    gaps = [abs(float(probabilities[where == one].sum() - truth[where == one].sum())) for one in range(bins)]
    return sum(gaps) / len(truth)


def bootstrap(
    metric: Callable[[NDArray[np.intp]], float], groups: Sequence[str], rounds: int = 1000, seed: int = 1
) -> Interval:
    """Return ``metric`` of all rows with its percentile interval over resampled groups (patients).

    ``metric`` takes the row numbers that count, a row as often as its group was drawn. Rounds in which it is not
    defined (no positive drawn) are left out.
    """
    random = np.random.default_rng(seed)
    names, which = np.unique(np.asarray(groups), return_inverse=True)
    members = [np.flatnonzero(which == one) for one in range(len(names))]
    drawn = (random.integers(0, len(names), len(names)) for _ in range(rounds))
    values = np.array([metric(np.concatenate([members[one] for one in draw])) for draw in drawn])
    values = values[np.isfinite(values)]
    low, high = np.percentile(values, [2.5, 97.5]) if len(values) else (np.nan, np.nan)
    return Interval(metric(np.arange(len(groups))), float(low), float(high))
