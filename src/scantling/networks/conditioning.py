"""How a denoiser comes to know an image: networks that read the image, and what they tell it on the way."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from scantling.core.checks import check_input
from scantling.networks.padding import cropped, padded
from scantling.networks.residual_blocks import norm
from scantling.networks.spectral import FFParser
from scantling.networks.unet import upsampled


class ImageEncoder(nn.Module):
    """Residual stages over an image, one beside each level of a `Denoiser` with the same widths.

    They can be walked one at a time, so that something may happen in between. Any size of image, padded as the
    denoiser pads.

    Args:
        in_channels: of the image.
        widths: channels of each level, from full resolution down.
        blocks: residual blocks a level.

    Example: the condition of MedSegDiff, at each level of a denoiser.

        >>> import torch
        >>> from scantling.networks import Denoiser, DynamicEncoding, ImageEncoder
        >>> widths = (8, 16)
        >>> denoiser, encoder = Denoiser(1, 1, widths=widths), ImageEncoder(3, widths=widths)
        >>> encoding = DynamicEncoding(8, (32, 32))
        >>> image, noisy, timestep = torch.zeros(1, 3, 32, 32), torch.randn(1, 1, 32, 32), torch.tensor([10])
        >>> seen = encoder.start(image)
        >>> def guide(level, m_x):
        ...     global seen
        ...     seen = encoder(level, seen)
        ...     if level == 1:
        ...         return m_x + seen
        ...     seen = encoding(seen, m_x)
        ...     return m_x
        >>> denoiser(noisy, timestep, guide=guide).shape
        torch.Size([1, 1, 32, 32])
    """

    def __init__(self, in_channels: int, *, widths: Sequence[int], blocks: int = 2) -> None:
        super().__init__()
        self.in_channels = in_channels
        self.divisor = (2 ** (len(widths) - 1),) * 2
        self.stem = nn.Conv2d(in_channels, widths[0], 3, padding=1)
        self.stages = nn.ModuleList()
        for level, width in enumerate(widths):
            above = widths[max(level - 1, 0)]
            halved = [nn.Conv2d(above, above, 3, stride=2, padding=1)] if level else []
            row = [ImageBlock(above if n == 0 else width, width) for n in range(blocks)]
            self.stages.append(nn.Sequential(*halved, *row))

    def start(self, image: Tensor) -> Tensor:
        """What the first stage takes (B, widths[0], H', W') of an image (B, in_channels, H, W), padded to `divisor`.

        Raises:
            ArrayError: the image has other axes or channels than the network was made for.
        """
        check_input(image.shape, channels=self.in_channels, spatial_dims=2)
        entered: Tensor = self.stem(padded(image, self.divisor))
        return entered

    def forward(self, level: int, seen: Tensor) -> Tensor:
        """Stage `level`: (B, widths[level], H' / 2^level, W' / 2^level) of what the stage above left."""
        out: Tensor = self.stages[level](seen)
        return out


class ImageBlock(nn.Module):
    """Two convolutions, each after a norm and SiLU; the input is added at the end."""

    def __init__(self, inputs: int, width: int) -> None:
        super().__init__()
        self.path = nn.Sequential(
            norm(inputs),
            nn.SiLU(),
            nn.Conv2d(inputs, width, 3, padding=1),
            norm(width),
            nn.SiLU(),
            nn.Conv2d(width, width, 3, padding=1),
        )
        self.skip = nn.Conv2d(inputs, width, 1) if inputs != width else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        """(B, width, H, W) of (B, inputs, H, W)."""
        out: Tensor = self.skip(x) + self.path(x)
        return out


class DynamicEncoding(nn.Module):
    r"""The condition in the light of the noisy mask (Wu et al., 2023, MedSegDiff).

    .. math:: A(m_I, m_x) = (\mathrm{LN}(m_I) \otimes \mathrm{LN}(m'_x)) \otimes m_I

    with m'_x of the `FFParser`, products of elements, and layer norm over channels and places as in the authors'
    code, which defines this formula and then does something else.

    Args:
        width: channels of both maps.
        size: (H, W) at which the filter is stored.
        parser: whether there is a filter, or m'_x is m_x.
    """

    def __init__(self, width: int, size: tuple[int, int], *, parser: bool = True) -> None:
        super().__init__()
        self.parser = FFParser(width, size) if parser else nn.Identity()
        self.of_seen, self.of_noisy = nn.GroupNorm(1, width), nn.GroupNorm(1, width)

    def forward(self, seen: Tensor, noisy: Tensor) -> Tensor:
        """What takes the place of m_I.

        Args:
            seen: m_I (B, C, H, W), of the image.
            noisy: m_x (B, C, H, W), of the noisy mask.
        """
        attended: Tensor = self.of_seen(seen) * self.of_noisy(self.parser(noisy)) * seen
        return attended


class Seen(NamedTuple):
    """What a `ConditionUNet` makes of an image.

    Attributes:
        decoded: (B, widths[level], H' / 2^level, W' / 2^level), what its decoder ends each level with, the finest
            first; the size is that of the padded image.
        deepest: (B, widths[-1], ...), what its encoder ends with.
        logits: (B, out_channels, H, W), of its own mask.
    """

    decoded: list[Tensor]
    deepest: Tensor
    logits: Tensor


class ConditionUNet(nn.Module):
    """A U-Net that segments the image by itself, and hands out what it saw on the way.

    Args:
        in_channels: of the image.
        out_channels: of the logits.
        widths: channels of each level, those of the denoiser that it tells of the image.
        blocks: residual blocks a level of its encoder; its decoder has one.

    Example: the condition of MedSegDiff-V2.

        >>> import torch
        >>> from scantling.networks import Anchor, ConditionUNet, Denoiser, SSFormer
        >>> network, former = ConditionUNet(3, 1, widths=(8, 16)), SSFormer(16, (16, 16), blocks=1, heads=2)
        >>> anchor, denoiser = Anchor(8, radius=2), Denoiser(1, 1, widths=(8, 16))
        >>> timestep, seen = torch.tensor([10]), network(torch.zeros(1, 3, 32, 32))
        >>> def guide(level, f_d):
        ...     return anchor(seen.decoded[0]) * f_d + f_d if level == 0 else former(f_d, seen.deepest, timestep)
        >>> denoiser(torch.randn(1, 1, 32, 32), timestep, guide=guide).shape, seen.logits.shape
        (torch.Size([1, 1, 32, 32]), torch.Size([1, 1, 32, 32]))
    """

    def __init__(self, in_channels: int, out_channels: int, *, widths: Sequence[int], blocks: int = 2) -> None:
        super().__init__()
        self.encoder = ImageEncoder(in_channels, widths=widths, blocks=blocks)
        self.decoder = nn.ModuleList(ImageBlock(width + below, width) for width, below in pairwise(widths))
        self.head = nn.Sequential(norm(widths[0]), nn.SiLU(), nn.Conv2d(widths[0], out_channels, 1))

    def forward(self, image: Tensor) -> Seen:
        """All of it, for an image (B, in_channels, H, W)."""
        # 1. encode
        x, skips = self.encoder.start(image), []
        for level in range(len(self.encoder.stages)):
            x = self.encoder(level, x)
            skips.append(x)
        deepest, decoded = x, [x]
        # 2. decode
        for level in reversed(range(len(skips) - 1)):
            x = self.decoder[level](torch.cat([skips[level], upsampled(x, (2, 2))], 1))
            decoded.insert(0, x)
        return Seen(decoded, deepest, cropped(self.head(x), image.shape[2:]))


class Anchor(nn.Module):
    r"""A gate that says where the condition U-Net sees something, with some slack (Wu et al., 2024, MedSegDiff-V2).

    .. math:: f_{anc} = \max(f_c * k, f_c), \quad f'_d = \sigma(\mathrm{conv}(f_{anc})) \otimes f_d + f_d

    k is a Gaussian whose mean and deviation along each axis are learned; its weights are positive and sum to 1, and
    beyond the border the map goes on as it ended.

    Args:
        width: channels of f_c.
        radius: pixels from the middle of k to its edge; the paper's is unknown.
    """

    def __init__(self, width: int, *, radius: int) -> None:
        super().__init__()
        self.radius = radius
        self.mean = nn.Parameter(torch.zeros(2))
        self.log_deviation = nn.Parameter(torch.zeros(2))
        self.conv = nn.Conv2d(width, 1, 1)

    def forward(self, decoded: Tensor) -> Tensor:
        """The gate (B, 1, H, W) in (0, 1), for f_c (B, width, H, W)."""
        gate: Tensor = self.conv(self.anchored(decoded)).sigmoid()
        return gate

    def anchored(self, decoded: Tensor) -> Tensor:
        """f_anc (B, width, H, W), nowhere below f_c."""
        width, sides = decoded.shape[1], (self.radius,) * 4
        kernel = self.kernel().to(decoded.dtype).expand(width, 1, -1, -1)
        smooth = F.conv2d(F.pad(decoded, sides, mode="replicate"), kernel, groups=width)
        return torch.maximum(smooth.to(decoded.dtype), decoded)

    def kernel(self) -> Tensor:
        """k (2 radius + 1, 2 radius + 1), positive, of sum 1."""
        place = torch.arange(-self.radius, self.radius + 1, device=self.mean.device, dtype=self.mean.dtype)
        away = (place - self.mean[:, None]) / self.log_deviation.exp()[:, None]  # (2, 2 radius + 1)
        rows, columns = (-away.square() / 2).softmax(1)
        return rows[:, None] * columns


def level_sizes(shape: tuple[int, int], *, levels: int) -> list[tuple[int, int]]:
    """The shapes that an image of `shape`, padded to what the levels divide, has on each of them."""
    height, width = (-(-n // 2 ** (levels - 1)) for n in shape)
    return [(height * 2**finer, width * 2**finer) for finer in reversed(range(levels))]
