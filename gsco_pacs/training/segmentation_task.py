"""What a segmenting specialist is trained for, as a task file (YAML) says it."""

from pathlib import Path
from typing import Literal, Self

import yaml
from pydantic import Field, ValidationError, model_validator

from gsco_pacs.adapters.segmentation_format import SegmentEntry, VolumeInputEntry, VolumePrepareEntry
from gsco_pacs.domain.errors import ConfigError
from gsco_pacs.training.task import Named


class SegmentationTask(Named):
    """A segmenting specialist to be: which series, which segments, and how a report names them."""

    region: str
    modality_phrase: str
    module: str
    kind: Literal["segmentation"]
    channels: tuple[int, ...] = (16, 32, 64, 128)
    """Of the UNet's levels."""
    strides: tuple[int, ...] = (2, 2, 2)
    """By how much each level but the last makes the patch smaller."""
    crop: tuple[int, int, int] | None = None
    """Voxels of the patch that one training step sees, cut at random; the whole patch if none are said."""
    mirror: bool = False
    """Whether right and left may be exchanged in training."""
    input: VolumeInputEntry
    prepare: VolumePrepareEntry
    segments: tuple[SegmentEntry, ...] = Field(min_length=1)

    @model_validator(mode="after")
    def _levels_agree(self) -> Self:
        if len(self.strides) != len(self.channels) - 1:
            raise ValueError("strides must be one fewer than channels.")
        return self


def segments_asked(path: Path) -> bool:
    """Whether the task file asks for a segmentation; ConfigError if it is no YAML."""
    content = _content(path)
    return isinstance(content, dict) and content.get("kind") == "segmentation"


def read_segmentation_task(path: Path) -> SegmentationTask:
    """The task in ``path``; ConfigError names what is wrong in it."""
    try:
        return SegmentationTask.model_validate(_content(path))
    except ValidationError as error:
        raise ConfigError(f"{path}: {error}") from error


def _content(path: Path) -> object:
    try:
        return yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror}.") from error
    except yaml.YAMLError as error:
        raise ConfigError(f"{path}: {error}") from error
