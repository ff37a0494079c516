"""What a network knows of an image at several scales: pyramids of features, made once for each image."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from scantling.core.checks import check_input
from scantling.networks.padding import padded
from scantling.networks.residual_blocks import norm


class Residual(nn.Module):
    """Two convolutions, each after a norm and SiLU, added to what came in (He et al., 2016, with the norm first)."""

    def __init__(self, width: int, *, dropout: float = 0.0) -> None:
        super().__init__()
        self.change = nn.Sequential(
            norm(width), nn.SiLU(), nn.Conv2d(width, width, 3, padding=1),
            norm(width), nn.SiLU(), nn.Dropout(dropout), nn.Conv2d(width, width, 3, padding=1),
        )  # fmt: skip

    def forward(self, x: Tensor) -> Tensor:
        """(B, width, H, W) as it came."""
        changed: Tensor = self.change(x)
        return x + changed


class ConvolutionalPyramid(nn.Module):
    """A small residual network whose stages stand at 1, 1/2, 1/4, ... of the image. Ours.

    Args:
        in_channels: of the image.
        widths: channels of each stage.
        depths: residual blocks of each stage.
    """

    def __init__(self, in_channels: int, *, widths: Sequence[int], depths: Sequence[int]) -> None:
        super().__init__()
        self.in_channels = in_channels
        self.widths, self.strides = tuple(widths), tuple(2**stage for stage in range(len(widths)))
        self.stages = nn.ModuleList(
            nn.Sequential(
                nn.Conv2d(inputs, width, 3, stride=2 if stage else 1, padding=1),
                *(Residual(width) for _ in range(depth)),
            )
            for stage, ((inputs, width), depth) in enumerate(zip(pairwise([in_channels, *widths]), depths, strict=True))
        )

    def forward(self, image: Tensor) -> list[Tensor]:
        """A map (B, widths[i], H / strides[i], W / strides[i]) of each stage, sizes rounded up."""
        check_input(image.shape, channels=self.in_channels, spatial_dims=2)
        maps = []
        x = image.contiguous(memory_format=torch.channels_last)
        for stage in self.stages:
            x = stage(x)
            maps.append(x)
        return maps


class TransformerPyramid(nn.Module):
    """The pyramid vision transformer (Wang et al., 2022, PVT v2), at 1/4, 1/8, 1/16, ... of the image.

    Each stage embeds overlapping patches; its keys and values are taken from a coarser grid, which ends as coarse
    in every stage. The weights start at random: those that were learned from photographs are not shipped.

    Args:
        in_channels: of the image.
        widths: channels of each stage; (64, 128, 320, 512) is PVT v2-B2.
        depths: blocks of each stage; (3, 4, 6, 3).
        heads: of the attention of each stage; (1, 2, 5, 8).
    """

    def __init__(self, in_channels: int, *, widths: Sequence[int], depths: Sequence[int], heads: Sequence[int]) -> None:
        super().__init__()
        self.in_channels = in_channels
        self.widths, self.strides = tuple(widths), tuple(4 * 2**stage for stage in range(len(widths)))
        self.embed, self.first, self.blocks, self.last = (nn.ModuleList() for _ in range(4))
        for stage, (inputs, width) in enumerate(pairwise([in_channels, *widths])):
            wide, stride = (3, 2) if stage else (7, 4)
            self.embed.append(nn.Conv2d(inputs, width, wide, stride=stride, padding=wide // 2))
            self.first.append(nn.LayerNorm(width))
            reduction, expansion = 2 ** (len(widths) - 1 - stage), 8 if stage < 2 else 4
            self.blocks.append(
                nn.Sequential(
                    *(
                        _Block(width, heads=heads[stage], reduction=reduction, expansion=expansion)
                        for _ in range(depths[stage])
                    )
                )
            )
            self.last.append(nn.LayerNorm(width))

    def forward(self, image: Tensor) -> list[Tensor]:
        """A map (B, widths[i], H / strides[i], W / strides[i]) of each stage, sizes rounded up."""
        check_input(image.shape, channels=self.in_channels, spatial_dims=2)
        maps = []
        x = image
        for embed, first, blocks, last in zip(self.embed, self.first, self.blocks, self.last, strict=True):
            x = blocks(first(embed(x).movedim(1, -1)))  # (B, h, w, C)
            x = last(x).movedim(-1, 1)  # (B, C, h, w)
            maps.append(x)
        return maps


class Guidance(nn.Module):
    """Brings a pyramid to the levels of a denoiser: for each level the nearest finer stage, resized and projected.

    Args:
        pyramid: with `widths` and `strides`.
        widths: channels of each level of the denoiser, from full resolution down.
    """

    def __init__(self, pyramid: ConvolutionalPyramid | TransformerPyramid, widths: Sequence[int]) -> None:
        super().__init__()
        self.pyramid = pyramid
        self.stage = [max((n for n, stride in enumerate(pyramid.strides) if stride <= 2**level), default=0)
                      for level in range(len(widths))]  # fmt: skip
        used = range(max(self.stage) + 1)
        if len(used) < len(pyramid.widths):
            raise ValueError(f"{len(pyramid.widths)} stages for {len(widths)} levels: the coarsest would guide nothing")
        self.project = nn.ModuleList(
            nn.Conv2d(pyramid.widths[stage], width, 1) for stage, width in zip(self.stage, widths, strict=True)
        )

    def forward(self, image: Tensor) -> tuple[Tensor, ...]:
        """For each level (B, widths[level], H / 2^level, W / 2^level), of an image that the levels divide."""
        maps: list[Tensor] = self.pyramid(image)
        size = image.shape[2:]
        return tuple(
            _resized(project(maps[stage]), [n // 2**level for n in size])
            for level, (stage, project) in enumerate(zip(self.stage, self.project, strict=True))
        )


class _Block(nn.Module):
    """Attention to a coarser grid, then an MLP with a depthwise convolution, each added (PVT v2, figure 1)."""

    def __init__(self, width: int, *, heads: int, reduction: int, expansion: int) -> None:
        super().__init__()
        self.heads, self.reduction = heads, reduction
        self.first, self.second = nn.LayerNorm(width), nn.LayerNorm(width)
        self.query, self.key_value = nn.Linear(width, width), nn.Linear(width, 2 * width)
        self.coarse: nn.Module = nn.Identity()
        if reduction > 1:
            self.coarse = nn.Conv2d(width, width, reduction, stride=reduction)
        self.coarse_norm = nn.LayerNorm(width) if reduction > 1 else nn.Identity()
        self.out = nn.Linear(width, width)
        hidden = expansion * width
        self.widen, self.narrow = nn.Linear(width, hidden), nn.Linear(hidden, width)
        self.near = nn.Conv2d(hidden, hidden, 3, padding=1, groups=hidden)

    def forward(self, x: Tensor) -> Tensor:
        """(B, h, w, C) as it came."""
        x = x + self._attended(self.first(x))
        hidden = self.near(self.widen(self.second(x)).movedim(-1, 1)).movedim(1, -1)
        out: Tensor = x + self.narrow(F.gelu(hidden))
        return out

    def _attended(self, x: Tensor) -> Tensor:
        def split(tokens: Tensor) -> Tensor:
            return tokens.unflatten(-1, (self.heads, -1)).transpose(1, 2)  # (B, heads, N, C / heads)

        coarse = self.coarse(padded(x.movedim(-1, 1), (self.reduction, self.reduction)))
        key, value = self.key_value(self.coarse_norm(coarse.flatten(2).transpose(1, 2))).chunk(2, -1)
        seen = F.scaled_dot_product_attention(split(self.query(x.flatten(1, 2))), split(key), split(value))
        out: Tensor = self.out(seen.transpose(1, 2).flatten(2))
        return out.view_as(x)


def _resized(x: Tensor, size: Sequence[int]) -> Tensor:
    if list(x.shape[2:]) == list(size):
        return x
    return F.interpolate(x, size=list(size), mode="bilinear", align_corners=False)
