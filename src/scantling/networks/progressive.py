"""The two networks of a GAN that grows: each level doubles the image, and a new one is faded in."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

SLOPE = 0.2
COARSE = 4
"""The side of the coarsest images."""


class Equalised(nn.Module):
    r"""A convolution, or linear layer, whose weights are N(0, 1) and scaled when they are used (Karras et al., 2018).

    .. math:: w \cdot g / \sqrt{fan\_in}, \quad g = \sqrt 2

    Args:
        kernel: the side of the kernel; 0 for a linear layer.
    """

    def __init__(self, inputs: int, outputs: int, kernel: int, *, gain: float = math.sqrt(2)) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(outputs, inputs, *[kernel] * (2 if kernel else 0)))
        self.bias = nn.Parameter(torch.zeros(outputs))
        self.scale, self.padding = gain / math.sqrt(inputs * max(1, kernel) ** 2), kernel // 2

    def forward(self, x: Tensor) -> Tensor:
        """(B, outputs, ...) of (B, inputs, ...)."""
        weight = self.weight * self.scale
        if weight.ndim == 2:
            return F.linear(x, weight, self.bias)
        return F.conv2d(x, weight, self.bias, padding=self.padding)


def pixel_norm(x: Tensor) -> Tensor:
    """Each pixel (B, C, ...) divided by the root of its mean square over channels."""
    return x * (x.square().mean(1, keepdim=True) + 1e-8).rsqrt()


class ProgressiveGenerator(nn.Module):
    """Images of noise (B, noise), at any of its levels: level n has 4 · 2ⁿ pixels a side (Karras et al., 2018).

    Args:
        widths: channels of each level, from the coarsest one.
    """

    def __init__(self, channels: int, *, noise: int, widths: tuple[int, ...]) -> None:
        super().__init__()
        self.first = Equalised(noise, widths[0] * COARSE**2, 0, gain=math.sqrt(2) / COARSE)
        self.blocks = nn.ModuleList()
        for level, width in enumerate(widths):
            inputs = [widths[level - 1], width] if level else [width]
            self.blocks.append(nn.ModuleList(Equalised(each, width, 3) for each in inputs))
        self.to_image = nn.ModuleList(Equalised(width, channels, 1, gain=1.0) for width in widths)

    def forward(self, noise: Tensor, level: int, share: float = 1.0) -> Tensor:
        """(B, channels, 4 · 2ⁿ, 4 · 2ⁿ) of a level n, of which this `share` comes from the level itself."""
        h = self.first(pixel_norm(noise)).view(len(noise), -1, COARSE, COARSE)
        before = h = pixel_norm(F.leaky_relu(h, SLOPE))
        for number, block in enumerate(self.blocks[: level + 1]):
            if number:
                before, h = h, F.interpolate(h, scale_factor=2.0, mode="nearest")
            for conv in block:  # type: ignore[attr-defined]
                h = pixel_norm(F.leaky_relu(conv(h), SLOPE))
        image: Tensor = self.to_image[level](h)
        if share < 1 and level:
            coarser = F.interpolate(self.to_image[level - 1](before), scale_factor=2.0, mode="nearest")
            image = share * image + (1 - share) * coarser
        return image

    def at(self, level: int) -> list[nn.Module]:
        """The modules that take part at a level."""
        seen = self.to_image[max(0, level - 1) : level + 1]
        return [self.first, *self.blocks[: level + 1], *seen]


class ProgressiveDiscriminator(nn.Module):
    """The mirror of the generator; before its last level it sees how far images lie from the mean of their batch.

    `maps`, then `scores`: between the two the caller takes the mean over the whole batch of a step, wherever its parts
    are. Departure: the deviation is that of each image from the mean, which is taken without gradient, and not one
    number for a group of four; so a divided batch learns what a whole one does, and images that are all alike still
    have none.
    """

    def __init__(self, channels: int, *, widths: tuple[int, ...]) -> None:
        super().__init__()
        self.from_image = nn.ModuleList(Equalised(channels, width, 1) for width in widths)
        self.blocks = nn.ModuleList()
        for level, width in list(enumerate(widths))[1:]:
            self.blocks.append(nn.ModuleList([Equalised(width, width, 3), Equalised(width, widths[level - 1], 3)]))
        self.last = Equalised(widths[0] + 1, widths[0], 3)
        self.dense = Equalised(widths[0] * COARSE**2, widths[0], 0)
        self.head = Equalised(widths[0], 1, 0, gain=1.0)

    def maps(self, images: Tensor, level: int, share: float = 1.0) -> Tensor:
        """The coarsest maps (B, width, 4, 4) of images of a level; `share` as of the generator."""
        h = F.leaky_relu(self.from_image[level](images), SLOPE)
        for number in range(level, 0, -1):
            for conv in self.blocks[number - 1]:  # type: ignore[attr-defined]
                h = F.leaky_relu(conv(h), SLOPE)
            h = F.avg_pool2d(h, 2)
            if number == level and share < 1:
                coarser = F.leaky_relu(self.from_image[level - 1](F.avg_pool2d(images, 2)), SLOPE)
                h = share * h + (1 - share) * coarser
        return h

    def scores(self, maps: Tensor, mean: Tensor) -> Tensor:
        """Scores (B, 1) of maps (B, width, 4, 4) and their mean (width, 4, 4) over the batch."""
        apart = (maps - mean).abs().mean((1, 2, 3))  # (B,)
        h = torch.cat([maps, apart.view(-1, 1, 1, 1).expand(-1, 1, *maps.shape[2:])], 1)
        h = F.leaky_relu(self.last(h), SLOPE)
        h = F.leaky_relu(self.dense(h.flatten(1)), SLOPE)
        found: Tensor = self.head(h)
        return found

    def at(self, level: int) -> list[nn.Module]:
        """The modules that take part at a level."""
        seen = self.from_image[max(0, level - 1) : level + 1]
        return [*seen, *self.blocks[:level], self.last, self.dense, self.head]
