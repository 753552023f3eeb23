"""Weighs what a briefing says of each option, what the model's own eye says, and how likely its language finds it.

A language model of a few layers copies numbers well and compares them badly. So the small generalist reads the
percents and the counts of an ``options`` briefing as numbers too, and a few weights for each task, fitted on validation
images, say how far each source is to be trusted. Everything that is weighed stands in the prompt or in the picture.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

_ABOUT = re.compile(r"^Diagnosis of an? (?P<examines>.+)\.$", re.MULTILINE)
_LINE = re.compile(r'^(?P<said>\d\d(?: \d\d)*) "(?P<label>[^"]+)"$', re.MULTILINE)
_CASES = re.compile(r"^Similar cases \((?P<n>\d+)\): (?P<tally>.+)\.$", re.MULTILINE)
_COUNT = re.compile(r'(?P<n>\d+) "(?P<label>[^"]+)"')


@dataclass(frozen=True)
class Arbiter:
    """The weights of one task, by which sources there are."""

    examines: str
    """What the task looks at, in the words of its prompt: two tasks may have the same options."""
    options: tuple[str, ...]
    words: tuple[int, ...]
    """The eye's word for each option."""
    single: bool
    ways: Mapping[str, Sequence[Sequence[float]]]
    """Sources joined by a plus -> the weight of each source, and what is added to each option."""

    def log_odds(self, prompt: str, evidence: Floats | None, likelihoods: Floats) -> Floats:
        """The weighed log-odds of every option; ``likelihoods`` alone if this mixture of sources was never fitted."""
        sources = sources_of(self, prompt, evidence, likelihoods)
        way = self.ways.get("+".join(sources))
        if way is None:
            return likelihoods
        weights, bias = np.array(way[0]), np.array(way[1])
        return np.asarray(weights @ np.stack(list(sources.values())) + bias, dtype=np.float64)


def arbiter_for(
    arbiters: Sequence[Mapping[str, Any]], prompt: str, options: Sequence[str], *, single: bool
) -> Arbiter | None:
    """The arbiter of the task that ``prompt`` is about, with exactly these options, in their order; None without one."""
    about = _ABOUT.search(prompt)
    for given in arbiters:
        known = about is not None and about["examines"] == given["examines"]
        if known and set(given["options"]) == set(options) and given["single"] == single:
            places = [list(given["options"]).index(option) for option in options]
            ways = {
                name: (weights, [bias[place] for place in places])
                for name, (weights, bias) in given["ways"].items()
            }
            words = tuple(given["words"][place] for place in places)
            return Arbiter(given["examines"], tuple(options), words, single, ways)
    return None


def sources_of(
    arbiter: Arbiter, prompt: str, evidence: Floats | None, likelihoods: Floats
) -> dict[str, Floats]:
    """What each source that there is says of every option, on a logarithmic scale."""
    found: dict[str, Floats] = {}
    said = {m["label"]: np.mean([int(p) for p in m["said"].split()]) / 100 for m in _LINE.finditer(prompt)}
    if said:
        found["opinions"] = _scaled(np.array([said.get(option, 0.01) for option in arbiter.options]), arbiter)
    cases = _CASES.search(prompt)
    counts = {m["label"]: int(m["n"]) for m in _COUNT.finditer(cases["tally"])} if cases else {}
    if cases and counts:
        shares = [(counts.get(option, 0) + 0.5) / (int(cases["n"]) + 1) for option in arbiter.options]
        found["cases"] = _scaled(np.array(shares), arbiter)
    if evidence is not None:
        own = evidence[list(arbiter.words)]
        found["eye"] = np.asarray(own - np.log(np.exp(own - own.max()).sum()) - own.max(), dtype=np.float64)
    found["language"] = likelihoods
    return found


def _scaled(probabilities: Floats, arbiter: Arbiter) -> Floats:
    p = probabilities.clip(0.01, 0.99)
    return np.asarray(np.log(p) if arbiter.single else np.log(p / (1 - p)), dtype=np.float64)
