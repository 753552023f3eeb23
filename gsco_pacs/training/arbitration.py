"""Fits the small generalist's arbiter: how far each source is to be trusted in each task."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from scipy.optimize import minimize
from scipy.special import log_expit, log_softmax

from gsco_pacs.adapters.arbiter import Arbiter, Floats

_PRIOR = {"opinions": 0.7, "cases": 0.2, "eye": 0.5, "language": 0.1}
_STIFFNESS, _BIAS_STIFFNESS = 20.0, 5.0
"""Chosen by cross-validation over the patients of the donors, from (4, 1), (20, 5), (20, 30) and (60, 100)."""


def fitted(
    sources: Sequence[Mapping[str, Floats]], truth: Floats, *, single: bool
) -> tuple[list[float], list[float]]:
    """The weight of each source and what is added to each option, by penalised likelihood.

    ``sources``: of each case, all of the same sources; ``truth``: [cases, options]. A rare class counts more, by the
    square root; with few cases the weights stay near a guess made before any was seen.
    """
    names = list(sources[0])
    said = np.stack([np.stack([one[name] for name in names]) for one in sources])
    prior = np.array([_PRIOR[name] for name in names])
    share = truth.mean(0).clip(1e-3)
    counted = (truth / np.sqrt(share)).sum(1) if single else np.ones(len(truth))
    counted = counted / counted.mean()

    def cost(parameters: Floats) -> float:
        weights, bias = parameters[: len(names)], parameters[len(names) :]
        odds = np.einsum("s,nso->no", weights, said) + bias
        if single:
            loss = -(log_softmax(odds, axis=1) * truth).sum(1)
        else:
            loss = -(truth * log_expit(odds) + (1 - truth) * log_expit(-odds)).mean(1)
        stiff = _STIFFNESS * ((weights - prior) ** 2).sum() + _BIAS_STIFFNESS * (bias**2).sum()
        return float((loss * counted).sum() + stiff)

    start = np.concatenate([prior, np.zeros(truth.shape[1])])
    bounds = [(0.0, 3.0)] * len(names) + [(-6.0, 6.0)] * truth.shape[1]
    found = minimize(cost, start, method="L-BFGS-B", bounds=bounds).x
    return found[: len(names)].round(4).tolist(), found[len(names) :].round(4).tolist()


def as_entry(arbiter: Arbiter) -> dict[str, Any]:
    """The arbiter as config.json holds it."""
    return {
        "examines": arbiter.examines,
        "options": list(arbiter.options),
        "words": list(arbiter.words),
        "single": arbiter.single,
        "ways": {name: [list(weights), list(bias)] for name, (weights, bias) in arbiter.ways.items()},
    }
