"""Turns what a run kept into each contender's decisions on one task: the specialists alone, and each briefing."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from gsco_pacs.datasets.cases import Task
from gsco_pacs.domain.findings import Consultation, Mode
from gsco_pacs.evaluation.consulting import heard, varied
from gsco_pacs.evaluation.decisions import Decisions, Table, best_f1_thresholds, table
from gsco_pacs.evaluation.records import AnswerRecord, CaseRecord, RunFolder, Variant

SPECIALISTS = Variant(Mode.SPECIALISTS)
Floats = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class TaskData:
    """One data set and split of a run."""

    dataset: str
    split: str
    records: tuple[CaseRecord, ...]
    consultations: Mapping[str, Consultation]
    consulting_seconds: Mapping[str, float]
    answers: Mapping[Variant, Mapping[str, AnswerRecord]]
    """Variant -> case -> answer."""
    thresholds: tuple[float, ...] | None = None
    """Multi-label: for each option, from val; None if val was not run or is what is measured, then 0.5 counts."""
    own_thresholds: Mapping[Variant, tuple[float, ...]] = field(default_factory=dict)
    """The same for the generalist's scores in a variant that was run on val."""

    @property
    def task(self) -> Task:
        """What is asked about each case."""
        return self.records[0].task

    @property
    def single(self) -> bool:
        """Whether exactly one option is true."""
        return self.records[0].single

    @property
    def options(self) -> tuple[str, ...]:
        """The closed list."""
        return self.records[0].options

    @property
    def consulted(self) -> bool:
        """Whether any specialist said something."""
        return any(self.consultations[record.id].opinions for record in self.records)

    @cached_property
    def asked(self) -> tuple[CaseRecord, ...]:
        """The cases that every plain variant (all members, ten similar cases, nothing corrupted) was answered on."""
        plain = [self.answers[variant] for variant in self.answers if is_plain(variant)]
        return tuple(record for record in self.records if all(record.id in one for one in plain))

    def groups(self, records: Sequence[CaseRecord]) -> list[str]:
        """The patients of ``records``."""
        return [record.group for record in records]


def is_plain(variant: Variant) -> bool:
    """Whether nothing of the ablation is in it."""
    return replace(variant, mode=Mode.SPECIALISTS, template="") == SPECIALISTS


def tasks_of(folder: RunFolder) -> tuple[TaskData, ...]:
    """Every data set and split of the run that the specialists were consulted on, in the order of the run."""
    consulted = heard(folder)
    answers: dict[str, list[AnswerRecord]] = {}
    for answer in folder.answers:
        answers.setdefault(answer.case, []).append(answer)
    cases = {record.id: record for record in folder.cases}  # the last one of each counts
    split: dict[tuple[str, str], list[CaseRecord]] = {}
    for record in cases.values():
        if record.id in consulted:
            split.setdefault((record.dataset, record.split), []).append(record)
    made = []
    for (dataset, name), records in split.items():
        by_variant: dict[Variant, dict[str, AnswerRecord]] = {}
        for record in records:
            for answer in answers.get(record.id, ()):
                by_variant.setdefault(answer.variant, {})[record.id] = answer
        own = {record.id: consulted[record.id].consultation for record in records}
        seconds = {record.id: consulted[record.id].seconds for record in records}
        made.append(TaskData(dataset, name, tuple(records), own, seconds, by_variant))
    val = {task.dataset: task for task in made if task.split == "val"}
    return tuple(
        with_thresholds_of(val[task.dataset], task) if task.split != "val" and task.dataset in val else task
        for task in made
    )


def with_thresholds_of(val: TaskData, task: TaskData) -> TaskData:
    """``task`` with each label's best threshold on ``val``, for the specialists and for every variant.

    No figure of val itself may rest on them: they were fitted on its truth.
    """
    if task.task is not Task.DIAGNOSIS or task.single or not task.consulted:
        return task
    said = probabilities(val, val.records, SPECIALISTS)
    truth = table([record.truth for record in val.records], val.options)
    own = {}
    for variant, answers in val.answers.items():
        records = [record for record in val.records if record.id in answers]
        scores = generalist(val, records, variant).probabilities
        if scores is not None:
            own[variant] = _best(scores, table([record.truth for record in records], val.options))
    return replace(task, thresholds=_best(said, truth), own_thresholds=own)


def _best(said: Floats, truth: Table) -> tuple[float, ...]:
    return tuple(map(float, best_f1_thresholds(said, truth)))


def probabilities(task: TaskData, records: Sequence[CaseRecord], variant: Variant) -> Floats:
    """The mean of the members' probabilities, [cases, options]; 0 for an option that none of them knows."""
    rows = []
    for record in records:
        told: dict[str, list[float]] = {}
        for opinion in varied(record, variant, task.consultations, task.records).opinions:
            told.setdefault(opinion.finding.label, []).append(opinion.probability)
        rows.append([float(np.mean(told[option])) if option in told else 0.0 for option in task.options])
    return np.array(rows).reshape(len(records), len(task.options))


def specialists(
    task: TaskData, records: Sequence[CaseRecord], variant: Variant = SPECIALISTS, cut: float | None = None
) -> Decisions:
    """The rule of the specialists alone: the likeliest option, or every option from its threshold on.

    ``cut``: one threshold for all options (0.5 is the published rule) instead of those from val.
    """
    said = probabilities(task, records, variant)
    truth = table([record.truth for record in records], task.options)
    if task.single:
        decided = said == said.max(axis=1, keepdims=True)
        decided &= np.cumsum(decided, axis=1) == 1  # of several equally likely ones the first
    else:
        limits = task.thresholds if cut is None and task.thresholds else (cut or 0.5,) * len(task.options)
        decided = (said >= np.array(limits)) & (
            said > 0
        )  # an option that nobody has an opinion on is not said
    return Decisions(truth, decided, task.single, said)


def generalist(task: TaskData, records: Sequence[CaseRecord], variant: Variant) -> Decisions:
    """The generalist's strictly read answers; an unreadable one says nothing and is wrong."""
    answers = [task.answers[variant][record.id] for record in records]
    truth = table([record.truth for record in records], task.options)
    said = table([answer.labels for answer in answers], task.options)
    for row, answer in enumerate(answers):
        if (
            answer.failure and not truth[row].any()
        ):  # nothing is true here, and a failure is not right by chance
            said[row] = True
    return Decisions(truth, said, task.single, _scores(answers, task.options))


def tuned(task: TaskData, records: Sequence[CaseRecord], variant: Variant) -> Decisions:
    """The generalist's scores held against its own thresholds from val, as the specialists' are; else its answers."""
    answered = generalist(task, records, variant)
    if variant not in task.own_thresholds or answered.probabilities is None:
        return answered
    return replace(answered, said=answered.probabilities >= np.array(task.own_thresholds[variant]))


def _scores(answers: Sequence[AnswerRecord], options: Sequence[str]) -> Floats | None:
    if not answers or not all(set(options) <= set(answer.scores) for answer in answers):
        return None
    return np.array([[answer.scores[option] for option in options] for answer in answers])


def plain_variants(task: TaskData) -> Iterator[Variant]:
    """The variants that are not part of the ablation, by template, then by mode."""
    order = list(Mode)
    plain = [variant for variant in task.answers if is_plain(variant)]
    yield from sorted(plain, key=lambda v: (v.template, order.index(v.mode)))
