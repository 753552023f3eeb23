"""reply: asks the generalist a person's question and names what in its answer goes against the specialists."""

import re
from collections.abc import Iterator, Sequence

from gsco_pacs.domain.findings import Answer, Briefing, Consultation, Presence, Statement
from gsco_pacs.domain.question import Reply
from gsco_pacs.grounding.gate import VERDICTS, Gate, Violation
from gsco_pacs.grounding.labeller import Mention, mentions
from gsco_pacs.grounding.lexicon import Lexicon, Term
from gsco_pacs.grounding.positions import Positions, positions_of
from gsco_pacs.grounding.wording import NAME, positive_statement, uncertain_statement
from gsco_pacs.ports import Generalist, Picture

_AGAINST = frozenset(
    {Violation.DENIED, Violation.INVENTED, Violation.LEAKED, Violation.OVERSTATED, Violation.UNDERSTATED,
     Violation.PLAYED_DOWN}
)  # fmt: skip
_SHORT = re.compile(r"\W*(yes|no)\b", re.IGNORECASE)
_OPPOSITE = {Presence.PRESENT: Presence.ABSENT, Presence.ABSENT: Presence.PRESENT}


def reply(
    question: str,
    briefing: Briefing,
    consultation: Consultation,
    generalist: Generalist,
    pictures: Sequence[Picture],
) -> Reply:
    """The answer to ``question``, which stands in the prompt of ``briefing``; raises what ``generalist.answer`` raises.

    Without a language model it says what the specialists hold on the findings that the question names.
    """
    positions = positions_of(consultation.opinions)
    asked = mentions(question, _lexicon(positions))
    answer = generalist.answer(briefing, pictures)
    worded = answer.model.name == NAME
    recalled = frozenset(label for case in consultation.cases for label in case.labels)
    gate = Gate(positions, briefing.options, recalled)
    return Reply(
        text=_from_opinions(positions, asked) if worded else answer.text,
        model=answer.model,
        image_seen=answer.image_seen,
        finished=answer.finished,
        contradictions=() if worded else tuple(_contradictions(answer, asked, positions, gate)),
        prompt=briefing.prompt,
        template=briefing.template,
        template_sha256=briefing.template_sha256,
    )


def _lexicon(positions: Positions) -> Lexicon:
    return Lexicon(Term(label, position.finding.text) for label, position in positions.items())


def _from_opinions(positions: Positions, asked: Sequence[Mention]) -> str:
    labels = dict.fromkeys(mention.label for mention in asked if mention.label in positions)
    said = [_held(positions, label).text for label in labels]
    if said:
        return " ".join([*said, "(What the specialists hold; no language model is configured.)"])
    known = ", ".join(position.finding.text for position in positions.values() if not position.finding.normal)
    return (
        "No language model is configured, so nothing but the specialists' opinions can be told, and the question "
        f"names no finding that they judge. They judge: {known or 'none'}."
    )


def _held(positions: Positions, label: str) -> Statement:
    position = positions[label]
    if position.presence is Presence.PRESENT:
        return positive_statement(position)
    if position.presence is Presence.UNCERTAIN:
        return uncertain_statement(position)
    held = "is held absent by" if position.deniable else "is below its threshold to"
    text = f"{position.finding.text} {held} {position.holders}."
    return Statement(text[:1].upper() + text[1:], (label,), Presence.ABSENT, position.basis)


def _contradictions(
    answer: Answer, asked: Sequence[Mention], positions: Positions, gate: Gate
) -> Iterator[str]:
    told: dict[str, str] = {}
    for breach in gate.report(answer).breaches:
        if breach.violation in _AGAINST and breach.sentence and breach.label in positions:
            told[breach.label] = (
                f'"{breach.objection.sentence}" {_against(breach.violation, positions, breach.label)}'
            )
    short = _SHORT.match(answer.text)
    if short and len(asked) == 1 and asked[0].label in positions and asked[0].label not in told:
        yield from _short_answer(short[1].lower(), asked[0], positions)
    yield from told.values()


def _short_answer(word: str, asked: Mention, positions: Positions) -> Iterator[str]:
    """A "yes" or "no" to a question about one finding states or denies it."""
    held = positions[asked.label].presence
    said = asked.presence if word == "yes" else _OPPOSITE.get(asked.presence)
    violation = VERDICTS[said, held] if said else None
    if violation in _AGAINST:
        yield f'"{word.capitalize()}" {_against(violation, positions, asked.label)}'


def _against(violation: Violation, positions: Positions, label: str) -> str:
    position = positions[label]
    return f"{violation}: {position.finding.text}, {position.presence} to {position.holders}."
