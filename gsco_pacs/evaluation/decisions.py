"""What was decided on each case of a task against the truth, as tables of noughts and ones, and its figures of merit."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from gsco_pacs.evaluation.metrics import auc, brier, expected_calibration_error
from gsco_pacs.evaluation.resampling import Weights

Table = NDArray[np.bool_]


@dataclass(frozen=True, eq=False)
class Decisions:
    """One contender's decisions on the cases of one task; each table is [cases, options]."""

    truth: Table
    said: Table
    """All False in a row: nothing was said, or nothing that could be read."""
    single: bool
    probabilities: NDArray[np.float64] | None = None
    """None if the contender states no probabilities for every case."""

    @cached_property
    def right(self) -> Table:
        """[cases]: whether exactly the true options were said."""
        return np.asarray((self.truth == self.said).all(axis=1))

    def accuracy(self, weights: Weights) -> NDArray[np.float64]:
        """Share of the cases in which exactly the true options were said."""
        return np.asarray(weights @ self.right / weights.sum(axis=1))

    def macro_f1(self, weights: Weights) -> NDArray[np.float64]:
        """Mean F1 over the options that are true in at least one case."""
        hits = weights @ (self.truth & self.said)
        both = weights @ self.truth.astype(float) + weights @ self.said.astype(float)
        return _mean_over(2 * hits / np.maximum(both, 1e-12), weights @ self.truth > 0)

    def balanced_accuracy(self, weights: Weights) -> NDArray[np.float64]:
        """Single: mean recall over the options that occur. Else: mean over options of (sensitivity + specificity) / 2."""
        positives = weights @ self.truth.astype(float)
        recall = weights @ (self.truth & self.said) / np.maximum(positives, 1e-12)
        if self.single:
            return _mean_over(recall, positives > 0)
        negatives = weights @ (~self.truth).astype(float)
        specificity = weights @ (~self.truth & ~self.said) / np.maximum(negatives, 1e-12)
        return _mean_over((recall + specificity) / 2, (positives > 0) & (negatives > 0))

    def macro_auc(self, rows: NDArray[np.intp]) -> float:
        """Mean area under the ROC curve, each option against the rest; NaN without probabilities."""
        if self.probabilities is None:
            return float("nan")
        areas = [
            auc(self.probabilities[rows, one], self.truth[rows, one]) for one in range(self.truth.shape[1])
        ]
        defined = [area for area in areas if np.isfinite(area)]
        return float(np.mean(defined)) if defined else float("nan")

    @property
    def brier(self) -> float:
        """Mean over the options of the Brier score; NaN without probabilities."""
        if self.probabilities is None:
            return float("nan")
        return brier(self.probabilities, self.truth.astype(float))

    @property
    def calibration_error(self) -> float:
        """Mean over the options of the expected calibration error in ten bins; NaN without probabilities."""
        if self.probabilities is None:
            return float("nan")
        said, truth = self.probabilities, self.truth.astype(float)
        return float(
            np.mean([expected_calibration_error(said[:, c], truth[:, c]) for c in range(truth.shape[1])])
        )


def table(named: Sequence[Collection[str]], options: Sequence[str]) -> Table:
    """True where a case names an option, [cases, options]."""
    return np.array([[option in names for option in options] for names in named], dtype=bool)


def best_f1_thresholds(probabilities: NDArray[np.float64], truth: Table) -> NDArray[np.float64]:
    """For each option the threshold with the highest F1, the highest of several; 0.5 where no case is positive."""
    return np.array([_best_f1(probabilities[:, c], truth[:, c]) for c in range(truth.shape[1])])


def _best_f1(said: NDArray[np.float64], truth: Table) -> float:
    if not truth.any():
        return 0.5
    cuts = np.unique(said)[::-1]
    order = np.argsort(-said, kind="stable")
    hits = np.cumsum(truth[order])
    taken = np.searchsorted(-said[order], -cuts, side="right")
    scores = 2 * hits[taken - 1] / (taken + truth.sum())
    return float(cuts[np.argmax(scores)])


def _mean_over(values: NDArray[np.float64], counts: Table) -> NDArray[np.float64]:
    """Mean of each row over the columns that count; NaN if none does."""
    number = counts.sum(axis=1)
    total = np.where(counts, values, 0).sum(axis=1)
    return np.where(number > 0, total / np.maximum(number, 1), np.nan)
