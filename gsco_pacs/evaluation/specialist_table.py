"""Writes a specialist's figures as Markdown tables, for its model card, the documentation and the terminal."""

import math
from collections.abc import Sequence

from gsco_pacs.evaluation.metrics import Interval
from gsco_pacs.evaluation.specialist import SpecialistFigures


def as_markdown(all_figures: Sequence[SpecialistFigures], machine: str) -> str:
    """The tables of the last in full, which is the mean if there are several members, and one row for each of these."""
    figures = all_figures[-1]
    weights = f" (weights sha256 `{figures.weights_sha256[:12]}`)" if figures.weights_sha256 else ""
    head = (
        f"{figures.name} {figures.version}{weights} on {figures.module}, split "
        f"{figures.split}: {figures.n} images of {figures.patients} patients, {figures.evaluated}, {machine}.\n"
        f"Macro AUC {_interval(figures.macro_auc)}; intervals: 95 %, bootstrap over patients, 1000 rounds.\n"
    )
    parts = [head, _labels(figures)]
    if len(all_figures) > 1:
        parts.append(_members(all_figures))
    if figures.view_auc:
        parts.append(_views(figures))
    if figures.reference_auc:
        parts.append(_reference(figures))
    return "\n".join(parts)


def _labels(figures: SpecialistFigures) -> str:
    rows = [
        [
            entry.label,
            str(entry.positives),
            _interval(entry.auc),
            _number(entry.balanced_accuracy),
            f"{_number(entry.sensitivity)} / {_number(entry.specificity)}",
            f"{_number(entry.absent_sensitivity)} / {_number(entry.absent_specificity)}",
            f"{_number(entry.present_sensitivity)} / {_number(entry.present_specificity)}",
            _number(entry.brier, 3),
            _number(entry.calibration_error, 3),
        ]
        for entry in figures.labels
    ]
    shares = ["Sens. / spec. there", "*possible* or *present*", "*present*"]
    return _table(["Label", "Positives", "AUC", "Balanced accuracy", *shares, "Brier", "ECE"], rows)


def _members(all_figures: Sequence[SpecialistFigures]) -> str:
    rows = [
        [
            f"{each.name} {each.version}",
            _interval(each.macro_auc),
            *(_number(entry.auc.value) for entry in each.labels),
        ]
        for each in all_figures
    ]
    return _table(["AUC by member", "macro", *(entry.label for entry in all_figures[0].labels)], rows)


def _views(figures: SpecialistFigures) -> str:
    views = list(figures.view_auc)
    names = ["macro", *(entry.label for entry in figures.labels)]
    rows = [[name, *(_number(figures.view_auc[view][name]) for view in views)] for name in names]
    return _table(
        ["AUC by view", *(f"{view} (n = {figures.view_auc[view]['n']:.0f})" for view in views)], rows
    )


def _reference(figures: SpecialistFigures) -> str:
    pairs = figures.reference_auc or {}
    rows = [[name, _number(ours), _number(other)] for name, (ours, other) in pairs.items()]
    return _table(
        [f"AUC on the {figures.reference_n} images both know", figures.name, "reference model"], rows
    )


def _table(columns: list[str], rows: list[list[str]]) -> str:
    lines = [columns, ["---"] * len(columns), *rows]
    return "".join("| " + " | ".join(line) + " |\n" for line in lines)


def _number(value: float, digits: int = 2) -> str:
    return f"{value:.{digits}f}" if math.isfinite(value) else "–"


def _interval(interval: Interval) -> str:
    if not math.isfinite(interval.value):
        return "–"
    return f"{interval.value:.2f} ({_number(interval.low)}–{_number(interval.high)})"
