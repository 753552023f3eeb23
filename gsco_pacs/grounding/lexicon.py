"""Finds the names of findings in a sentence: those of the specialists' vocabulary and those outside it."""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from gsco_pacs.grounding.concepts import CONCEPTS, concept_of


@dataclass(frozen=True)
class Term:
    """A finding that may be named: its label and the words of a report for it."""

    label: str
    words: str


@dataclass(frozen=True)
class Name:
    """A place in a sentence that names a finding."""

    label: str
    """The label, or the words themselves if the finding is outside the vocabulary."""
    start: int
    end: int
    known: bool
    """Whether the finding belongs to the vocabulary."""
    denied: bool = False
    """Whether the words say by themselves that it is absent ("heart size is normal")."""


class Lexicon:
    """The names of one vocabulary; the longest name wins where two overlap."""

    def __init__(self, terms: Iterable[Term]) -> None:
        self._names: dict[str, tuple[str, bool, bool]] = {}
        for concept in CONCEPTS:
            for phrase in concept.synonyms + concept.denials:
                self._names[_plain(phrase)] = (concept.synonyms[0], False, phrase in concept.denials)
        taken = tuple(terms)
        for term in taken:
            self._add_concepts(term)
        for term in taken:
            for phrase in (term.label, term.words):
                self._names[_plain(phrase)] = (term.label, True, False)
        phrases = sorted(self._names, key=len, reverse=True)
        inner = "|".join(re.escape(phrase).replace(r"\ ", r"[\s_-]+") for phrase in phrases)
        self._pattern = re.compile(rf"(?<![\w-])({inner})(s?)(?![\w-])", re.IGNORECASE)

    def _add_concepts(self, term: Term) -> None:
        for concept in filter(None, (concept_of(term.label), concept_of(term.words))):
            for phrase in concept.synonyms + concept.denials:
                self._names[_plain(phrase)] = (term.label, True, phrase in concept.denials)

    def names(self, sentence: str) -> Iterator[Name]:
        """Every name in ``sentence``, from left to right, none overlapping."""
        for match in self._pattern.finditer(sentence):
            label, known, denied = self._names[_plain(match[1])]
            yield Name(label, match.start(), match.end(), known, denied)


def _plain(phrase: str) -> str:
    return re.sub(r"[\s_-]+", " ", phrase.lower()).strip()
