"""A U-Net into whose encoder the maps of another network are injected."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from scantling.core.checks import check_choice, check_input
from scantling.core.errors import ArrayError
from scantling.networks.padding import cropped, padded
from scantling.networks.unet import NORM

Norm = Literal["batch", "instance"]


class KineticUNet(nn.Module):
    r"""The segmentation module of DKM (Lv et al., 2023): blocks that take a code of another network too.

    .. math:: \hat f = [\mathrm{ReLU}(\mathrm{BN}(W * f_{code})); f]

    with a 3 x 3 convolution W, for blocks that have a code; then two convolutions, a residual connection, and pooling.
    The decoder enlarges, takes the map of the same block, and has two convolutions and a residual connection too. The
    paper gives no width of W: the block's (ours). Residual connections are 1 x 1 convolutions, pooling takes the
    largest value, enlarging is linear (ours).

    Args:
        in_channels: of the image.
        out_channels: of the logits.
        widths: channels of each block, from full resolution down; C, 2C, 4C, 8C in the paper.
        codes: for each block the channels of what is injected, 0 for nothing; empty: nothing anywhere.
        norm: "batch" or "instance", both with learned scale and shift.

    Example:
        >>> import torch
        >>> from scantling.networks import KineticUNet
        >>> network = KineticUNet(1, 1, widths=(8, 16), codes=(0, 5))
        >>> network(torch.zeros(2, 1, 30, 41), [None, torch.zeros(2, 5, 15, 21)]).shape
        torch.Size([2, 1, 30, 41])
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        *,
        widths: Sequence[int] = (64, 128, 256, 512),
        codes: Sequence[int] = (),
        norm: Norm = "batch",
    ) -> None:
        super().__init__()
        check_choice(norm, NORM, argument="norm")
        codes = tuple(codes) or (0,) * len(widths)
        if len(codes) != len(widths):
            raise ArrayError(f"found codes for {len(codes)} blocks; expected one number for each of {len(widths)}")
        self.in_channels, self.codes = in_channels, codes
        self.divisor = (2 ** len(widths),) * 2
        inputs, below = [in_channels, *widths[:-1]], [*widths[1:], widths[-1]]
        self.fuse = nn.ModuleList(
            convolution(code, width, norm) if code else nn.Identity() for code, width in zip(codes, widths, strict=True)
        )
        self.down = nn.ModuleList(
            Residual(own + bool(code) * width, width, norm)
            for own, code, width in zip(inputs, codes, widths, strict=True)
        )
        self.up = nn.ModuleList(Residual(deep + width, width, norm) for deep, width in zip(below, widths, strict=True))
        self.head = nn.Conv2d(widths[0], out_channels, 1)

    def forward(self, image: Tensor, codes: Sequence[Tensor | None] = ()) -> Tensor:
        """Logits (B, out_channels, H, W) of an image (B, in_channels, H, W).

        Args:
            codes: for each block the map (B, codes[block], h, w) that is injected, of any size: it covers the image.

        Raises:
            ArrayError: the image has other axes or channels than the network was made for, or a code is missing.
        """
        check_input(image.shape, channels=self.in_channels, spatial_dims=2)
        given = [*codes] or [None] * len(self.codes)
        found = [0 if code is None else code.shape[1] for code in given]
        if found != [*self.codes]:
            raise ArrayError(f"found codes of {found} channels; expected {[*self.codes]}, for each block")
        # 1. encode; each block ends with what the decoder takes, and hands the largest values on
        size = image.shape[2:]
        x, skips = padded(image, self.divisor), []
        for level, (fuse, block) in enumerate(zip(self.fuse, self.down, strict=True)):
            if (code := given[level]) is not None:
                x = torch.cat([fuse(on_grid(code, size, x.shape[2:], level)), x], 1)
            x = block(x)  # (B, widths[level], H / 2^level, W / 2^level)
            skips.append(x)
            x = F.max_pool2d(x, 2)
        # 2. decode
        for level in reversed(range(len(skips))):
            x = F.interpolate(x, skips[level].shape[2:], mode="bilinear", align_corners=False)
            x = self.up[level](torch.cat([x, skips[level]], 1))
        return cropped(self.head(x), size)


def on_grid(code: Tensor, size: Sequence[int], grid: Sequence[int], level: int) -> Tensor:
    """A map that covers an image of `size` on the grid of a block, whose image was padded at its end."""
    shape = [-(-n // 2**level) for n in size]
    if list(code.shape[2:]) != shape:
        code = F.interpolate(code, shape, mode="bilinear", align_corners=False)
    pads = [there - n for n, there in zip(shape, grid, strict=True)]
    return F.pad(code, (0, pads[1], 0, pads[0]), mode="replicate") if any(pads) else code


def together(maps: Sequence[Tensor]) -> Tensor | None:
    """Maps (B, F, h, w) of about one size as one, on the finest grid; None if there is none."""
    if not maps:
        return None
    shape = max((one.shape[2:] for one in maps), key=math.prod)
    grown = [
        one if one.shape[2:] == shape else F.interpolate(one, shape, mode="bilinear", align_corners=False)
        for one in maps
    ]
    return torch.cat(grown, 1)


class Residual(nn.Module):
    """Two convolutions, and what came in through a convolution of one pixel."""

    def __init__(self, inputs: int, width: int, norm: Norm) -> None:
        super().__init__()
        self.layers = nn.Sequential(convolution(inputs, width, norm), convolution(width, width, norm))
        self.skip = nn.Conv2d(inputs, width, 1)

    def forward(self, x: Tensor) -> Tensor:
        """(B, width, H, W) of (B, inputs, H, W)."""
        out: Tensor = self.layers(x) + self.skip(x)
        return out


def convolution(inputs: int, width: int, norm: Norm) -> nn.Sequential:
    """A 3 x 3 convolution with norm and ReLU."""
    return nn.Sequential(
        nn.Conv2d(inputs, width, 3, padding=1, bias=False), NORM[norm][2](width, affine=True), nn.ReLU()
    )
