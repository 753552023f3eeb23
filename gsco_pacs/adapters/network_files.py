"""A network from a bundle's files: a class of MONAI's or ours, plain arguments, weights that are numbers. No code is run."""

import importlib
import inspect
import json
import pickle
import re
from collections.abc import Mapping, Sequence
from io import BytesIO
from typing import Any

import safetensors.torch
import torch
from safetensors import SafetensorError
from torch import Tensor, nn

from gsco_pacs.domain.errors import BrokenBundleError, cause

MONAI = "monai.networks.nets"
HOMES = (MONAI, "gsco_pacs.adapters.networks")
"""Modules that a network's class may come from; a bare name, as MONAI's configurations allow, is one of the first."""

_NESTED = ("model", "state_dict", "network")
"""Keys under which training programs put the weights beside other things."""
_LOOKUPS = 8
"""References may lead to references, but not in a circle."""
_FETCHING = re.compile(r"weights|pretrained\w*|path_or_repo_id")
"""Arguments by which networks of MONAI's fetch weights."""
_LOADER = re.compile(rb"\bLoadImage(d|D|Dict)?\b")
_PLAIN_WEIGHTS = "write the network's state_dict alone, with torch.save or as safetensors"


def network_of(inference: bytes, file: str) -> nn.Module:
    """The untrained network that `network_def` describes; BrokenBundleError if it asks for more than a class and values.

    MONAI's ConfigParser would run what a `$` string says. Here an expression is refused, and a reference (`@size`,
    `@network_def::size`) is looked up if a plain value stands there.
    """
    try:
        arguments = _arguments(json.loads(inference))
        kind = _class_of(str(arguments.pop("_target_")), file)
        return kind(**_offline(kind, arguments))
    except (OSError, ValueError, LookupError, TypeError, RuntimeError, AttributeError, ImportError) as error:
        raise BrokenBundleError(f"{file}: no network can be made of it: {cause(error)}") from error


def loads_columns_first(inference: bytes) -> bool:
    """Whether the file names MONAI's LoadImage, which gives a picture's columns before its rows."""
    return bool(_LOADER.search(inference))


def fill(network: nn.Module, content: bytes, file: str) -> None:
    """Put the weights of ``file`` (.safetensors, or .pt read without its pickled code) into ``network``."""
    weights = _tensors(content, file) if file.endswith(".safetensors") else _unpickled(content, file)
    try:
        network.load_state_dict(weights)
    except RuntimeError as error:
        reason = _difference(network.state_dict(), weights) or cause(error)
        raise BrokenBundleError(
            f"{file} does not fit the network that is described for it: {reason}."
        ) from error


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


def _offline(kind: type[nn.Module], arguments: Mapping[str, Any]) -> Mapping[str, Any]:
    """``arguments`` with which ``kind`` fetches no weights from the Internet, only to have them overwritten."""
    known = inspect.signature(kind).parameters
    fetching = [name for name, value in arguments.items() if _FETCHING.fullmatch(name) and value]
    fetching += [name for name, value in arguments.items() if "://" in json.dumps(value)]
    if fetching:
        raise ValueError(
            f"{fetching[0]!r} would fetch weights that the bundle's own replace: set it to false"
        )
    if "path_or_repo_id" in known:
        raise ValueError(f"{kind.__name__} fetches weights whatever its arguments are: take another network")
    return {**arguments, "pretrained": False} if "pretrained" in known else arguments


def _arguments(config: Mapping[str, Any]) -> dict[str, Any]:
    if "network_def" not in config:
        raise ValueError("it has no `network_def`")
    return {key: _plain(value, config, _LOOKUPS) for key, value in config["network_def"].items()}


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


def _tensors(content: bytes, file: str) -> dict[str, Tensor]:
    try:
        return safetensors.torch.load(content)
    except SafetensorError as error:
        raise BrokenBundleError(f"{file} cannot be read: {cause(error)}") from error


def _unpickled(content: bytes, file: str) -> dict[str, Tensor]:
    """The state dictionary of a .pt; what torch says is not passed on, for it advises to run the file's code."""
    try:
        loaded = torch.load(BytesIO(content), map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, ValueError, TypeError, LookupError, EOFError) as error:
        held = "TorchScript, a program" if "TorchScript" in str(error) else "more than numbers, or is damaged"
        raise BrokenBundleError(f"{file} holds {held}; no code is run: {_PLAIN_WEIGHTS}.") from error
    for key in _NESTED:
        if isinstance(loaded, dict) and isinstance(loaded.get(key), dict):
            loaded = loaded[key]
    if not (isinstance(loaded, dict) and all(isinstance(value, Tensor) for value in loaded.values())):
        raise BrokenBundleError(f"{file} holds no state dictionary: {_PLAIN_WEIGHTS}.")
    return {str(key).removeprefix("module."): value for key, value in loaded.items()}


def _difference(own: Mapping[str, Tensor], given: Mapping[str, Tensor]) -> str:
    """How the weights that are ``given`` differ from a network's ``own`` in names and shapes; "" if they do not."""
    lacking = [name for name in own if name not in given]
    further = [name for name in given if name not in own]
    prefix = next(
        (name.removesuffix(lacking[0]) for name in further if lacking and name.endswith(lacking[0])), ""
    )
    if prefix:
        return f"its names begin with {prefix!r}: write them without it"
    unlike = [name for name in own if name in given and own[name].shape != given[name].shape]
    parts = [f"it lacks {_some(lacking)}"] if lacking else []
    parts += [f"it has {_some(further)} too"] if further else []
    parts += [f"{name} is {_sides(given[name])}, the network's {_sides(own[name])}" for name in unlike[:1]]
    return ", ".join(parts)


def _some(names: Sequence[str]) -> str:
    return names[0] if len(names) == 1 else f"{names[0]} and {len(names) - 1} more"


def _sides(tensor: Tensor) -> str:
    return " x ".join(map(str, tensor.shape)) or "one number"
