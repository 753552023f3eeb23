"""The device that a network learns on."""

import torch

from gsco_pacs.domain.errors import ConfigError


def check_device(name: str) -> None:
    """ConfigError if torch cannot compute on the device ``name`` here; asked before the first image is read."""
    try:
        torch.zeros(1, device=name).item()
    except (AssertionError, ImportError, RuntimeError) as error:
        reason = str(error).partition("\n")[0]
        raise ConfigError(f"Nothing can be trained on the device {name!r} here: {reason}") from error
