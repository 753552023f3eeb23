"""What a converted checkpoint asks of the code that runs it, where transformers' class would do something else."""

from typing import Any

import torch
from transformers import PretrainedConfig

from gsco_pacs.domain.errors import ConfigError

MARKS = "gsco"
"""The key of config.json that holds the marks."""
STRETCHED = {"crop_to_patches": False}
"""One picture is stretched to one square; the stock InternVL processor would cut it into tiles whatever its files say."""


def marks(config: PretrainedConfig) -> dict[str, Any]:
    """The marks of a checkpoint; {} for one that was not converted here."""
    return dict(getattr(config, MARKS, None) or {})


def picture_limit(config: PretrainedConfig) -> int | None:
    """How many pictures the model can take at a time; None: as many as there are."""
    limit = marks(config).get("pictures")
    return None if limit is None else int(limit)


def mark_processor(processor: Any, config: PretrainedConfig) -> Any:
    """``processor``, cutting pictures into tiles only if the marks do not forbid it."""
    wanted = marks(config)
    settings = {key: wanted[key] for key in STRETCHED if key in wanted}
    if settings:
        processor.images_kwargs = {**processor.images_kwargs, **settings}
    return processor


def mark_model(model: Any, config: PretrainedConfig) -> Any:
    """``model`` with the pixel shuffle that it was trained with; ConfigError for an order that is not known here.

    InternVL up to 1.2 (v1) leaves the image's tokens transposed; later ones (v2, the stock class) turn them back.
    """
    order = marks(config).get("pixel_shuffle", "v2")
    if order not in ("v1", "v2"):
        raise ConfigError(f"Pixel shuffle {order!r} is not known; v1 and v2 are.")
    if order == "v1":
        stock = model.model.pixel_shuffle

        def transposed(features: torch.Tensor, scale_factor: float = 0.5) -> torch.Tensor:
            shuffled: torch.Tensor = stock(features, scale_factor)
            return shuffled.permute(0, 2, 1, 3).contiguous()

        model.model.pixel_shuffle = transposed
    return model
