"""Turns pictures into a network's input, in the same way for training, evaluation and the node."""

from collections.abc import Sequence
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

LUMA = (0.299, 0.587, 0.114)
"""ITU-R BT.601, the weights of Y in DICOM's YBR_FULL (PS3.3 C.7.6.3.1.2)."""


def squared(pixels: NDArray[np.float32], size: int, fit: Literal["stretch", "pad"]) -> Tensor:
    """Return [size, size] grey values 0..1 of a grey or RGB picture; ``pad`` keeps the sides' ratio on black."""
    grey = pixels if pixels.ndim == 2 else pixels @ np.asarray(LUMA, dtype=np.float32)
    image = torch.from_numpy(np.ascontiguousarray(grey, dtype=np.float32))[None, None]
    if fit == "pad":
        rows, columns = grey.shape
        side = max(rows, columns)
        top, left = (side - rows) // 2, (side - columns) // 2
        image = functional.pad(image, (left, side - columns - left, top, side - rows - top))
    resized = functional.interpolate(
        image, (size, size), mode="bilinear", antialias=True, align_corners=False
    )
    return resized[0, 0].clamp(0, 1)


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


def batch(squares: Sequence[Tensor], mean: float, std: float) -> Tensor:
    """Return the network's input [n, 1, size, size] in channels-last order, normalised."""
    stacked = (torch.stack(list(squares))[:, None] - mean) / std
    return stacked.contiguous(memory_format=torch.channels_last)
