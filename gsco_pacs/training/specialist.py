"""Trains a specialist from a manifest of images and writes it as a bundle."""

import copy
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from gsco_pacs.adapters.bundle_format import TASK, FindingEntry, GscoSection, LabelEntry, PrepareEntry
from gsco_pacs.adapters.labelled_images import (
    LabelledImage,
    probabilities_in,
    read_images,
    read_pixels,
    truth_of,
)
from gsco_pacs.adapters.network_input import squared, toned
from gsco_pacs.adapters.networks import EfficientNetLite0
from gsco_pacs.adapters.photograph_network import MEAN, STD
from gsco_pacs.adapters.progress_bar import Told
from gsco_pacs.adapters.scores import Kind, decision_scores, probabilities_of
from gsco_pacs.training.augmentation import Augmentation
from gsco_pacs.training.bundle_writer import write_bundle
from gsco_pacs.training.calibration import chosen_thresholds, fit_platt
from gsco_pacs.training.device import check_device
from gsco_pacs.training.learning import (
    Examples,
    Learner,
    Recipe,
    balance,
    logits_of,
    macro_auc,
    multi_class_loss,
    multi_label_loss,
)
from gsco_pacs.training.start import freeze_first, load_start
from gsco_pacs.training.task import Task, read_task


@dataclass(frozen=True)
class TrainingRequest:
    """What to train and where to put it; equal requests on one machine give equal weights."""

    task: Path
    """The task file (YAML)."""
    manifest: Path
    """CSV with one row an image: path (relative to the file), module, label, group, split, view."""
    out: Path
    """The bundle's directory; files of an earlier bundle in it are replaced."""
    start: Path | None = None
    """Weights to start from, see `training.start.imagenet_weights`; None: chance."""
    soft_labels: Path | None = None
    """Another model's probabilities; only those of the training split are read into the targets."""
    size: int = 320
    recipe: Recipe = field(default_factory=Recipe)
    augmentation: Augmentation = field(default_factory=Augmentation)
    frozen_stages: int = 2
    """Stages of the network that keep their start weights (0 to 7)."""
    seed: int = 1
    threads: int = 1
    device: str = "cpu"
    """Torch device that learns; what it learnt is written the same way from any."""


def train_specialist(request: TrainingRequest, progress: Told) -> Path:
    """Train on the split train, choose epoch, calibration and thresholds on val, and return the bundle's directory.

    ConfigError if device, task, manifest or start weights are not usable.
    """
    check_device(request.device)
    task = read_task(request.task)
    labels = [entry.label for entry in task.labels]
    train_cases = read_images(request.manifest, task.module, "train", labels)
    val_cases = read_images(request.manifest, task.module, "val", labels)
    torch.set_num_threads(request.threads)
    torch.manual_seed(request.seed)
    network_def = _network_def(len(labels), request.size)
    network = EfficientNetLite0(**{key: value for key, value in network_def.items() if key != "_target_"})
    if request.start is not None:
        load_start(network, request.start)
    prepare = PrepareEntry(size=request.size, mean=MEAN, std=STD, fit=task.fit, tones=task.tones)
    truth = truth_of(train_cases, labels)
    wanted = truth if request.soft_labels is None else _softened(request.soft_labels, train_cases, labels)
    train, val = (
        _examples(train_cases, wanted, prepare),
        _examples(val_cases, truth_of(val_cases, labels), prepare),
    )
    best = _best(request, task, network, prepare, (train, truth), val, progress)
    section = _section(task, prepare, logits_of(best, val, prepare), val.targets.numpy())
    write_bundle(request.out, task, section, network_def, best)
    (request.out / TASK).write_bytes(request.task.read_bytes())
    return request.out


def _network_def(outputs: int, size: int) -> dict[str, Any]:
    target = f"{EfficientNetLite0.__module__}.{EfficientNetLite0.__qualname__}"
    return {"_target_": target, "num_classes": outputs, "image_size": size}


def _best(
    request: TrainingRequest,
    task: Task,
    network: EfficientNetLite0,
    prepare: PrepareEntry,
    train: tuple[Examples, NDArray[np.float32]],
    val: Examples,
    progress: Told,
) -> nn.Module:
    """Return the averaged network of the epoch with the highest macro AUC on ``val``."""
    examples, truth = train
    random = torch.Generator().manual_seed(request.seed)
    frozen = freeze_first(network, request.frozen_stages)
    learner = Learner(network, frozen, request.recipe, prepare, random, request.device)
    weight = balance(truth)
    loss = (
        multi_label_loss(weight)
        if task.kind == "multi-label"
        else multi_class_loss(weight, request.recipe.smoothing)
    )
    augmentation = replace(request.augmentation, flip=task.flip)
    best, highest = copy.deepcopy(learner.averaged), -np.inf

    def validate(averaged: nn.Module) -> float:
        return macro_auc(logits_of(averaged, val, prepare), val.targets.numpy())

    for epoch in learner.epochs(examples, loss, validate, augmentation, progress):
        if epoch.macro_auc > highest:
            best, highest = copy.deepcopy(learner.averaged), epoch.macro_auc
    return best.cpu()


def _examples(cases: Sequence[LabelledImage], wanted: NDArray[np.float32], prepare: PrepareEntry) -> Examples:
    squares = [
        toned(squared(read_pixels(case.path, colours=1), prepare.size, prepare.fit), prepare.tones)
        for case in cases
    ]
    pictures = torch.stack([(square * 255).round().to(torch.uint8) for square in squares])
    return Examples(pictures, torch.from_numpy(wanted))


def _softened(path: Path, cases: Sequence[LabelledImage], labels: Sequence[str]) -> NDArray[np.float32]:
    """Return the mean of the true labels and the teacher's probabilities where it has any, else the true labels.

    A teacher trained elsewhere expects other prevalences, so its probabilities are first calibrated on these cases.
    """
    wanted = truth_of(cases, labels)
    teacher = probabilities_in(path, cases, labels)
    for column in range(len(labels)):
        known = np.isfinite(teacher[:, column])
        if known.any():
            said = np.clip(teacher[known, column].astype(np.float64), 1e-5, 1 - 1e-5)
            logits = np.log(said / (1 - said))
            calibrated = fit_platt(logits, wanted[known, column])(logits)
            wanted[known, column] = (wanted[known, column] + calibrated) / 2
    return wanted


def _section(
    task: Task, prepare: PrepareEntry, logits: NDArray[np.float32], truth: NDArray[np.float32]
) -> GscoSection:
    """Return the metadata of a trained network, calibrated and with thresholds from the validation split."""
    entries = calibrated(task.labels, task.kind, logits, truth)
    return GscoSection(
        task=task.kind,
        title=task.title,
        region=task.region,
        modality_phrase=task.modality_phrase,
        module=task.module,
        input=task.input,
        reading=task.reading,
        pooling=task.pooling,
        prepare=prepare,
        labels=entries,
        normal_label=task.normal_label,
    )


def calibrated(
    findings: Sequence[FindingEntry], kind: Kind, logits: NDArray[np.floating], truth: NDArray[np.float32]
) -> tuple[LabelEntry, ...]:
    """The labels with calibration and thresholds chosen on images of which ``truth`` is known, [images, labels]."""
    scores = decision_scores(logits, kind)
    fitted = [fit_platt(scores[:, column], truth[:, column]) for column in range(truth.shape[1])]
    slopes, intercepts = np.array([f.slope for f in fitted]), np.array([f.intercept for f in fitted])
    probabilities = probabilities_of(logits, kind, slopes, intercepts)
    entries = []
    for column, (entry, platt) in enumerate(zip(findings, fitted, strict=True)):
        chosen = chosen_thresholds(probabilities[:, column], truth[:, column])
        values = entry.model_dump() | {"slope": platt.slope, "intercept": platt.intercept} | vars(chosen)
        entries.append(LabelEntry.model_validate(values))
    return tuple(entries)
