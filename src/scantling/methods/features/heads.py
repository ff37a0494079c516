"""Small networks on frozen features: one for each pixel, one for a whole image."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

Norm = Literal["batch", "layer"]
DEVIATION = 0.02
"""Of the first weights (Baranchuk et al., 2022, their code)."""
NUMBERS = 512
"""What an image is pooled to, for each block."""


class PixelHead(nn.Module):
    """A perceptron for the vector of a pixel: D → hidden → K, each hidden layer with ReLU, then a norm.

    Args:
        inputs: D.
        outputs: K.
        hidden: widths of the hidden layers.
        norm: over the pixels of a batch, as the paper has it, or over the channels of a pixel.
    """

    def __init__(self, inputs: int, outputs: int, *, hidden: Sequence[int], norm: Norm = "batch") -> None:
        super().__init__()
        widths, layers = (inputs, *hidden), list[nn.Module]()
        for before, after in pairwise(widths):
            layers += [nn.Linear(before, after), nn.ReLU(), normed(after, norm)]
        self.layers = nn.Sequential(*layers, nn.Linear(widths[-1], outputs))
        started_small(self)

    def forward(self, x: Tensor) -> Tensor:
        """Logits (B, K, P) of the vectors (B, D, P) of pixels."""
        rows = self.layers(x.transpose(1, 2).flatten(0, 1))  # (B P, K)
        out: Tensor = rows.unflatten(0, (len(x), -1)).transpose(1, 2)
        return out

    def on_maps(self, maps: Sequence[Tensor], size: Sequence[int]) -> Tensor:
        """Logits (B, K, *size) of maps (B, F, *s) that are brought to the size of the image and put together.

        The first layer is applied before: it is linear, as is the interpolation, and has far fewer channels.
        """
        first, rest = self.layers[0], self.layers[1:]
        if not isinstance(first, nn.Linear):
            raise TypeError(type(first).__name__)
        parts = first.weight.split([one.shape[1] for one in maps], 1)
        total = first.bias.view(1, -1, 1, 1).expand(len(maps[0]), -1, *size)
        for one, weight in zip(maps, parts, strict=True):
            narrow = F.conv2d(one.to(weight.dtype), weight[..., None, None])
            total = total + F.interpolate(narrow, tuple(size), mode="bilinear", align_corners=False)
        rows = rest(total.movedim(1, -1).flatten(0, 2))
        out: Tensor = rows.unflatten(0, (len(total), *size)).movedim(-1, 1)
        return out


class ImageHead(nn.Module):
    """A perceptron for the pooled numbers of an image: D → 64 → 32 → K with dropout of 0.5 and 0.25."""

    def __init__(self, inputs: int, outputs: int, *, norm: Norm = "batch") -> None:
        super().__init__()
        self.layers = nn.Sequential(
            *(nn.Linear(inputs, 64), nn.ReLU(), normed(64, norm), nn.Dropout(0.5)),
            *(nn.Linear(64, 32), nn.ReLU(), normed(32, norm), nn.Dropout(0.25)),
            nn.Linear(32, outputs),
        )

    def forward(self, x: Tensor) -> Tensor:
        """Logits (B, K) of (B, D)."""
        out: Tensor = self.layers(x)
        return out


def pooled(maps: Tensor) -> Tensor:
    """Each image as `NUMBERS` numbers (B, 512) of maps (B, C, H, W), by max-pooling (Carrión and Norouzi, 2023).

    With C of 512 or more over the whole image, then over neighbouring channels; with fewer channels down to m × m
    pixels, m = 512 / C, then over neighbours in the flat vector. Where sides are no powers of two the pools are as even
    as can be, and where there are fewer numbers than 512 they are repeated.
    """
    channels = maps.shape[1]
    side = max(1, min(-(-NUMBERS // channels), *maps.shape[2:]))
    return F.adaptive_max_pool1d(F.adaptive_max_pool2d(maps, side).flatten(1)[:, None], NUMBERS)[:, 0]


def disagreement(samples: Tensor, *, exclusive: bool) -> Tensor:
    """The Jensen-Shannon divergence (B, 1, H, W) of the heads at a pixel, in nats (Baranchuk et al., 2022).

    Args:
        samples: (N, B, K, H, W), the probabilities of each head.
        exclusive: whether the classes exclude each other, and leave what remains to 1 to the background; else it is the
            mean over classes, each against all else.
    """

    def entropy(p: Tensor) -> Tensor:
        each = torch.special.entr(p)
        if exclusive:
            rest = (1 - p.sum(-3, keepdim=True)).clamp(min=0)
            return each.sum(-3, keepdim=True) + torch.special.entr(rest)
        return (each + torch.special.entr(1 - p)).mean(-3, keepdim=True)

    return (entropy(samples.mean(0)) - entropy(samples).mean(0)).clamp(min=0)


def normed(width: int, norm: Norm) -> nn.Module:
    """The norm of a hidden layer."""
    return nn.BatchNorm1d(width) if norm == "batch" else nn.LayerNorm(width)


def started_small(head: nn.Module) -> None:
    """First weights from N(0, 0.02), no bias."""
    for layer in head.modules():
        if isinstance(layer, nn.Linear):
            nn.init.normal_(layer.weight, 0.0, DEVIATION)
            nn.init.zeros_(layer.bias)
