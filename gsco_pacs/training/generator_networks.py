"""The network of the synthetic chest radiograph: a small U-Net that predicts the velocity of a rectified flow."""

from __future__ import annotations

import math
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional

GROUPS = 8


def conv(inward: int, outward: int, size: int = 3) -> nn.Conv2d:
    """Return a convolution that keeps height and width."""
    return nn.Conv2d(inward, outward, size, padding=size // 2)


class TimedBlock(nn.Module):
    """A pre-normalised residual block whose channels are shifted by the time embedding."""

    def __init__(self, inward: int, outward: int, time: int) -> None:
        super().__init__()
        self.norm_in, self.conv_in = nn.GroupNorm(GROUPS, inward), conv(inward, outward)
        self.norm_out, self.conv_out = nn.GroupNorm(GROUPS, outward), conv(outward, outward)
        self.time = nn.Linear(time, 2 * outward)
        self.skip = conv(inward, outward, 1) if inward != outward else nn.Identity()
        nn.init.zeros_(self.conv_out.weight)

    def forward(self, x: Tensor, embedding: Tensor) -> Tensor:
        """Map (n, inward, h, w) and a time embedding (n, time) to (n, outward, h, w)."""
        scale, shift = self.time(embedding)[:, :, None, None].chunk(2, dim=1)
        h = self.conv_in(functional.silu(self.norm_in(x)))
        h = self.norm_out(h) * (1 + scale) + shift
        added: Tensor = self.skip(x) + self.conv_out(functional.silu(h))
        return added


class Attention(nn.Module):
    """Residual self-attention over all positions (used at the coarsest level only)."""

    def __init__(self, channels: int, heads: int = 4) -> None:
        super().__init__()
        self.heads, self.norm = heads, nn.GroupNorm(GROUPS, channels)
        self.qkv, self.out = conv(channels, 3 * channels, 1), conv(channels, channels, 1)
        nn.init.zeros_(self.out.weight)

    def forward(self, x: Tensor) -> Tensor:
        """Map (n, channels, h, w) to the same shape."""
        batch, channels, height, width = x.shape
        split = self.qkv(self.norm(x)).reshape(batch, 3, self.heads, channels // self.heads, height * width)
        query, key, value = split.transpose(-1, -2).unbind(1)
        mixed = functional.scaled_dot_product_attention(query, key, value)
        added: Tensor = x + self.out(mixed.transpose(-1, -2).reshape(x.shape))
        return added


class VelocityUNet(nn.Module):
    """Predict the rectified-flow velocity, noise - picture, of a noisy picture (Liu et al. 2022; Lipman et al. 2022).

    Works on space-to-depth patches, so the cost is that of a picture `patch` times smaller. A `guided` network is
    shown a coarse picture as well, one pixel a patch, and has no attention: it serves any size.
    """

    def __init__(self, patch: int, widths: tuple[int, ...], *, guided: bool) -> None:
        super().__init__()
        self.patch, time = patch, 4 * widths[0]
        self.frequencies = torch.exp(torch.linspace(0, math.log(1000), widths[0]))
        self.time = nn.Sequential(nn.Linear(2 * widths[0], time), nn.SiLU(), nn.Linear(time, time), nn.SiLU())
        self.stem = conv(patch * patch + int(guided), widths[0])
        wider = list(pairwise(widths))
        self.down = nn.ModuleList(TimedBlock(w, w, time) for w in widths[:-1])
        self.shrink = nn.ModuleList(nn.Conv2d(a, b, 3, stride=2, padding=1) for a, b in wider)
        self.middle_in = TimedBlock(widths[-1], widths[-1], time)
        self.attention = nn.Identity() if guided else Attention(widths[-1])
        self.middle_out = TimedBlock(widths[-1], widths[-1], time)
        self.grow = nn.ModuleList(conv(b, a) for a, b in reversed(wider))
        self.up = nn.ModuleList(TimedBlock(2 * w, w, time) for w in reversed(widths[:-1]))
        self.head = nn.Sequential(nn.GroupNorm(GROUPS, widths[0]), nn.SiLU(), conv(widths[0], patch * patch))

    def forward(self, noisy: Tensor, time: Tensor, guide: Tensor | None = None) -> Tensor:
        """Map (n, 1, s, s) pictures at times (n,) in [0, 1], guides (n, 1, s/patch, s/patch), to velocities (n, 1, s, s)."""
        angle = time[:, None] * self.frequencies
        embedding = self.time(torch.cat([angle.sin(), angle.cos()], dim=1))
        patches = functional.pixel_unshuffle(noisy, self.patch)
        h, kept = self.stem(patches if guide is None else torch.cat([patches, guide], dim=1)), []
        for block, shrink in zip(self.down, self.shrink, strict=True):
            h = block(h, embedding)
            kept.append(h)
            h = shrink(h)
        h = self.middle_out(self.attention(self.middle_in(h, embedding)), embedding)
        for grow, block in zip(self.grow, self.up, strict=True):
            h = grow(functional.interpolate(h, scale_factor=2.0, mode="nearest"))
            h = block(torch.cat([h, kept.pop()], dim=1), embedding)
        return functional.pixel_shuffle(self.head(h), self.patch)
