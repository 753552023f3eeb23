"""What each part of the briefing is worth: fewer or more similar cases, fewer members, other words, wrong opinions."""

from collections.abc import Sequence
from dataclasses import asdict, replace
from typing import Any

from gsco_pacs.domain.findings import Mode
from gsco_pacs.evaluation.contenders import TaskData, generalist, specialists
from gsco_pacs.evaluation.decisions import Decisions
from gsco_pacs.evaluation.records import CaseRecord, Variant
from gsco_pacs.evaluation.resampling import Figure, mean_difference

SIMILAR = (0, 1, 3, 5, 10, 20)
CORRUPTED = (0, 10, 25, 50)


def ablation_variants(template: str, members: int) -> tuple[Variant, ...]:
    """All briefings that are compared: one part changes, the others stay."""
    base = Variant(Mode.MOED_RAD, template)
    found = [replace(base, similar=k) for k in SIMILAR]
    found += [replace(base, members=n) for n in range(1, members)]
    found += [replace(base, corrupted=percent) for percent in CORRUPTED]
    found += [replace(base, labels_only=True), Variant(Mode.MOED_RAD, "gsco")]
    return tuple(dict.fromkeys(found))


def ablation(tasks: Sequence[TaskData], template: str) -> list[dict[str, Any]]:
    """A row for each briefing: mean macro-F1 over the tasks on the cases that all briefings were answered on.

    Beside it the specialists alone under the same change (fewer members, exchanged opinions).
    """
    base = Variant(Mode.MOED_RAD, template)
    variants = [
        variant
        for variant in ablation_variants(template, 10)
        if tasks and all(variant in task.answers for task in tasks)
    ]
    if base not in variants or len(variants) < 2:
        return []
    shared = {id(task): _shared(task, variants) for task in tasks}
    rows = []
    for variant in variants:
        own = [generalist(task, shared[id(task)], variant) for task in tasks]
        alone = [
            specialists(task, shared[id(task)], replace(variant, mode=Mode.SPECIALISTS)) for task in tasks
        ]
        plain = [generalist(task, shared[id(task)], base) for task in tasks]
        groups = [task.groups(shared[id(task)]) for task in tasks]
        rows.append(
            {
                "name": variant.name,
                "part": _part(variant, base),
                "n": sum(len(names) for names in groups),
                "macro_f1": _mean(own, groups),
                "against_base": asdict(mean_difference(list(zip(_f1(own), _f1(plain), strict=True)), groups)),
                "specialists": _mean(alone, groups),
                "failures": sum(
                    bool(task.answers[variant][record.id].failure)
                    for task in tasks
                    for record in shared[id(task)]
                ),
            }
        )
    return rows


def _shared(task: TaskData, variants: Sequence[Variant]) -> tuple[CaseRecord, ...]:
    return tuple(r for r in task.records if all(r.id in task.answers[variant] for variant in variants))


def _part(variant: Variant, base: Variant) -> str:
    if variant == base:
        return "as it is"
    if variant.template != base.template:
        return "wording"
    if variant.corrupted:
        return "opinions exchanged"
    if variant.labels_only:
        return "labels only"
    return "members" if variant.members else "similar cases"


def _mean(decided: Sequence[Decisions], groups: Sequence[Sequence[str]]) -> dict[str, Any]:
    found = asdict(mean_difference([(figure, _zero) for figure in _f1(decided)], groups))
    return {key: found[key] for key in ("value", "low", "high")}


def _f1(decided: Sequence[Decisions]) -> list[Figure]:
    return [one.macro_f1 for one in decided]


def _zero(weights: Any) -> Any:
    return weights.sum(axis=1) * 0
