"""Words the measured volumes: one sentence for the findings, and what they do not say."""

from collections.abc import Sequence

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


def _labels(measurements: Sequence[Measurement]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(one.segment.finding.label for one in measurements))


def _basis(measurements: Sequence[Measurement]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(f"{one.specialist} segmentation" for one in measurements))
