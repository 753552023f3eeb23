"""How good a specialist is on images that it has not learnt from."""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gsco_pacs.adapters.bundle_format import EVALUATION, LabelEntry
from gsco_pacs.adapters.bundles import BundleSpecialist, load_bundle
from gsco_pacs.adapters.labelled_images import (
    LabelledImage,
    Split,
    probabilities_in,
    read_images,
    read_pixels,
    truth_of,
)
from gsco_pacs.adapters.progress_bar import Told
from gsco_pacs.domain.findings import ModelIdentity
from gsco_pacs.evaluation.metrics import (
    Interval,
    auc,
    balanced_accuracy,
    bootstrap,
    brier,
    expected_calibration_error,
    sensitivity,
    specificity,
)
from gsco_pacs.ports import Picture

Floats = NDArray[np.floating]


@dataclass(frozen=True)
class LabelFigures:
    """One label's figures; thresholds and calibration come from the validation split."""

    label: str
    positives: int
    auc: Interval
    balanced_accuracy: float
    """At the threshold `balanced_at`, as sensitivity and specificity."""
    sensitivity: float
    specificity: float
    present_sensitivity: float
    """Share of the positives that are called present."""
    present_specificity: float
    absent_sensitivity: float
    """Share of the positives that are not called absent, that is possible or present."""
    absent_specificity: float
    brier: float
    calibration_error: float


@dataclass(frozen=True)
class SpecialistFigures:
    """The figures of a specialist on one split, whole and for each view."""

    name: str
    version: str
    weights_sha256: str
    module: str
    split: str
    evaluated: str
    n: int
    patients: int
    macro_auc: Interval
    labels: tuple[LabelFigures, ...]
    view_auc: dict[str, dict[str, float]]
    """View -> label (and "macro", "n") -> AUC."""
    reference_n: int = 0
    reference_auc: dict[str, tuple[float, float]] | None = None
    """Label (and "macro") -> AUC of the specialist and of a reference model on the images that both know."""


def evaluate_specialist(
    bundle: Path,
    manifest: Path,
    progress: Told,
    *,
    split: Split = "test",
    reference: Path | None = None,
) -> tuple[SpecialistFigures, ...]:
    """The figures of each member on the ``split`` of its module, and of the members' mean if there are several.

    They are written to docs/evaluation.json in the bundle too: the first member's, with the others' under `further`.
    ``reference``: a CSV of another model's probabilities (columns `Image Index` and `prob_<label>`).
    """
    members = load_bundle(bundle)
    section = members[0].section
    labels = [entry.label for entry in section.labels]
    cases = read_images(manifest, section.module, split, labels)
    said = [_probabilities(member, cases, progress) for member in members]
    opinions = [_Opinions(m.identity, m.section.labels, each) for m, each in zip(members, said, strict=True)]
    if len(members) > 1:
        opinions.append(_mean(opinions))
    figures = tuple(_figures(each, cases, section.module, split, reference) for each in opinions)
    content: dict[str, Any] = asdict(figures[0])
    if figures[1:]:
        content["further"] = [asdict(each) for each in figures[1:]]
    (bundle / EVALUATION).parent.mkdir(exist_ok=True)
    (bundle / EVALUATION).write_text(json.dumps(_plain(content), indent=1) + "\n", encoding="utf-8")
    return figures


@dataclass(frozen=True, eq=False)
class _Opinions:
    """Who says what of each case, and the thresholds that this is held against."""

    identity: ModelIdentity
    entries: tuple[LabelEntry, ...]
    probabilities: NDArray[np.float64]


def _mean(opinions: Sequence[_Opinions]) -> _Opinions:
    """The mean of the members' probabilities, held against the mean of their thresholds."""
    thresholds = ("absent_below", "present_from", "balanced_at")
    entries = (
        own[0].model_copy(
            update={key: sum(getattr(entry, key) for entry in own) / len(own) for key in thresholds}
        )
        for own in zip(*(each.entries for each in opinions), strict=True)
    )
    name = opinions[0].identity.name.rpartition(".")[0]
    identity = ModelIdentity(f"mean of {name}", opinions[0].identity.version, "")
    return _Opinions(identity, tuple(entries), np.mean([each.probabilities for each in opinions], axis=0))


def _figures(
    opinions: _Opinions, cases: Sequence[LabelledImage], module: str, split: Split, reference: Path | None
) -> SpecialistFigures:
    entries, said = opinions.entries, opinions.probabilities
    truth = truth_of(cases, [entry.label for entry in entries])
    groups = [case.group for case in cases]
    return SpecialistFigures(
        name=opinions.identity.name,
        version=opinions.identity.version,
        weights_sha256=opinions.identity.sha256,
        module=module,
        split=split,
        evaluated=date.today().isoformat(),  # noqa: DTZ011 - the day on the wall
        n=len(cases),
        patients=len(set(groups)),
        macro_auc=bootstrap(lambda rows: macro_auc(said[rows], truth[rows]), groups),
        labels=tuple(
            _label_figures(entry, said[:, column], truth[:, column], groups)
            for column, entry in enumerate(entries)
        ),
        view_auc=_by_view(cases, entries, said, truth),
        **_against(reference, cases, entries, said, truth),
    )


def macro_auc(probabilities: Floats, truth: Floats) -> float:
    """Return the mean AUC over the labels, [n, labels], that have positives and negatives."""
    areas = np.array([auc(probabilities[:, column], truth[:, column]) for column in range(truth.shape[1])])
    defined = areas[np.isfinite(areas)]
    return float(defined.mean()) if len(defined) else float("nan")


def _probabilities(
    specialist: BundleSpecialist, cases: Sequence[LabelledImage], progress: Told
) -> NDArray[np.float64]:
    rows = []
    for done, case in enumerate(cases, start=1):
        (look,) = specialist.look([Picture("", read_pixels(case.path, specialist.colours))])
        rows.append(look.probabilities)
        progress(done, len(cases), "")
    return np.array(rows)


def _label_figures(entry: LabelEntry, said: Floats, truth: Floats, groups: Sequence[str]) -> LabelFigures:
    return LabelFigures(
        label=entry.label,
        positives=int(truth.sum()),
        auc=bootstrap(lambda rows: auc(said[rows], truth[rows]), groups),
        balanced_accuracy=balanced_accuracy(said, truth, entry.balanced_at),
        sensitivity=sensitivity(said, truth, entry.balanced_at),
        specificity=specificity(said, truth, entry.balanced_at),
        present_sensitivity=sensitivity(said, truth, entry.present_from),
        present_specificity=specificity(said, truth, entry.present_from),
        absent_sensitivity=sensitivity(said, truth, entry.absent_below),
        absent_specificity=specificity(said, truth, entry.absent_below),
        brier=brier(said, truth),
        calibration_error=expected_calibration_error(said, truth),
    )


def _by_view(
    cases: Sequence[LabelledImage], entries: Sequence[LabelEntry], said: Floats, truth: Floats
) -> dict[str, dict[str, float]]:
    views = {}
    for view in sorted({case.view for case in cases if case.view}):
        rows = np.array([case.view == view for case in cases])
        areas = {
            entry.label: auc(said[rows, column], truth[rows, column]) for column, entry in enumerate(entries)
        }
        views[view] = {"n": float(rows.sum()), "macro": macro_auc(said[rows], truth[rows]), **areas}
    return views


def _against(
    reference: Path | None,
    cases: Sequence[LabelledImage],
    entries: Sequence[LabelEntry],
    said: Floats,
    truth: Floats,
) -> dict[str, Any]:
    """The figures of specialist and reference model on the images and labels that both know."""
    if reference is None:
        return {}
    other = probabilities_in(reference, cases, [entry.label for entry in entries])
    columns = np.flatnonzero(np.isfinite(other).any(axis=0))
    rows = np.flatnonzero(np.isfinite(other[:, columns]).all(axis=1))
    other = other[np.ix_(rows, columns)]
    ours, true = said[np.ix_(rows, columns)], truth[np.ix_(rows, columns)]
    areas = {
        entries[int(column)].label: (
            auc(ours[:, place], true[:, place]),
            auc(other[:, place], true[:, place]),
        )
        for place, column in enumerate(columns)
    }
    areas["macro"] = (macro_auc(ours, true), macro_auc(other, true))
    return {"reference_n": len(rows), "reference_auc": areas}


def _plain(value: Any) -> Any:
    """``value`` with three decimals, and None where a figure is not defined (JSON has no NaN)."""
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, float):
        return round(value, 3) if np.isfinite(value) else None
    return value
