"""A network from a bundle's files: a class of MONAI's or ours, plain arguments, weights that are numbers. No code is run."""

import importlib
import inspect
import json
import pickle
from collections.abc import Mapping
from io import BytesIO
from typing import Any

import safetensors.torch
import torch
from safetensors import SafetensorError
from torch import Tensor, nn

from gsco_pacs.domain.errors import BrokenBundleError

MONAI = "monai.networks.nets"
HOMES = (MONAI, "gsco_pacs.adapters.networks")
"""Modules that a network's class may come from; a bare name, as MONAI's configurations allow, is one of the first."""

_NESTED = ("model", "state_dict", "network")
"""Keys under which training programs put the weights beside other things."""
_LOOKUPS = 8
"""References may lead to references, but not in a circle."""


def network_of(inference: bytes, file: str) -> nn.Module:
    """The untrained network that `network_def` describes; BrokenBundleError if it asks for more than a class and values.

    MONAI's ConfigParser would run what a `$` string says. Here an expression is refused, and a reference (`@size`,
    `@network_def::size`) is looked up if a plain value stands there.
    """
    try:
        config = json.loads(inference)
        arguments = {key: _plain(value, config, _LOOKUPS) for key, value in config["network_def"].items()}
        made = _class_of(str(arguments.pop("_target_")), file)(**_without_downloads(arguments))
    except (ValueError, KeyError, TypeError, RuntimeError, AttributeError, ImportError) as error:
        raise BrokenBundleError(f"{file}: no network can be made of it: {error}") from error
    return made


def fill(network: nn.Module, content: bytes, file: str) -> None:
    """Put the weights of ``file`` (.safetensors, or .pt read without its pickled code) into ``network``."""
    try:
        weights = safetensors.torch.load(content) if file.endswith(".safetensors") else _unpickled(content)
        network.load_state_dict(weights)
    except (SafetensorError, pickle.UnpicklingError, RuntimeError, ValueError, TypeError, EOFError) as error:
        raise BrokenBundleError(f"{file} does not fit the network that is described for it.") from error


def colours_of(network: nn.Module) -> int:
    """How many channels the network's pictures have: 3 for RGB, 1 for grey (also if it has no convolution)."""
    first = next((module for module in network.modules() if isinstance(module, nn.Conv2d)), None)
    return first.in_channels if first else 1


def _class_of(target: str, file: str) -> type[nn.Module]:
    home, _, name = target.rpartition(".")
    home = home or MONAI
    if home not in HOMES and not home.startswith(f"{MONAI}."):
        raise BrokenBundleError(
            f"{file}: the network's class must come from {' or '.join(HOMES)}, not {home!r}."
        )
    found = getattr(importlib.import_module(home), name)
    if not (inspect.isclass(found) and issubclass(found, nn.Module)):
        raise BrokenBundleError(f"{file}: {target} is not a network.")
    return found


def _without_downloads(arguments: Mapping[str, Any]) -> Mapping[str, Any]:
    """``arguments``, of which none makes MONAI fetch weights from the Internet, only to be overwritten."""
    if arguments.get("pretrained"):
        raise ValueError("'pretrained' would download weights that the bundle's own replace: set it to false")
    return arguments


def _plain(value: Any, config: Mapping[str, Any], lookups: int) -> Any:
    """``value`` with its references looked up; ValueError names what is more than a value."""
    if isinstance(value, Mapping):
        if "_target_" in value:
            raise ValueError(
                f"an argument makes an object of {value['_target_']!r}; only plain values are taken"
            )
        return {key: _plain(item, config, lookups) for key, item in value.items()}
    if isinstance(value, list):
        return [_plain(item, config, lookups) for item in value]
    if isinstance(value, str) and value.startswith(("$", "%")):
        raise ValueError(
            f"{value!r} is an expression or a macro, which is never evaluated; write its value instead"
        )
    if isinstance(value, str) and value.startswith("@"):
        if not lookups:
            raise ValueError(f"{value!r} refers to itself")
        return _plain(_looked_up(value, config), config, lookups - 1)
    return value


def _looked_up(reference: str, config: Mapping[str, Any]) -> Any:
    found: Any = config
    for key in reference.removeprefix("@").replace("#", "::").split("::"):
        if not isinstance(found, Mapping) or key not in found:
            raise ValueError(f"{reference!r} is not a value of the file; write the value instead")
        found = found[key]
    return found


def _unpickled(content: bytes) -> dict[str, Tensor]:
    loaded = torch.load(BytesIO(content), map_location="cpu", weights_only=True)
    for key in _NESTED:
        if isinstance(loaded, dict) and isinstance(loaded.get(key), dict):
            loaded = loaded[key]
    if not isinstance(loaded, dict):
        raise TypeError("no state dictionary")
    return {key.removeprefix("module."): value for key, value in loaded.items()}
