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


def batch(squares: Sequence[Tensor], mean: float, std: float) -> Tensor:
    """Return the network's input [n, 1, size, size] in channels-last order, normalised."""
    stacked = (torch.stack(list(squares))[:, None] - mean) / std
    return stacked.contiguous(memory_format=torch.channels_last)
