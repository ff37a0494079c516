"""HoVer-Net: a residual encoder with pre-activation, and a decoder with dense units for each of its branches."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from scantling.core.checks import check_choice, check_input
from scantling.networks.padding import cropped, padded
from scantling.networks.unet import NORM

Norm = Literal["batch", "instance"]
HALVINGS = 3


class HoVerNet(nn.Module):
    """The network of Graham et al., 2019 (sizes of layers as in the authors' code).

    Departures: convolutions are padded, so that the answer has the size of the image (the paper answers 80 x 80 pixels
    of 270 x 270), and the width is free.

    Args:
        in_channels: of the image.
        branches: the channels that come out of each branch, by its name.
        width: w; the four stages of the encoder give 4w, 8w, 16w and 32w channels; 64 in the paper.
        units: residual units of each stage; (3, 4, 6, 3) in the paper, as in a ResNet of 50 layers.
        dense: dense units at the two lower levels of a decoder.
        growth: channels that a dense unit adds.
        kernel: of the decoders, odd; 5 in the paper, 3 in the authors' fast mode.
        norm: "batch" as in the paper, or "instance".

    Example:
        >>> import torch
        >>> from scantling.networks import HoVerNet
        >>> network = HoVerNet(3, {"inside": 1, "maps": 2}, width=4, units=(1, 1, 1, 1), growth=4)
        >>> network(torch.zeros(1, 3, 40, 27))["maps"].shape
        torch.Size([1, 2, 40, 27])
    """

    def __init__(
        self,
        in_channels: int,
        branches: Mapping[str, int],
        *,
        width: int = 64,
        units: Sequence[int] = (3, 4, 6, 3),
        dense: tuple[int, int] = (8, 4),
        growth: int = 32,
        kernel: int = 5,
        norm: Norm = "batch",
    ) -> None:
        super().__init__()
        check_choice(norm, NORM, argument="norm")
        self.in_channels = in_channels
        self.stem = nn.Sequential(_conv(in_channels, width, 7), NORM[norm][2](width, affine=True), nn.ReLU())
        stages, channels = list[nn.Module](), width
        for stage, count in enumerate(units):
            stages.append(ResidualStage(channels, width << stage, count, stride=1 if stage == 0 else 2, norm=norm))
            channels = 4 * width << stage
        self.stages = nn.ModuleList(stages)
        self.bottom = _conv(channels, 16 * width, 1)
        self.decoders = nn.ModuleDict(
            {
                name: Decoder(outputs, width=width, dense=dense, growth=growth, kernel=kernel, norm=norm)
                for name, outputs in branches.items()
            }
        )
        self.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    def forward(self, image: Tensor) -> dict[str, Tensor]:
        """What each branch answers, (B, its channels, H, W), to an image (B, in_channels, H, W).

        Raises:
            ArrayError: the image has other axes or channels than the network was made for.
        """
        check_input(image.shape, channels=self.in_channels, spatial_dims=2)
        # 1. pad to what the levels divide, and so far that the lowest level has two pixels, which norms need
        whole = padded(image, [2**HALVINGS] * 2)
        if whole.shape[2] == whole.shape[3] == 2**HALVINGS:
            whole = F.pad(whole, (0, 2**HALVINGS, 0, 0), mode="replicate")
        # 2. encode
        x, skips = self.stem(whole.contiguous(memory_format=torch.channels_last)), list[Tensor]()
        for stage in self.stages:
            x = stage(x)
            skips.append(x)  # (B, 4w 2^s, H / 2^s, W / 2^s)
        skips[-1] = self.bottom(x)
        # 3. decode, each branch for itself
        return {name: cropped(decoder(skips), image.shape[2:]) for name, decoder in self.decoders.items()}


class ResidualStage(nn.Module):
    """Residual units with pre-activation (He et al., 2016), the first of which changes channels and size."""

    def __init__(self, channels: int, width: int, count: int, *, stride: int, norm: Norm) -> None:
        super().__init__()
        self.shortcut = _conv(channels, 4 * width, 1, stride=stride)
        self.units = nn.ModuleList()
        for number in range(count):
            before = [] if number == 0 else _activated(4 * width, norm)  # what comes in is activated
            self.units.append(
                nn.Sequential(
                    *before,
                    _conv(channels if number == 0 else 4 * width, width, 1),
                    *_activated(width, norm),
                    _conv(width, width, 3, stride=stride if number == 0 else 1),
                    *_activated(width, norm),
                    _conv(width, 4 * width, 1),
                )
            )
        self.after = nn.Sequential(*_activated(4 * width, norm))

    def forward(self, x: Tensor) -> Tensor:
        """(B, 4 width, H / stride, W / stride) of (B, channels, H, W)."""
        kept = self.shortcut(x)
        for unit in self.units:
            kept = kept + unit(x)
            x = kept
        out: Tensor = self.after(kept)
        return out


class DenseUnits(nn.Module):
    """Units that each add `growth` channels to what all before them have made (Huang et al., 2017)."""

    def __init__(self, channels: int, count: int, *, growth: int, kernel: int, norm: Norm) -> None:
        super().__init__()
        self.units = nn.ModuleList(
            nn.Sequential(
                *_activated(channels + number * growth, norm),
                _conv(channels + number * growth, 4 * growth, 1),
                *_activated(4 * growth, norm),
                _conv(4 * growth, growth, kernel, groups=4),
            )
            for number in range(count)
        )
        self.channels = channels + count * growth
        self.after = nn.Sequential(*_activated(self.channels, norm))

    def forward(self, x: Tensor) -> Tensor:
        """(B, channels + count * growth, H, W) of (B, channels, H, W)."""
        for unit in self.units:
            x = torch.cat([x, unit(x)], 1)
        out: Tensor = self.after(x)
        return out


class Decoder(nn.Module):
    """Three levels up, the encoder's maps added to what is enlarged."""

    def __init__(
        self, outputs: int, *, width: int, dense: tuple[int, int], growth: int, kernel: int, norm: Norm
    ) -> None:
        super().__init__()
        low, middle = (
            DenseUnits(channels, count, growth=growth, kernel=kernel, norm=norm)
            for channels, count in zip((4 * width, 2 * width), dense, strict=True)
        )
        self.levels = nn.ModuleList(
            [
                nn.Sequential(_conv(16 * width, 4 * width, kernel), low, _conv(low.channels, 8 * width, 1)),
                nn.Sequential(_conv(8 * width, 2 * width, kernel), middle, _conv(middle.channels, 4 * width, 1)),
                _conv(4 * width, width, kernel),
            ]
        )
        self.head = nn.Sequential(*_activated(width, norm), nn.Conv2d(width, outputs, 1))

    def forward(self, maps: Sequence[Tensor]) -> Tensor:
        """(B, outputs, H, W) of the four maps of the encoder, from fine to coarse."""
        *skips, x = maps
        for level, skip in zip(self.levels, reversed(skips), strict=True):
            x = level(F.interpolate(x, scale_factor=2.0, mode="nearest") + skip)
        out: Tensor = self.head(x)
        return out


def _conv(inputs: int, outputs: int, size: int, *, stride: int = 1, groups: int = 1) -> nn.Conv2d:
    return nn.Conv2d(inputs, outputs, size, stride, size // 2, groups=groups, bias=False)


def _activated(channels: int, norm: Norm) -> list[nn.Module]:
    return [NORM[norm][2](channels, affine=True), nn.ReLU()]
