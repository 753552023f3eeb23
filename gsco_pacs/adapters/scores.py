"""From a network's logits to calibrated probabilities, in the same way for training and for the node."""

from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit, logsumexp

Kind = Literal["multi-label", "multi-class"]


def decision_scores(logits: NDArray[np.floating], kind: Kind) -> NDArray[np.float64]:
    """Return what is calibrated, [n, labels]: the logits themselves, or each class's log-odds against all others."""
    scores: NDArray[np.float64] = logits.astype(np.float64)
    if kind == "multi-label":
        return scores
    columns = range(scores.shape[1])
    others = [logsumexp(np.delete(scores, column, axis=1), axis=1) for column in columns]
    return np.asarray(scores - np.stack(others, axis=1), dtype=np.float64)


def probabilities_of(
    logits: NDArray[np.floating], kind: Kind, slopes: NDArray[np.float64], intercepts: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Return sigmoid(slope * score + intercept) for each label; classes exclude each other, so theirs sum to 1."""
    calibrated = np.asarray(expit(decision_scores(logits, kind) * slopes + intercepts), dtype=np.float64)
    return calibrated if kind == "multi-label" else calibrated / calibrated.sum(axis=1, keepdims=True)


def dice(found: NDArray[np.bool_], truth: NDArray[np.bool_]) -> float:
    """Twice the common part of two masks over the sum of both; 1 if both are empty."""
    total = int(found.sum()) + int(truth.sum())
    return 2 * int((found & truth).sum()) / total if total else 1.0
