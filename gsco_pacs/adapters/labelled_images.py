"""Images with known labels: a manifest (CSV) and the files it names, for training and evaluation."""

import csv
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from gsco_pacs.domain.errors import ConfigError

Split = Literal["train", "val", "test"]
_Rows = Iterator[tuple[int, dict[str, str]]]
"""Line number and content of each row."""

_COLUMNS = ("path", "module", "split", "label", "group", "view")
_TOLD = ("label", "group")
"""Columns in which every image that is used must say something."""
_UNBOUNDED = ("I", "F")
"""Pillow's modes of values of which no file says what is black and what is white."""


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
    its row or its file is missing something, or it has a label that is not among ``labels`` (None: any).
    """
    images = tuple(
        _image(manifest, line, row) for line, row in _rows(manifest, split) if row["module"] == module
    )
    if not images:
        raise ConfigError(f"{manifest} has no image of module {module!r} in split {split!r}.")
    unknown = {label for image in images for label in image.labels} - set(labels or ())
    if labels is not None and unknown:
        raise ConfigError(f"{manifest}: {module} has labels that the task does not know: {sorted(unknown)}.")
    missing = [image.path for image in images if not image.path.is_file()]
    if missing:
        raise ConfigError(f"{manifest} names {missing[0]}, which is missing ({len(missing)} such images).")
    return images


def _image(manifest: Path, line: int, row: dict[str, str]) -> LabelledImage:
    untold = [column for column in _TOLD if not row[column]]
    if untold:
        raise ConfigError(f"{manifest}, line {line}: {row['path']} has no {' and no '.join(untold)}.")
    return LabelledImage(
        manifest.parent / row["path"], tuple(row["label"].split("|")), row["group"], row["view"]
    )


def modules_of(manifest: Path, split: Split) -> tuple[str, ...]:
    """The modules that have an image in ``split``, in alphabetical order; ConfigError if it is no manifest."""
    return tuple(sorted({row["module"] for _, row in _rows(manifest, split)}))


def _rows(manifest: Path, split: Split) -> _Rows:
    table = _table(manifest, _COLUMNS)
    return ((line, row) for line, row in table if row["module"] and row["split"] == split)


def _table(path: Path, columns: Collection[str]) -> _Rows:
    """The rows of a CSV with or without a byte order mark; ConfigError if it is none, or lacks one of ``columns``."""
    try:
        with path.open(newline="", encoding="utf-8-sig") as lines:
            table = csv.DictReader(lines, restval="")
            absent = [column for column in columns if column not in (table.fieldnames or ())]
            if absent:
                raise ConfigError(f"{path} has no column {', '.join(absent)} in its first line.")
            for row in table:
                yield table.line_num, row
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror}.") from error
    except (UnicodeDecodeError, csv.Error) as error:
        raise ConfigError(f"{path} is no CSV in UTF-8: save it as one ({error}).") from error


def truth_of(images: Sequence[LabelledImage], labels: Sequence[str]) -> NDArray[np.float32]:
    """1 where an image has the label, else 0: [images, labels]."""
    return np.array([[label in image.labels for label in labels] for image in images], dtype=np.float32)


def read_pixels(path: Path, colours: int) -> NDArray[np.float32]:
    """Values 0..1 of an image file: grey, [rows, columns], or RGB, [rows, columns, 3], if ``colours`` is 3 and it has any.

    A file of 16 bits is as white at 65535 as one of 8 at 255. ConfigError if the file cannot be read, or its values
    have no known range.
    """
    try:
        with Image.open(path) as image:
            if image.mode in _UNBOUNDED:
                raise ConfigError(
                    f"{path} has no known range of values: save it with 8 or 16 bits, as shown."
                )
            if image.mode.startswith("I;16"):
                return (np.asarray(image) / np.float32(65535)).astype(np.float32)
            shown = image.convert("RGB" if colours == 3 and _has_colour(image) else "L")
            return (np.asarray(shown) / np.float32(255)).astype(np.float32)
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise ConfigError(
            f"{path} is not a readable PNG, JPEG or TIFF, windowed as shown ({type(error).__name__})."
        ) from error


def _has_colour(image: Image.Image) -> bool:
    return Image.getmodebase(image.mode) != "L"


def probabilities_in(
    path: Path, images: Sequence[LabelledImage], labels: Sequence[str]
) -> NDArray[np.float32]:
    """Another model's probabilities for the images, [images, labels], NaN where the file (CSV) has none.

    The file has a column `Image Index` (an image's file name; its suffix does not count) and a column `prob_<label>`
    for each label that the model knows; ConfigError if it is no such table.
    """
    rows = {Path(row["Image Index"]).stem: row for _, row in _table(path, ("Image Index",))}
    found = [rows.get(image.path.stem, {}) for image in images]
    values = [[float(row.get(f"prob_{label}") or "nan") for label in labels] for row in found]
    return np.array(values, dtype=np.float32)
