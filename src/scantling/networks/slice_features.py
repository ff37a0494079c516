"""A small network that learns what slices look like by restoring them; its maps compare slices."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from scantling.core.checks import check_input
from scantling.core.errors import ArrayError
from scantling.networks.residual_blocks import norm

HIDDEN = 0.25
"""The share of blocks of a slice that are levelled before it is restored, and the deviation of the noise; ours."""
SIDE = 4
"""The side of such a block, in pixels."""


class SliceFeatures(nn.Module):
    """Three levels of convolutions, and a decoder that is there to be trained with (after Vincent et al., 2008). Ours.

    Args:
        channels: of a slice.
        width: channels of the first level; each has twice as many as the one before it.
    """

    def __init__(self, channels: int, *, width: int = 16) -> None:
        super().__init__()
        self.channels = channels
        widths = [width, 2 * width, 4 * width]
        self.levels = nn.ModuleList(
            nn.Sequential(nn.Conv2d(a, b, 3, stride=1 + (level > 0), padding=1), norm(b), nn.SiLU(),
                          nn.Conv2d(b, b, 3, padding=1), nn.SiLU())
            for level, (a, b) in enumerate(zip([channels, *widths[:-1]], widths, strict=True))
        )  # fmt: skip
        self.restore = nn.Sequential(
            nn.Conv2d(widths[-1], widths[-1], 3, padding=1), nn.SiLU(), nn.Conv2d(widths[-1], 16 * channels, 1)
        )

    def forward(self, slices: Tensor) -> list[Tensor]:
        """The maps (B, width 2^i, H / 2^i, W / 2^i) of slices (B, channels, H, W), sizes rounded up."""
        check_input(slices.shape, channels=self.channels, spatial_dims=2)
        maps = []
        for level in self.levels:
            slices = level(slices)
            maps.append(slices)
        return maps

    def restored(self, slices: Tensor, noise: Tensor) -> Tensor:
        """What the network makes of slices (B, channels, H, W) that were spoilt by `noise`, standard normal."""
        coarse = noise[:, :1, ::SIDE, ::SIDE].repeat_interleave(SIDE, 2).repeat_interleave(SIDE, 3)
        coarse = coarse[..., : slices.shape[2], : slices.shape[3]]
        spoilt = torch.where(coarse < -0.6745, slices.mean((2, 3), keepdim=True), slices) + HIDDEN * noise  # a quarter
        blocks = self.restore(self(spoilt)[-1])
        return F.pixel_shuffle(blocks, 4)[..., : slices.shape[2], : slices.shape[3]]


def perceptual_distance(one: Sequence[Tensor], other: Sequence[Tensor]) -> Tensor:
    """How far maps are apart: the mean over pixels of |a/|a| - b/|b||², averaged over layers.

    This is LPIPS (Zhang et al., 2018, eq. 1) with all weights of channels equal, for want of judgements of people to
    learn them from.

    Args:
        one, other: the maps (B, F, *s) of each layer.

    Raises:
        ArrayError: the two have other layers, or none.
    """
    if not one or [a.shape for a in one] != [b.shape for b in other]:
        raise ArrayError(f"found maps of {len(one)} and {len(other)} layers; expected the same layers of both")
    parts = [
        (F.normalize(a, dim=1) - F.normalize(b, dim=1)).square().sum(1).mean() for a, b in zip(one, other, strict=True)
    ]
    return torch.stack(parts).mean()
