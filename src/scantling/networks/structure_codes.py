"""An autoencoder of binary maps with a dense code, for an adversarial prior in place of a divergence."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from scantling.core.checks import check_count
from scantling.networks.vgg import DOUBLINGS, VGGTrunk

LOG_VARIANCES = (-10.0, 10.0)
"""Logarithms of variances beyond are taken for these."""


class CodeEncoder(nn.Module):
    """Mean and log variance of the code of an image: a `VGGTrunk` and two dense heads.

    Args:
        in_channels: of the image.
        size: (H, W) of all images.
        code: numbers of the code.
        width, stages: of the trunk.
    """

    def __init__(self, in_channels: int, *, size: Sequence[int], code: int, width: int = 64, stages: int = 6) -> None:
        super().__init__()
        check_count(code, argument="code", least=1)
        self.trunk = VGGTrunk(in_channels, width=width, stages=stages)
        height, across = self.trunk.side(size)
        self.mean = nn.Linear(self.trunk.widths[-1] * height * across, code)
        self.log_variance = nn.Linear(self.trunk.widths[-1] * height * across, code)

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor]:
        """Both (B, code) of an image (B, in_channels, H, W)."""
        x = self.trunk(image).flatten(1)
        return self.mean(x), self.log_variance(x).clamp(*LOG_VARIANCES)


class CodeDecoder(nn.Module):
    """A map (B, out_channels, H, W) in [0, 1] of a code (B, code): two dense layers, and levels that double.

    Args:
        out_channels: of the map.
        size: (H, W); what the levels do not divide is made larger and cut.
        code, width, stages: as in the encoder.
    """

    def __init__(self, out_channels: int, *, size: Sequence[int], code: int, width: int = 64, stages: int = 6) -> None:
        super().__init__()
        widths = [width * 2 ** min(stage, DOUBLINGS) for stage in reversed(range(stages))]
        self.size = tuple(size)
        self.coarse = (widths[0], *(-(-n // 2**stages) for n in size))
        self.dense = nn.Sequential(
            nn.Linear(code, code), nn.LeakyReLU(0.2), nn.Linear(code, widths[0] * self.coarse[1] * self.coarse[2])
        )
        self.levels = nn.ModuleList(
            nn.Sequential(
                nn.Conv2d(inputs, outputs, 3, padding=1, bias=False),
                nn.InstanceNorm2d(outputs, affine=True),
                nn.LeakyReLU(0.2),
            )
            for inputs, outputs in pairwise([*widths, width])
        )
        self.head = nn.Conv2d(width, out_channels, 3, padding=1)

    def forward(self, code: Tensor) -> Tensor:
        """See the class."""
        x = F.leaky_relu(self.dense(code), 0.2).view(-1, *self.coarse)
        for level in self.levels:
            x = level(F.interpolate(x, scale_factor=2.0, mode="nearest"))
        return torch.sigmoid(self.head(x)[..., : self.size[0], : self.size[1]])
