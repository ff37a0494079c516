"""The two networks of DCGAN: strided convolutions alone, from numbers to an image and from an image to scores."""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from scantling.core.checks import check_input
from scantling.core.errors import SettingsError
from scantling.networks.residual_blocks import norm

LEAST, MOST = 4, 7
"""The sides of the coarsest map."""
WIDEST = 8
"""The coarsest maps have at most so many times the channels of the finest one (Radford et al., 2016: 128 to 1024)."""
SLOPE = 0.2


def halvings(side: int) -> int:
    """How often a side is halved until 4 to 7 pixels are left.

    Raises:
        SettingsError: that leads to no whole number of pixels.
    """
    levels = 0
    while side // 2**levels > MOST:
        levels += 1
    if side < LEAST or side % 2**levels:
        near = [coarse * 2**levels for coarse in range(LEAST, MOST + 2)]
        raise SettingsError(
            f"--settings.size: found {side}; expected 4 to 7 pixels that are doubled some times, such as "
            f"{min(near, key=lambda each: abs(each - side))}"
        )
    return levels


def widths_of(side: int, width: int) -> list[int]:
    """The channels of each map, from the finest one, which is half as large as the image."""
    return [width * min(2**level, WIDEST) for level in range(max(1, halvings(side)))]


class ConvolutionalGenerator(nn.Module):
    """Images (B, channels, side, side) in [-1, 1] of numbers (B, noise) (Radford et al., 2016).

    A linear layer to maps of 4 to 7 pixels a side, then transposed 4 x 4 convolutions that double. Departure: group
    norm instead of batch norm, so that a batch that is divided learns what a whole one does.

    Args:
        classes: image classes that stand one-hot beside the noise (Odena et al., 2017); 0 for none.
    """

    def __init__(self, channels: int, *, noise: int, side: int, width: int, classes: int = 0) -> None:
        super().__init__()
        levels, widths = halvings(side), widths_of(side, width)[::-1]
        self.classes, self.coarse = classes, (widths[0], side // 2**levels, side // 2**levels)
        self.first = nn.Linear(noise + classes, widths[0] * self.coarse[1] * self.coarse[2])
        self.norms = nn.ModuleList(norm(each) for each in widths)
        outputs = [*widths[1:], channels] if levels else [channels]
        self.convs = nn.ModuleList(
            nn.ConvTranspose2d(a, b, 4, stride=2, padding=1) if levels else nn.Conv2d(a, b, 3, padding=1)
            for a, b in zip(widths, outputs, strict=True)
        )
        self.apply(drawn)

    def forward(self, noise: Tensor, kinds: Tensor | None = None) -> Tensor:
        """See the class; `kinds` (B,) are the numbers of the image classes."""
        if kinds is not None:
            noise = torch.cat([noise, F.one_hot(kinds, self.classes).to(noise.dtype)], 1)
        h = self.first(noise).view(-1, *self.coarse)
        for normed, conv in zip(self.norms, self.convs, strict=True):
            h = conv(F.relu(normed(h)))
        return torch.tanh(h)


class ConvolutionalDiscriminator(nn.Module):
    """A score, and `classes` logits beside it, (B, 1 + classes), of images (B, channels, side, side).

    4 x 4 convolutions that halve, with leaky ReLU and, after the first, group norm (see `ConvolutionalGenerator`).

    Args:
        bias: of the answer; a critic whose scores are only compared with one another has none.
    """

    def __init__(self, channels: int, *, side: int, width: int, classes: int = 0, bias: bool = True) -> None:
        super().__init__()
        levels, widths = halvings(side), widths_of(side, width)
        self.channels = channels
        kernel, stride = (4, 2) if levels else (3, 1)
        self.convs = nn.ModuleList(
            nn.Conv2d(a, b, kernel, stride=stride, padding=1) for a, b in pairwise([channels, *widths])
        )
        self.norms = nn.ModuleList([nn.Identity(), *(norm(each) for each in widths[1:])])
        self.head = nn.Linear(widths[-1] * (side // 2**levels) ** 2, 1 + classes, bias=bias)
        self.apply(drawn)

    def forward(self, images: Tensor) -> Tensor:
        """See the class.

        Raises:
            ArrayError: the images have other axes or channels than the network was made for.
        """
        check_input(images.shape, channels=self.channels, spatial_dims=2)
        h = images
        for conv, normed in zip(self.convs, self.norms, strict=True):
            h = F.leaky_relu(normed(conv(h)), SLOPE)
        found: Tensor = self.head(h.flatten(1))
        return found


def drawn(module: nn.Module) -> None:
    """Weights from N(0, 0.02), biases zero."""
    if isinstance(module, nn.Conv2d | nn.ConvTranspose2d | nn.Linear):
        nn.init.normal_(module.weight, 0.0, 0.02)
        if module.bias is not None:
            nn.init.zeros_(module.bias)
