"""The adult PA chest radiographs a generator learns from: read, stretched in contrast and brought to one framing."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional

SOURCE_SIZE = 320
FRAME_SIZE = 300
TEMPLATE_SIZE = 48
ADULT = 18
ZOOMS = (0.86, 0.90, 0.94, 0.98)
STEPS = 5
KEPT = 0.9
ROUNDS = 3


def adult_pa_paths(manifest: Path, split: str) -> list[tuple[str, Path]]:
    """List (patient, file) of the adult PA chest radiographs of one split of a manifest of images."""
    with manifest.open(newline="") as lines:
        rows = list(csv.DictReader(lines))
    return [
        (row["group"], manifest.parent / row["path"])
        for row in rows
        if row["module"] == "cxr_nih"
        and row["split"] == split
        and row["view"] == "PA"
        and row["age"]
        and int(row["age"]) >= ADULT
    ]


def read(path: Path) -> Tensor:
    """Read one picture as (1, 320, 320), its 0.5 and 99.5 percentiles stretched to -2 and 2 (about unit variance)."""
    with Image.open(path) as opened:
        grey = opened.convert("L").resize((SOURCE_SIZE, SOURCE_SIZE), Image.Resampling.BICUBIC)
    pixels = np.asarray(grey, dtype=np.float32)
    low, high = np.percentile(pixels, (0.5, 99.5))
    stretched = np.clip((pixels - low) / max(float(high - low), 1.0), 0.0, 1.0) * 4.0 - 2.0
    return torch.from_numpy(stretched.astype(np.float32))[None]


def framed(pictures: Tensor) -> tuple[Tensor, Tensor]:
    """Crop pictures (n, 1, 320, 320) alike, and drop the tenth least like the mean: (m, 1, 300, 300) and the kept indices.

    Each picture's zoom and shift are the ones that correlate best with the mean of all, found anew in each round.
    """
    candidates = _candidates()
    template = _crop(pictures, torch.tensor([0.92, 0.0, 0.0]).expand(len(pictures), 3), TEMPLATE_SIZE).mean(0)
    for _ in range(ROUNDS):
        fits = torch.stack([_best(picture, candidates, template) for picture in pictures])
        template = _crop(pictures, candidates[fits[:, 1].long()], TEMPLATE_SIZE).mean(0)
    kept = fits[:, 0].argsort(descending=True)[: round(KEPT * len(pictures))].sort().values
    return _crop(pictures[kept], candidates[fits[kept, 1].long()], FRAME_SIZE), kept


def _candidates() -> Tensor:
    """Return every (zoom, right, down) whose crop stays inside the picture."""
    rows = []
    for zoom in ZOOMS:
        shifts = torch.linspace(zoom - 1, 1 - zoom, STEPS)
        rows += [torch.stack([torch.tensor(zoom), right, down]) for right in shifts for down in shifts]
    return torch.stack(rows)


def _crop(pictures: Tensor, crops: Tensor, size: int) -> Tensor:
    """Cut one (zoom, right, down) crop out of each picture, smoothed first when it shrinks."""
    if size < SOURCE_SIZE // 2:
        pictures = functional.avg_pool2d(pictures, 4)
    affine = torch.zeros(len(crops), 2, 3)
    affine[:, 0, 0] = affine[:, 1, 1] = crops[:, 0]
    affine[:, :, 2] = crops[:, 1:]
    grid = functional.affine_grid(affine, [len(crops), 1, size, size], align_corners=False)
    return functional.grid_sample(pictures, grid, mode="bicubic", padding_mode="border", align_corners=False)


def _best(picture: Tensor, candidates: Tensor, template: Tensor) -> Tensor:
    """Return (correlation, index) of the candidate crop most like the template."""
    crops = _crop(picture.expand(len(candidates), 1, -1, -1), candidates, TEMPLATE_SIZE).flatten(1)
    centred = crops - crops.mean(1, keepdim=True)
    wanted = (template - template.mean()).flatten()
    scores = centred @ wanted / (centred.norm(dim=1) * wanted.norm())
    return torch.stack([scores.max(), scores.argmax().float()])
