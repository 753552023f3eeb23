"""Sample synthetic chest radiographs from the shipped generator (how it was made: docs/synthetic.md)."""

import json
from functools import cache
from itertools import pairwise
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import load
from scipy.ndimage import gaussian_filter
from torch import Tensor
from torch.nn import functional

from gsco_pacs.adapters.bundle_files import VerifiedFiles
from gsco_pacs.training.generator import enlarged
from gsco_pacs.training.generator_networks import VelocityUNet

SIZE = 1024
GRAIN = 0.012
OUTLINE_SHARE = 0.75
"""Share of the outlines' standard deviation that is sampled: less than 1 keeps to usual builds."""
START_TIME = 0.75
"""Where the coarse flow begins: the outline is hidden under this share of noise."""
COARSE_STEPS, DETAIL_STEPS = 20, 10


class ChestGenerator:
    """The two trained networks, their files checked against SHA256SUMS; BrokenBundleError if they are not the listed ones."""

    def __init__(self, folder: Path) -> None:
        files = VerifiedFiles(folder)
        shape = json.loads(files.read("generator.json"))
        self.full_size, self.detail_spread = int(shape["full_size"]), float(shape["detail_spread"])
        outline = load(files.read("outline.safetensors"))
        self.mean, self.components = outline["mean"].float(), outline["components"].float()
        self.coarse = _network(files.read("coarse.safetensors"), shape, "coarse", guided=False)
        self.detail = _network(files.read("detail.safetensors"), shape, "detail", guided=True)

    def sample(self, seed: int) -> NDArray[np.float32]:
        """Return the (288, 288) radiograph of a seed, 0 = black, 1 = white; the same for the same seed on one kind of CPU.

        One thread computes it: sums keep their order, and busy cores are not waited for.
        """
        threads = torch.get_num_threads()
        torch.set_num_threads(1)
        try:
            return self._sampled(seed)
        finally:
            torch.set_num_threads(threads)

    @torch.inference_mode()
    def _sampled(self, seed: int) -> NDArray[np.float32]:
        random = torch.Generator().manual_seed(seed)
        coarse = self._coarse(random)
        noise = torch.randn(1, 1, self.full_size, self.full_size, generator=random)
        detail = _flowed(self.detail, noise, coarse, times=torch.linspace(1, 0, DETAIL_STEPS + 1))
        radiograph = enlarged(coarse) + self.detail_spread * detail
        picture: NDArray[np.float32] = ((radiograph[0, 0] + 2) / 4).clamp(0, 1).numpy()
        return picture

    def _coarse(self, random: torch.Generator) -> Tensor:
        side = self.full_size // self.coarse.patch
        weights = OUTLINE_SHARE * torch.randn(len(self.components), generator=random)
        outline = (self.mean + weights @ self.components).reshape(1, 1, round(len(self.mean) ** 0.5), -1)
        wide = functional.interpolate(outline, size=side, mode="bicubic", align_corners=False)
        noise = torch.randn(1, 1, side, side, generator=random)
        hidden = (1 - START_TIME) * wide + START_TIME * noise
        return _flowed(self.coarse, hidden, None, times=torch.linspace(START_TIME, 0, COARSE_STEPS + 1))


@cache
def load_generator(folder: Path) -> ChestGenerator:
    """Load a generator once a process."""
    return ChestGenerator(folder)


def exposed(radiograph: NDArray[np.float32], seed: int, size: int = SIZE) -> NDArray[np.float32]:
    """Enlarge a radiograph to (size, size) as a detector would show it: smooth, with a little correlated noise."""
    batch = torch.from_numpy(radiograph)[None, None]
    smooth = functional.interpolate(batch, size=(size, size), mode="bicubic", align_corners=False)[
        0, 0
    ].numpy()
    grain = gaussian_filter(np.random.default_rng(seed).standard_normal((size, size)), 0.6)
    noisy = smooth + GRAIN / grain.std() * grain * np.sqrt(0.3 + 0.7 * np.clip(smooth, 0, 1))
    picture: NDArray[np.float32] = np.clip(noisy, 0, 1).astype(np.float32)
    return picture


def _network(weights: bytes, shape: dict[str, list[int]], name: str, *, guided: bool) -> VelocityUNet:
    network = VelocityUNet(int(str(shape["patch"])), tuple(shape[f"{name}_widths"]), guided=guided)
    network.load_state_dict({key: value.float() for key, value in load(weights).items()})
    return network.eval()


def _flowed(network: VelocityUNet, noisy: Tensor, guide: Tensor | None, times: Tensor) -> Tensor:
    """Follow the velocity along falling times to a picture (time 0) with Heun's method."""
    x = noisy
    for now, then in pairwise(times):
        velocity = network(x, now.expand(len(x)), guide)
        guess = x + (then - now) * velocity
        if then > 0:
            velocity = (velocity + network(guess, then.expand(len(x)), guide)) / 2
        x = x + (then - now) * velocity
    return x
