"""What the gate would have done: computed from stored opinions and answers, without asking anybody again."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import product
from typing import Any

import numpy as np

from gsco_pacs.evaluation.consulting import varied
from gsco_pacs.evaluation.contenders import TaskData, specialists, tuned
from gsco_pacs.evaluation.decisions import Decisions
from gsco_pacs.evaluation.records import CaseRecord, Variant
from gsco_pacs.evaluation.resampling import interval, mean_difference, once
from gsco_pacs.settings.routes import GateSettings
from gsco_pacs.steps.refer import refer

ALLOWED_LOSS = 0.005
"""Macro-F1 that may be lost on val against asking always."""
CONFIDENT_FROM = (0.0, 0.4, 0.5, 0.6, 0.7, 0.8, 0.85, 0.9, 0.95, 0.98, 0.99)
AGREEING_CASES = (0.0, 0.1, 0.3, 0.5, 0.7, 0.9)


@dataclass(frozen=True, eq=False)
class Gated:
    """A gate's effect on one task."""

    decided: Decisions
    referred: tuple[bool, ...]

    @property
    def saved(self) -> float:
        """Share of the calls that are not made."""
        return 1 - sum(self.referred) / max(len(self.referred), 1)


def gated(task: TaskData, records: Sequence[CaseRecord], variant: Variant, gate: GateSettings) -> Gated:
    """The generalist's decisions where the gate refers the case to it, the specialists' elsewhere."""
    asked = tuple(_referred(task, record, variant, gate) for record in records)
    theirs, its = specialists(task, records), tuned(task, records, variant)
    said = np.where(np.array(asked, dtype=bool)[:, None], its.said, theirs.said)
    return Gated(Decisions(its.truth, said, task.single), asked)


def chosen_gate(val: TaskData, variant: Variant) -> GateSettings:
    """The gate that saves most calls on val and loses at most ALLOWED_LOSS of macro-F1 against asking always."""
    records = [record for record in val.records if record.id in val.answers[variant]]
    weights = once(len(records))
    always = tuned(val, records, variant).macro_f1(weights)[0]
    best = GateSettings(policy="always")
    saved = 0.0
    for gate in _grid():
        found = gated(val, records, variant, gate)
        if found.saved > saved and found.decided.macro_f1(weights)[0] >= always - ALLOWED_LOSS:
            best, saved = gate, found.saved
    return best


def when_unsure(
    tasks: Sequence[TaskData], variant: Variant, gates: Mapping[str, GateSettings]
) -> dict[str, Any] | None:
    """Each task under its gate (data set -> gate) and their mean; None if no task was answered in ``variant``."""
    rows: list[dict[str, Any]] = []
    pairs, groups = [], []
    for task in tasks:
        if task.dataset not in gates or variant not in task.answers:
            continue
        records, gate = task.asked, gates[task.dataset]
        found, always = gated(task, records, variant, gate), tuned(task, records, variant)
        pairs.append((found.decided.macro_f1, always.macro_f1))
        groups.append(task.groups(records))
        rows.append(
            {
                "dataset": task.dataset,
                "n": len(records),
                "gate": _told(gate),
                "saved": found.saved,
                "always": asdict(interval(always.macro_f1, groups[-1])),
                "when_unsure": asdict(interval(found.decided.macro_f1, groups[-1])),
                "difference": asdict(mean_difference(pairs[-1:], groups[-1:])),
            }
        )
    if not rows:
        return None
    total = sum(row["n"] for row in rows)
    return {
        "name": variant.name,
        "tasks": rows,
        "saved": sum(row["saved"] * row["n"] for row in rows) / total,
        "difference": asdict(mean_difference(pairs, groups)),
    }


def _referred(task: TaskData, record: CaseRecord, variant: Variant, gate: GateSettings) -> bool:
    told = varied(record, variant, task.consultations, task.records)
    return refer(told.opinions, told.cases, told.familiarity, gate).made


def _grid() -> Iterator[GateSettings]:
    yield GateSettings(policy="never")
    for confident, agreeing in product(CONFIDENT_FROM, AGREEING_CASES):
        yield GateSettings(policy="when_unsure", confident_from=confident, agreeing_cases=agreeing)


def _told(gate: GateSettings) -> str:
    if gate.policy != "when_unsure":
        return gate.policy
    return f"confident_from {gate.confident_from}, agreeing_cases {gate.agreeing_cases}"
