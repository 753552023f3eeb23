"""Random changes of a training picture that leave its labels true."""

import math
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional


@dataclass(frozen=True)
class Augmentation:
    """How far a picture may be changed; values are drawn uniformly and independently for each picture."""

    rotation: float = 10.0
    """Degrees to either side."""
    zoom: float = 0.15
    """Fraction larger or smaller."""
    stretch: float = 0.06
    """Fraction by which height and width may differ."""
    shift: float = 0.06
    """Fraction of the picture's side."""
    contrast: float = 0.3
    """Fraction more or less, around the picture's mean."""
    brightness: float = 0.1
    gamma: float = 0.35
    """Natural logarithm of the exponent."""
    noise: float = 0.02
    """Largest standard deviation."""
    erased: float = 0.2
    """Side of the square that is greyed in half of the pictures."""
    flip: bool = False


def augmented(pictures: Tensor, how: Augmentation, random: torch.Generator) -> Tensor:
    """Return changed copies of ``pictures``, [n, 1, size, size], 0..1; ``random`` decides everything."""
    moved = _moved(pictures, how, random)
    toned = _toned(moved, how, random)
    return _erased(toned, how.erased, random)


def _uniform(n: int, reach: float, random: torch.Generator) -> Tensor:
    return (torch.rand(n, generator=random) * 2 - 1) * reach


def _moved(pictures: Tensor, how: Augmentation, random: torch.Generator) -> Tensor:
    n = len(pictures)
    angle = _uniform(n, math.radians(how.rotation), random)
    zoom = torch.exp(_uniform(n, math.log1p(how.zoom), random))
    stretch = torch.exp(_uniform(n, math.log1p(how.stretch) / 2, random))
    mirror = 1 - 2 * (torch.rand(n, generator=random) < 0.5).float() * how.flip
    rows = [
        torch.stack([torch.cos(angle) * zoom * stretch * mirror, -torch.sin(angle) * zoom], dim=1),
        torch.stack([torch.sin(angle) * zoom * mirror, torch.cos(angle) * zoom / stretch], dim=1),
    ]
    shift = torch.stack([_uniform(n, 2 * how.shift, random), _uniform(n, 2 * how.shift, random)], dim=1)
    matrix = torch.cat([torch.stack(rows, dim=1), shift[:, :, None]], dim=2)
    grid = functional.affine_grid(matrix, list(pictures.shape), align_corners=False)
    return functional.grid_sample(pictures, grid, align_corners=False)


def _toned(pictures: Tensor, how: Augmentation, random: torch.Generator) -> Tensor:
    n = len(pictures)
    column = (n, 1, 1, 1)
    mean = pictures.mean(dim=(1, 2, 3), keepdim=True)
    contrast = (1 + _uniform(n, how.contrast, random)).view(column)
    brightness = _uniform(n, how.brightness, random).view(column)
    gamma = torch.exp(_uniform(n, how.gamma, random)).view(column)
    toned = ((pictures - mean) * contrast + mean + brightness).clamp(0, 1) ** gamma
    strength = (torch.rand(n, generator=random) * how.noise).view(column)
    return (toned + torch.randn(pictures.shape, generator=random) * strength).clamp(0, 1)


def _erased(pictures: Tensor, share: float, random: torch.Generator) -> Tensor:
    n, size = len(pictures), pictures.shape[-1]
    side = max(1, round(share * size))
    corners = torch.randint(0, size - side + 1, (n, 2), generator=random)
    chosen = torch.rand(n, generator=random) < 0.5
    for picture, (top, left), choose in zip(pictures, corners.tolist(), chosen.tolist(), strict=True):
        if choose:
            picture[:, top : top + side, left : left + side] = picture.mean()
    return pictures
