"""How well the small generalist does in every mode on the part of val that it is chosen on."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.metrics import f1_score

from gsco_pacs.adapters.labelled_images import truth_of
from gsco_pacs.adapters.small_generalist import SmallGeneralist
from gsco_pacs.domain.findings import Mode
from gsco_pacs.steps.brief import brief
from gsco_pacs.training.eyes import Seen
from gsco_pacs.training.generalist_batches import Writer, batches, log_likelihoods
from gsco_pacs.training.generalist_samples import Sample
from gsco_pacs.training.generalist_tasks import DiagnosisTask, Known

ASKED = (Mode.GENERALIST, Mode.MOED, Mode.RAD, Mode.MOED_RAD)
_TOKENS = 4000
_CASES = 10
Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Figure:
    """The macro-F1 of one mode on one task."""

    module: str
    mode: Mode
    n: int
    macro_f1: float
    accuracy: float


@torch.inference_mode()
def log_odds(model: SmallGeneralist, writer: Writer, seen: Seen, samples: Sequence[Sample]) -> Floats:
    """For each sample the log-likelihood of every option, or its log-odds where several may apply: [n, options]."""
    written = [writer.compared(sample) for sample in samples]
    rows = {id(one): place for place, one in enumerate(written)}
    found = np.zeros((len(samples), len(samples[0].options)))
    for batch in batches(written, _TOKENS):
        for one, said in zip(batch, log_likelihoods(model, batch, seen), strict=True):
            signs = [1.0 if samples[0].single or n % 2 == 0 else -1.0 for n in range(len(one.picks))]
            for pick, sign, value in zip(one.picks, signs, said.tolist(), strict=True):
                found[rows[id(one)], pick.segment] += sign * value
    return found


def samples_of(task: DiagnosisTask, cases: Sequence[Known], mode: Mode) -> list[Sample]:
    """The ``options`` prompts of ``cases`` as the node would write them."""
    template = "options-single" if task.single else "options"
    made = []
    for one in cases:
        heard = one.heard.by(one.heard.members, _CASES)
        findings = sorted(task.findings, key=lambda finding: finding.label)
        briefing = brief(task.consultation(heard), tuple(findings), mode, template)
        made.append(Sample(one.image.path, briefing.prompt, one.image.labels, task.labels, task.single))
    return made


def measure(
    model: SmallGeneralist,
    writer: Writer,
    seen: Seen,
    tasks: Sequence[DiagnosisTask],
    modes: Sequence[Mode] = ASKED,
    most: int | None = None,
) -> Iterator[Figure]:
    """Each task in each mode on its part that is held aside, about ``most`` images of it."""
    model.train(mode=False)
    for task in tasks:
        bias = np.array([model.config.option_bias.get(label, 0.0) for label in task.labels])
        asked = task.held_aside[:: max(1, len(task.held_aside) // most)] if most else task.held_aside
        truth = truth_of([one.image for one in asked], task.labels)
        for mode in modes:
            samples = samples_of(task, asked, mode)
            yield _figure(task, mode, log_odds(model, writer, seen, samples) + bias, truth)


def specialists_alone(tasks: Sequence[DiagnosisTask]) -> Iterator[Figure]:
    """The mean of the members: the likeliest label, or all labels above the threshold that is best on the donors."""
    for task in tasks:
        said = _mean_of_members(task, task.held_aside)
        bias = np.zeros(len(task.labels))
        if not task.single:
            lent = truth_of([one.image for one in task.donors], task.labels)
            bias = best_bias(_odds(_mean_of_members(task, task.donors)), lent)
        truth = truth_of([one.image for one in task.held_aside], task.labels)
        yield _figure(task, Mode.SPECIALISTS, _odds(said) + bias, truth)


def best_bias(odds: Floats, truth: NDArray[np.float32]) -> Floats:
    """For each label what must be added to its log-odds so that naming it from 0 on gives the best F1.

    A label with few positives has a noisy best place, so the two figures on either side of it count as well.
    """
    biases = np.zeros(odds.shape[1])
    for column in range(odds.shape[1]):
        cuts = np.quantile(odds[:, column], np.linspace(0.3, 0.995, 60))
        scores = np.array(
            [f1_score(truth[:, column], odds[:, column] >= cut, zero_division=0) for cut in cuts]
        )
        smooth = np.convolve(np.pad(scores, 3, mode="edge"), np.ones(7) / 7, mode="valid")
        biases[column] = -cuts[int(np.argmax(smooth))]
    return biases


def choose_bias(
    model: SmallGeneralist, writer: Writer, seen: Seen, tasks: Sequence[DiagnosisTask]
) -> Mapping[str, float]:
    """The biases of all labels of tasks with several labels, chosen on the donors in the mode with everything shown."""
    found: dict[str, float] = {}
    for task in tasks:
        if not task.single:
            odds = log_odds(model, writer, seen, samples_of(task, task.donors, Mode.MOED_RAD))
            truth = truth_of([one.image for one in task.donors], task.labels)
            found |= dict(zip(task.labels, best_bias(odds, truth).round(3).tolist(), strict=True))
    return found


def _figure(task: DiagnosisTask, mode: Mode, odds: Floats, truth: NDArray[np.float32]) -> Figure:
    if task.single:
        named = np.eye(odds.shape[1])[odds.argmax(1)]
    else:
        named = (odds >= 0).astype(float)
        normal = task.labels.index(task.normal)
        named[:, normal] = np.delete(named, normal, axis=1).sum(1) == 0
    present = truth.sum(0) > 0
    macro = f1_score(truth[:, present], named[:, present], average="macro", zero_division=0)
    return Figure(task.module, mode, len(truth), float(macro), float((named == truth).all(1).mean()))


def _mean_of_members(task: DiagnosisTask, cases: Sequence[Known]) -> Floats:
    rows = []
    for one in cases:
        said = [
            [o.probability for o in one.heard.opinions if o.finding.label == label] for label in task.labels
        ]
        rows.append([float(np.mean(members)) for members in said])
    return np.array(rows)


def _odds(probabilities: Floats) -> Floats:
    clipped = probabilities.clip(1e-6, 1 - 1e-6)
    return np.asarray(np.log(clipped / (1 - clipped)), dtype=np.float64)


def as_table(figures: Sequence[Figure]) -> str:
    """Macro-F1 in Markdown, a row a task, the mean last."""
    modes = list(dict.fromkeys(figure.mode for figure in figures))
    found = {(figure.module, figure.mode): figure for figure in figures}
    modules = list(dict.fromkeys(figure.module for figure in figures))
    lines = [["Task", "n", *map(str, modes)], ["---"] * (len(modes) + 2)]
    for module in modules:
        row = [found[module, mode] for mode in modes]
        lines.append([module, str(row[0].n), *(f"{figure.macro_f1:.3f}" for figure in row)])
    means = [np.mean([found[module, mode].macro_f1 for module in modules]) for mode in modes]
    lines.append(["mean", "", *(f"{mean:.3f}" for mean in means)])
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)
