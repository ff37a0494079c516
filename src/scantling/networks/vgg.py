"""Convolutional trunks after VGG11, for classifiers, encoders and discriminators, and heads on them."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn

from scantling.core.checks import check_count, check_input

CONVOLUTIONS = (1, 1, 2, 2, 2)
"""Of each stage of VGG11 (Simonyan and Zisserman, 2015, table 1, column A); further stages have two."""
DOUBLINGS = 3
"""The width doubles so often, from 64 to 512, and then stays."""
REGIONS = 4
"""Along each axis of the last map: a dense head sees their means (VGG11 sees all of the map); ours."""


class VGGTrunk(nn.Module):
    """Stages of 3 x 3 convolutions, of which each halves the image (Simonyan and Zisserman, 2015, VGG11).

    Departures, ours: a stage ends with a convolution of stride 2 and not with a pooling, which leaves a discriminator a
    gradient at every pixel; instance norm, or none, in place of none; leaky ReLU (0.2). Maps of a single pixel are not
    normed, since a norm would leave nothing of them.

    Args:
        in_channels: of the image.
        width: channels of the first stage; each has twice as many as the one before, up to eight times.
        stages: how often the image is halved, rounded up; VGG11 has five.
        norm: whether maps are normed; the first stage is not, so that the brightness of an image is not lost.

    Raises:
        SettingsError: a number below 1.

    Example:
        >>> import torch
        >>> from scantling.networks import VGGTrunk
        >>> VGGTrunk(1, width=8, stages=3)(torch.zeros(2, 1, 50, 61)).shape
        torch.Size([2, 32, 7, 8])
    """

    def __init__(self, in_channels: int, *, width: int = 64, stages: int = 5, norm: bool = True) -> None:
        super().__init__()
        for value, argument in ((in_channels, "in_channels"), (width, "width"), (stages, "stages")):
            check_count(value, argument=argument, least=1)
        self.in_channels = in_channels
        self.widths = [width * 2 ** min(stage, DOUBLINGS) for stage in range(stages)]
        blocks = []
        for stage, (inputs, outputs) in enumerate(pairwise([in_channels, *self.widths])):
            layers: list[nn.Module] = []
            for number in range(last := CONVOLUTIONS[min(stage, len(CONVOLUTIONS) - 1)]):
                stride, normed = 2 if number == last - 1 else 1, norm and stage > 0
                width_in = outputs if number else inputs
                layers.append(nn.Conv2d(width_in, outputs, 3, stride=stride, padding=1, bias=not normed))
                layers += [_Norm(outputs)] if normed else []
                layers.append(nn.LeakyReLU(0.2))
            blocks.append(nn.Sequential(*layers))
        self.stages = nn.ModuleList(blocks)

    def forward(self, image: Tensor) -> Tensor:
        """The last map (B, widths[-1], h, w) of an image (B, in_channels, H, W); h is H / 2^stages, rounded up.

        Raises:
            ArrayError: the image has other axes or channels.
        """
        return self.maps(image)[-1]

    def maps(self, image: Tensor) -> list[Tensor]:
        """The map of each stage, from the finest; see `forward`."""
        check_input(image.shape, channels=self.in_channels, spatial_dims=2)
        found, x = [], image
        for stage in self.stages:
            x = stage(x)
            found.append(x)
        return found

    def side(self, size: Sequence[int]) -> tuple[int, ...]:
        """The shape (h, w) of the last map of an image of `size` (H, W)."""
        return tuple(-(-n // 2 ** len(self.stages)) for n in size)


class VGGJudge(nn.Module):
    """A discriminator on a `VGGTrunk`: scores of patches and, where there are classes, logits of the whole image.

    Args:
        in_channels, width, stages, norm: of the trunk.
        classes: logits of the second head; 0 for none.

    Example:
        >>> import torch
        >>> from scantling.networks import VGGJudge
        >>> patches, logits = VGGJudge(1, width=8, stages=3, classes=4)(torch.zeros(2, 1, 50, 61))
        >>> patches.shape, logits.shape
        (torch.Size([2, 1, 7, 8]), torch.Size([2, 4]))
    """

    def __init__(
        self, in_channels: int, *, width: int = 64, stages: int = 4, classes: int = 0, norm: bool = True
    ) -> None:
        super().__init__()
        self.trunk = VGGTrunk(in_channels, width=width, stages=stages, norm=norm)
        self.patches = nn.Conv2d(self.trunk.widths[-1], 1, 3, padding=1)
        self.classes = ClassHead(self.trunk.widths[-1], classes) if classes else None

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor]:
        """Scores (B, 1, h, w) and logits (B, classes) of an image (B, in_channels, H, W)."""
        x = self.trunk(image)
        logits = self.classes(x) if self.classes is not None else x.new_zeros(len(x), 0)
        return self.patches(x), logits


class ClassHead(nn.Module):
    """Logits (B, classes) of a normed map (B, width, h, w) of any size.

    It is dense, over the means of `REGIONS` squared parts of the map: the mean of a whole normed map is nearly the same
    for every image, so that a head on that alone learns next to nothing.
    """

    def __init__(self, width: int, classes: int) -> None:
        super().__init__()
        self.dense = nn.Linear(width * REGIONS**2, classes)

    def forward(self, x: Tensor) -> Tensor:
        """See the class."""
        logits: Tensor = self.dense(region_means(x, REGIONS).flatten(1))
        return logits


def region_means(x: Tensor, count: int) -> Tensor:
    """The means (B, C, count, count) of the parts of maps (B, C, h, w), cut and overlapping as by PyTorch's adaptive
    pooling, with a gradient that is deterministic on a GPU too.
    """
    rows, columns = (_shares(n, count, x) for n in x.shape[2:])
    return rows @ x @ columns.T


def _shares(size: int, count: int, like: Tensor) -> Tensor:
    """What each of `size` pixels adds to the mean of each part, (count, size)."""
    part, pixel = torch.arange(count)[:, None], torch.arange(size)[None]
    first, last = part * size // count, -(-(part + 1) * size // count)
    within = ((pixel >= first) & (pixel < last)).to(like)
    return within / within.sum(1, keepdim=True)


class _Norm(nn.Module):
    """Instance norm of maps (B, C, h, w) of more than one pixel; a single one stays as it is."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.norm = nn.InstanceNorm2d(channels, affine=True)

    def forward(self, x: Tensor) -> Tensor:
        """See the class."""
        if x.shape[2] * x.shape[3] > 1:
            return torch.as_tensor(self.norm(x))
        scale, shift = (p.view(1, -1, 1, 1) for p in (self.norm.weight, self.norm.bias))
        return x * scale + shift
