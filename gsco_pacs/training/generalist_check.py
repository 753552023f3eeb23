"""How well the small generalist does in every mode on the part of val that it is chosen on."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.metrics import f1_score

from gsco_pacs.adapters.arbiter import Arbiter, arbiter_for, sources_of
from gsco_pacs.adapters.labelled_images import truth_of
from gsco_pacs.adapters.small_generalist import SmallGeneralist
from gsco_pacs.domain.findings import Mode
from gsco_pacs.steps.brief import brief
from gsco_pacs.training.arbitration import as_entry, fitted
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
        asked = task.held_aside[:: max(1, len(task.held_aside) // most)] if most else task.held_aside
        truth = truth_of([one.image for one in asked], task.labels)
        for mode in modes:
            samples = samples_of(task, asked, mode)
            yield _figure(task, mode, _weighed(model, writer, seen, task, samples), truth)


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


def fit_arbiters(
    model: SmallGeneralist, writer: Writer, seen: Seen, tasks: Sequence[DiagnosisTask]
) -> Iterator[dict[str, Any]]:
    """The arbiter of each task, fitted on its donors: real images with what is really said of them, never learnt from.

    Where several labels may apply, what is added to each also moves its best F1 to a probability of one half.
    """
    first = 0
    for task in tasks:
        words = tuple(range(first, first + len(task.labels)))
        first += len(task.labels)
        bare = Arbiter(task.examines, task.labels, words, task.single, {})
        truth = truth_of([one.image for one in task.donors], task.labels).astype(np.float64)
        ways: dict[str, Sequence[Sequence[float]]] = {}
        for mode in ASKED:
            said = list(_sources(bare, model, writer, seen, samples_of(task, task.donors, mode)))
            weights, bias = fitted(said, truth, single=task.single)
            if not task.single:
                odds = np.stack([np.array(weights) @ np.stack(list(one.values())) + bias for one in said])
                bias = (np.array(bias) + best_bias(odds, truth.astype(np.float32))).round(4).tolist()
            ways["+".join(said[0])] = (weights, bias)
        yield as_entry(Arbiter(task.examines, task.labels, words, task.single, ways))


def _sources(
    arbiter: Arbiter, model: SmallGeneralist, writer: Writer, seen: Seen, samples: Sequence[Sample]
) -> Iterator[dict[str, Floats]]:
    for sample, likelihoods in zip(samples, log_odds(model, writer, seen, samples), strict=True):
        yield sources_of(arbiter, sample.prompt, _evidence(seen, sample), likelihoods)


def _evidence(seen: Seen, sample: Sample) -> Floats | None:
    if sample.image is None:
        return None
    return np.asarray(seen.evidence[seen.rows[sample.image]].numpy(), dtype=np.float64)


def _weighed(
    model: SmallGeneralist, writer: Writer, seen: Seen, task: DiagnosisTask, samples: Sequence[Sample]
) -> Floats:
    odds = log_odds(model, writer, seen, samples)
    arbiter = arbiter_for(model.config.arbiters, samples[0].prompt, task.labels, single=task.single)
    if arbiter is None:
        return odds
    pairs = zip(samples, odds, strict=True)
    return np.stack([arbiter.log_odds(sample.prompt, _evidence(seen, sample), one) for sample, one in pairs])


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
