"""A U-Net in two or three dimensions for any size of image."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from scantling.core.checks import check_choice, check_input
from scantling.core.errors import SettingsError

CONV: dict[int, Callable[..., nn.Module]] = {2: nn.Conv2d, 3: nn.Conv3d}
NORM: dict[str, dict[int, Callable[..., nn.Module]]] = {
    "batch": {2: nn.BatchNorm2d, 3: nn.BatchNorm3d},
    "instance": {2: nn.InstanceNorm2d, 3: nn.InstanceNorm3d},
}


class UNet(nn.Module):
    """Encoder and decoder with skip connections (Ronneberger et al., 2015; Çiçek et al., 2016).

    Departures, all ours: padded convolutions, normalisation, leaky ReLU (0.01), strided pooling by the largest
    value only along the axes that `strides` names, linear upsampling instead of transposed convolutions (no
    checkerboard), and no doubling of the width where memory is better spent elsewhere. One that is
    off unless asked for spares time on a processor: see `narrow`.

    Args:
        in_channels: of the image.
        out_channels: of the logits.
        spatial_dims: 2 or 3; None: what the strides have, or 2.
        widths: channels of each level, from full resolution down.
        strides: for each level but the first, the factor along each spatial axis; None: 2 everywhere.
        kernels: of each level, 1 or 3 along each spatial axis; None: 3 everywhere.
        norm: "batch" or "instance", both with learned scale and shift.
        dropout: probability, on whole channels of the deepest level.
        narrow: a 1 x 1 convolution brings a level to the width of the one above before it is enlarged, as the 2 x 2
            convolutions of Ronneberger et al. do; else it is enlarged with all its channels.

    Raises:
        SettingsError: an unknown norm, or strides that fit neither the levels nor the axes.

    Example:
        >>> import torch
        >>> from scantling.networks import UNet
        >>> UNet(3, 2, widths=(8, 16, 32))(torch.zeros(1, 3, 50, 61)).shape
        torch.Size([1, 2, 50, 61])
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        *,
        spatial_dims: int | None = None,
        widths: Sequence[int] = (32, 64, 128, 256, 512),
        strides: Sequence[Sequence[int]] | None = None,
        kernels: Sequence[Sequence[int]] | None = None,
        norm: Literal["batch", "instance"] = "batch",
        dropout: float = 0.0,
        narrow: bool = False,
    ) -> None:
        super().__init__()
        dimensions = spatial_dims or (len(strides[0]) if strides else 2)
        check_choice(dimensions, CONV, argument="spatial_dims")
        check_choice(norm, NORM, argument="norm")
        strides = strides or [(2,) * dimensions] * (len(widths) - 1)
        if {len(stride) for stride in strides} != {dimensions} or len(strides) != len(widths) - 1:
            raise SettingsError(
                f"strides: found {[*strides]}; expected {len(widths) - 1} of {dimensions} numbers, for spatial_dims="
                f"{dimensions} and the levels of widths={[*widths]}"
            )
        self.in_channels = in_channels
        self.strides: list[tuple[int, ...]] = [tuple(stride) for stride in strides]
        self.divisor = [1] * dimensions
        for stride in self.strides:
            self.divisor = [d * s for d, s in zip(self.divisor, stride, strict=True)]

        sizes = [tuple(size) for size in kernels or [(3,) * dimensions] * len(widths)]

        def block(channels: int, level: int) -> nn.Sequential:
            width, size = widths[level], sizes[level]
            return nn.Sequential(*_conv(channels, width, size, norm), *_conv(width, width, size, norm))

        self.down = nn.ModuleList(block(channels, level) for level, channels in enumerate([in_channels, *widths[:-1]]))
        self.squeeze = nn.ModuleList(
            CONV[dimensions](below, width, 1, bias=False) if narrow else nn.Identity()
            for width, below in pairwise(widths)
        )
        self.up = nn.ModuleList(
            block((width if narrow else below) + width, level) for level, (width, below) in enumerate(pairwise(widths))
        )
        self.drop = {2: nn.Dropout2d, 3: nn.Dropout3d}[dimensions](dropout)
        self.head = CONV[dimensions](widths[0], out_channels, 1)
        self.layout: torch.memory_format = torch.channels_last if dimensions == 2 else torch.channels_last_3d
        self.to(memory_format=self.layout)  # type: ignore[call-overload]

    def forward(self, image: Tensor) -> Tensor:
        """Logits (B, out_channels, *S) of an image (B, in_channels, *S).

        Raises:
            ArrayError: the image has other axes or channels than the network was made for.
        """
        logits: Tensor = self.head(self.features(image))
        return logits

    def features(self, image: Tensor) -> Tensor:
        """The last feature map (B, widths[0], *S), from which the head reads the logits."""
        return self.decode(self.encode(image), image.shape[2:])

    def encode(self, image: Tensor) -> list[Tensor]:
        """The map of each level of the encoder, (B, widths[level], ...) from full resolution down, of a padded image.

        Args:
            image: (B, in_channels, *S).
        """
        check_input(image.shape, channels=self.in_channels, spatial_dims=len(self.divisor))
        # 1. pad to what the levels divide, and so far that the deepest level has two pixels, which norms need
        pads = [-n % d for n, d in zip(image.shape[2:], self.divisor, strict=True)]
        if all(n + pad == d for n, pad, d in zip(image.shape[2:], pads, self.divisor, strict=True)):
            pads[-1] += self.divisor[-1]
        if any(pads):
            image = F.pad(image, [amount for pad in reversed(pads) for amount in (0, pad)], mode="replicate")
        # 2. encode, channels innermost, which convolutions are fastest in
        x, skips = image.contiguous(memory_format=self.layout), []
        for level, block in enumerate(self.down):
            if level:
                x = pooled(x, self.strides[level - 1])
            x = block(x)  # (B, widths[level], *S / product of strides)
            skips.append(x)
        return skips

    def decode(self, maps: Sequence[Tensor], size: Sequence[int]) -> Tensor:
        """The last feature map (B, widths[0], *size) from those of the encoder for an image of this size."""
        # 3. decode
        x = self.drop(maps[-1])
        for level in reversed(range(len(maps) - 1)):
            x = upsampled(self.squeeze[level](x), self.strides[level])
            x = self.up[level](torch.cat([maps[level], x], 1))  # (B, widths[level], *S / ...)
        # 4. crop the padding away
        window: tuple[Any, ...] = (..., *(slice(n) for n in size))
        return x[window]


def _conv(inputs: int, outputs: int, size: tuple[int, ...], norm: Literal["batch", "instance"]) -> list[nn.Module]:
    return [
        CONV[len(size)](inputs, outputs, size, padding=tuple(n // 2 for n in size), bias=False),
        NORM[norm][len(size)](outputs, affine=True),
        nn.LeakyReLU(0.01, inplace=True),
    ]


def pooled(x: Tensor, stride: tuple[int, ...]) -> Tensor:
    """The largest value (B, C, *S / stride) of each block of `stride` pixels of (B, C, *S), which it divides."""
    if len(stride) == 2:
        return F.max_pool2d(x, stride)
    return F.max_pool3d(x, stride) if x.is_cpu else pooled_by_blocks(x, stride)


def pooled_by_blocks(x: Tensor, stride: tuple[int, ...]) -> Tensor:
    """As `pooled` in 3-D, with a gradient that is deterministic on a GPU too."""
    blocks = [part for n, s in zip(x.shape[2:], stride, strict=True) for part in (n // s, s)]
    return x.reshape(*x.shape[:2], *blocks).amax([3, 5, 7])


def upsampled(x: Tensor, stride: tuple[int, ...]) -> Tensor:
    """(B, C, *S) to (B, C, *S * stride), linear between the centres of pixels, the border's value beyond it."""
    if not x.is_cpu and max(stride) <= 2:
        return doubled_by_neighbours(x, stride)
    size = [n * s for n, s in zip(x.shape[2:], stride, strict=True)]
    return F.interpolate(x, size, mode={2: "bilinear", 3: "trilinear"}[len(stride)], align_corners=False)


def doubled_by_neighbours(x: Tensor, stride: tuple[int, ...]) -> Tensor:
    """As `upsampled` with strides of 1 and 2, without the scattered sums that are slow on a deterministic GPU."""
    for axis, factor in enumerate(stride, start=2):
        if factor == 2:
            n = x.shape[axis]
            before = torch.cat([x.narrow(axis, 0, 1), x.narrow(axis, 0, n - 1)], axis)
            after = torch.cat([x.narrow(axis, 1, n - 1), x.narrow(axis, n - 1, 1)], axis)
            x = torch.stack([x.lerp(before, 0.25), x.lerp(after, 0.25)], axis + 1).flatten(axis, axis + 1)
    return x
