"""The translator of CycleGAN: residual blocks between two halvings and two doublings, from an image to an image."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from scantling.core.checks import check_input
from scantling.networks.padding import cropped, padded
from scantling.networks.spade import DIVISOR, drawn_small, reflected


class Translator(nn.Module):
    """Images (B, C, H, W) to images (B, out_channels, H, W) in [-1, 1] (Johnson et al., 2016; Zhu et al., 2017).

    A reflecting 7 x 7 convolution, two of stride 2, residual blocks, two transposed convolutions of stride 2, all with
    instance norm and ReLU; a reflecting 7 x 7 convolution and tanh. Weights are drawn from N(0, 0.02). Departures,
    ours: any size of image, by padding; no bias before a norm, which would take it away again.

    Args:
        width: channels at full resolution; a half has twice, a quarter four times as many.
        blocks: residual blocks at a quarter of the resolution.
    """

    def __init__(self, in_channels: int = 1, out_channels: int = 1, *, width: int = 64, blocks: int = 9) -> None:
        super().__init__()
        self.in_channels = in_channels
        self.stem = nn.Conv2d(in_channels, width, 7, bias=False)
        self.down = nn.ModuleList(
            nn.Conv2d(width * n, 2 * width * n, 3, stride=2, padding=1, bias=False) for n in (1, 2)
        )
        self.blocks = nn.ModuleList(ReflectingBlock(4 * width) for _ in range(blocks))
        self.up = nn.ModuleList(
            nn.ConvTranspose2d(2 * width * n, width * n, 3, stride=2, padding=1, output_padding=1, bias=False)
            for n in (2, 1)
        )
        self.head = nn.Conv2d(width, out_channels, 7)
        self.apply(drawn_small)

    def forward(self, x: Tensor) -> Tensor:
        """(B, out_channels, H, W) of x (B, in_channels, H, W).

        Raises:
            ArrayError: x has other axes or channels than the network was made for.
        """
        check_input(x.shape, channels=self.in_channels, spatial_dims=2)
        h = F.relu(F.instance_norm(self.stem(reflected(padded(x, (DIVISOR, DIVISOR)), 3))))
        for conv in self.down:
            h = F.relu(F.instance_norm(conv(h)))  # (B, 2 width, H/2, W/2), (B, 4 width, H/4, W/4)
        for block in self.blocks:
            h = block(h)
        for conv in self.up:
            h = F.relu(F.instance_norm(conv(h)))
        return cropped(torch.tanh(self.head(reflected(h, 3))), tuple(x.shape[2:]))


class ReflectingBlock(nn.Module):
    """Two reflecting 3 x 3 convolutions with instance norm, ReLU in between, beside the map itself."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.convs = nn.ModuleList(nn.Conv2d(width, width, 3, bias=False) for _ in range(2))

    def forward(self, x: Tensor) -> Tensor:
        """(B, width, H, W) of x (B, width, H, W)."""
        first, second = self.convs
        h = F.relu(F.instance_norm(first(reflected(x, 1))))
        added: Tensor = F.instance_norm(second(reflected(h, 1)))
        return x + added
