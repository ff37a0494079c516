"""A U-Net in two or three dimensions for any size of image."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

CONV: dict[int, Callable[..., nn.Module]] = {2: nn.Conv2d, 3: nn.Conv3d}
NORM: dict[str, dict[int, Callable[..., nn.Module]]] = {
    "batch": {2: nn.BatchNorm2d, 3: nn.BatchNorm3d},
    "instance": {2: nn.InstanceNorm2d, 3: nn.InstanceNorm3d},
}


class UNet(nn.Module):
    """Encoder and decoder with skip connections (Ronneberger et al., 2015; Çiçek et al., 2016).

    Departures, all ours: padded convolutions, normalisation, leaky ReLU (0.01), strided pooling by the largest
    value only along the axes that `strides` names, linear upsampling instead of transposed convolutions (no
    checkerboard), and no doubling of the width where memory is better spent elsewhere.

    Args:
        inputs: channels of the image.
        outputs: channels of the logits.
        widths: channels of each level, from full resolution down.
        strides: for each level but the first, the factor along each spatial axis.
        norm: "batch" or "instance", both with learned scale and shift.
        dropout: probability, on whole channels of the deepest level.
    """

    def __init__(
        self,
        inputs: int,
        outputs: int,
        *,
        widths: Sequence[int],
        strides: Sequence[Sequence[int]],
        norm: Literal["batch", "instance"] = "batch",
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        dimensions = len(strides[0])
        self.strides: list[tuple[int, ...]] = [tuple(stride) for stride in strides]
        self.divisor = [1] * dimensions
        for stride in self.strides:
            self.divisor = [d * s for d, s in zip(self.divisor, stride, strict=True)]
        self.mode = {2: "bilinear", 3: "trilinear"}[dimensions]

        def block(channels: int, width: int) -> nn.Sequential:
            return nn.Sequential(*_conv(dimensions, channels, width, norm), *_conv(dimensions, width, width, norm))

        self.down = nn.ModuleList(block(a, b) for a, b in pairwise([inputs, *widths]))
        self.up = nn.ModuleList(block(below + width, width) for width, below in pairwise(widths))
        self.drop = {2: nn.Dropout2d, 3: nn.Dropout3d}[dimensions](dropout)
        self.head = CONV[dimensions](widths[0], outputs, 1)
        self.layout: torch.memory_format = torch.channels_last if dimensions == 2 else torch.channels_last_3d
        self.to(memory_format=self.layout)  # type: ignore[call-overload]

    def forward(self, image: Tensor) -> Tensor:
        """Logits (B, outputs, *S) of an image (B, inputs, *S)."""
        logits: Tensor = self.head(self.features(image))
        return logits

    def features(self, image: Tensor) -> Tensor:
        """The last feature map (B, widths[0], *S), from which the head reads the logits."""
        size: tuple[int, ...] = tuple(image.shape[2:])
        # 1. pad to what the levels divide
        pads = [-n % d for n, d in zip(size, self.divisor, strict=True)]
        if any(pads):
            image = F.pad(image, [amount for pad in reversed(pads) for amount in (0, pad)], mode="replicate")
        # 2. encode, channels innermost, which convolutions are fastest in
        x, skips = image.contiguous(memory_format=self.layout), []
        for level, block in enumerate(self.down):
            if level:
                stride = self.strides[level - 1]
                x = F.max_pool2d(x, stride) if len(stride) == 2 else F.max_pool3d(x, stride)
            x = block(x)  # (B, widths[level], *S / product of strides)
            skips.append(x)
        x = self.drop(skips.pop())
        # 3. decode
        for level in reversed(range(len(skips))):
            x = F.interpolate(x, skips[level].shape[2:], mode=self.mode, align_corners=False)
            x = self.up[level](torch.cat([skips[level], x], 1))  # (B, widths[level], *S / ...)
        # 4. crop the padding away
        window: tuple[Any, ...] = (..., *(slice(n) for n in size))
        return x[window]


def _conv(dimensions: int, inputs: int, outputs: int, norm: Literal["batch", "instance"]) -> list[nn.Module]:
    return [
        CONV[dimensions](inputs, outputs, 3, padding=1, bias=False),
        NORM[norm][dimensions](outputs, affine=True),
        nn.LeakyReLU(0.01, inplace=True),
    ]
