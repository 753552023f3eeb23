"""Reads published checkpoints of report measures from a folder; nothing is downloaded, and what does not fit is named."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import torch
from torch import Tensor

from gsco_pacs.domain.errors import ConfigError


def need(folder: Path, measure: str, *names: str) -> None:
    """ConfigError that says which of ``names`` (files or folders) ``folder`` lacks for ``measure``."""
    missing = [name for name in names if not (folder / name).exists()]
    if missing:
        raise ConfigError(f"{folder}: {', '.join(missing)} is missing for {measure}.")


@contextmanager
def published(path: Path, measure: str) -> Iterator[None]:
    """Whatever cannot be read or does not fit the network inside is a ConfigError about ``path``."""
    try:
        yield
    except (
        AttributeError,
        KeyError,
        OSError,
        RuntimeError,
        TypeError,
        ValueError,
        UnpicklingError,
    ) as error:
        raise ConfigError(f"{path} is not {measure}'s checkpoint: {error}") from error


def weights(path: Path) -> Any:
    """The tensors of a file that torch wrote, on the CPU; no code in it is run."""
    return torch.load(path, map_location="cpu", weights_only=True)


def below(prefix: str, kept: dict[str, Tensor]) -> dict[str, Tensor]:
    """The tensors whose names begin with ``prefix``, without it.

    Older files also hold the positions' numbers, which today's networks make themselves.
    """
    found = {name.removeprefix(prefix): value for name, value in kept.items() if name.startswith(prefix)}
    return {name: value for name, value in found.items() if not name.endswith("position_ids")}
