"""Words the measured volumes: a sentence for the findings, what they do not say, and how they differ from earlier ones."""

from collections.abc import Collection, Iterator, Sequence

from gsco_pacs.domain.findings import Measurement, Presence, Statement

NO_NORM = "The measured volumes were not compared with a norm."


def measured(measurements: Sequence[Measurement]) -> Statement:
    """Such as "Measured volumes: anterior hippocampus 1.69 mL, posterior hippocampus 1.56 mL."."""
    sizes = [
        f"{one.segment.finding.text} {one.volume_mm3 / 1000:.2f} mL ({one.volume_mm3:.0f} mm3)"
        for one in measurements
    ]
    return Statement(
        f"Measured volumes: {', '.join(sizes)}.",
        _labels(measurements),
        Presence.PRESENT,
        _basis(measurements),
    )


def not_judged(measurements: Sequence[Measurement]) -> Statement:
    """That a volume alone says nothing about health."""
    return Statement(NO_NORM, _labels(measurements), Presence.UNCERTAIN, _basis(measurements))


def volumes_compared(
    then: Sequence[Measurement], now: Sequence[Measurement], specialists: Collection[str], date: str
) -> Iterator[str]:
    """How what each of ``specialists`` measured in both studies differs; where a study holds several volumes, that it is not said."""
    for name in specialists:
        old, new = ([one for one in each if one.specialist == name] for each in (then, now))
        if not old or not new:
            continue
        if max(len(old), len(new)) > len(_labels([*old, *new])):
            yield f"A study holds several volumes that {name} measured, so they were not compared with those of {date}."
            continue
        before = {one.segment.finding.label: one.volume_mm3 for one in old}
        told = [_difference(one, before[one.segment.finding.label]) for one in new]
        yield (
            f"Measured volumes compared with the study of {date}: {'; '.join(told)}. "
            "How far two measurements of the same structure differ is not known."
        )


def _difference(now: Measurement, before: float) -> str:
    """Such as "anterior hippocampus 2.60 mL then, 1.20 mL now (-1.40 mL, -54 %)"."""
    difference = now.volume_mm3 - before
    share = f", {100 * difference / before:+.0f} %" if before else ""
    return (
        f"{now.segment.finding.text} {before / 1000:.2f} mL then, {now.volume_mm3 / 1000:.2f} mL now "
        f"({difference / 1000:+.2f} mL{share})"
    )


def _labels(measurements: Sequence[Measurement]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(one.segment.finding.label for one in measurements))


def _basis(measurements: Sequence[Measurement]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(f"{one.specialist} segmentation" for one in measurements))
