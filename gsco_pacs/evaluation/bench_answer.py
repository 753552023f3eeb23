"""How fast a generalist answers on this machine and how much memory that takes."""

import resource
import time
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median

import numpy as np

from gsco_pacs.domain.findings import Finding, Mode
from gsco_pacs.evaluation.honesty import synthetic_consultations
from gsco_pacs.ports import Generalist, Picture
from gsco_pacs.steps.brief import brief


@dataclass(frozen=True)
class Speed:
    """Of one generalist and template."""

    name: str
    template: str
    first: float
    """Seconds of the first answer, loading included."""
    then: float
    """Seconds of the median of the others."""
    memory: int
    """Highest resident memory of the process so far, in bytes."""


def answer_speed(
    generalist: Generalist, findings: tuple[Finding, ...], templates: Sequence[str], n: int
) -> list[Speed]:
    """Ask ``n`` synthetic briefings in each template, each with a picture of noise."""
    speeds = []
    for template in templates:
        seconds = []
        for number, consultation in enumerate(synthetic_consultations(findings, n, seed=1)):
            pixels = np.random.default_rng(number).random((512, 512)).astype(np.float32)
            briefing = brief(consultation, findings, Mode.MOED_RAD, template)
            start = time.perf_counter()
            generalist.answer(briefing, [Picture("", pixels)])
            seconds.append(time.perf_counter() - start)
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
        then = median(seconds[1:] or seconds)
        speeds.append(Speed(generalist.identity.name, template, seconds[0], then, peak))
    return speeds


def table(speeds: Sequence[Speed]) -> str:
    """The speeds as a Markdown table."""
    lines = ["| Generalist | Template | First answer | Each further | Peak memory |", "|---|---|---|---|---|"]
    for speed in speeds:
        cells = (f"{speed.first:.1f} s", f"{speed.then:.2f} s", f"{speed.memory / 1e9:.2f} GB")
        lines.append(f"| {speed.name} | {speed.template} | {' | '.join(cells)} |")
    return "\n".join(lines)
