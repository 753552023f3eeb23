"""Train the generator of synthetic chest radiographs: an outline by chance, then a cascade of two small rectified flows.

The outline is a Gaussian over 80 principal components of 32 x 32 pixels: where noise hides all but the coarsest
shapes, a Gaussian is as good as a network (Wang & Vastola 2024), so the coarse flow may start there. The coarse network learns whole chests of 96 x 96 pixels; the detail network learns what is between a picture of
288 x 288 and its own average over 3 x 3 pixels, on patches (a cascade as in Ho et al. 2022, "Cascaded diffusion models").
"""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from statistics import fmean

import torch
from safetensors.torch import save
from torch import Tensor, nn
from torch.nn import functional

from gsco_pacs.adapters.progress_bar import Told
from gsco_pacs.training.generator_networks import VelocityUNet
from gsco_pacs.training.generator_pictures import adult_pa_paths, framed, read

PATCH = 3
FULL_SIZE = 288
DETAIL_PATCH = 96
OUTLINE_PATCH, COMPONENTS = 9, 80
DETAIL_SPREAD = 0.12
GUIDE_NOISE = 0.10
COARSE_WIDTHS = (48, 96, 192)
DETAIL_WIDTHS = (48, 96, 144)

WARM_UP = 0.05
TOLD_EVERY = 200

FILES = ("outline.safetensors", "coarse.safetensors", "detail.safetensors", "generator.json")

Batch = tuple[Tensor, Tensor | None]
Draw = Callable[[Tensor, int], Batch]


@dataclass(frozen=True)
class Plan:
    """How long and how fast one network learns."""

    steps: int
    batch: int = 16
    rate: float = 8e-4


@dataclass(frozen=True)
class GeneratorRequest:
    """What to learn from, how long, and where the weights go."""

    manifest: Path
    output: Path
    seed: int = 20
    coarse: Plan = Plan(steps=4400)
    detail: Plan = Plan(steps=2400)


def train_generator(request: GeneratorRequest, progress: Told) -> Path:
    """Train both networks and return the folder: FILES and SHA256SUMS."""
    pictures = training_pictures(request.manifest)
    torch.manual_seed(request.seed)
    coarse = fit(
        VelocityUNet(PATCH, COARSE_WIDTHS, guided=False), pictures, coarse_batch, request.coarse, progress
    )
    detail = fit(
        VelocityUNet(PATCH, DETAIL_WIDTHS, guided=True), pictures, detail_batch, request.detail, progress
    )
    return write_generator(request.output, outline_of(pictures), coarse, detail)


def training_pictures(manifest: Path) -> Tensor:
    """Read and frame the training split: (n, 1, 300, 300), about -2 to 2."""
    return framed(torch.stack([read(path) for _, path in adult_pa_paths(manifest, "train")]))[0]


def outline_of(pictures: Tensor) -> dict[str, Tensor]:
    """Return the mean (1024) and the principal components (80, 1024), scaled to unit variance, of the outlines."""
    margin = (pictures.shape[-1] - FULL_SIZE) // 2
    inner = pictures[..., margin : margin + FULL_SIZE, margin : margin + FULL_SIZE]
    outlines = functional.avg_pool2d(inner, OUTLINE_PATCH).flatten(1)
    mean = outlines.mean(0)
    _, spread, axes = torch.linalg.svd(outlines - mean, full_matrices=False)
    components = spread[:COMPONENTS, None] * axes[:COMPONENTS] / len(outlines) ** 0.5
    return {"mean": mean, "components": components}


def coarse_batch(pictures: Tensor, size: int) -> Batch:
    """Draw whole chests, each moved by a few pixels: (size, 1, 96, 96), and no guide."""
    return functional.avg_pool2d(_crops(pictures, size, FULL_SIZE), PATCH), None


def detail_batch(pictures: Tensor, size: int) -> Batch:
    """Draw patches: the detail (size, 1, 96, 96) missing from a slightly noisy average (size, 1, 32, 32), and that average.

    The noise teaches the network to live with the small faults of a generated coarse picture.
    """
    full = _crops(pictures, size, DETAIL_PATCH)
    average = functional.avg_pool2d(full, PATCH)
    guide = average + GUIDE_NOISE * torch.rand(size, 1, 1, 1) * torch.randn_like(average)
    return (full - enlarged(guide)) / DETAIL_SPREAD, guide


def enlarged(coarse: Tensor) -> Tensor:
    """Enlarge coarse pictures by the patch, smoothly."""
    return functional.interpolate(coarse, scale_factor=float(PATCH), mode="bicubic", align_corners=False)


def fit(network: VelocityUNet, pictures: Tensor, draw: Draw, plan: Plan, progress: Told) -> VelocityUNet:
    """Fit the rectified-flow loss with AdamW under a cosine schedule; return the moving average of the weights."""
    average = copy.deepcopy(network)
    optimizer = torch.optim.AdamW(network.parameters(), lr=plan.rate, betas=(0.9, 0.99), weight_decay=0.01)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, max_lr=plan.rate, total_steps=plan.steps, pct_start=WARM_UP
    )
    losses: list[float] = []
    for step in range(1, plan.steps + 1):
        loss = flow_loss(network, *draw(pictures, plan.batch))
        torch.autograd.backward(loss)
        torch.nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
        schedule.step()
        remember(average, network, min(0.999, (1 + step) / (10 + step)))
        losses.append(loss.item())
        told = f"{draw.__name__}, step {step}: loss {fmean(losses[-TOLD_EVERY:]):.3f}"
        progress(step, plan.steps, told if step % TOLD_EVERY == 0 else "")
    return average.eval()


@torch.no_grad()
def remember(average: nn.Module, network: nn.Module, memory: float) -> None:
    """Update the moving average of the weights; the memory grows at first, so that the random start is forgotten."""
    for kept, current in zip(average.parameters(), network.parameters(), strict=True):
        kept.lerp_(current, 1 - memory)


def flow_loss(network: VelocityUNet, clean: Tensor, guide: Tensor | None) -> Tensor:
    """Return the mean squared velocity error at logit-normal times (Esser et al. 2024, section 3.1)."""
    time = torch.sigmoid(0.2 + torch.randn(len(clean)))
    noise = torch.randn_like(clean)
    share = time[:, None, None, None]
    with torch.autocast("cpu", torch.bfloat16):
        velocity = network((1 - share) * clean + share * noise, time, guide)
    return functional.mse_loss(velocity.float(), noise - clean)


def write_generator(
    output: Path, outline: dict[str, Tensor], coarse: VelocityUNet, detail: VelocityUNet
) -> Path:
    """Write outline and weights in half precision, their shape and their hashes; return the folder."""
    output.mkdir(parents=True, exist_ok=True)
    parts = {"outline": outline, "coarse": coarse.state_dict(), "detail": detail.state_dict()}
    for name, tensors in parts.items():
        halves = {key: value.half().contiguous() for key, value in tensors.items()}
        (output / f"{name}.safetensors").write_bytes(save(halves))
    shape = {
        "patch": PATCH,
        "full_size": FULL_SIZE,
        "detail_spread": DETAIL_SPREAD,
        "coarse_widths": COARSE_WIDTHS,
        "detail_widths": DETAIL_WIDTHS,
    }
    (output / "generator.json").write_text(json.dumps(shape, indent=2) + "\n")
    sums = [f"{sha256((output / name).read_bytes()).hexdigest()}  {name}\n" for name in FILES]
    (output / "SHA256SUMS").write_text("".join(sums))
    return output


def _crops(pictures: Tensor, count: int, size: int) -> Tensor:
    """Cut `count` random squares out of random pictures."""
    span = pictures.shape[-1] - size + 1
    which = torch.randint(len(pictures), (count,)).tolist()
    corners = torch.randint(span, (count, 2)).tolist()
    return torch.stack(
        [pictures[i, :, y : y + size, x : x + size] for i, (y, x) in zip(which, corners, strict=True)]
    )
