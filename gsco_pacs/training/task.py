"""What a specialist is trained for, as a task file (YAML) says it."""

from pathlib import Path
from typing import Literal

import yaml
from pydantic import Field, ValidationError

from gsco_pacs.adapters.bundle_format import (
    FindingEntry,
    InputEntry,
    PoolingEntry,
    ReadingEntry,
    Section,
    Tones,
)
from gsco_pacs.domain.errors import ConfigError

NOT_STATED = "not stated"


class Named(Section):
    """What a bundle is called, who made it and what others may do with it."""

    name: str
    version: str
    title: str
    description: str
    authors: str = NOT_STATED
    copyright: str = NOT_STATED
    licence: str | None = None
    """Of the weights, which the data may decide; its name becomes the file LICENSE of a bundle that has none."""


class Task(Named):
    """A specialist to be: which images of a manifest, which labels, and how a report names them."""

    region: str
    modality_phrase: str
    module: str
    """Rows of the manifest with this module belong to the task."""
    kind: Literal["multi-label", "multi-class"]
    fit: Literal["stretch", "pad"]
    tones: Tones = "shown"
    flip: bool = False
    """Whether left and right may be exchanged in training."""
    input: InputEntry
    reading: ReadingEntry = ReadingEntry()
    pooling: PoolingEntry = PoolingEntry()
    labels: tuple[FindingEntry, ...] = Field(min_length=1)
    normal_label: str | None = None


def read_task(path: Path) -> Task:
    """Return the task in ``path``; ConfigError names what is wrong in it."""
    try:
        return Task.model_validate(yaml.safe_load(path.read_text(encoding="utf-8")))
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror}.") from error
    except (yaml.YAMLError, ValidationError) as error:
        raise ConfigError(f"{path}: {error}") from error
