"""The small generalist's eye: what it sees of every image, once, and how it learns to call that by its words."""

import copy
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor, nn
from torch.nn import functional

from gsco_pacs.adapters.progress_bar import Told
from gsco_pacs.adapters.small_generalist import Projector, SmallGeneralist

_BATCH = 32
_DROPPED = 0.5


@dataclass(frozen=True, eq=False)
class Seen:
    """Features of images, [n, places, features] in half precision, and the evidence for every word, [n, words]."""

    rows: dict[Path, int]
    features: Tensor
    evidence: Tensor


@dataclass(frozen=True, eq=False)
class Lesson:
    """Which rows are trained on, what they show (rows sum to 1), and the fold that each belongs to."""

    rows: Tensor
    shares: Tensor
    folds: Tensor


def see(
    model: SmallGeneralist, processor: Any, paths: Sequence[Path], cache: Path, progress: Told
) -> NDArray[np.float16]:
    """The eye's features of ``paths``, kept in ``cache``."""
    digest = hashlib.sha256("\n".join(str(path) for path in paths).encode()).hexdigest()
    kept = cache / f"seen-{model.config.image_size}-{digest[:12]}.npy"
    if not kept.is_file():
        parts = []
        for start in range(0, len(paths), _BATCH):
            images = [_opened(path) for path in paths[start : start + _BATCH]]
            with torch.inference_mode():
                features = model.eye(processor.image_processor(images, return_tensors="pt")["pixel_values"])
            parts.append(features.numpy().astype(np.float16))
            progress(start + len(images), len(paths), "")
        cache.mkdir(parents=True, exist_ok=True)
        np.save(kept, np.concatenate(parts))
    found: NDArray[np.float16] = np.load(kept)
    return found


def standardise(projector: Projector, features: Tensor) -> None:
    """Let the projector know mean and spread of every feature over the training images."""
    flat = features.flatten(0, 1).float()
    projector.mean.data = flat.mean(0)
    projector.spread.data = flat.std(0).clamp(min=1e-3)


def learn_words(
    projector: Projector, features: Tensor, lesson: Lesson, *, epochs: int, seed: int, progress: Told
) -> Tensor:
    """Teach the projector to recognise the words; returns the evidence for every row of ``features``.

    What it says of an image that it has learnt from is too good to be true, and the language model would learn to
    trust it blindly. So the evidence for a training image comes from a recogniser that has not learnt from its fold.
    """
    start = copy.deepcopy(projector)
    standard = projector.standard(features[:, -1].float())  # the whole is all that words are recognised by
    evidence = torch.zeros(len(features), lesson.shares.shape[1])
    folds = int(lesson.folds.max()) + 1
    for fold in (*range(folds), None):
        learner = copy.deepcopy(start) if fold is not None else projector
        learnt = lesson.folds != fold if fold is not None else torch.ones_like(lesson.folds, dtype=torch.bool)
        _fit(learner, standard[lesson.rows[learnt]], lesson.shares[learnt], epochs, seed)
        said = _said(learner, standard)
        if fold is None:
            others = torch.ones(len(features), dtype=torch.bool)
            others[lesson.rows] = False
            evidence[others] = said[others]
        else:
            rows = lesson.rows[~learnt]
            evidence[rows] = said[rows]
        progress((folds if fold is None else fold) + 1, folds + 1, "")
    return evidence


def _fit(projector: Projector, standard: Tensor, shares: Tensor, epochs: int, seed: int) -> None:
    random = torch.Generator().manual_seed(seed)
    weights = (1 / (shares > 0).float().sum(0).clamp(min=1).sqrt())[shares.argmax(1)]
    weights /= weights.mean()
    nn.init.zeros_(projector.recognise.weight)
    nn.init.zeros_(projector.recognise.bias)
    optimizer = torch.optim.AdamW(projector.recognise.parameters(), lr=1e-3, weight_decay=0.3)
    steps = epochs * (len(standard) // _BATCH + 1)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 1e-3, total_steps=steps + 1)
    for _ in range(epochs):
        for chosen in torch.split(torch.randperm(len(standard), generator=random), _BATCH):
            kept = torch.rand(len(chosen), standard.shape[1], generator=random) > _DROPPED
            logits = projector.recognise(standard[chosen] * kept / (1 - _DROPPED))
            loss = functional.cross_entropy(logits, shares[chosen], reduction="none") * weights[chosen]
            optimizer.zero_grad()
            loss.mean().backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            schedule.step()


@torch.inference_mode()
def _said(projector: Projector, standard: Tensor) -> Tensor:
    return torch.cat([projector.recognise(part) for part in torch.split(standard, 256)]).clone()


def _opened(path: Path) -> Image.Image:
    with Image.open(path) as image:
        return image.convert("RGB")
