"""The generator of DARL: convolutions that paint vessels where a mask is given, and find them where none is."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from scantling.core.checks import check_input
from scantling.networks.padding import cropped, padded
from scantling.networks.spectral_norm import spectral_norm

SLOPE = 0.2
"""Of the leaky ReLUs."""
DIVISOR = 8
"""Two halvings, and once more, so that no map is a single pixel, which has no deviation to divide by."""


class SwitchableGenerator(nn.Module):
    """Encoder and decoder with switchable SPADE in between (Kim et al., 2023); the mask is the switch.

    A reflecting 7 x 7 convolution and two of stride 2, each with instance norm and ReLU; two residual blocks at a
    quarter of the resolution; two that each follow a doubling; a reflecting 7 x 7 convolution and tanh. Weights are
    drawn from N(0, 0.02). Departures, ours: any size of image, by padding; no bias but in the last convolution and in
    what reads a mask. All others are followed by a norm, which would take it away again, but for those of the last
    block, where it is missing.

    Args:
        in_channels: of what comes in: a noisy image and what the denoiser says of it.
        out_channels: of the answer.
        width: channels at full resolution; a half has twice, a quarter four times as many.
        hidden: channels in which each norm reads the mask; None: norms see no mask, which comes in as one more channel,
            0 where there is none (the ablation of the paper's Table 3; how it brought the mask in is not printed).
    """

    def __init__(
        self, in_channels: int = 2, out_channels: int = 1, *, width: int = 64, hidden: int | None = 128
    ) -> None:
        super().__init__()
        self.in_channels, self.switched = in_channels, hidden is not None
        self.stem = nn.Conv2d(in_channels + (not self.switched), width, 7, bias=False)
        self.down = nn.ModuleList(
            nn.Conv2d(width * n, 2 * width * n, 3, stride=2, padding=1, bias=False) for n in (1, 2)
        )
        self.middle = nn.ModuleList(SwitchableBlock(4 * width, 4 * width, hidden=hidden) for _ in range(2))
        self.up = nn.ModuleList(SwitchableBlock(2 * width * n, width * n, hidden=hidden) for n in (2, 1))
        self.head = nn.Conv2d(width, out_channels, 7)
        self.apply(drawn_small)
        for block in [*self.middle, *self.up]:
            block.apply(_bounded)

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        """(B, out_channels, H, W) in [-1, 1].

        Args:
            x: (B, in_channels, H, W).
            mask: (B, 1, H, W) bool, where to paint vessels; None: say where vessels are.

        Raises:
            ArrayError: x has other axes or channels than the network was made for.
        """
        check_input(x.shape, channels=self.in_channels, spatial_dims=2)
        size = tuple(x.shape[2:])
        code = None
        if not self.switched:
            x = torch.cat([x, x.new_zeros(len(x), 1, *size) if mask is None else mask.to(x.dtype)], 1)
        elif mask is not None:
            code = one_hot(padded(mask.to(x.dtype), (DIVISOR, DIVISOR)))
        # 1. encode
        h = F.relu(F.instance_norm(self.stem(reflected(padded(x, (DIVISOR, DIVISOR)), 3))))
        for conv in self.down:
            h = F.relu(F.instance_norm(conv(h)))  # (B, 2 width, H/2, W/2), (B, 4 width, H/4, W/4)
        # 2. painted, or found
        for block in self.middle:
            h = block(h, code)
        # 3. decode
        for block in self.up:
            h = block(F.interpolate(h, scale_factor=2.0, mode="nearest"), code)
        return cropped(torch.tanh(self.head(reflected(F.leaky_relu(h, SLOPE), 3))), size)


class SwitchableBlock(nn.Module):
    """Two spectrally normalised convolutions, each after a switchable norm and leaky ReLU, beside a shortcut."""

    def __init__(self, inputs: int, width: int, *, hidden: int | None) -> None:
        super().__init__()
        between = min(inputs, width)
        self.norms = nn.ModuleList(SwitchableNorm(n, hidden=hidden) for n in (inputs, between))
        self.convs = nn.ModuleList(
            nn.Conv2d(a, b, 3, padding=1, bias=False) for a, b in ((inputs, between), (between, width))
        )
        self.aside = SwitchableNorm(inputs, hidden=hidden) if inputs != width else None
        self.shortcut = nn.Conv2d(inputs, width, 1, bias=False) if inputs != width else None

    def forward(self, x: Tensor, code: Tensor | None) -> Tensor:
        """(B, width, H, W) of x (B, inputs, H, W) and a one-hot mask (B, 2, ...), or none."""
        h = x
        for norm, conv in zip(self.norms, self.convs, strict=True):
            h = conv(F.leaky_relu(norm(h, code), SLOPE))
        if self.aside is not None and self.shortcut is not None:
            x = self.shortcut(self.aside(x, code))
        return x + h


class SwitchableNorm(nn.Module):
    r"""Instance norm that a mask scales and shifts pixel by pixel, or, without one, an affine instance norm.

    .. math:: \mathrm{IN}(h) \, (1 + \gamma(s)) + \beta(s) \quad \text{or} \quad a \, \mathrm{IN}(h) + b

    The first is SPADE (Park et al., 2019, eq. 1). The two share nothing but what surrounds them. Without `hidden` there
    is the second alone.
    """

    def __init__(self, width: int, *, hidden: int | None) -> None:
        super().__init__()
        self.alone = nn.InstanceNorm2d(width, affine=True)
        if hidden is None:
            return
        self.read = nn.Conv2d(2, hidden, 3, padding=1)
        self.gamma = nn.Conv2d(hidden, width, 3, padding=1)
        self.beta = nn.Conv2d(hidden, width, 3, padding=1)

    def forward(self, h: Tensor, code: Tensor | None) -> Tensor:
        """(B, width, H, W) as it came."""
        if code is None:
            alone: Tensor = self.alone(h)
            return alone
        features = F.relu(self.read(F.interpolate(code, h.shape[2:], mode="nearest")))
        normed: Tensor = F.instance_norm(h) * (1 + self.gamma(features)) + self.beta(features)
        return normed


class SpadeNorm(nn.Module):
    r"""Group norm that a label map scales and shifts pixel by pixel (Park et al., 2019).

    .. math:: \mathrm{GN}(h) \, (1 + \gamma(y)) + \beta(y)

    MONAI's keeps an instance norm inside of what reads the map, so that a map that is constant says nothing; here none
    is.

    Args:
        labels: channels of the label map.
        hidden: channels in which it is read.
    """

    def __init__(self, width: int, *, labels: int, hidden: int) -> None:
        super().__init__()
        self.alone = nn.GroupNorm(math.gcd(width, max(width // 2, 1), 32), width, affine=False)
        self.read = nn.Conv2d(labels, hidden, 3, padding=1)
        self.gamma = nn.Conv2d(hidden, width, 3, padding=1)
        self.beta = nn.Conv2d(hidden, width, 3, padding=1)

    def forward(self, h: Tensor, labels: Tensor) -> Tensor:
        """(B, width, h, w) as it came, of a label map (B or 1, labels, H, W) of any size."""
        features = F.relu(self.read(F.interpolate(labels, h.shape[2:], mode="nearest")))
        normed: Tensor = self.alone(h) * (1 + self.gamma(features)) + self.beta(features)
        return normed


def one_hot(mask: Tensor) -> Tensor:
    """(B, 2, H, W), background and vessel, of a mask (B, 1, H, W) of 0 and 1."""
    return torch.cat([1 - mask, mask], 1)


def reflected(x: Tensor, width: int) -> Tensor:
    """(B, C, H + 2 width, W + 2 width) of (B, C, H, W), mirrored at its border, with a gradient that always repeats."""
    for axis in (2, 3):
        first = x.narrow(axis, 1, width).flip(axis)
        last = x.narrow(axis, x.shape[axis] - 1 - width, width).flip(axis)
        x = torch.cat([first, x, last], axis)
    return x


def drawn_small(module: nn.Module) -> None:
    """Weights of convolutions drawn from N(0, 0.02), no bias, as the authors of image-to-image GANs begin."""
    if isinstance(module, nn.Conv2d | nn.ConvTranspose2d):
        nn.init.normal_(module.weight, 0.0, 0.02)
        if module.bias is not None:
            nn.init.zeros_(module.bias)


def _bounded(module: nn.Module) -> None:
    """Spectral norm (Miyato et al., 2018) on the convolutions of a block, but not on those of its norms."""
    if isinstance(module, SwitchableBlock):
        for conv in [*module.convs, *([module.shortcut] if module.shortcut is not None else [])]:
            spectral_norm(conv)
