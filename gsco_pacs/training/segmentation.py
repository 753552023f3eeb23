"""Trains a specialist that outlines structures in volumes, and writes it as a bundle."""

import copy
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from monai.losses.dice import DiceCELoss
from monai.networks.nets.unet import UNet
from monai.transforms.compose import Compose
from monai.transforms.croppad.dictionary import RandSpatialCropd
from monai.transforms.intensity.dictionary import (
    RandAdjustContrastd,
    RandBiasFieldd,
    RandGaussianNoised,
    RandGaussianSmoothd,
    RandScaleIntensityd,
    RandShiftIntensityd,
)
from monai.transforms.spatial.dictionary import RandAffined, RandFlipd, RandSimulateLowResolutiond
from monai.utils.misc import set_determinism
from torch import Tensor, nn

from gsco_pacs.adapters.bundle_format import TASK
from gsco_pacs.adapters.labelled_volumes import LabelledVolume, read_volumes
from gsco_pacs.adapters.progress_bar import Told
from gsco_pacs.adapters.scores import dice
from gsco_pacs.adapters.segmentation_format import SegmentationSection, VolumePrepareEntry
from gsco_pacs.adapters.volume_input import normalised, placement_of
from gsco_pacs.training.bundle_writer import write_segmenter
from gsco_pacs.training.device import check_device
from gsco_pacs.training.segmentation_task import SegmentationTask, read_segmentation_task

_OFFSETS = tuple(step / 10 for step in range(-20, 41))
Example = tuple[Tensor, Tensor]
"""Input and truth in the patch, [1, right, front, head] each."""


@dataclass(frozen=True)
class SegmentationRequest:
    """What to train and where to put it; equal requests on one machine give equal weights."""

    task: Path
    """The task file (YAML)."""
    manifest: Path
    """A folder with images/*.nii.gz and labels/ of the same names."""
    out: Path
    """The bundle's directory; files of an earlier bundle in it are replaced."""
    epochs: int = 30
    batch: int = 2
    learning_rate: float = 2e-3
    seed: int = 1
    threads: int = 1
    device: str = "cpu"
    """Torch device that learns; what it learnt is written the same way from any."""


def train_segmenter(request: SegmentationRequest, progress: Told) -> Path:
    """Train on the split train, choose the epoch on val, and return the bundle's directory.

    ConfigError if device, task or data are not usable.
    """
    check_device(request.device)
    task = read_segmentation_task(request.task)
    count = len(task.segments)
    train = _examples(read_volumes(request.manifest, "train", count), task.prepare)
    val = _examples(read_volumes(request.manifest, "val", count), task.prepare)
    torch.set_num_threads(request.threads)
    set_determinism(request.seed)
    network_def = _network_def(task)
    best = _best(request, task, UNet(**_arguments(network_def)).to(request.device), train, val, progress)
    kept = task.model_dump(include=set(SegmentationSection.model_fields), by_alias=True)
    background = _balanced(best, val, count)
    section = SegmentationSection.model_validate(kept | {"task": task.kind, "background": background})
    write_segmenter(request.out, task, section, network_def, best)
    (request.out / TASK).write_bytes(request.task.read_bytes())
    return request.out


def _network_def(task: SegmentationTask) -> dict[str, Any]:
    return {
        "_target_": "monai.networks.nets.UNet",
        "spatial_dims": 3,
        "in_channels": 1,
        "out_channels": 1 + len(task.segments),
        "channels": list(task.channels),
        "strides": list(task.strides),
        "num_res_units": 2,
        "norm": "instance",
    }


def _arguments(network_def: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in network_def.items() if key != "_target_"}


def _examples(cases: Iterable[LabelledVolume], prepare: VolumePrepareEntry) -> list[Example]:
    return [_example(case, prepare) for case in cases]


def _example(case: LabelledVolume, prepare: VolumePrepareEntry) -> Example:
    place = placement_of(case.volume, prepare)
    voxels = place.placed(normalised(case.volume.voxels, prepare), order=1)
    return torch.from_numpy(voxels)[None], torch.from_numpy(place.placed(case.truth, order=0))[None].float()


def _augmentation(task: SegmentationTask) -> Compose:
    """Random changes that leave the truth true: place, shape, sharpness, noise, shading and contrast."""
    both = ["image", "truth"]
    angle = math.radians(15)
    moved = RandAffined(
        both, prob=0.8, rotate_range=[angle] * 3, scale_range=[0.15] * 3, translate_range=[4.0] * 3,
        shear_range=[0.05] * 6, mode=("bilinear", "nearest"), padding_mode="border",
    )  # fmt: skip
    return Compose(
        [
            *([RandFlipd(both, prob=0.5, spatial_axis=0)] if task.mirror else []),
            moved,
            *([RandSpatialCropd(both, task.crop, random_size=False)] if task.crop else []),
            RandSimulateLowResolutiond(["image"], prob=0.2, zoom_range=(0.6, 1.0)),
            RandGaussianSmoothd(["image"], (0.4, 1.0), (0.4, 1.0), (0.4, 1.0), prob=0.2),
            RandGaussianNoised(["image"], prob=0.3, std=0.15),
            RandBiasFieldd(["image"], degree=2, coeff_range=(0.0, 0.2), prob=0.2),
            RandAdjustContrastd(["image"], prob=0.3, gamma=(0.7, 1.5)),
            RandScaleIntensityd(["image"], factors=0.2, prob=0.5),
            RandShiftIntensityd(["image"], offsets=0.2, prob=0.5),
        ]
    )


def _best(
    request: SegmentationRequest,
    task: SegmentationTask,
    network: nn.Module,
    train: Sequence[Example],
    val: Sequence[Example],
    progress: Told,
) -> nn.Module:
    """The network as it was after the epoch with the highest mean Dice on ``val``."""
    change = _augmentation(task)
    change.set_random_state(seed=request.seed)
    loss = DiceCELoss(include_background=False, to_onehot_y=True, softmax=True)
    optimizer = torch.optim.AdamW(network.parameters(), lr=request.learning_rate, weight_decay=1e-4)
    steps = math.ceil(len(train) / request.batch) * request.epochs
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, request.learning_rate, total_steps=steps, pct_start=0.15
    )
    best, highest = copy.deepcopy(network), -math.inf
    for epoch in range(1, request.epochs + 1):
        network.train()
        losses = []
        for chosen in torch.split(torch.randperm(len(train)), request.batch):
            changed = [change({"image": train[i][0], "truth": train[i][1]}) for i in chosen.tolist()]
            images, truth = (
                torch.stack([one[key].as_tensor() for one in changed]).to(request.device)
                for key in ("image", "truth")
            )
            cost = loss(network(images), truth)
            optimizer.zero_grad()
            torch.autograd.backward(cost)
            nn.utils.clip_grad_norm_(network.parameters(), 5.0)
            optimizer.step()
            schedule.step()
            losses.append(float(cost.detach()))
            progress((epoch - 1) * math.ceil(len(train) / request.batch) + len(losses), steps, "")
        mean = _mean_dice(network, val, len(task.segments))
        line = f"epoch {epoch}: loss {np.mean(losses):.3f}, mean Dice on val {mean:.4f}"
        progress(epoch * math.ceil(len(train) / request.batch), steps, line)
        if mean > highest:
            best, highest = copy.deepcopy(network), mean
    return best.cpu()


@torch.inference_mode()
def _mean_dice(network: nn.Module, val: Sequence[Example], segments: int) -> float:
    network.eval()
    device = next(network.parameters()).device
    values = []
    for image, truth in val:
        found = network(image[None].to(device))[0].argmax(dim=0).cpu().numpy()
        values += [dice(found == n, truth[0].numpy() == n) for n in range(1, segments + 1)]
    return float(np.mean(values))


@torch.inference_mode()
def _balanced(network: nn.Module, val: Sequence[Example], segments: int) -> float:
    """What to add to the background's logit for the smallest mean error of the volumes on ``val``.

    Dice asks for the overlap alone, and a network that learns from it outlines too much.
    """
    network.eval()
    logits = [network(image[None])[0] for image, _ in val]
    true = torch.stack([torch.bincount(truth.int().flatten(), minlength=segments + 1) for _, truth in val])

    def error(offset: float) -> float:
        added = torch.zeros(segments + 1, 1, 1, 1)
        added[0] = offset
        found = [torch.bincount((one + added).argmax(0).flatten(), minlength=segments + 1) for one in logits]
        return float((torch.stack(found) - true)[:, 1:].abs().float().mean())

    return min(_OFFSETS, key=error)
