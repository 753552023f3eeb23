"""Images with known labels: a manifest (CSV) and the files it names, for training and evaluation."""

import csv
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from gsco_pacs.domain.errors import ConfigError

Split = Literal["train", "val", "test"]


@dataclass(frozen=True)
class LabelledImage:
    """One row of the manifest."""

    path: Path
    labels: tuple[str, ...]
    group: str
    """The patient, or the nearest thing to it."""
    view: str


def read_images(
    manifest: Path, module: str, split: Split, labels: Collection[str] | None
) -> tuple[LabelledImage, ...]:
    """The images of one module and split; several labels of an image are joined by a bar.

    Columns: path (relative to the manifest), module, split, label, group, view. ConfigError if there is no such image,
    or one has a label that is not among ``labels`` (None: any).
    """
    rows = [row for row in _rows(manifest, split) if row["module"] == module]
    if not rows:
        raise ConfigError(f"{manifest} has no image of module {module!r} in split {split!r}.")
    images = tuple(
        LabelledImage(
            manifest.parent / row["path"], tuple(row["label"].split("|")), row["group"], row["view"]
        )
        for row in rows
    )
    unknown = {label for image in images for label in image.labels} - set(labels or ())
    if labels is not None and unknown:
        raise ConfigError(f"{manifest}: {module} has labels that the task does not know: {sorted(unknown)}.")
    return images


def modules_of(manifest: Path, split: Split) -> tuple[str, ...]:
    """The modules that have an image in ``split``, in alphabetical order; ConfigError if it is no manifest."""
    return tuple(sorted({row["module"] for row in _rows(manifest, split)}))


def _rows(manifest: Path, split: Split) -> list[dict[str, str]]:
    try:
        with manifest.open(newline="", encoding="utf-8") as lines:
            return [row for row in csv.DictReader(lines) if row["module"] and row["split"] == split]
    except OSError as error:
        raise ConfigError(f"{manifest}: {error.strerror}.") from error
    except KeyError as error:
        raise ConfigError(f"{manifest} has no column {error}.") from error


def truth_of(images: Sequence[LabelledImage], labels: Sequence[str]) -> NDArray[np.float32]:
    """1 where an image has the label, else 0: [images, labels]."""
    return np.array([[label in image.labels for label in labels] for image in images], dtype=np.float32)


def read_pixels(path: Path) -> NDArray[np.float32]:
    """Grey values of an image file, [rows, columns], 0..1."""
    with Image.open(path) as image:
        return (np.asarray(image.convert("L")) / np.float32(255)).astype(np.float32)


def probabilities_in(
    path: Path, images: Sequence[LabelledImage], labels: Sequence[str]
) -> NDArray[np.float32]:
    """Another model's probabilities for the images, [images, labels], NaN where the file (CSV) has none.

    The file has a column `Image Index` (an image's file name; its suffix does not count) and a column `prob_<label>`
    for each label that the model knows.
    """
    with path.open(newline="", encoding="utf-8") as lines:
        rows = {Path(row["Image Index"]).stem: row for row in csv.DictReader(lines)}
    found = [rows.get(image.path.stem, {}) for image in images]
    values = [[float(row.get(f"prob_{label}") or "nan") for label in labels] for row in found]
    return np.array(values, dtype=np.float32)
