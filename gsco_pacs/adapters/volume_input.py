"""Turns a volume into a network's input and its output back, in the same way for training, evaluation and the node."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import affine_transform, label

from gsco_pacs.adapters.segmentation_format import VolumePrepareEntry
from gsco_pacs.pixels.placing import body_axes
from gsco_pacs.ports import Volume

_TOUCHING = np.ones((3, 3, 3), dtype=bool)


@dataclass(frozen=True, eq=False)
class Placement:
    """Where a volume lies in a patch: a patch's index is ``matrix @ index + offset`` in the volume."""

    matrix: NDArray[np.float64]
    offset: NDArray[np.float64]
    patch: tuple[int, int, int]
    shape: tuple[int, ...]

    def placed(self, voxels: NDArray[Any], order: int) -> NDArray[Any]:
        """``voxels`` of the volume in the patch; ``order`` 0 takes the nearest voxel, 1 interpolates."""
        return np.asarray(
            affine_transform(voxels, self.matrix, self.offset, self.patch, order=order, mode="nearest")
        )

    def back(self, channel: NDArray[np.float32]) -> NDArray[np.float32]:
        """One channel of the patch, interpolated at the volume's voxels."""
        inverse = np.linalg.inv(self.matrix)
        return np.asarray(
            affine_transform(channel, inverse, -inverse @ self.offset, self.shape, order=1, mode="nearest")
        )


def placement_of(volume: Volume, prepare: VolumePrepareEntry) -> Placement:
    """The volume in the middle of the patch, its axes in the order right, front, head, voxel on voxel if spacings agree."""
    axes = body_axes(volume.affine)
    matrix, offset = np.zeros((3, 3)), np.zeros(3)
    for body, (own, sign, spacing) in enumerate(zip(axes.own, axes.signs, axes.spacing, strict=True)):
        step = prepare.spacing_mm / spacing
        last = volume.voxels.shape[own] - 1
        margin = np.floor((prepare.patch[body] - 1 - last / step) / 2)
        matrix[own, body] = sign * step
        offset[own] = -margin * step if sign > 0 else last + margin * step
    return Placement(matrix, offset, prepare.patch, volume.voxels.shape)


def normalised(voxels: NDArray[np.float32], prepare: VolumePrepareEntry) -> NDArray[np.float32]:
    """``voxels`` without their extremes, with mean 0 and standard deviation 1 (0 everywhere if they are all the same)."""
    clipped = np.clip(voxels, *np.percentile(voxels, prepare.clip))
    spread = float(clipped.std())
    return np.asarray((clipped - clipped.mean()) / (spread or 1.0), dtype=np.float32)


def segments_of(probabilities: NDArray[np.float32], placement: Placement) -> NDArray[np.uint8]:
    """The likeliest segment of each voxel of the volume (0 = none), of every segment only its largest piece."""
    likeliest = np.stack([placement.back(channel) for channel in probabilities]).argmax(axis=0)
    found = np.zeros(likeliest.shape, dtype=np.uint8)
    for number in range(1, len(probabilities)):
        found[_largest(likeliest == number)] = number
    return found


def _largest(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    pieces, count = label(mask, structure=_TOUCHING)
    if count <= 1:
        return mask
    return np.asarray(pieces == 1 + np.bincount(pieces.ravel())[1:].argmax())
