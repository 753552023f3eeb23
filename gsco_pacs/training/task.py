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


class Task(Section):
    """A specialist to be: which images of a manifest, which labels, and how a report names them."""

    name: str
    version: str
    title: str
    description: str
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
