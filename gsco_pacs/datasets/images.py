"""Images of a case, opened only when somebody looks: files on disk, or rows of an array."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from gsco_pacs.datasets.arrays import kept_array
from gsco_pacs.domain.errors import BadObjectError, ConfigError
from gsco_pacs.pixels.display import display
from gsco_pacs.pixels.opening import check_size, open_image
from gsco_pacs.ports import Picture

_DICOM = (".dcm", ".dicom")


@dataclass(frozen=True)
class ImageFiles:
    """Image files (JPEG, PNG, TIFF and the like, or DICOM by suffix) relative to a folder."""

    folder: Path
    names: tuple[str, ...]

    def pictures(self) -> tuple[Picture, ...]:
        """One picture a file, named by it; ConfigError if one is missing, BadObjectError if one is unreadable."""
        return tuple(Picture(name, _read(self.folder / name)) for name in self.names)


@dataclass(frozen=True)
class ImageRow:
    """One image of an array in a file that many cases share, [n, rows, columns] or [n, rows, columns, 3], 8 bit."""

    name: str
    file: Path
    member: str
    row: int

    def pictures(self) -> tuple[Picture, ...]:
        """The one picture; ConfigError if the array is not there any more."""
        return (Picture(self.name, _shown(np.asarray(kept_array(self.file, self.member)[self.row]))),)


def _read(path: Path) -> NDArray[np.float32]:
    if not path.is_file():
        raise ConfigError(f"{path} is missing: the data set names this image.")
    if path.suffix.lower() in _DICOM:
        image = open_image(path)
        check_size(image)
        return display(image, image.shown_frame)
    try:
        with Image.open(path) as picture:
            if picture.mode.startswith("I"):  # 16 bit
                return np.asarray(np.asarray(picture) / np.float32(65535), np.float32)
            grey = picture.mode in ("1", "L", "LA")
            return _shown(np.asarray(picture.convert("L" if grey else "RGB")))
    except (UnidentifiedImageError, OSError, Image.DecompressionBombError) as error:
        raise BadObjectError(f"{path.name} is not a readable image ({type(error).__name__}).") from error


def _shown(levels: NDArray[Any]) -> NDArray[np.float32]:
    return np.asarray(levels / np.float32(255), np.float32)
