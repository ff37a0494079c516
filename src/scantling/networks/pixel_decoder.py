"""Maps of a frozen network made ready for queries: brought to one width, joined by stride, and told of one another."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from scantling.core.errors import ArrayError
from scantling.networks.box_pyramid import groups

ATTENDED = 3
"""The coarsest maps, so many of them, that the encoder and the queries attend to (Cheng et al., 2022)."""


class Bottleneck(nn.Module):
    """Three convolutions of 1, 3 and 1 pixels a side with group norm, added to the input (He et al., 2016)."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        inner = max(1, outputs // 4)
        self.path = nn.Sequential(
            *_normed(inputs, inner, 1), nn.ReLU(), *_normed(inner, inner, 3), nn.ReLU(), *_normed(inner, outputs, 1)
        )
        self.skip = nn.Sequential(*_normed(inputs, outputs, 1)) if inputs != outputs else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        """(B, outputs, H, W) of (B, inputs, H, W)."""
        return F.relu(self.path(x) + self.skip(x))


class FeatureAdapters(nn.Module):
    """A bottleneck for each map; those of one stride are summed (Xu et al., 2023, ODISE).

    Args:
        channels: of each map.
        smaller: how many times smaller than the image each map is; equal numbers are one stride.
        width: of what comes out.
    """

    def __init__(self, channels: Sequence[int], smaller: Sequence[float], *, width: int) -> None:
        super().__init__()
        self.each = nn.ModuleList(Bottleneck(inputs, width) for inputs in channels)
        self.strides = tuple(sorted(set(smaller)))
        self.level = tuple(self.strides.index(stride) for stride in smaller)

    def forward(self, maps: Sequence[Tensor]) -> list[Tensor]:
        """The maps (B, width, h, w) of each stride, the finest first."""
        found: list[Tensor | None] = [None] * len(self.strides)
        for level, adapt, one in zip(self.level, self.each, maps, strict=True):
            adapted: Tensor = adapt(one)
            before = found[level]
            found[level] = adapted if before is None else before + _like(adapted, before)
        return [one for one in found if one is not None]


class DeformableAttention(nn.Module):
    """Each token looks at a few places of each map, which it says itself (Zhu et al., 2021, Deformable DETR).

    Args:
        width: of the tokens.
        levels: how many maps there are.
        heads, points: a head looks at so many places of each map.
    """

    def __init__(self, width: int, *, levels: int, heads: int = 8, points: int = 4) -> None:
        super().__init__()
        if width % heads:
            raise ArrayError(f"found a width of {width} for {heads} heads; expected a multiple")
        self.levels, self.heads, self.points = levels, heads, points
        self.offsets = nn.Linear(width, heads * levels * points * 2)
        self.weights = nn.Linear(width, heads * levels * points)
        self.value, self.out = nn.Linear(width, width), nn.Linear(width, width)
        angle = torch.arange(heads) * (2 * math.pi / heads)
        ray = torch.stack([angle.cos(), angle.sin()], -1)
        ray = ray / ray.abs().amax(-1, keepdim=True)  # (heads, 2), onto a square
        far = torch.arange(1, points + 1).view(1, 1, points, 1)
        with torch.no_grad():
            self.offsets.weight.zero_()
            self.offsets.bias.copy_((ray[:, None, None] * far).expand(-1, levels, -1, -1).reshape(-1))
            self.weights.weight.zero_()
            self.weights.bias.zero_()

    def forward(self, tokens: Tensor, places: Tensor, values: Tensor, shapes: Sequence[tuple[int, int]]) -> Tensor:
        """(B, N, width) of tokens (B, N, width) at `places` (N, 2), as shares of width and height of the image.

        Args:
            values: (B, N, width), the cells of all maps, one map after the other.
            shapes: (h, w) of each map.
        """
        rows, count = tokens.shape[:2]
        offsets = self.offsets(tokens).view(rows, count, self.heads, self.levels, self.points, 2)
        weights = self.weights(tokens).view(rows, count, self.heads, -1).softmax(-1)
        weights = weights.view(rows, count, self.heads, self.levels, self.points)
        each = self.value(values).split([h * w for h, w in shapes], 1)
        total = tokens.new_zeros(())
        for level, ((h, w), value) in enumerate(zip(shapes, each, strict=True)):
            maps = value.transpose(1, 2).reshape(rows * self.heads, -1, h, w)
            at = places.view(1, count, 1, 1, 2) + offsets[:, :, :, level] / places.new_tensor((w, h))
            grid = (2 * at - 1).transpose(1, 2).flatten(0, 1)  # (B heads, N, points, 2)
            seen = F.grid_sample(maps, grid, mode="bilinear", padding_mode="zeros", align_corners=False)
            share = weights[:, :, :, level].transpose(1, 2).flatten(0, 1)[:, None]  # (B heads, 1, N, points)
            total = total + (seen * share).sum(-1)  # (B heads, width / heads, N)
        out: Tensor = self.out(total.view(rows, -1, count).transpose(1, 2))
        return out


class DeformableLayer(nn.Module):
    """Deformable attention and a perceptron, each added and normed."""

    def __init__(self, width: int, *, levels: int, heads: int, points: int, inner: int) -> None:
        super().__init__()
        self.attention = DeformableAttention(width, levels=levels, heads=heads, points=points)
        self.inner = nn.Sequential(nn.Linear(width, inner), nn.ReLU(), nn.Linear(inner, width))
        self.norms = nn.ModuleList([nn.LayerNorm(width), nn.LayerNorm(width)])

    def forward(self, x: Tensor, code: Tensor, places: Tensor, shapes: Sequence[tuple[int, int]]) -> Tensor:
        """(B, N, width) as it came; `code` (B, N, width) says where and on which map a token lies."""
        x = self.norms[0](x + self.attention(x + code, places, x, shapes))
        out: Tensor = self.norms[1](x + self.inner(x))
        return out


class PixelDecoder(nn.Module):
    """The pixel decoder of Mask2Former (Cheng et al., 2022): the coarsest maps attend, finer ones join from above.

    Args:
        inputs: channels of the maps.
        levels: how many there are, the finest first.
        width: of what comes out.
        layers, heads, points, inner: of the encoder with deformable attention.
    """

    def __init__(
        self, inputs: int, levels: int, *, width: int = 256, layers: int = 6, heads: int = 8, points: int = 4,
        inner: int = 1024,
    ) -> None:  # fmt: skip
        super().__init__()
        self.attended = min(levels, ATTENDED)
        self.project = nn.ModuleList(nn.Sequential(*_normed(inputs, width, 1)) for _ in range(self.attended))
        self.level_code = nn.Parameter(torch.randn(self.attended, width))
        self.layers = nn.ModuleList(
            DeformableLayer(width, levels=self.attended, heads=heads, points=points, inner=inner) for _ in range(layers)
        )
        finer = range(levels - self.attended)
        self.beside = nn.ModuleList(nn.Sequential(*_normed(inputs, width, 1)) for _ in finer)
        self.smooth = nn.ModuleList(nn.Sequential(*_normed(width, width, 3), nn.ReLU()) for _ in finer)
        self.masks = nn.Conv2d(width, width, 1)

    def forward(self, maps: Sequence[Tensor]) -> tuple[list[Tensor], Tensor]:
        """What queries attend to, the coarsest map first (B, width, h, w), and the mask features on the finest grid."""
        coarse = [project(one) for project, one in zip(self.project, reversed(maps[-self.attended :]), strict=True)]
        shapes = [(one.shape[2], one.shape[3]) for one in coarse]
        x = torch.cat([one.flatten(2).transpose(1, 2) for one in coarse], 1)  # (B, N, width)
        codes = [positions(one).flatten(2).transpose(1, 2) + self.level_code[level] for level, one in enumerate(coarse)]
        places = torch.cat([centres(shape, like=x) for shape in shapes])
        for layer in self.layers:
            x = layer(x, torch.cat(codes, 1), places, shapes)
        parts = x.transpose(1, 2).split([h * w for h, w in shapes], 2)
        attended = [part.unflatten(2, shape) for part, shape in zip(parts, shapes, strict=True)]
        finest = attended[-1]
        for beside, smooth, one in zip(self.beside, self.smooth, reversed(maps[: -self.attended]), strict=True):
            finest = smooth(_like(finest, one) + beside(one))
        return attended, self.masks(finest)


def positions(like: Tensor) -> Tensor:
    """Sines and cosines of the place of each cell, (1, C, h, w): a half for the rows, a half for the columns.

    Places go from 0 to 2π over the image, at frequencies from 1 to 1/10,000 (Carion et al., 2020, DETR).
    """
    width, (h, w) = like.shape[1], like.shape[2:]
    half = -(-width // 2)
    frequency = 10_000 ** (-2 * (torch.arange(half, device=like.device) // 2).to(like.dtype) / max(half, 1))
    codes = []
    for length, shape in ((h, (1, half, h, 1)), (w, (1, half, 1, w))):
        at = torch.arange(1, length + 1, device=like.device, dtype=like.dtype) / length * 2 * math.pi
        angle = frequency[:, None] * at
        even = (torch.arange(half, device=like.device) % 2 == 0)[:, None]
        codes.append(torch.where(even, angle.sin(), angle.cos()).view(shape).expand(1, half, h, w))
    return torch.cat(codes, 1)[:, :width]


def centres(shape: tuple[int, int], *, like: Tensor) -> Tensor:
    """The centres (h w, 2) of the cells of a map, x then y, as shares of its width and height."""
    y, x = ((torch.arange(n, device=like.device, dtype=like.dtype) + 0.5) / n for n in shape)
    return torch.stack([x.expand(shape[0], -1), y[:, None].expand(-1, shape[1])], -1).flatten(0, 1)


def _like(x: Tensor, other: Tensor) -> Tensor:
    """A map in the size of another."""
    if x.shape[2:] == other.shape[2:]:
        return x
    return F.interpolate(x, other.shape[2:], mode="bilinear", align_corners=False)


def _normed(inputs: int, outputs: int, side: int) -> list[nn.Module]:
    """A convolution without bias, and group norm."""
    convolution = nn.Conv2d(inputs, outputs, side, padding=side // 2, bias=False)
    return [convolution, nn.GroupNorm(groups(outputs), outputs)]
