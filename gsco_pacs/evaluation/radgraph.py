"""RadGraph F1 of reports (Jain et al. 2021; reward levels: Delbrouck et al. 2022), with RadGraph's network given by path."""

import re
from collections.abc import Callable, Hashable, Iterator, Sequence
from functools import cache
from pathlib import Path

import numpy as np

from gsco_pacs.evaluation.radgraph_network import Entity, RadGraphNetwork

Graph = tuple[Entity, ...]
_APART = (").", "%.", ".'", "%,", "%)")
"""Marks that RadGraph-XL's training data writes as two words."""


class RadGraph:
    """Compares the entities and relations of reports."""

    def __init__(self, folder: Path) -> None:
        """ConfigError if ``folder`` is not laid out as RadGraphNetwork wants it."""
        network = RadGraphNetwork(folder)
        split = words_of_xl if "xl" in network.dataset else words_of_first
        self.graph: Callable[[str], Graph] = cache(lambda text: network.read(split(text)))
        """The entities of a text; a reference is read once, however often it is compared."""

    def figures(self, said: Sequence[str], references: Sequence[str]) -> dict[str, float]:
        """Mean F1 over the reports at each level of the published reward."""
        pairs = [(self.graph(a), self.graph(b)) for a, b in zip(said, references, strict=True)]
        return {
            f"RadGraph F1 ({name})": float(np.mean([reward(a, b, level) for a, b in pairs]))
            for name, level in LEVELS.items()
        }

    def combined(self, said: str, reference: str) -> float:
        """The mean of the entities' and the relations' F1, as RadCliQ counts them."""
        one, other = self.graph(said), self.graph(reference)
        entities = f1({(e.tokens, e.label) for e in one}, {(e.tokens, e.label) for e in other})
        return (entities + f1(set(_relations(one)), set(_relations(other)))) / 2


def reward(said: Graph, reference: Graph, level: Callable[[Graph], Iterator[Hashable]]) -> float:
    """F1 of what ``level`` finds in both; 0 if either has no entity."""
    return f1(set(level(said)), set(level(reference))) if said and reference else 0.0


def f1(said: set[Hashable], right: set[Hashable]) -> float:
    """Twice what both hold over what each holds; 0 if neither holds anything."""
    both = len(said) + len(right)
    return 2 * len(said & right) / both if both else 0.0


def words_of_first(text: str) -> list[str]:
    """The words of a report as the first RadGraph's data have them: marks stand alone."""
    return re.sub(r"([/,:.!?()])", r" \1 ", text).split()


def words_of_xl(text: str) -> list[str]:
    """The words of a report as RadGraph-XL's data have them: runs of marks are words, too."""
    joined = " ".join(re.findall(r"\w+|[^\w\s]+", text))
    for marks in _APART:
        joined = joined.replace(marks, " ".join(marks))
    return joined.split()


def _relations(graph: Graph) -> Iterator[Hashable]:
    for entity in graph:
        for kind, place in entity.relations:
            other = graph[place]
            yield (entity.tokens, entity.label), (other.tokens, other.label), kind


def _simple(graph: Graph) -> Iterator[Hashable]:
    """Entities."""
    yield from ((entity.tokens.lower(), entity.label) for entity in graph)


def _partial(graph: Graph) -> Iterator[Hashable]:
    """Entities, and whether they are related to anything."""
    yield from ((entity.tokens.lower(), entity.label, bool(entity.relations)) for entity in graph)


def _complete(graph: Graph) -> Iterator[Hashable]:
    """Entities with each of their relations."""
    for entity in graph:
        own = (entity.tokens.lower(), entity.label)
        yield from ((*own, kind, graph[place].tokens.lower()) for kind, place in entity.relations)
        if not entity.relations:
            yield own


LEVELS = {"simple": _simple, "partial": _partial, "complete": _complete}
