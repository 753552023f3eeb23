"""The figures of tasks whose answer is text: reports and questions."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np

from gsco_pacs.domain.findings import Mode
from gsco_pacs.evaluation.contenders import TaskData, plain_variants
from gsco_pacs.evaluation.records import CaseRecord, Generalist, Variant
from gsco_pacs.evaluation.resampling import interval, mean_difference
from gsco_pacs.evaluation.results import Prices, effort
from gsco_pacs.evaluation.text_metrics import TextMeasure, labelled, mean_of, right_answers, text_figures


def reports(
    task: TaskData,
    model: Generalist | None,
    prices: Prices,
    measures: Mapping[str, TextMeasure] | None = None,
) -> dict[str, Any]:
    """All figures of one task of reports."""
    records = task.asked
    rows = []
    for variant in plain_variants(task):
        answers = [task.answers[variant][record.id] for record in records]
        said, right = [answer.text for answer in answers], [record.reference for record in records]
        figures = text_figures(said, right, measures)
        figures_with_interval = interval(labelled(said, right).macro_f1, task.groups(records))
        rows.append(
            {"name": variant.name, "figures": figures, "label_macro_f1": asdict(figures_with_interval)}
            | effort(answers, model, prices)
        )
    return _head(task, records) | {"rows": rows}


def questions(task: TaskData, model: Generalist | None, prices: Prices) -> dict[str, Any]:
    """All figures of one task of questions: accuracy where the answer is closed, recall of words where it is open."""
    records = task.asked
    variants = [variant for variant in plain_variants(task) if variant.mode is not Mode.SPECIALISTS]
    rows = []
    for variant in variants:
        row: dict[str, Any] = {"name": variant.name}
        for kind, own in _kinds(records):
            row[kind] = asdict(interval(mean_of(_scores(task, own, variant)), task.groups(own)))
            row[f"{kind}_n"] = len(own)
        answers = [task.answers[variant][record.id] for record in records]
        rows.append(row | effort(answers, model, prices))
    return _head(task, records) | {"rows": rows, "paired": list(_paired(task, records, variants))}


def _kinds(records: Sequence[CaseRecord]) -> Iterator[tuple[str, list[CaseRecord]]]:
    for kind, closed in (("closed", True), ("open", False)):
        own = [record for record in records if record.closed is closed]
        if own:
            yield kind, own


def _paired(
    task: TaskData, records: Sequence[CaseRecord], variants: Sequence[Variant]
) -> Iterator[dict[str, Any]]:
    """Each briefing against none."""
    alone = next((variant for variant in variants if variant.mode is Mode.GENERALIST), None)
    for variant in variants:
        if alone and variant is not alone:
            scores = [mean_of(_scores(task, records, one)) for one in (variant, alone)]
            difference = mean_difference([(scores[0], scores[1])], [task.groups(records)])
            yield {"first": variant.name, "second": alone.name, "score": asdict(difference)}


def _scores(
    task: TaskData, records: Sequence[CaseRecord], variant: Variant
) -> np.ndarray[Any, np.dtype[np.float64]]:
    return np.array([score(task.answers[variant][record.id].text, record) for record in records])


def score(said: str, record: CaseRecord) -> float:
    """The score of an answer by the right one that it comes nearest to, where a data set has several."""
    return max(
        right_answers(said, right, closed=record.closed) for right in (record.answer, *record.also_right)
    )


def _head(task: TaskData, records: Sequence[CaseRecord]) -> dict[str, Any]:
    return {
        "dataset": task.dataset,
        "split": task.split,
        "task": str(task.task),
        "n": len(records),
        "groups": len(set(task.groups(records))),
    }
