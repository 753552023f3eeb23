"""Where a network looked: Grad-CAM (Selvaraju et al. 2017, as in MONAI) on its last feature map before pooling."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from monai.visualize.class_activation_maps import GradCAM, ModelWithHooks
from numpy.typing import NDArray
from torch import Tensor, nn

from gsco_pacs.domain.errors import NotApplicableError


def activation_map(
    network: nn.Module, inputs: Tensor, output: int, layer: str | None = None
) -> NDArray[np.float32]:
    """[h, w] in 0..1, 1 where the network was moved most towards ``output``; h and w are those of the feature map.

    ``inputs`` is one picture. The feature map is what the module ``layer`` gives out, by default the last one with
    rows and columns that any module gives out. NotApplicableError if the network ends in no such map, as one of
    tokens does, or if nothing in the picture speaks for ``output``.
    """
    watched = _Watched(network, layer)
    cam = GradCAM(watched, target_layers="")  # type: ignore[arg-type]  # MONAI's code takes its wrapper too
    coarse = cam.compute_map(inputs, class_idx=output)[0, 0]
    strongest = float(coarse.max())
    if not strongest > 0:
        raise NotApplicableError("Nothing in the picture speaks for it.")
    return np.asarray((coarse / strongest).numpy(), np.float32)


class _Watched(ModelWithHooks):
    """A network whose feature map is caught in passing; MONAI's own leaves its hooks behind and edits the module."""

    def __init__(self, network: nn.Module, layer: str | None) -> None:
        self.model, self._layer = network, layer

    def __call__(
        self,
        x: Any,
        class_idx: Any = None,
        retain_graph: Any = False,  # noqa: ARG002, FBT002 - MONAI's signature
        **_kwargs: Any,
    ) -> tuple[Tensor, tuple[Tensor], tuple[Tensor]]:
        """Logits, the feature map, and the gradient of the output ``class_idx`` on it."""
        with torch.enable_grad(), self._catching() as caught:
            logits = self.model(x.requires_grad_())
            if not caught or caught[-1].ndim != 4:
                raise NotApplicableError(
                    "Its network has no feature map with rows and columns before pooling."
                )
            (gradient,) = torch.autograd.grad(logits[0, class_idx], caught[-1])
        return logits.detach(), (caught[-1].detach(),), (gradient.contiguous(),)

    @contextmanager
    def _catching(self) -> Iterator[list[Tensor]]:
        caught: list[Tensor] = []

        def catch(_module: nn.Module, _inputs: Any, given: Any) -> None:
            # Tokens [n, tokens, d] that follow a map say that the map is not what is pooled.
            if isinstance(given, Tensor) and (
                given.ndim == 3 or (given.ndim == 4 and given[0, 0].numel() > 1)
            ):
                caught.append(given)

        chosen = [self.model.get_submodule(self._layer)] if self._layer else self.model.modules()
        hooks = [module.register_forward_hook(catch) for module in chosen]
        try:
            yield caught
        finally:
            for hook in hooks:
                hook.remove()
