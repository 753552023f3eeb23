"""How a volume lies in the body: which of its axes runs to the right, to the front and to the head."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

_TO_BODY = np.diag([-1.0, -1.0, 1.0])
"""From DICOM's patient coordinates (left, back, head; PS3.3 C.7.6.2.1.1) to right, front, head."""


@dataclass(frozen=True, eq=False)
class BodyAxes:
    """For right, front and head in turn: the volume's axis that lies nearest, whether it runs along or against, its spacing."""

    own: tuple[int, int, int]
    signs: tuple[int, int, int]
    spacing: tuple[float, float, float]
    """In mm."""
    tilt: float
    """Degrees between the volume's axes and the body's, the largest of the three."""

    def extent(self, shape: tuple[int, ...]) -> tuple[float, float, float]:
        """The field of view in mm along right, front and head of a volume of ``shape``."""
        right, front, head = (shape[own] * step for own, step in zip(self.own, self.spacing, strict=True))
        return right, front, head


def body_axes(affine: NDArray[np.float64]) -> BodyAxes:
    """How a volume with the ``affine`` of ports.Volume lies in the body."""
    columns = _TO_BODY @ affine[:3, :3]
    spacing = np.linalg.norm(columns, axis=0)
    cosines = columns / spacing
    nearest = np.abs(cosines).argmax(axis=0)
    if (
        len(set(nearest.tolist())) < 3
    ):  # beyond 45 degrees: any assignment will do, since the tilt says it all
        nearest = np.arange(3)
    own = np.argsort(nearest)
    along = cosines[np.arange(3), own]
    tilt = float(np.degrees(np.arccos(np.clip(np.abs(along).min(), 0, 1))))
    right, front, head = (int(axis) for axis in own)
    signs = [1 if cosine >= 0 else -1 for cosine in along]
    steps = [float(step) for step in spacing]
    return BodyAxes(
        (right, front, head),
        (signs[0], signs[1], signs[2]),
        (steps[right], steps[front], steps[head]),
        tilt,
    )


def voxel_volume(affine: NDArray[np.float64]) -> float:
    """Cubic millimetres of one voxel."""
    return float(abs(np.linalg.det(affine[:3, :3])))
