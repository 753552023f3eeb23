"""Turns pictures into a network's input, in the same way for training, evaluation and the node."""

from collections.abc import Sequence
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from gsco_pacs.adapters.bundle_format import Tones

_SURROUNDINGS = 16
"""The surroundings of a point reach a sixteenth of the picture's side to all sides."""

LUMA = (0.299, 0.587, 0.114)
"""ITU-R BT.601, the weights of Y in DICOM's YBR_FULL (PS3.3 C.7.6.3.1.2)."""


def squared(
    pixels: NDArray[np.float32], size: int, fit: Literal["stretch", "pad"], colours: int = 1
) -> Tensor:
    """Values 0..1 of a grey or RGB picture: [size, size] grey, or [3, size, size] RGB if ``colours`` is 3.

    ``pad`` keeps the sides' ratio on black. A grey picture has three equal colours.
    """
    planes = _grey(pixels)[None] if colours == 1 else _rgb(pixels)
    image = torch.from_numpy(np.ascontiguousarray(planes, dtype=np.float32))[None]
    if fit == "pad":
        rows, columns = planes.shape[1:]
        side = max(rows, columns)
        top, left = (side - rows) // 2, (side - columns) // 2
        image = functional.pad(image, (left, side - columns - left, top, side - rows - top))
    resized = functional.interpolate(
        image, (size, size), mode="bilinear", antialias=True, align_corners=False
    )[0].clamp(0, 1)
    return resized[0] if colours == 1 else resized


def toned(square: Tensor, tones: Tones) -> Tensor:
    """A square picture, 0..1, [size, size] or [colours, size, size], with its grey values evened out as ``tones`` says, 0..1."""
    if tones == "shown":
        return square
    planes = square.reshape(-1, *square.shape[-2:])
    even = _ranked(planes) if tones == "equalised" else _against_surroundings(planes)
    return even.reshape(square.shape)


def _ranked(planes: Tensor) -> Tensor:
    """Histogram equalisation: each value becomes the share of the picture that is darker, equal values counting half."""
    bytes_ = (planes * 255).round().long()
    counts = torch.stack([torch.bincount(plane.flatten(), minlength=256) for plane in bytes_]).float()
    shares = (counts.cumsum(dim=1) - counts / 2) / counts.sum(dim=1, keepdim=True)
    return torch.stack([share[plane] for share, plane in zip(shares, bytes_, strict=True)])


def _against_surroundings(planes: Tensor) -> Tensor:
    """Local contrast normalisation: the difference to the local mean in local standard deviations, -3..3 becoming 0..1."""
    reach = max(1, planes.shape[-1] // _SURROUNDINGS)
    mean = _blurred(planes, reach)
    spread = (_blurred(planes**2, reach) - mean**2).clamp(min=0).sqrt()
    return (0.5 + (planes - mean) / (spread + 0.02) / 6).clamp(0, 1)


def _blurred(planes: Tensor, reach: int) -> Tensor:
    padded = functional.pad(planes[None], (reach,) * 4, mode="replicate")
    return functional.avg_pool2d(padded, 2 * reach + 1, stride=1)[0]


def unsquared(
    coarse: NDArray[np.float32], shape: tuple[int, int], fit: Literal["stretch", "pad"], longest: int = 512
) -> NDArray[np.float32]:
    """A map over the square as a map over the picture of ``shape``, without padding, 1 at its highest; at most ``longest`` long."""
    side = max(shape)
    scale = min(1.0, longest / side)
    rows, columns = (max(1, round(length * scale)) for length in shape)
    target = (max(rows, columns),) * 2 if fit == "pad" else (rows, columns)
    square = torch.from_numpy(coarse)[None, None]
    smooth = functional.interpolate(square, target, mode="bicubic", align_corners=False)[0, 0].clamp(min=0)
    top, left = (target[0] - rows) // 2, (target[1] - columns) // 2
    within = smooth[top : top + rows, left : left + columns]
    return (within / within.max().clamp(min=1e-6)).numpy()


def batch(
    squares: Sequence[Tensor],
    mean: float | Sequence[float],
    std: float | Sequence[float],
    scale: Literal["fixed", "picture"] = "fixed",
) -> Tensor:
    """The network's input [n, colours, size, size] in channels-last order, normalised by fixed or its own numbers."""
    stacked = torch.stack([square if square.ndim == 3 else square[None] for square in squares])
    if scale == "picture":
        spread, middle = torch.std_mean(stacked, dim=(2, 3), keepdim=True, correction=0)
        normal = (stacked - middle) / spread.clamp_min(1e-6)
    elif isinstance(mean, float) and isinstance(std, float):
        normal = (stacked - mean) / std
    else:
        normal = (stacked - _by_colour(mean)) / _by_colour(std)
    return normal.contiguous(memory_format=torch.channels_last)


def _grey(pixels: NDArray[np.float32]) -> NDArray[np.float32]:
    return pixels if pixels.ndim == 2 else np.asarray(pixels @ np.asarray(LUMA, dtype=np.float32))


def _rgb(pixels: NDArray[np.float32]) -> NDArray[np.float32]:
    return np.stack([pixels] * 3) if pixels.ndim == 2 else np.moveaxis(pixels, 2, 0)


def _by_colour(numbers: float | Sequence[float]) -> Tensor:
    return torch.as_tensor(numbers, dtype=torch.float32).reshape(-1, 1, 1)
