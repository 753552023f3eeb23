"""Words the opinions themselves: the draft that needs no language model and cannot say more than they do."""

import hashlib
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from statistics import fmean

from gsco_pacs import __version__
from gsco_pacs.domain.findings import Exclusion, ModelIdentity, Presence, Statement, percent
from gsco_pacs.grounding.concepts import concept_of
from gsco_pacs.grounding.positions import Position, Positions, assessed, classes, side_by_side

NAME = "structured"

DOUBTS = 5
"""At most so many findings are called possible by name; all of them stand among the opinions."""

NEGATIVES = 3
"""At most so many findings are denied by name; nobody reads a list of everything that is absent."""


def wording_identity() -> ModelIdentity:
    """The structured wording as the author of a draft; its hash is that of its rules."""
    return ModelIdentity(NAME, __version__, hashlib.sha256(Path(__file__).read_bytes()).hexdigest())


def finding_statements(positions: Positions) -> tuple[Statement, ...]:
    """One sentence for each finding that is present, one for all that are in doubt, one for the negatives that matter.

    Where exactly one finding applies: one sentence for the likeliest, one for what else is possible, no denials.
    """
    alone = side_by_side(positions)
    positive = [positive_statement(p) for p in assessed(alone, Presence.PRESENT)]
    uncertain = assessed(alone, Presence.UNCERTAIN)
    doubted = [_doubted(uncertain, estimated=True)] if uncertain else []
    of_classes = [line for group in classes(positions) for line in _of_classes(group, estimated=True)]
    return (*of_classes, *positive, *doubted, *_negatives(assessed(alone, Presence.ABSENT)))


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
    groups, alone = classes(positions), side_by_side(positions)
    present = assessed(alone, Presence.PRESENT)
    uncertain = assessed(alone, Presence.UNCERTAIN)
    named = [_listing("", present, Presence.PRESENT)] if present else []
    named += [_doubted(uncertain, estimated=False)] if uncertain else []
    if not named and (alone or not groups):
        named = [nothing_found(alone)]
    return (*(line for group in groups for line in _of_classes(group, estimated=False)), *named)


def nothing_found(positions: Positions) -> Statement:
    """Such as "None of the 14 assessed findings reaches its threshold": never "normal", which nobody has looked for."""
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
        f"None of the {len(found)} assessed {noun} reaches its threshold.", labels, Presence.ABSENT, basis
    )


def not_assessed(exclusions: Iterable[Exclusion]) -> tuple[Statement, ...]:
    """Such as "Not assessed by cxr_findings: the image is unlike its reference images": one for each bundle."""
    images = Counter(exclusion.strange_to for exclusion in exclusions)
    return tuple(
        Statement(
            f"Not assessed by {bundle}: the {'image is' if n == 1 else 'images are'} unlike its reference images.",
            (),
            Presence.UNCERTAIN,
            (),
        )
        for bundle, n in images.items()
    )


def _of_classes(group: Sequence[Position], *, estimated: bool) -> Iterator[Statement]:
    """Such as "Most likely glioma; the specialist's estimate is 83 %." and "Also possible: meningioma (12 %)."."""
    leader, *others = group
    sure = leader.presence is Presence.PRESENT
    text = f"{'Most likely' if sure else 'Possibly'} {leader.finding.text}"
    text += f"; {_estimate(leader)}." if estimated else "."
    presence = Presence.PRESENT if sure else Presence.UNCERTAIN
    yield Statement(text, (leader.finding.label,), presence, leader.basis)
    possible = tuple(position for position in others if position.presence is not Presence.ABSENT)
    if possible:
        words = [
            f"{p.finding.text} ({_percents(p, 'or')})" if estimated else p.finding.text for p in possible
        ]
        labels = tuple(position.finding.label for position in possible)
        basis = tuple(line for position in possible for line in position.basis)
        yield Statement(f"Also possible: {_joined(words, 'or')}.", labels, Presence.UNCERTAIN, basis)


def _doubted(positions: tuple[Position, ...], *, estimated: bool) -> Statement:
    """Such as "Pneumonia and atelectasis are possible; the estimates are 31 % and 10 %."; the likeliest by name."""
    if len(positions) == 1:
        alone = uncertain_statement(positions[0])
        return alone if estimated else replace(alone, text=f"Possible {positions[0].finding.text}.")
    likeliest = sorted(positions, key=_mean, reverse=True)[:DOUBTS]
    named = tuple(position for position in positions if position in likeliest)
    text = _listing("", named, Presence.UNCERTAIN, " are possible").text[:-1]
    if estimated:
        means = "mean estimates" if any(len(position.opinions) > 1 for position in named) else "estimates"
        text += f"; the {means} are {_joined([percent(_mean(position)) for position in named], 'and')}"
    if further := len(positions) - len(named):
        text += f"; {further} further finding{'s are' if further > 1 else ' is'} less likely"
    whole = _listing("", positions, Presence.UNCERTAIN, " are possible")
    return replace(whole, text=f"{text}.")


def _mean(position: Position) -> float:
    return fmean(opinion.probability for opinion in position.opinions)


def _estimate(position: Position) -> str:
    estimates = _percents(position, "and")
    whose = "specialist's estimate is" if len(position.opinions) == 1 else "specialists' estimates are"
    return f"the {whose} {estimates}"


def _percents(position: Position, conjunction: str) -> str:
    """Each estimate; of more than two the mean and the number."""
    if len(position.opinions) > 2:
        return f"{percent(_mean(position))} on average of {len(position.opinions)}"
    return _joined([percent(opinion.probability) for opinion in position.opinions], conjunction)


def _negatives(absent: Iterable[Position]) -> Iterable[Statement]:
    deniable = [position for position in absent if position.deniable]
    ranked = sorted(deniable, key=lambda position: not _worth_denying(position))[:NEGATIVES]
    if ranked:
        yield _listing("No ", tuple(ranked), Presence.ABSENT, " identified", "or")


def _listing(
    prefix: str,
    positions: tuple[Position, ...],
    presence: Presence,
    ending: str = "",
    conjunction: str = "and",
) -> Statement:
    joined = _joined([position.finding.text for position in positions], conjunction)
    labels = tuple(position.finding.label for position in positions)
    basis = tuple(line for position in positions for line in position.basis)
    return Statement(_capital(f"{prefix}{joined}{ending}."), labels, presence, basis)


def _joined(words: list[str], conjunction: str) -> str:
    return f" {conjunction} ".join([", ".join(words[:-1]), words[-1]]) if len(words) > 1 else words[0]


def _worth_denying(position: Position) -> bool:
    concepts = (concept_of(position.finding.label), concept_of(position.finding.text))
    return any(concept.negated_first for concept in concepts if concept)


def _plural(words: str) -> bool:
    return words.endswith("s") and not words.endswith(("ss", "is", "us", "ax"))


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]
