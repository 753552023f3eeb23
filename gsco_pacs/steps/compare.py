"""compare: what has changed since the patient's last study of the same kind, by the opinions on both."""

from collections.abc import Iterable, Iterator, Sequence

from gsco_pacs.domain.findings import Consultation, ModelIdentity, Presence, percent
from gsco_pacs.domain.priors import Comparison, Prior
from gsco_pacs.grounding.positions import Position, Positions, classes, positions_of, side_by_side

_NAMED = 5
"""So many changes are told one by one."""
_WORDS = {Presence.PRESENT: "present", Presence.UNCERTAIN: "possible", Presence.ABSENT: "absent"}
_ORDER = (Presence.PRESENT, Presence.UNCERTAIN, Presence.ABSENT)


def compare(consultation: Consultation, priors: Sequence[Prior]) -> Comparison | None:
    """The comparison with the newest of ``priors`` (newest first) of the same region; None if there is none.

    Nothing is read again: stored opinions stand against stored opinions, and only those of a specialist that was the
    same, to the byte, on both days.
    """
    prior = next((each for each in priors if each.consultation.region == consultation.region), None)
    if prior is None:
        return None
    then = prior.consultation
    same = [model.name for model in consultation.specialists if model in then.specialists]
    sentences = list(_changes(then, consultation, same, prior.study_date)) if same else []
    others = [model for model in consultation.specialists if model.name not in same]
    if others:
        sentences.append(
            f"The study of {prior.study_date} was read by {_names(then.specialists)}: "
            f"what {_names(others)} {'holds' if len(others) == 1 else 'hold'} now cannot be compared with it."
        )
    return Comparison(prior.study_instance_uid, prior.study_date, tuple(sentences), prior.images)


def _changes(then: Consultation, now: Consultation, same: Sequence[str], date: str) -> Iterator[str]:
    before, after = (
        positions_of(opinion for opinion in consultation.opinions if opinion.specialist in same)
        for consultation in (then, now)
    )
    changed = [*_of_classes(before, after), *_of_findings(side_by_side(before), side_by_side(after))]
    if not changed:
        yield f"No assessed finding has changed since the study of {date}."
        return
    more = len(changed) - _NAMED
    told = [*changed[:_NAMED], *([f"{more} more"] if more > 0 else [])]
    yield f"Compared with the study of {date}: {'; '.join(told)}."


def _of_findings(before: Positions, after: Positions) -> Iterator[str]:
    """Findings that are held otherwise now, what is present now first."""
    changed = [
        (before[label], position)
        for label, position in after.items()
        if label in before and not position.finding.normal and before[label].presence is not position.presence
    ]
    for old, new in sorted(changed, key=lambda pair: _ORDER.index(pair[1].presence)):
        yield (
            f"{new.finding.text}, {_WORDS[old.presence]} then ({percent(old.probability)}), "
            f"is {_WORDS[new.presence]} now ({percent(new.probability)})"
        )


def _of_classes(before: Positions, after: Positions) -> Iterator[str]:
    """Of findings that exclude one another the likeliest, if it is another one now."""
    leading = {frozenset(p.finding.label for p in group): group[0] for group in classes(before)}
    for group in classes(after):
        old = leading.get(frozenset(position.finding.label for position in group))
        if old is not None and old.finding.label != group[0].finding.label:
            yield f"{_likeliest(old)} was likeliest then, {_likeliest(group[0])} is now"


def _likeliest(position: Position) -> str:
    return f"{position.finding.text} ({percent(position.mean)})"


def _names(models: Iterable[ModelIdentity]) -> str:
    return " and ".join(f"{model.name} {model.version}" for model in models)
