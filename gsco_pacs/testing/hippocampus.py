"""A made-up hippocampus: a bent body in two parts, as a volume with its truth, and as a DICOM series in any orientation."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydicom import Dataset

from gsco_pacs.ports import Volume
from gsco_pacs.testing.phantoms import make_mr

BODY = np.array([[-1.0, 0, 0, 12.0], [0, -1.0, 0, 20.0], [0, 0, 1.0, -15.0], [0, 0, 0, 1.0]])
"""Affine (ports.Volume) of a volume whose axes run right, front and head, 1 mm each."""


def made_up_hippocampus(
    seed: int = 0, shape: tuple[int, int, int] = (34, 48, 34)
) -> tuple[Volume, NDArray[np.uint8]]:
    """The volume, axes right, front and head, 1 mm each, and its truth: 1 = front part, 2 = back part."""
    random = np.random.default_rng(seed)
    x, y, z = np.mgrid[tuple(slice(-(side - 1) / 2, (side + 1) / 2) for side in shape)]
    length, width = random.uniform(15, 17), random.uniform(5.5, 6.5)
    bend = 3 * (y / length) ** 2
    thick = width * np.sqrt(np.clip(1 - (y / length) ** 2, 0, 1)) * np.where(y > 0, 1.15, 0.9)
    inside = (x**2 + (z - bend) ** 2) < thick**2
    truth = np.where(inside & (y > random.uniform(1, 3)), 1, np.where(inside, 2, 0)).astype(np.uint8)
    voxels = 300 + 250 * (truth > 0) + 80 * (truth == 1) + random.normal(0, 20, shape)
    slices = tuple(("made-up", number) for number in range(1, shape[0] + 1))
    return Volume(np.maximum(voxels, 0).astype(np.float32), BODY.copy(), slices), truth


def turned(volume: Volume, order: Sequence[int], flips: Sequence[int] = ()) -> Volume:
    """The same volume stored with its axes in another ``order`` and some of the new axes running the other way."""
    voxels, affine = np.transpose(volume.voxels, order), volume.affine.copy()
    affine[:, :3] = affine[:, :3][:, list(order)]
    for axis in flips:
        voxels = np.flip(voxels, axis)
        affine[:3, 3] += affine[:3, axis] * (voxels.shape[axis] - 1)
        affine[:3, axis] *= -1
    slices = tuple(("made-up", number) for number in range(1, len(voxels) + 1))
    return Volume(np.ascontiguousarray(voxels), affine, slices)


def mr_series(volume: Volume, study: str = "1", series: str = "1", **overrides: Any) -> list[Dataset]:
    """The volume as the slices of an MR series, in their order; ``overrides`` as for ``make_mr``."""
    directions = volume.affine[:3, :3]
    steps = np.linalg.norm(directions, axis=0)
    across, down = directions[:, 2] / steps[2], directions[:, 1] / steps[1]
    slices = []
    for number, pixels in enumerate(volume.voxels):
        place = {
            "ImagePositionPatient": [
                round(float(at), 4) for at in volume.affine[:3, 3] + number * directions[:, 0]
            ],
            "ImageOrientationPatient": [round(float(cosine), 6) for cosine in (*across, *down)],
            "PixelSpacing": [round(float(steps[1]), 4), round(float(steps[2]), 4)],
            "SliceThickness": round(float(steps[0]), 4),
        }
        slices.append(
            make_mr(np.rint(pixels).astype(np.uint16), study, series, number + 1, **(place | overrides))
        )
    return slices
