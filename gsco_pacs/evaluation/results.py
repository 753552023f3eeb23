"""The figures of a run: one entry a task, one row a contender, and the paired tests between them."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from gsco_pacs.datasets.cases import Task
from gsco_pacs.domain.findings import Mode
from gsco_pacs.evaluation.contenders import (
    SPECIALISTS,
    TaskData,
    generalist,
    plain_variants,
    specialists,
    tuned,
)
from gsco_pacs.evaluation.decisions import Decisions
from gsco_pacs.evaluation.metrics import bootstrap
from gsco_pacs.evaluation.records import AnswerRecord, CaseRecord, Generalist
from gsco_pacs.evaluation.resampling import interval, mcnemar, mean_difference

RULE = "specialists"
PUBLISHED_RULE = "specialists, threshold 0.5"
TUNED = ", thresholds from val"


@dataclass(frozen=True)
class Prices:
    """What a million tokens cost."""

    tokens_in: float = 0
    tokens_out: float = 0


def diagnoses(task: TaskData, model: Generalist | None, prices: Prices) -> dict[str, Any]:
    """All figures of one diagnosis task."""
    records = task.asked
    decided = decisions_of(task, records)
    rows = [
        {"name": name} | _figures(one, task.groups(records)) | _effort(task, name, records, model, prices)
        for name, one in decided.items()
    ]
    return {
        "dataset": task.dataset,
        "split": task.split,
        "task": str(task.task),
        "single": task.single,
        "options": len(task.options),
        "n": len(records),
        "groups": len(set(task.groups(records))),
        "thresholds": "val" if task.thresholds else "0.5",
        "rows": rows,
        "paired": [
            _paired(a, b, [(decided[a], decided[b])], [task.groups(records)]) for a, b in pairs(decided)
        ],
    }


def decisions_of(task: TaskData, records: Sequence[CaseRecord]) -> dict[str, Decisions]:
    """Contender -> its decisions on ``records``."""
    found = {}
    if task.consulted:
        found[RULE] = specialists(task, records)
        if not task.single and task.thresholds:
            found[PUBLISHED_RULE] = specialists(task, records, cut=0.5)
    for variant in plain_variants(task):
        if variant.mode is not Mode.SPECIALISTS:
            found[variant.name] = generalist(task, records, variant)
            if variant in task.own_thresholds:
                found[variant.name + TUNED] = tuned(task, records, variant)
    return found


def pairs(decided: Mapping[str, object]) -> Iterator[tuple[str, str]]:
    """Who is compared: both briefings together with everything that it should be better than."""
    for name in decided:
        mode, _, template = name.partition(", ")
        if mode != Mode.MOED_RAD:
            continue
        others = [RULE, *(f"{m}, {template}" for m in (Mode.GENERALIST, Mode.MOED, Mode.RAD))]
        yield from ((name, other) for other in others if other in decided)


def over_all_tasks(tasks: Sequence[TaskData]) -> dict[str, Any]:
    """Mean macro-F1 over the tasks in which every contender took part, and the paired tests on that mean.

    Where thresholds from val make no sense (one of several options), the answers themselves stand for them.
    """
    own = [(task, decisions_of(task, task.asked)) for task in tasks if task.task is Task.DIAGNOSIS]
    own = [(task, decided) for task, decided in own if len(decided) > 1]
    if not own:
        return {"tasks": 0, "rows": [], "paired": []}
    every = dict.fromkeys(name for _, decided in own for name in decided if name != PUBLISHED_RULE)
    own = [(task, {name: one for name in every if (one := _of(decided, name))}) for task, decided in own]
    shared = [name for name in every if all(name in decided for _, decided in own)]
    groups = [task.groups(task.asked) for task, _ in own]
    rows = []
    for name in shared:
        zero = [(decided[name].macro_f1, lambda weights: weights.sum(axis=1) * 0) for _, decided in own]
        mean = mean_difference(zero, groups)
        rows.append({"name": name, "macro_f1": {"value": mean.value, "low": mean.low, "high": mean.high}})
    paired = [
        _paired(a, b, [(decided[a], decided[b]) for _, decided in own], groups)
        for a, b in pairs(dict.fromkeys(shared))
    ]
    return {"tasks": len(own), "rows": rows, "paired": paired}


def _of(decided: Mapping[str, Decisions], name: str) -> Decisions | None:
    return decided.get(name) or decided.get(name.removesuffix(TUNED))


def _paired(
    first: str, second: str, decided: Sequence[tuple[Decisions, Decisions]], groups: Sequence[Sequence[str]]
) -> dict[str, Any]:
    difference = mean_difference([(a.macro_f1, b.macro_f1) for a, b in decided], groups)
    found: dict[str, Any] = {"first": first, "second": second, "macro_f1": asdict(difference)}
    if len(decided) == 1:
        found["mcnemar_p"] = mcnemar(decided[0][0].right, decided[0][1].right, groups[0])
    return found


def _figures(decided: Decisions, groups: Sequence[str]) -> dict[str, Any]:
    figures: dict[str, Any] = {
        "macro_f1": asdict(interval(decided.macro_f1, groups)),
        "accuracy": asdict(interval(decided.accuracy, groups)),
        "balanced_accuracy": asdict(interval(decided.balanced_accuracy, groups)),
    }
    if decided.probabilities is not None:
        figures["macro_auc"] = asdict(bootstrap(decided.macro_auc, groups))
        figures["ece"] = decided.calibration_error
        figures["brier"] = decided.brier
    return figures


def _effort(
    task: TaskData, name: str, records: Sequence[CaseRecord], model: Generalist | None, prices: Prices
) -> dict[str, Any]:
    """What the contender cost on ``records``: the generalist's calls, or the specialists' seconds."""
    asked = name.removesuffix(TUNED)
    variant = next((variant for variant in task.answers if variant.name == asked), SPECIALISTS)
    if variant is SPECIALISTS:
        seconds = sum(task.consulting_seconds[record.id] for record in records)
        return {"failures": 0, "calls": 0, "seconds": seconds}
    return effort([task.answers[variant][record.id] for record in records], model, prices)


def effort(answers: Sequence[AnswerRecord], model: Generalist | None, prices: Prices) -> dict[str, Any]:
    """Calls, failures, tokens, seconds, FLOPs (2 x weights x tokens, image tokens included) and price of ``answers``."""
    tokens_in, tokens_out = sum(a.tokens_in for a in answers), sum(a.tokens_out for a in answers)
    found: dict[str, Any] = {
        "failures": sum(bool(answer.failure) for answer in answers),
        "calls": sum(answer.calls for answer in answers),
        "seconds": sum(answer.seconds for answer in answers),
    }
    if tokens_in:
        found |= {"tokens_in": tokens_in, "tokens_out": tokens_out}
    if tokens_in and model and model.parameters:
        found["flops"] = 2.0 * model.parameters * (tokens_in + tokens_out)
    if tokens_in and (prices.tokens_in or prices.tokens_out):
        found["cost"] = (tokens_in * prices.tokens_in + tokens_out * prices.tokens_out) / 1e6
    return found
