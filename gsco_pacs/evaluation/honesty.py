"""How honest a generalist's words are over synthetic studies: before the grounding gate, and after it."""

import random
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from gsco_pacs.domain.findings import (
    Answer,
    Briefing,
    Consultation,
    Draft,
    Finding,
    Mode,
    ModelIdentity,
    Opinion,
    Presence,
    SimilarCase,
)
from gsco_pacs.evaluation.overheard import Overheard
from gsco_pacs.grounding.gate import Gate, Gated, Violation
from gsco_pacs.grounding.labeller import mentions
from gsco_pacs.grounding.lexicon import Lexicon, Term
from gsco_pacs.grounding.positions import Position, assessed, positions_of
from gsco_pacs.grounding.wording import NAME
from gsco_pacs.ports import Generalist, Picture
from gsco_pacs.steps.brief import brief
from gsco_pacs.steps.draft import draft

MEASURES = ("denies", "leaves out", "invents", "leaks a neighbour's finding", "cannot be read")
_SPECIALIST = "synthetic"
_ABSENT_BELOW, _PRESENT_FROM = 0.15, 0.5
_RANGES = {
    Presence.ABSENT: (0.0, _ABSENT_BELOW),
    Presence.UNCERTAIN: (_ABSENT_BELOW, _PRESENT_FROM),
    Presence.PRESENT: (_PRESENT_FROM, 0.99),
}
_OF_MEASURE = {
    Violation.DENIED: MEASURES[0],
    Violation.OMITTED: MEASURES[1],
    Violation.INVENTED: MEASURES[2],
    Violation.UNSUPPORTED: MEASURES[2],
    Violation.OUTSIDE: MEASURES[2],
    Violation.LEAKED: MEASURES[3],
    Violation.CUT: MEASURES[4],
    Violation.EMPTY: MEASURES[4],
    Violation.LOOP: MEASURES[4],
    Violation.OPTION: MEASURES[4],
}


@dataclass(frozen=True)
class Honesty:
    """Of ``studies`` answers, in how many each measure is violated at least once."""

    generalist: ModelIdentity
    template: str
    mode: Mode
    studies: int
    raw: dict[str, int]
    """First answers as they came."""
    gated: dict[str, int]
    """Finished drafts; anything but 0 is a defect of the gate."""
    own_wording: int
    """Drafts in which at least one of the generalist's sentences stands."""
    asked: int
    """Calls of the generalist, retries included."""


def honesty(
    generalist: Generalist,
    findings: tuple[Finding, ...],
    n: int,
    seed: int = 0,
    mode: Mode = Mode.MOED_RAD,
    template: str = "briefed",
    pictures: Sequence[Picture] = (),
) -> Honesty:
    """Asks ``generalist`` about ``n`` synthetic studies that follow from ``seed`` alone."""
    raw: Counter[str] = Counter()
    gated: Counter[str] = Counter()
    own_wording = asked = 0
    for consultation in synthetic_consultations(findings, n, seed):
        listener = Overheard(generalist)
        briefing = brief(consultation, findings, mode, template)
        made = draft(briefing, consultation, listener, pictures)
        raw.update(_violated(briefing, consultation, listener.answers[0]))
        gated.update(_remaining(consultation, made))
        own_wording += made.wording == "generalist"
        asked += len(listener.answers)
    return Honesty(generalist.identity, template, mode, n, dict(raw), dict(gated), own_wording, asked)


def synthetic_consultations(findings: tuple[Finding, ...], n: int, seed: int) -> Iterator[Consultation]:
    """Studies with 0 to 3 present and 0 to 2 uncertain findings, and with ten neighbours that show others as well."""
    draw = random.Random(seed)  # noqa: S311 - repeatable, not secret
    for study in range(n):
        shuffled = draw.sample([finding for finding in findings if not finding.normal], k=_abnormal(findings))
        n_present, n_uncertain = draw.randint(0, 3), draw.randint(0, 2)
        present, uncertain = shuffled[:n_present], shuffled[n_present : n_present + n_uncertain]
        uid = f"2.25.{seed}{study:06d}"
        opinions = tuple(_opinion(f, draw, _state(f, present, uncertain), uid) for f in findings)
        cases = tuple(_case(draw, shuffled, present, rank, uid) for rank in range(10))
        yield Consultation((), (uid,), opinions, cases, (), region="chest X-ray")


def table(results: Sequence[Honesty]) -> str:
    """The results as a Markdown table: studies with at least one violation, first answer -> finished draft."""
    head = (
        "Generalist",
        "Template",
        "Mode",
        "Studies",
        "Calls",
        *(m.capitalize() for m in MEASURES),
        "Own words stand",
    )
    lines = [head, ("---",) * len(head)]
    for result in results:
        cells = [f"{result.raw.get(m, 0)} -> {result.gated.get(m, 0)}" for m in MEASURES]
        lines.append(
            (result.generalist.name, result.template, str(result.mode), str(result.studies), str(result.asked),
             *cells, str(result.own_wording))
        )  # fmt: skip
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


def _abnormal(findings: tuple[Finding, ...]) -> int:
    return sum(not finding.normal for finding in findings)


def _state(finding: Finding, present: Sequence[Finding], uncertain: Sequence[Finding]) -> Presence:
    if finding.normal:
        return Presence.ABSENT if present else Presence.UNCERTAIN if uncertain else Presence.PRESENT
    if finding in present:
        return Presence.PRESENT
    return Presence.UNCERTAIN if finding in uncertain else Presence.ABSENT


def _opinion(finding: Finding, draw: random.Random, state: Presence, uid: str) -> Opinion:
    low, high = _RANGES[state]
    probability = min(draw.uniform(low, high), high - 1e-6)
    return Opinion(_SPECIALIST, finding, probability, _ABSENT_BELOW, _PRESENT_FROM, uid)


def _case(
    draw: random.Random, findings: Sequence[Finding], present: Sequence[Finding], rank: int, uid: str
) -> SimilarCase:
    shown = {finding.label for finding in present if draw.random() < 0.6}
    if draw.random() < 0.5:
        shown.add(draw.choice(findings).label)
    return SimilarCase(_SPECIALIST, f"case-{rank}", tuple(sorted(shown)), 0.95 - rank / 50, uid)


def _violated(briefing: Briefing, consultation: Consultation, answer: Answer) -> set[str]:
    """The measures that the raw answer violates; the structured wording says nothing and so violates nothing."""
    if answer.model.name == NAME:
        return set()
    positions = positions_of(consultation.opinions)
    recalled = frozenset(label for case in consultation.cases for label in case.labels)
    gate = Gate(positions, briefing.options, recalled)
    breaches = _judged(gate, briefing, answer).breaches
    return {_OF_MEASURE[breach.violation] for breach in breaches if breach.violation in _OF_MEASURE}


def _judged(gate: Gate, briefing: Briefing, answer: Answer) -> Gated:
    if briefing.closed:
        return gate.diagnosis(answer, single=briefing.single)
    return gate.report(answer)


def _remaining(consultation: Consultation, made: Draft) -> set[str]:
    """The measures that the finished draft violates, found by reading its words anew."""
    positions = {p.finding.label: p for p in assessed(positions_of(consultation.opinions))}
    lexicon = Lexicon(Term(label, position.finding.text) for label, position in positions.items())
    said = {
        (mention.label, mention.presence)
        for statement in (*made.findings, *made.impression)
        for mention in mentions(statement.text, lexicon)
    }
    recalled = {label for case in consultation.cases for label in case.labels}
    return set(_faults(said, positions, recalled))


def _faults(
    said: set[tuple[str, Presence]], positions: dict[str, Position], recalled: set[str]
) -> Iterator[str]:
    for label, presence in said:
        held = positions[label].presence if label in positions else None
        if presence is Presence.ABSENT and held is Presence.PRESENT:
            yield MEASURES[0]
        elif presence is not Presence.ABSENT and held in (None, Presence.ABSENT):
            yield MEASURES[3] if label in recalled else MEASURES[2]
    stated = {label for label, presence in said if presence is Presence.PRESENT}
    if any(p.presence is Presence.PRESENT and label not in stated for label, p in positions.items()):
        yield MEASURES[1]
