"""compare: what is held otherwise than in the patient's last study of the same kind, by the opinions and volumes of both."""

from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass

from gsco_pacs.domain.findings import Consultation, ModelIdentity, Presence, percent
from gsco_pacs.domain.priors import Comparison, Prior
from gsco_pacs.grounding.measured import volumes_compared
from gsco_pacs.grounding.positions import Position, Positions, classes, positions_of, side_by_side

_NAMED = 5
"""So many findings are told one by one."""
_ORDER = (Presence.PRESENT, Presence.UNCERTAIN, Presence.ABSENT)


@dataclass(frozen=True)
class _Held:
    """A position, and as what a report words it."""

    position: Position
    presence: Presence

    @property
    def word(self) -> str:
        if self.presence is Presence.ABSENT:
            return "absent" if self.position.deniable else "below its threshold"
        if self.presence is Presence.UNCERTAIN:
            return "possible"
        return "most likely" if self.position.finding.exclusive else "present"

    @property
    def estimate(self) -> str:
        exclusive = self.position.finding.exclusive
        return percent(self.position.mean if exclusive else self.position.probability)


def compare(consultation: Consultation, priors: Sequence[Prior]) -> Comparison | None:
    """The comparison with the newest of ``priors`` (newest first) of the same region; None if there is none.

    Nothing is read again: what is stored of the one study stands against what is stored of the other, and only what a
    specialist that is the same, to the byte, found out in both. Of the rest it is said that it cannot be compared.
    """
    prior = next((each for each in priors if each.consultation.region == consultation.region), None)
    if prior is None:
        return None
    then, date = prior.consultation, prior.study_date
    same = {model.name for model in consultation.specialists if model in then.specialists}
    both = same & _heard(then) & _heard(consultation)
    sentences = (
        *_opinions(_positions(then, both), _positions(consultation, both), date),
        *volumes_compared(then.measurements, consultation.measurements, both, date),
        *_not_compared(then, consultation, both, date),
    )
    return Comparison(prior.study_instance_uid, date, sentences, prior.images)


def _heard(consultation: Consultation) -> set[str]:
    """Who found something out: not one to whom every image was strange."""
    opinions = {opinion.specialist for opinion in consultation.opinions}
    return opinions | {measurement.specialist for measurement in consultation.measurements}


def _positions(consultation: Consultation, names: Collection[str]) -> Positions:
    return positions_of(opinion for opinion in consultation.opinions if opinion.specialist in names)


def _opinions(before: Positions, after: Positions, date: str) -> Iterator[str]:
    """What is held otherwise now; that nothing is, if opinions can be compared at all."""
    changed = list(_changes(before, after))
    if changed:
        yield f"Compared with the study of {date}: {_first(changed)}."
    elif _held(after):
        yield (
            f"No finding assessed in both studies is held otherwise than in the study of {date}; "
            "size and extent were not compared."
        )


def _changes(before: Positions, after: Positions) -> Iterator[str]:
    """Another likeliest class first, then each finding that is held otherwise, what is present now before the rest."""
    moved = list(_moved(before, after))
    yield from (f"{_estimated(old)} was likeliest then, {_estimated(new)} is now" for old, new in moved)
    told = {position.finding.label for pair in moved for position in pair}
    was, now = _held(before), _held(after)
    pairs = [(was[label], now[label]) for label in now if label in was and label not in told]
    for old, new in sorted(pairs, key=lambda pair: _ORDER.index(pair[1].presence)):
        if old.presence is not new.presence:
            text = new.position.finding.text
            yield f"{text}, {old.word} then ({old.estimate}), is {new.word} now ({new.estimate})"


def _moved(before: Positions, after: Positions) -> Iterator[tuple[Position, Position]]:
    """Of findings that exclude one another the likeliest then and now, if it is another one."""
    leading = {frozenset(p.finding.label for p in group): group[0] for group in classes(before)}
    for group in classes(after):
        old = leading.get(frozenset(position.finding.label for position in group))
        if old is not None and old.finding.label != group[0].finding.label:
            yield old, group[0]


def _held(positions: Positions) -> dict[str, _Held]:
    """As what each finding is worded: of those that exclude one another the likeliest is at least possible, no other more."""
    held: dict[str, _Held] = {}
    for likeliest, *others in classes(positions):
        sure = likeliest.presence is Presence.PRESENT
        held[likeliest.finding.label] = _Held(likeliest, Presence.PRESENT if sure else Presence.UNCERTAIN)
        for other in others:
            absent = other.presence is Presence.ABSENT
            held[other.finding.label] = _Held(other, Presence.ABSENT if absent else Presence.UNCERTAIN)
    alone = side_by_side(positions).items()
    return held | {label: _Held(p, p.presence) for label, p in alone if not p.finding.normal}


def _not_compared(then: Consultation, now: Consultation, both: Collection[str], date: str) -> Iterator[str]:
    """Who assessed one of the studies alone, and what is not absent to them."""
    heard, assessed = _heard(now), _heard(then)
    new = [model for model in now.specialists if model.name in heard - set(both)]
    old = [model for model in then.specialists if model.name in assessed - heard]
    readers = [model for model in then.specialists if model.name in assessed]
    if new:
        by = f", which was read by {_names(readers)}" if readers else ""
        yield (
            f"{_names(new)} did not assess the study of {date}{by}, so what was found now cannot be compared"
            f"{_found(now, new)}."
        )
    if old:
        yield (
            f"{_names(old)} did not assess this study, so what was found in that of {date} cannot be compared"
            f"{_found(then, old)}."
        )


def _found(consultation: Consultation, models: Sequence[ModelIdentity]) -> str:
    held = _held(_positions(consultation, [model.name for model in models])).values()
    found = [
        f"{h.position.finding.text} {h.word} ({h.estimate})"
        for h in held
        if h.presence is not Presence.ABSENT
    ]
    return f": {_first(found)}" if found else ""


def _first(told: Sequence[str]) -> str:
    more = len(told) - _NAMED
    return "; ".join([*told[:_NAMED], *([f"{more} more"] if more > 0 else [])])


def _estimated(position: Position) -> str:
    return f"{position.finding.text} ({percent(position.mean)})"


def _names(models: Iterable[ModelIdentity]) -> str:
    return " and ".join(f"{model.name} {model.version}" for model in models)
