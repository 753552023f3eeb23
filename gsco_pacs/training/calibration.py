"""Turns a network's outputs into probabilities that mean what they say, and chooses thresholds on them."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize
from scipy.special import expit, log_expit

Floats = NDArray[np.floating]


@dataclass(frozen=True)
class Platt:
    """p = sigmoid(slope * logit + intercept), slope > 0."""

    slope: float
    intercept: float

    def __call__(self, logits: Floats) -> NDArray[np.float64]:
        """Return the calibrated probabilities of ``logits``, in the same order of size."""
        return np.asarray(expit(self.slope * logits + self.intercept), dtype=np.float64)


@dataclass(frozen=True)
class Chosen:
    """Thresholds on a calibrated probability, see `chosen_thresholds`."""

    absent_below: float
    present_from: float
    balanced_at: float


def fit_platt(logits: Floats, truth: Floats) -> Platt:
    """Fit Platt's sigmoid by maximum a posteriori likelihood with his smoothed targets (Platt 1999).

    The logarithm of the slope has a standard normal prior, so the slope is positive (the order of cases never turns)
    and stays near 1 where positives are too few to tell.
    """
    positives = float(truth.sum())
    negatives = len(truth) - positives
    smoothed = np.where(truth > 0.5, (positives + 1) / (positives + 2), 1 / (negatives + 2))

    def cost(parameters: Floats) -> float:
        scores = np.exp(parameters[0]) * logits + parameters[1]
        likelihood = smoothed * log_expit(scores) + (1 - smoothed) * log_expit(-scores)
        return float(parameters[0] ** 2 / 2 - likelihood.sum())

    fitted = minimize(cost, np.zeros(2), method="L-BFGS-B", bounds=[(-4, 4), (-30, 30)]).x
    return Platt(slope=float(np.exp(fitted[0])), intercept=float(fitted[1]))


def chosen_thresholds(probabilities: Floats, truth: Floats, wanted: float = 0.85) -> Chosen:
    """Choose thresholds on validation data.

    ``absent_below``: the operating point, the lowest with a specificity of ``wanted``; ``present_from``: where the
    finding is more likely there than not, that is 0.5 (the rule of GSCo's MoED too), and not below the first;
    ``balanced_at``: the best balanced accuracy. Each but 0.5 lies halfway between two neighbouring probabilities.
    """
    order = np.unique(probabilities)
    cuts = np.concatenate([[order[0] / 2], (order[:-1] + order[1:]) / 2, [(order[-1] + 1) / 2]])
    positive, negative = probabilities[truth > 0.5], probabilities[truth <= 0.5]
    if not len(positive) or not len(negative):
        return Chosen(0.5, 0.5, 0.5)
    sensitivity = np.array([(positive >= cut).mean() for cut in cuts])
    specificity = np.array([(negative < cut).mean() for cut in cuts])
    # Above every probability nothing is flagged, so that the promise can always be kept.
    operating = float(cuts[specificity >= wanted].min(initial=1.0))
    return Chosen(operating, max(operating, 0.5), float(cuts[np.argmax(sensitivity + specificity)]))
