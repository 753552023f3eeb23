"""Where the generalist overrules the specialists, and whether it is right to, by how sure they were."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gsco_pacs.evaluation.contenders import TaskData, specialists, tuned
from gsco_pacs.evaluation.decisions import Decisions
from gsco_pacs.evaluation.records import CaseRecord, Variant

EDGES = (0.0, 0.5, 0.7, 0.9, 0.97, 1.0)
"""Edges of the bins of confidence; the last bin holds its upper edge."""


def overruling(task: TaskData, records: Sequence[CaseRecord], variant: Variant) -> list[dict[str, Any]]:
    """For each bin of the specialists' confidence: cases (or labels), those overruled, rightly, wrongly, unreadable.

    One of several options: confidence is the leading probability, and a case counts. Any of several: confidence is
    the probability of what was decided on a label, and each pair of case and label counts.
    """
    theirs, its = specialists(task, records), tuned(task, records, variant)
    unreadable = np.array([bool(task.answers[variant][record.id].failure) for record in records])
    confidence, differ, right, wrong = _one(theirs, its) if task.single else _any(theirs, its)
    lost = unreadable if task.single else np.repeat(unreadable, len(task.options))
    bins = np.clip(np.digitize(confidence, EDGES) - 1, 0, len(EDGES) - 2)
    return [
        {
            "from": EDGES[n],
            "to": EDGES[n + 1],
            "n": int((bins == n).sum()),
            "overruled": int((differ & ~lost & (bins == n)).sum()),
            "rightly": int((right & ~lost & (bins == n)).sum()),
            "wrongly": int((wrong & ~lost & (bins == n)).sum()),
            "unreadable": int((lost & (bins == n)).sum()),
        }
        for n in range(len(EDGES) - 1)
    ]


_Counted = tuple[NDArray[np.float64], NDArray[np.bool_], NDArray[np.bool_], NDArray[np.bool_]]


def _one(theirs: Decisions, its: Decisions) -> _Counted:
    """Confidence, whether they differ, whether only the generalist is right, whether only the specialists are."""
    assert theirs.probabilities is not None  # noqa: S101 - the specialists always state them
    differ = (theirs.said != its.said).any(axis=1)
    return theirs.probabilities.max(axis=1), differ, its.right & ~theirs.right, theirs.right & ~its.right


def _any(theirs: Decisions, its: Decisions) -> _Counted:
    assert theirs.probabilities is not None  # noqa: S101 - the specialists always state them
    confidence = np.where(theirs.said, theirs.probabilities, 1 - theirs.probabilities)
    differ = theirs.said != its.said
    right = differ & (its.said == its.truth)
    return confidence.ravel(), differ.ravel(), right.ravel(), (differ & ~right).ravel()
