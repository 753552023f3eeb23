"""Where a network's weights come from before training: a photograph network, or an earlier bundle."""

from pathlib import Path
from pickle import UnpicklingError

from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import nn

from gsco_pacs.adapters.networks import EfficientNetLite0
from gsco_pacs.adapters.photograph_network import photographic
from gsco_pacs.domain.errors import ConfigError


def load_start(network: EfficientNetLite0, path: Path) -> None:
    """Put the weights in ``path`` into ``network``; ConfigError if they are not EfficientNet-lite0's.

    ``path`` is the photograph network's file (.pth), or model.safetensors of an earlier bundle, to go on from there.
    The last layer is taken too if it has as many outputs.
    """
    own = network.state_dict()
    try:
        given = load_file(path) if path.suffix == ".safetensors" else photographic(path, own)
        if given["_fc.weight"].shape != own["_fc.weight"].shape:
            given |= {key: own[key] for key in ("_fc.weight", "_fc.bias")}
        network.load_state_dict(given)
    except (OSError, RuntimeError, KeyError, SafetensorError, UnpicklingError) as error:
        raise ConfigError(f"{path} does not hold the weights of EfficientNet-lite0.") from error


def freeze_first(network: EfficientNetLite0, stages: int) -> tuple[nn.Module, ...]:
    """Keep the first ``stages`` stages (edges and textures; the costly, large ones) as they are and return them."""
    if stages == 0:
        return ()
    frozen = (network._conv_stem, network._bn0, *list(network._blocks)[:stages])  # noqa: SLF001
    for module in frozen:
        module.requires_grad_(requires_grad=False)
    return frozen
