"""Holds what a generalist said against what the specialists hold: each sentence stands or falls by a table."""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

from gsco_pacs.domain.findings import Answer, Objection, Presence, Statement
from gsco_pacs.grounding.form import faults, repeats
from gsco_pacs.grounding.labeller import Mention, mentions, sentences
from gsco_pacs.grounding.lexicon import Lexicon, Term
from gsco_pacs.grounding.options import NotAnOptionError, chosen
from gsco_pacs.grounding.positions import Positions, assessed

_LONGEST_QUOTE = 200
_SWEEPING = re.compile(
    r"\b(?:normal|unremarkable|healthy|clear(?! of)|within normal limits|nothing abnormal"
    r"|no (?:\w+ ){0,2}(?:abnormalit(?:y|ies)|findings?|disease|process|pathology))\b",
    re.IGNORECASE,
)


class Violation(StrEnum):
    """Why a sentence does not stand."""

    CUT = "the answer was cut at its length limit"
    EMPTY = "the answer is empty"
    LOOP = "the answer repeats itself"
    OPTION = "the answer is not made of the options"
    FORM = "the sentence has a fault of form"
    OUTSIDE = "no specialist judges this finding"
    SWEEPING = "calls the examination normal, but only the assessed findings may be judged"
    MIXED = "says two things at once"
    SILENT = "names no finding"
    UNREADABLE = "cannot be read for certain"
    UNSUPPORTED = "no opinion exists on this finding"
    OVERSTATED = "states what the specialists hold uncertain"
    UNDERSTATED = "doubts what the specialists hold present"
    PLAYED_DOWN = "denies what the specialists hold uncertain"
    RULED_OUT = "rules out what the specialists hold absent but not improbable"
    DENIED = "denies what the specialists hold present"
    OMITTED = "leaves out what the specialists hold present"
    INVENTED = "states or suspects what the specialists hold absent"
    LEAKED = "states what only a similar case shows"


FORMAL = frozenset(
    {Violation.CUT, Violation.EMPTY, Violation.LOOP, Violation.OPTION, Violation.FORM, Violation.OUTSIDE,
     Violation.SWEEPING, Violation.MIXED, Violation.SILENT, Violation.UNREADABLE}
)  # fmt: skip
"""Can be told to the generalist without telling it what the specialists hold."""

UNREADABLE_ANSWER = frozenset({Violation.CUT, Violation.EMPTY, Violation.LOOP, Violation.OPTION})
"""Nothing can be taken from an answer with one of these."""

BLOCKING = frozenset(
    {Violation.CUT, Violation.EMPTY, Violation.LOOP, Violation.DENIED, Violation.INVENTED, Violation.LEAKED}
)
"""An answer with one of these is not to be trusted in its other sentences either."""

_P, _U, _A = Presence.PRESENT, Presence.UNCERTAIN, Presence.ABSENT
VERDICTS: Mapping[tuple[Presence, Presence | None], Violation | None] = {
    (_P, _P): None,
    (_P, _U): Violation.OVERSTATED,
    (_P, _A): Violation.INVENTED,
    (_P, None): Violation.UNSUPPORTED,
    (_U, _P): Violation.UNDERSTATED,
    (_U, _U): None,
    (_U, _A): Violation.INVENTED,
    (_U, None): Violation.UNSUPPORTED,
    (_A, _P): Violation.DENIED,
    (_A, _U): Violation.PLAYED_DOWN,
    (_A, _A): None,
    (_A, None): Violation.UNSUPPORTED,
}
"""(what the sentence says, what the specialists hold or None) -> None if the sentence stands; a denial must also be one
that a position allows (``Position.deniable``)."""

_DISPUTES = {
    Violation.OVERSTATED: "The generalist states {words}, which is uncertain to {holders}.",
    Violation.UNDERSTATED: "The generalist calls {words} possible only, which {holders} holds present.",
    Violation.PLAYED_DOWN: "The generalist denies {words}, which is uncertain to {holders}.",
    Violation.DENIED: "The generalist denies {words}, which {holders} holds present.",
    Violation.INVENTED: "The generalist states or suspects {words}, which {holders} holds absent.",
    Violation.LEAKED: "The generalist states {words}, seen in similar cases, which {holders} holds absent.",
}


@dataclass(frozen=True)
class Breach:
    """One violation: where, of what kind, about which finding."""

    violation: Violation
    sentence: str = ""
    label: str = ""
    detail: str = ""

    @property
    def objection(self) -> Objection:
        """The breach for the record."""
        about = f" ({self.label})" if self.label else ""
        quote = re.sub(r"[^\x20-\x7e\xa0-\uffff]+", " ", self.sentence)[:_LONGEST_QUOTE]
        return Objection(quote or "(nothing said)", f"{self.detail or self.violation}{about}")


@dataclass(frozen=True)
class Gated:
    """What is left of an answer."""

    statements: tuple[Statement, ...]
    """The sentences that stand, word for word."""
    named: tuple[str, ...]
    """Labels that the answer says are there or may be there."""
    breaches: tuple[Breach, ...]

    @property
    def unreadable(self) -> bool:
        """Whether the answer was cut, empty, looping, or not made of the options."""
        return any(breach.violation in UNREADABLE_ANSWER for breach in self.breaches)

    @property
    def blocked(self) -> bool:
        """Whether no sentence of this answer may be used."""
        return any(breach.violation in BLOCKING for breach in self.breaches)


class Gate:
    """Judges answers about one study."""

    def __init__(self, positions: Positions, options: Sequence[str], recalled: frozenset[str]) -> None:
        """``options``: every label that may be named; ``recalled``: the labels of the similar cases."""
        self._positions = positions
        self._recalled = recalled
        self._options = tuple(options)
        terms = [Term(label, position.finding.text) for label, position in positions.items()]
        normal = {label for label, position in positions.items() if position.finding.normal}
        terms += [
            Term(label, label) for label in options if label not in positions and not _SWEEPING.search(label)
        ]
        self._lexicon = Lexicon(term for term in terms if term.label not in normal)

    def report(self, answer: Answer) -> Gated:
        """A report, sentence by sentence; each finding that the specialists hold present must be in it."""
        broken = tuple(_unusable(answer))
        statements: list[Statement] = []
        breaches = list(broken)
        said: set[str] = set()
        named: set[str] = set()
        for sentence in sentences(answer.text):
            claims = mentions(sentence, self._lexicon)
            said.update(claim.label for claim in claims)
            named.update(claim.label for claim in claims if claim.presence is not Presence.ABSENT)
            objections = tuple(self._objections(sentence, claims))
            said.update(breach.label for breach in objections)
            breaches += objections
            if not objections and not broken:
                statements.append(self._statement(sentence, claims))
        silent = [p for p in assessed(self._positions, Presence.PRESENT) if p.finding.label not in said]
        breaches += [Breach(Violation.OMITTED, label=p.finding.label) for p in silent]
        return Gated(tuple(statements), tuple(sorted(named)), tuple(breaches))

    def diagnosis(self, answer: Answer, *, single: bool) -> Gated:
        """An answer that must consist of options; what it does not name it denies, unless it may name only one."""
        broken = tuple(_unusable(answer))
        if broken:
            return Gated((), (), broken)
        try:
            named = chosen(answer.text, self._options, single=single)
        except NotAnOptionError as error:
            return Gated((), (), (Breach(Violation.OPTION, answer.text, detail=str(error)),))
        normal = [
            label for label in named if label in self._positions and self._positions[label].finding.normal
        ]
        findings = [label for label in named if label not in normal]
        if normal and findings:
            return Gated(
                (), (), (Breach(Violation.OPTION, answer.text, detail="names a finding and none at once"),)
            )
        breaches = [
            breach for label in findings for breach in self._verdict(answer.text, label, Presence.PRESENT)
        ]
        if normal:
            breaches += self._nothing_there(answer.text)
        elif not single:
            silent = [p for p in assessed(self._positions, Presence.PRESENT) if p.finding.label not in named]
            breaches += [Breach(Violation.DENIED, answer.text, p.finding.label) for p in silent]
        return Gated((), tuple(findings), tuple(breaches))

    def disputes(self, gated: Gated) -> tuple[str, ...]:
        """One sentence for each finding on which the generalist and the specialists differ."""
        told = [
            _DISPUTES[breach.violation].format(words=position.finding.text, holders=position.holders)
            for breach in gated.breaches
            if breach.violation in _DISPUTES and (position := self._positions.get(breach.label))
        ]
        return tuple(dict.fromkeys(told))

    def _objections(self, sentence: str, claims: tuple[Mention, ...]) -> Iterator[Breach]:
        if _SWEEPING.search(_without(sentence, claims)):
            yield Breach(Violation.SWEEPING, sentence)
            yield from self._nothing_there(sentence)
            return
        if not claims:
            yield Breach(Violation.SILENT, sentence)
            return
        yield from (Breach(Violation.OUTSIDE, sentence, claim.label) for claim in claims if not claim.known)
        for claim in claims:
            if claim.known:
                yield from self._verdict(sentence, claim.label, claim.presence)
        if len({claim.presence for claim in claims}) > 1:
            yield Breach(Violation.MIXED, sentence)
        if not all(claim.certain for claim in claims):
            yield Breach(Violation.UNREADABLE, sentence)
        yield from (Breach(Violation.FORM, sentence, detail=str(fault)) for fault in faults(sentence, claims))

    def _nothing_there(self, sentence: str) -> Iterator[Breach]:
        """What ``sentence``, which says that all is normal, denies."""
        for position in assessed(self._positions):
            violation = VERDICTS[Presence.ABSENT, position.presence]
            if violation:
                yield Breach(violation, sentence, position.finding.label)

    def _verdict(self, sentence: str, label: str, presence: Presence) -> Iterator[Breach]:
        position = self._positions.get(label)
        violation = VERDICTS[presence, position.presence if position else None]
        if violation in (Violation.INVENTED, Violation.UNSUPPORTED) and presence is not Presence.ABSENT:
            violation = Violation.LEAKED if label in self._recalled else violation
        if position and presence is position.presence is Presence.ABSENT and not position.deniable:
            violation = Violation.RULED_OUT
        if violation:
            yield Breach(violation, sentence, label)

    def _statement(self, sentence: str, claims: tuple[Mention, ...]) -> Statement:
        labels = tuple(dict.fromkeys(claim.label for claim in claims))
        basis = tuple(line for label in labels for line in self._positions[label].basis)
        text = sentence[:1].upper() + sentence[1:].rstrip(" .") + "."
        return Statement(text, labels, claims[0].presence, (*basis, "worded by the generalist"))


def _unusable(answer: Answer) -> Iterator[Breach]:
    if not answer.text.strip():
        yield Breach(Violation.EMPTY)
    if not answer.finished:
        yield Breach(Violation.CUT, answer.text)
    if repeats(answer.text):
        yield Breach(Violation.LOOP, answer.text)


def _without(sentence: str, claims: tuple[Mention, ...]) -> str:
    for claim in reversed(claims):
        sentence = sentence[: claim.span[0]] + " " + sentence[claim.span[1] :]
    return sentence
