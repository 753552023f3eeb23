"""refer: decides whether the case needs the generalist, from what the specialists and their reference cases say."""

from collections import defaultdict
from collections.abc import Iterator, Sequence

from gsco_pacs.domain.familiarity import Familiarity
from gsco_pacs.domain.findings import Opinion, Presence, Referral, SimilarCase, percent
from gsco_pacs.grounding.positions import Position, positions_of
from gsco_pacs.settings.routes import GateSettings


def refer(
    opinions: Sequence[Opinion],
    cases: Sequence[SimilarCase],
    familiarity: Sequence[Familiarity],
    gate: GateSettings,
) -> Referral:
    """Whether the generalist is asked under the policy of ``gate``, and every reason for it, or for not asking.

    Under ``when_unsure`` it is asked if a specialist is not sure enough, if specialists contradict each other, if the
    similar cases do not bear them out, or if even the nearest reference cases are far away. Without any opinion there
    is nothing that its answer could be held against, so it is never asked.
    """
    if not opinions:
        return Referral(made=False, reasons=("no specialist gave an opinion",))
    if gate.policy != "when_unsure":
        return Referral(gate.policy == "always", (f"the gate is set to {gate.policy} ask",))
    exclusive = [opinion for opinion in opinions if opinion.finding.exclusive]
    others = [opinion for opinion in opinions if not opinion.finding.exclusive]
    doubts = (
        *_doubts_on_classes(exclusive, cases, gate),
        *_doubts_on_findings(others, cases, gate),
        *_far(familiarity, gate),
    )
    return Referral(bool(doubts), doubts or ("the specialists are sure, agree, and know such images",))


def _doubts_on_classes(
    opinions: Sequence[Opinion], cases: Sequence[SimilarCase], gate: GateSettings
) -> Iterator[str]:
    """For findings of which exactly one applies: all specialists on the same classes together."""
    by_specialist: dict[str, list[Opinion]] = defaultdict(list)
    for opinion in opinions:
        by_specialist[opinion.specialist].append(opinion)
    by_classes: dict[frozenset[str], list[str]] = defaultdict(list)
    for specialist, own in by_specialist.items():
        by_classes[frozenset(opinion.finding.label for opinion in own)].append(specialist)
    for specialists in by_classes.values():
        leaders = [
            max(by_specialist[name], key=lambda o: (o.probability, o.finding.label)) for name in specialists
        ]
        labels = sorted({leader.finding.label for leader in leaders})
        if len(labels) > 1:
            yield f"the specialists disagree: {' and '.join(labels)} lead"
        for leader in leaders:
            if leader.probability < gate.confident_from:
                yield f"{leader.specialist} is sure of {leader.finding.text} to {percent(leader.probability)} only"
            yield from _unborne([leader], cases, gate, present=True)


def _doubts_on_findings(
    opinions: Sequence[Opinion], cases: Sequence[SimilarCase], gate: GateSettings
) -> Iterator[str]:
    """For findings that may stand side by side: each position on its own."""
    for position in positions_of(opinions).values():
        if position.finding.normal:
            continue
        if position.disputed:
            yield f"the specialists disagree on {position.finding.text}"
        yield from _unsure(position, gate)
        if position.presence is not Presence.UNCERTAIN:
            yield from _unborne(position.opinions, cases, gate, present=position.presence is Presence.PRESENT)


def _unsure(position: Position, gate: GateSettings) -> Iterator[str]:
    for opinion in position.opinions:
        sure = max(opinion.probability, 1 - opinion.probability)
        if opinion.presence is Presence.UNCERTAIN and sure < gate.confident_from:
            yield f"{opinion.specialist} is uncertain of {opinion.finding.text} ({percent(opinion.probability)})"


def _unborne(
    opinions: Sequence[Opinion], cases: Sequence[SimilarCase], gate: GateSettings, *, present: bool
) -> Iterator[str]:
    """A doubt if too few of the similar cases show what is held present, or are free of what is held absent."""
    finding = opinions[0].finding
    specialists = {opinion.specialist for opinion in opinions}
    recalled = [case for case in cases if case.specialist in specialists]
    shown = sum(finding.label in case.labels for case in recalled)
    agreeing = shown if present else len(recalled) - shown
    if recalled and agreeing < gate.agreeing_cases * len(recalled):
        held = "present" if present else "absent"
        yield f"{finding.text} is held {held}, but {shown} of {len(recalled)} similar cases show it"


def _far(familiarity: Sequence[Familiarity], gate: GateSettings) -> Iterator[str]:
    for each in familiarity:
        near = each.familiar_from if gate.similar_from is None else gate.similar_from
        if near is not None and each.similarity < near:
            yield (
                f"the reference cases of {each.specialist} are far: "
                f"similarity {each.similarity:.2f}, near from {near:.2f}"
            )
