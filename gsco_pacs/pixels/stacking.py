"""Slices become a volume: only if they lie in one frame of reference, parallel, behind one another and equally spaced."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from pydicom import Dataset

from gsco_pacs.domain.errors import BadObjectError
from gsco_pacs.pixels.decoding import IN_PROCESS, Decoder
from gsco_pacs.pixels.display import described, real_values
from gsco_pacs.pixels.opening import ImageFile, open_image
from gsco_pacs.pixels.placing import body_axes
from gsco_pacs.ports import Volume, VolumeContract
from gsco_pacs.unreadable import UNREADABLE

_PARALLEL = 1e-3
"""By how much a direction cosine may differ."""
_UNEVEN = 0.02
"""By which share of the distance between slices a slice may lie out of place."""


@dataclass(frozen=True, eq=False)
class Slice:
    """One frame and its place (PS3.3 C.7.6.2): mm, in the patient's coordinates (left, back, head)."""

    image: ImageFile
    frame: int
    position: NDArray[np.float64]
    rows: NDArray[np.float64]
    """Direction in which the column index grows, of length 1."""
    columns: NDArray[np.float64]
    """Direction in which the row index grows."""
    spacing: tuple[float, float]
    """Between rows, between columns."""

    @property
    def normal(self) -> NDArray[np.float64]:
        """The direction in which slices are stacked."""
        return np.cross(self.rows, self.columns)


@dataclass(frozen=True, eq=False)
class Stack:
    """The slices of a volume in their order, from headers alone."""

    slices: tuple[Slice, ...]
    affine: NDArray[np.float64]
    """As in ports.Volume."""

    @property
    def shape(self) -> tuple[int, int, int]:
        """Slices, rows and columns."""
        header = self.slices[0].image.header
        return len(self.slices), int(header.Rows), int(header.Columns)

    def volume(self, decoder: Decoder = IN_PROCESS) -> Volume:
        """The volume with its voxels decoded; BadObjectError if one slice is not readable."""
        # The headers that were judged hold only what judging needs.
        opened = {each.image.path: open_image(each.image.path) for each in self.slices}
        voxels = np.stack([real_values(opened[each.image.path], each.frame, decoder) for each in self.slices])
        names = tuple((str(each.image.header.SOPInstanceUID), each.frame) for each in self.slices)
        return Volume(voxels, self.affine, names)


def stacked(images: Sequence[ImageFile]) -> Stack:
    """The images of one series (or the frames of one multi-frame image) as a stack.

    BadObjectError says why they are none; nothing is guessed.
    """
    slices = [each for image in images for each in _slices(image)]
    first = slices[0]
    _check_alike(slices)
    ordered = sorted(slices, key=lambda each: float(first.normal @ each.position))
    step = _step(ordered)
    affine = np.eye(4)
    affine[:3, 0] = step
    affine[:3, 1] = first.columns * first.spacing[0]
    affine[:3, 2] = first.rows * first.spacing[1]
    affine[:3, 3] = ordered[0].position
    return Stack(tuple(ordered), affine)


def unfit(stack: Stack, contract: VolumeContract) -> str:
    """Why the contract does not ask for such a stack; "" if it does."""
    axes = body_axes(stack.affine)
    extent = axes.extent(stack.shape)
    seen, most, least = (
        " x ".join(f"{side:.0f}" for side in sides)
        for sides in (extent, contract.max_extent, contract.min_extent)
    )
    checks = (
        (
            len(stack.slices) < contract.min_slices,
            f"Fewer than {contract.min_slices} slices.",
        ),
        (
            axes.tilt > contract.max_tilt,
            f"Image Orientation (Patient): turned by {axes.tilt:.0f} degrees; the model reads up to {contract.max_tilt:g}.",
        ),
        (
            any(side > end for side, end in zip(extent, contract.max_extent, strict=True)),
            f"Field of view {seen} mm: the model has learnt from series cropped to one structure (at most {most} mm) "
            "and cannot be trusted on a larger one.",
        ),
        (
            any(side < end for side, end in zip(extent, contract.min_extent, strict=True)),
            f"Field of view {seen} mm: smaller than {least} mm.",
        ),
        (
            max(axes.spacing) > contract.max_spacing,
            f"Voxels of up to {max(axes.spacing):.1f} mm: coarser than {contract.max_spacing:g} mm.",
        ),
    )
    return next((reason for wrong, reason in checks if wrong), "")


def _slices(image: ImageFile) -> Iterator[Slice]:
    for frame in range(1, image.frames + 1):
        try:
            yield _slice(image, frame)
        except UNREADABLE as error:
            raise BadObjectError(
                "Image Position (Patient), Image Orientation (Patient) or Pixel Spacing is missing or not readable."
            ) from error


def _slice(image: ImageFile, frame: int) -> Slice:
    position = _numbers(described(image.header, frame, "PlanePositionSequence"), "ImagePositionPatient", 3)
    cosines = _numbers(
        described(image.header, frame, "PlaneOrientationSequence"), "ImageOrientationPatient", 6
    )
    spacing = _numbers(described(image.header, frame, "PixelMeasuresSequence"), "PixelSpacing", 2)
    across, down = cosines[:3], cosines[3:]
    square = np.array([across @ across - 1, down @ down - 1, across @ down])
    if np.abs(square).max() > 10 * _PARALLEL or min(spacing) <= 0:
        raise BadObjectError("Image Orientation (Patient) or Pixel Spacing is not one that can be.")
    return Slice(image, frame, position, across, down, (float(spacing[0]), float(spacing[1])))


def _numbers(holder: Dataset, keyword: str, count: int) -> NDArray[np.float64]:
    values = np.array([float(each) for each in holder[keyword].value])
    if len(values) != count or not np.isfinite(values).all():
        raise ValueError(keyword)
    return values


def _check_alike(slices: Sequence[Slice]) -> None:
    first = slices[0]
    if len({str(each.image.header.get("FrameOfReferenceUID") or "") for each in slices}) > 1:
        raise BadObjectError("Frame of Reference UID: the slices do not share one.")
    if not first.image.header.get("FrameOfReferenceUID"):
        raise BadObjectError("Frame of Reference UID is missing.")
    for each in slices:
        header, other = each.image.header, first.image.header
        if (header.Rows, header.Columns) != (other.Rows, other.Columns):
            raise BadObjectError("Rows and Columns: the slices differ.")
        if not np.allclose(each.spacing, first.spacing, rtol=_PARALLEL):
            raise BadObjectError("Pixel Spacing: the slices differ.")
        turned = np.abs(np.concatenate([each.rows - first.rows, each.columns - first.columns])).max()
        if turned > _PARALLEL:
            raise BadObjectError("Image Orientation (Patient): the slices are not parallel.")


def _step(ordered: Sequence[Slice]) -> NDArray[np.float64]:
    """From one slice to the next, along the normal."""
    if len(ordered) < 2:
        raise BadObjectError("One slice is no volume.")
    normal = ordered[0].normal
    positions = np.stack([each.position for each in ordered])
    gaps = np.diff(positions @ normal)
    step = float(np.median(gaps))
    if gaps.min() < _UNEVEN * max(step, 0.1):
        raise BadObjectError("Image Position (Patient): two slices lie at the same place.")
    if np.abs(gaps - step).max() > _UNEVEN * step:
        raise BadObjectError(
            "Image Position (Patient): the slices are not equally spaced; one may be missing."
        )
    aside = positions - positions[0] - np.outer((positions - positions[0]) @ normal, normal)
    if np.linalg.norm(aside, axis=1).max() > _UNEVEN * step * len(ordered):
        raise BadObjectError("Image Position (Patient): the slices are displaced sideways.")
    return np.asarray(normal * gaps.mean())
