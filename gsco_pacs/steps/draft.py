"""draft: asks the generalist, lets stand what the opinions support, and words the rest from the opinions."""

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from importlib.resources import files
from string import Template

from gsco_pacs.domain.findings import (
    Answer,
    Aside,
    Briefing,
    Consultation,
    Draft,
    Mode,
    ModelIdentity,
    Opinion,
    Presence,
    Statement,
)
from gsco_pacs.grounding.gate import FORMAL, Breach, Gate, Gated
from gsco_pacs.grounding.measured import measured, not_judged
from gsco_pacs.grounding.positions import Position, Positions, assessed, classes, positions_of, side_by_side
from gsco_pacs.grounding.wording import (
    NAME,
    finding_statements,
    impression,
    not_assessed,
    wording_identity,
)
from gsco_pacs.ports import Generalist, Picture

_RETRY = "retry-v1"
_ORDER = (Presence.PRESENT, Presence.UNCERTAIN, Presence.ABSENT)


@dataclass(frozen=True)
class _Attempt:
    answer: Answer
    gated: Gated


def draft(
    briefing: Briefing, consultation: Consultation, generalist: Generalist, pictures: Sequence[Picture]
) -> Draft:
    """The gated draft: the generalist's sentences that stand, else (and beside them) the structured wording.

    The generalist is asked at most twice, the second time with its violations named; in the mode ``specialists``
    it is not asked at all. Whatever it says, a finding that the specialists hold present or uncertain is in the
    draft as just that, and nothing that they do not support is. Volumes are worded here in any mode; where nothing but
    volumes is known, the generalist has nothing to say. What a specialist must not assess is said to be not assessed.
    Raises what ``generalist.answer`` raises.
    """
    made = _worded(briefing, consultation, generalist, pictures)
    made = replace(made, findings=(*made.findings, *not_assessed(consultation.unassessed)))
    measurements = consultation.measurements
    if not measurements:
        return made
    alone = () if not consultation.opinions else made.impression
    return replace(
        made,
        findings=(*made.findings, measured(measurements)),
        impression=(*alone, not_judged(measurements)),
    )


def _worded(
    briefing: Briefing, consultation: Consultation, generalist: Generalist, pictures: Sequence[Picture]
) -> Draft:
    positions = positions_of(consultation.opinions)
    if briefing.mode is Mode.SPECIALISTS or (consultation.measurements and not positions):
        return _drafted(positions, wording_identity(), None, Gated((), (), ()))
    recalled = frozenset(label for case in consultation.cases for label in case.labels)
    gate = Gate(positions, briefing.options, recalled)
    attempts = list(_attempts(briefing, generalist, pictures, gate))
    if attempts[0].answer.model.name == NAME:  # it has no words of its own, so its silence is no violation
        return _drafted(positions, generalist.identity, attempts[0].answer, Gated((), (), ()))
    usable = [attempt for attempt in attempts if not attempt.gated.blocked]
    best = usable[-1] if usable else attempts[-1]
    made = _drafted(positions, generalist.identity, best.answer, best.gated)
    disputes = [sentence for attempt in attempts for sentence in gate.disputes(attempt.gated)]
    objections = [breach.objection for attempt in attempts for breach in attempt.gated.breaches]
    return replace(
        made,
        disagreements=tuple(dict.fromkeys((*disputes, *made.disagreements))),
        objections=tuple(dict.fromkeys(objections)),
        failures=sum(attempt.gated.unreadable for attempt in attempts),
    )


def ask(
    briefing: Briefing, consultation: Consultation, generalist: Generalist, pictures: Sequence[Picture]
) -> Aside:
    """What the generalist answers to ``briefing``, asked as for a draft but for the record alone."""
    begun = time.perf_counter()
    recalled = frozenset(label for case in consultation.cases for label in case.labels)
    gate = Gate(positions_of(consultation.opinions), briefing.options, recalled)
    attempts = list(_attempts(briefing, generalist, pictures, gate))
    return Aside(
        briefing=briefing,
        answers=tuple(attempt.answer for attempt in attempts),
        named=attempts[-1].gated.named,
        failures=sum(attempt.gated.unreadable for attempt in attempts),
        seconds=time.perf_counter() - begun,
    )


def _attempts(
    briefing: Briefing, generalist: Generalist, pictures: Sequence[Picture], gate: Gate
) -> Iterator[_Attempt]:
    first = _attempt(briefing, generalist, pictures, gate)
    yield first
    reasons = _tellable(briefing, first.gated)
    if reasons and first.answer.model.name != NAME:
        text = files("gsco_pacs").joinpath("prompts", f"{_RETRY}.txt").read_text(encoding="utf-8")
        again = Template(text).substitute(reasons="; ".join(reasons))
        second = replace(briefing, prompt=f"{briefing.prompt}\n{again}", constrained=briefing.closed)
        yield _attempt(second, generalist, pictures, gate)


def _attempt(briefing: Briefing, generalist: Generalist, pictures: Sequence[Picture], gate: Gate) -> _Attempt:
    answer = generalist.answer(briefing, pictures)
    if briefing.closed:
        return _Attempt(answer, gate.diagnosis(answer, single=briefing.single))
    return _Attempt(answer, gate.report(answer))


def _tellable(briefing: Briefing, gated: Gated) -> tuple[str, ...]:
    """The violations in closed words; what the specialists hold only if the briefing has shown it.

    A diagnosis is asked for again only if it could not be read: the generalist may differ, it is not talked round.
    """
    everything = briefing.mode.opinions_shown and not briefing.closed
    told = (breach for breach in gated.breaches if everything or breach.violation in FORMAL)
    return tuple(dict.fromkeys(_told(breach) for breach in told))


def _told(breach: Breach) -> str:
    """The reason without the quoted sentence, so that nothing the model made up comes back as an instruction."""
    return breach.objection.reason


def _drafted(positions: Positions, identity: ModelIdentity, answer: Answer | None, gated: Gated) -> Draft:
    kept = () if gated.blocked else tuple(_once(gated.statements))
    covered = {label for statement in kept for label in statement.labels}
    added = tuple(
        _seconded(statement, () if gated.blocked else gated.named)
        for statement in finding_statements(positions)
        if not covered & set(statement.labels) and (not kept or statement.presence is not Presence.ABSENT)
    )
    return Draft(
        findings=tuple(sorted((*kept, *added), key=lambda s: _place(s, positions))),
        impression=impression(positions),
        disagreements=tuple(_among_specialists(positions)),
        objections=(),
        generalist=identity,
        answer=answer,
        wording="generalist" if kept else NAME,
    )


def _once(statements: Sequence[Statement]) -> Iterator[Statement]:
    said: set[str] = set()
    for statement in statements:
        if not said & set(statement.labels):
            yield statement
        said.update(statement.labels)


def _place(statement: Statement, positions: Positions) -> tuple[int, int]:
    order = list(positions)
    return _ORDER.index(statement.presence), min(order.index(label) for label in statement.labels)


def _seconded(statement: Statement, named: Sequence[str]) -> Statement:
    if set(statement.labels) & set(named):
        return replace(statement, basis=(*statement.basis, "named by the generalist"))
    return statement


def _among_specialists(positions: Positions) -> Iterator[str]:
    alone = side_by_side(positions)
    for position in alone.values():
        if position.disputed:
            yield f"The specialists disagree on {position.finding.text}: {position.holders}."
    found = assessed(alone, Presence.PRESENT)
    for position in alone.values():
        if position.finding.normal and found and position.presence is Presence.PRESENT:
            words = " and ".join(p.finding.text for p in found)
            yield f"{position.holders} holds that nothing is found, against {words}."
    for group in classes(positions):
        yield from _among_members(group)


def _among_members(group: Sequence[Position]) -> Iterator[str]:
    """One sentence if the specialists on one question do not all hold the same answer the likeliest."""
    leaders: dict[str, Opinion] = {}
    for opinion in (opinion for position in group for opinion in position.opinions):
        known = leaders.get(opinion.specialist)
        if known is None or opinion.probability > known.probability:
            leaders[opinion.specialist] = opinion
    if len({leader.finding.label for leader in leaders.values()}) > 1:
        held = (f"{o.specialist} {o.finding.text} ({o.probability:.2f})" for o in leaders.values())
        yield f"The specialists disagree on what is most likely: {', '.join(held)}."
