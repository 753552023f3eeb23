"""Words the opinions themselves: the draft that needs no language model and cannot say more than they do."""

import hashlib
from collections.abc import Iterable
from pathlib import Path

from gsco_pacs import __version__
from gsco_pacs.domain.findings import ModelIdentity, Presence, Statement
from gsco_pacs.grounding.concepts import concept_of
from gsco_pacs.grounding.positions import Position, Positions, assessed

NAME = "structured"
NEGATIVES = 3
"""At most so many findings are denied by name; nobody reads a list of everything that is absent."""


def wording_identity() -> ModelIdentity:
    """The structured wording as the author of a draft; its hash is that of its rules."""
    return ModelIdentity(NAME, __version__, hashlib.sha256(Path(__file__).read_bytes()).hexdigest())


def finding_statements(positions: Positions) -> tuple[Statement, ...]:
    """One sentence for each finding that is present or uncertain, and one for the negatives that matter."""
    positive = [positive_statement(p) for p in assessed(positions, Presence.PRESENT)]
    uncertain = [uncertain_statement(p) for p in assessed(positions, Presence.UNCERTAIN)]
    return (*positive, *uncertain, *_negatives(assessed(positions, Presence.ABSENT)))


def positive_statement(position: Position) -> Statement:
    """Such as "Pleural effusion is present; the specialist's estimate is 83 %"."""
    words = position.finding.text
    text = f"{_capital(words)} {'are' if _plural(words) else 'is'} present; {_estimate(position)}."
    return Statement(text, (position.finding.label,), Presence.PRESENT, position.basis)


def uncertain_statement(position: Position) -> Statement:
    """Such as "Possible pleural effusion; the specialist's estimate is 34 %"."""
    text = f"Possible {position.finding.text}; {_estimate(position)}."
    return Statement(text, (position.finding.label,), Presence.UNCERTAIN, position.basis)


def impression(positions: Positions) -> tuple[Statement, ...]:
    """The findings by name; if there are none, of how many that is said."""
    present = assessed(positions, Presence.PRESENT)
    named = [_listing("", present, Presence.PRESENT)] if present else []
    named += [
        _listing("Possible ", (p,), Presence.UNCERTAIN) for p in assessed(positions, Presence.UNCERTAIN)
    ]
    return tuple(named) if named else (nothing_found(positions),)


def nothing_found(positions: Positions) -> Statement:
    """Such as "No abnormality among the 14 assessed findings": never "normal", which nobody has looked for."""
    found = assessed(positions)
    labels = tuple(position.finding.label for position in found)
    basis = tuple(line for position in found for line in position.basis)
    if not found:
        return Statement("No finding was assessed.", (), Presence.UNCERTAIN, ())
    doubts = [p for p in positions.values() if p.finding.normal and p.presence is Presence.ABSENT]
    if doubts:
        text = (
            f"None of the {len(found)} assessed findings reaches its threshold, but the specialist's estimate "
            f"that there is no abnormality is only {percent(doubts[0].probability)}."
        )
        return Statement(text, labels, Presence.UNCERTAIN, doubts[0].basis)
    noun = "finding" if len(found) == 1 else "findings"
    return Statement(
        f"No abnormality among the {len(found)} assessed {noun}.", labels, Presence.ABSENT, basis
    )


def percent(probability: float) -> str:
    """A rounded percentage that never claims certainty."""
    if probability < 0.01:
        return "below 1 %"
    return "above 99 %" if probability > 0.99 else f"{probability:.0%}".replace("%", " %")


def _estimate(position: Position) -> str:
    estimates = " and ".join(percent(opinion.probability) for opinion in position.opinions)
    whose = "specialist's estimate is" if len(position.opinions) == 1 else "specialists' estimates are"
    return f"the {whose} {estimates}"


def _negatives(absent: Iterable[Position]) -> Iterable[Statement]:
    ranked = sorted(absent, key=lambda position: not _worth_denying(position))[:NEGATIVES]
    if ranked:
        yield _listing("No ", tuple(ranked), Presence.ABSENT, " identified", "or")


def _listing(
    prefix: str,
    positions: tuple[Position, ...],
    presence: Presence,
    ending: str = "",
    conjunction: str = "and",
) -> Statement:
    words = [position.finding.text for position in positions]
    joined = f" {conjunction} ".join([", ".join(words[:-1]), words[-1]]) if len(words) > 1 else words[0]
    labels = tuple(position.finding.label for position in positions)
    basis = tuple(line for position in positions for line in position.basis)
    return Statement(_capital(f"{prefix}{joined}{ending}."), labels, presence, basis)


def _worth_denying(position: Position) -> bool:
    concepts = (concept_of(position.finding.label), concept_of(position.finding.text))
    return any(concept.negated_first for concept in concepts if concept)


def _plural(words: str) -> bool:
    return words.endswith("s") and not words.endswith(("ss", "is", "us", "ax"))


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]
