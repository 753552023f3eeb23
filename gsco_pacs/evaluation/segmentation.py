"""How well a segmenter outlines structures in volumes that it has not learnt from, and how far its volumes are off."""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import date
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from gsco_pacs.adapters.bundle_format import EVALUATION
from gsco_pacs.adapters.labelled_images import Split
from gsco_pacs.adapters.labelled_volumes import read_volumes
from gsco_pacs.adapters.progress_bar import Told
from gsco_pacs.adapters.scores import dice
from gsco_pacs.adapters.segmentation_bundles import load_segmenter
from gsco_pacs.adapters.segmentation_format import SegmentEntry
from gsco_pacs.evaluation.metrics import Interval, bootstrap
from gsco_pacs.pixels.placing import voxel_volume

_TOGETHER = "all together"


@dataclass(frozen=True)
class SegmentFigures:
    """One segment's figures; volumes in mm³, found minus true."""

    label: str
    dice: Interval
    """Mean over the volumes."""
    lowest_dice: float
    true_volume: float
    """Mean over the volumes."""
    error: Interval
    """Mean of the absolute difference."""
    bias: Interval
    """Mean of the difference (Bland and Altman 1986)."""
    limits: tuple[float, float]
    """Limits of agreement: bias -/+ 1.96 standard deviations of the difference."""
    implausible: int
    """Volumes outside the plausible range, which the node would not report."""


@dataclass(frozen=True)
class SegmentationFigures:
    """The figures of a segmenter on one split."""

    name: str
    version: str
    weights_sha256: str
    module: str
    split: str
    evaluated: str
    n: int
    segments: tuple[SegmentFigures, ...]
    """Each alone, and then all of them together."""


def evaluate_segmenter(
    bundle: Path, folder: Path, progress: Told, *, split: Split = "test"
) -> SegmentationFigures:
    """Return the figures of the bundle on one split of ``folder`` and write them to docs/evaluation.json in it."""
    segmenter = load_segmenter(bundle)
    entries = segmenter.section.segments
    cases = list(read_volumes(folder, split, len(entries)))
    overlaps, found_mm3, true_mm3 = (np.zeros((len(cases), len(entries) + 1)) for _ in range(3))
    for row, case in enumerate(cases):
        found, size = segmenter.segment(case.volume), voxel_volume(case.volume.affine)
        for column, (ours, truth) in enumerate(
            zip(_masks(found, entries), _masks(case.truth, entries), strict=True)
        ):
            overlaps[row, column] = dice(ours, truth)
            found_mm3[row, column], true_mm3[row, column] = ours.sum() * size, truth.sum() * size
        progress(row + 1, len(cases), "")
    ranges = {entry.label: entry.plausible_mm3 for entry in entries}
    ranges[_TOGETHER] = (sum(low for low, _ in ranges.values()), sum(high for _, high in ranges.values()))
    names = [case.name for case in cases]
    figures = SegmentationFigures(
        name=segmenter.identity.name,
        version=segmenter.identity.version,
        weights_sha256=segmenter.identity.sha256,
        module=segmenter.section.module,
        split=split,
        evaluated=date.today().isoformat(),  # noqa: DTZ011 - the day on the wall
        n=len(cases),
        segments=tuple(
            _figures(
                label, overlaps[:, column], (found_mm3[:, column], true_mm3[:, column]), plausible, names
            )
            for column, (label, plausible) in enumerate(ranges.items())
        ),
    )
    (bundle / EVALUATION).parent.mkdir(exist_ok=True)
    (bundle / EVALUATION).write_text(json.dumps(asdict(figures), indent=1) + "\n", encoding="utf-8")
    return figures


def _masks(numbers: NDArray[np.uint8], entries: Sequence[SegmentEntry]) -> list[NDArray[np.bool_]]:
    """Each segment alone, and all of them together."""
    return [*(numbers == number for number in range(1, len(entries) + 1)), numbers > 0]


def _figures(
    label: str,
    overlaps: NDArray[np.float64],
    volumes: tuple[NDArray[np.float64], NDArray[np.float64]],
    plausible: tuple[float, float],
    names: list[str],
) -> SegmentFigures:
    found, true = volumes
    difference = found - true
    spread = 1.96 * float(difference.std(ddof=1)) if len(difference) > 1 else 0.0
    low, high = plausible
    return SegmentFigures(
        label=label,
        dice=bootstrap(lambda rows: float(overlaps[rows].mean()), names),
        lowest_dice=float(overlaps.min()),
        true_volume=float(true.mean()),
        error=bootstrap(lambda rows: float(np.abs(difference[rows]).mean()), names),
        bias=bootstrap(lambda rows: float(difference[rows].mean()), names),
        limits=(float(difference.mean() - spread), float(difference.mean() + spread)),
        implausible=int(((found < low) | (found > high)).sum()),
    )


def segmentation_table(figures: SegmentationFigures, machine: str) -> str:
    """The figures as Markdown, for the model card, the documentation and the terminal."""
    lines = [
        f"{figures.name} {figures.version} (weights sha256 `{figures.weights_sha256[:12]}`) on {figures.module}, split "
        f"{figures.split}: {figures.n} volumes, {figures.evaluated}, {machine}. In brackets: 95 % intervals, bootstrap over "
        "volumes, 1000 rounds. Volumes in mm³; difference = found - true; limits of agreement after Bland and Altman.\n",
        "| Segment | Dice | Lowest | True volume | Absolute difference | Mean difference | Limits of agreement | Implausible |",
        "| --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    for one in figures.segments:
        low, high = one.limits
        lines.append(
            f"| {one.label} | {_shown(one.dice, 3)} | {one.lowest_dice:.3f} | {one.true_volume:.0f} | {_shown(one.error, 0)} "
            f"| {_shown(one.bias, 0)} | {low:.0f} to {high:.0f} | {one.implausible} |"
        )
    return "\n".join(lines) + "\n"


def _shown(interval: Interval, digits: int) -> str:
    low, high = f"{interval.low:.{digits}f}", f"{interval.high:.{digits}f}"
    return f"{interval.value:.{digits}f} ({low} to {high})"
