"""Volumes whose segments are known: a folder of NIfTI files in the layout of the Medical Segmentation Decathlon."""

import hashlib
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from nibabel.filebasedimages import ImageFileError
from nibabel.nifti1 import Nifti1Image
from numpy.typing import NDArray

from gsco_pacs.adapters.labelled_images import Split
from gsco_pacs.domain.errors import ConfigError
from gsco_pacs.ports import Volume

_SHARES: tuple[tuple[Split, int], ...] = (("train", 70), ("val", 85), ("test", 100))
_SAME_MM = 1e-3
_TO_DICOM = np.diag([-1.0, -1.0, 1.0, 1.0])
"""From NIfTI's coordinates (right, front, head) to DICOM's (left, back, head)."""


@dataclass(frozen=True, eq=False)
class LabelledVolume:
    """One volume and the number of the segment that each voxel belongs to (0 for none)."""

    name: str
    volume: Volume
    truth: NDArray[np.uint8]


def split_of(name: str) -> Split:
    """Where a volume belongs, by the hash of its name alone: 70 % train, 15 % val, 15 % test."""
    share = int(hashlib.sha256(name.encode()).hexdigest()[:8], 16) % 100
    return next(split for split, end in _SHARES if share < end)


def read_volumes(folder: Path, split: Split, segments: int) -> Iterator[LabelledVolume]:
    """The volumes of one split, by name: images/NAME.nii.gz with labels/NAME.nii.gz (0 to ``segments``) in ``folder``.

    ConfigError if there is none, or image and labels do not belong together.
    """
    paths = sorted((folder / "images").glob("*.nii.gz"))
    chosen = [path for path in paths if split_of(path.name.removesuffix(".nii.gz")) == split]
    if not chosen:
        raise ConfigError(f"{folder} has no images/*.nii.gz for the split {split}.")
    for path in chosen:
        yield _labelled(path, folder / "labels" / path.name, segments)


def _labelled(image_path: Path, label_path: Path, segments: int) -> LabelledVolume:
    try:
        image, labels = Nifti1Image.from_filename(image_path), Nifti1Image.from_filename(label_path)
        voxels, said = np.asarray(image.dataobj, dtype=np.float32), np.asarray(labels.dataobj)
    except (OSError, EOFError, zlib.error, ImageFileError) as error:
        raise ConfigError(f"{image_path.name}: image or labels cannot be read: {error}") from error
    if voxels.ndim != 3 or voxels.shape != said.shape or not np.isin(said, range(segments + 1)).all():
        raise ConfigError(
            f"{image_path.name}: the labels are not those of a volume with {segments} segments: whole numbers "
            f"from 0 to {segments}, one for each voxel of the image."
        )
    if not np.allclose(image.affine, labels.affine, atol=_SAME_MM):
        raise ConfigError(f"{image_path.name}: image and labels do not lie in the same place: resample one.")
    truth = said.astype(np.uint8)
    name = image_path.name.removesuffix(".nii.gz")
    slices = tuple((name, frame) for frame in range(1, len(voxels) + 1))
    return LabelledVolume(name, Volume(voxels, _TO_DICOM @ image.affine, slices), truth)
