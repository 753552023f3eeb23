"""Is a synthetic radiograph a copy? Its nearest training image is compared with how near real patients are to each other."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from gsco_pacs.adapters.networks import EfficientNetLite0
from gsco_pacs.adapters.photograph_network import imagenet_weights
from gsco_pacs.training.generator import FULL_SIZE
from gsco_pacs.training.generator_pictures import adult_pa_paths, framed, read
from gsco_pacs.training.start import load_start

Similarity = Callable[[Tensor, Tensor], Tensor]
"""Pictures (n, 1, 288, 288) and (m, 1, 288, 288) -> similarities (n, m), greater = more alike."""
SSIM_WINDOW = 7
SSIM_C1, SSIM_C2 = (0.01 * 4) ** 2, (0.03 * 4) ** 2


@dataclass(frozen=True)
class Nearness:
    """One measure of likeness: the nearest training image of each sample, and of each real image among other patients."""

    measure: str
    samples: tuple[float, ...]
    """Greatest similarity to any training image, in the order of the samples."""
    real: tuple[float, ...]
    """The same of every training image, other patients' images only."""

    @property
    def limit(self) -> float:
        """The similarity that 5 of 100 real images exceed: nearer than that, a sample counts as a copy."""
        return float(np.quantile(self.real, 0.95))

    @property
    def passed(self) -> tuple[bool, ...]:
        """Whether each sample is no nearer than the limit."""
        return tuple(sample <= self.limit for sample in self.samples)


def check_copies(samples: NDArray[np.float32], manifest: Path) -> tuple[Nearness, ...]:
    """Compare samples (n, 288, 288), 0..1, with every training image by every measure."""
    listed = adult_pa_paths(manifest, "train")
    framed_pictures, kept = framed(torch.stack([read(path) for _, path in listed]))
    patients = [listed[index][0] for index in kept.tolist()]
    margin = (framed_pictures.shape[-1] - FULL_SIZE) // 2
    pictures = framed_pictures[..., margin : margin + FULL_SIZE, margin : margin + FULL_SIZE]
    return nearest(torch.from_numpy(samples)[:, None] * 4 - 2, pictures, patients)


def nearest(samples: Tensor, pictures: Tensor, patients: list[str]) -> tuple[Nearness, ...]:
    """Find, by every measure, the nearest picture of each sample, and of each picture among other patients' pictures."""
    codes = torch.tensor([sorted(set(patients)).index(patient) for patient in patients])
    same = codes[:, None] == codes[None]
    found = []
    for name, similarity in _measures().items():
        to_samples = similarity(samples, pictures).amax(1).tolist()
        real = similarity(pictures, pictures).masked_fill(same, -torch.inf).amax(1).tolist()
        found.append(Nearness(name, tuple(to_samples), tuple(real)))
    return tuple(found)


def _measures() -> Mapping[str, Similarity]:
    features = _Features()
    return {
        "correlation, 64 px, shifted": lambda a, b: shifted_correlation(_shrunk(a, 64), _shrunk(b, 64), 2),
        "correlation, 128 px, shifted": lambda a, b: shifted_correlation(_shrunk(a, 128), _shrunk(b, 128), 4),
        "correlation of detail, 128 px, shifted": lambda a, b: shifted_correlation(
            _fine(_shrunk(a, 128)), _fine(_shrunk(b, 128)), 4
        ),
        "SSIM, 64 px": lambda a, b: ssim(_shrunk(a, 64), _shrunk(b, 64)),
        "SSIM, 128 px": lambda a, b: ssim(_shrunk(a, 128), _shrunk(b, 128)),
        "cosine of centred EfficientNet-lite0 features": features.cosine,
    }


def shifted_correlation(a: Tensor, b: Tensor, reach: int) -> Tensor:
    """Return the greatest normalised cross-correlation over shifts of up to `reach` pixels, every second one."""
    inner = slice(reach, a.shape[-1] - reach)
    still, best = _standard(a[..., inner, inner]), torch.full((len(a), len(b)), -1.0)
    for down in range(-reach, reach + 1, 2):
        for right in range(-reach, reach + 1, 2):
            moved = torch.roll(b, (down, right), dims=(-2, -1))[..., inner, inner]
            best = torch.maximum(best, still @ _standard(moved).T)
    return best


def ssim(a: Tensor, b: Tensor) -> Tensor:
    """Return the structural similarity (Wang et al. 2004), with a square window of 7 pixels, of every pair."""
    mean_a, mean_b = _local(a), _local(b)
    spread_a, spread_b = _local(a * a) - mean_a**2, _local(b * b) - mean_b**2
    rows = []
    for one, mean, spread in zip(a, mean_a, spread_a, strict=True):
        covariance = _local(one * b) - mean * mean_b
        light = (2 * mean * mean_b + SSIM_C1) / (mean**2 + mean_b**2 + SSIM_C1)
        structure = (2 * covariance + SSIM_C2) / (spread + spread_b + SSIM_C2)
        rows.append((light * structure).mean((1, 2, 3)))
    return torch.stack(rows)


class _Features:
    """A photograph network's pooled features, which know nothing of radiographs or of the generator."""

    def __init__(self) -> None:
        self.network = EfficientNetLite0(num_classes=1000, image_size=224).eval()
        load_start(self.network, imagenet_weights())
        self.network.add_module("_fc", nn.Identity())

    @torch.inference_mode()
    def cosine(self, a: Tensor, b: Tensor) -> Tensor:
        """Cosine after the mean of b is taken away, so that being a chest does not count."""
        features_a, features_b = self._pooled(a), self._pooled(b)
        centre = features_b.mean(0)
        return functional.normalize(features_a - centre) @ functional.normalize(features_b - centre).T

    def _pooled(self, pictures: Tensor) -> Tensor:
        """Pool the features of pictures smoothed to 112 pixels, so that grain does not count."""
        smooth = functional.interpolate(_shrunk(pictures / 2, 112), size=224, mode="bilinear")
        return torch.cat([self.network(chunk) for chunk in torch.split(smooth, 16)])


def _shrunk(pictures: Tensor, size: int) -> Tensor:
    return functional.interpolate(pictures, size=size, mode="area")


def _fine(pictures: Tensor) -> Tensor:
    return pictures - functional.avg_pool2d(pictures, 9, stride=1, padding=4, count_include_pad=False)


def _local(pictures: Tensor) -> Tensor:
    return functional.avg_pool2d(pictures, SSIM_WINDOW, stride=1)


def _standard(pictures: Tensor) -> Tensor:
    flat = pictures.flatten(1)
    return functional.normalize(flat - flat.mean(1, keepdim=True))
