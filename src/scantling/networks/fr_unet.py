"""FR-UNet: a row of blocks at full resolution that exchange maps with rows at a half, a quarter and an eighth."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from scantling.core.checks import check_choice, check_input
from scantling.core.errors import SettingsError

GRAPH: Mapping[str, tuple[str, ...]] = {
    "1_3": ("image",),
    "1_2": ("1_3",),
    "2_2": ("↓1_3",),
    "1_1": ("1_2", "↑2_2"),
    "2_1": ("↓1_2", "2_2"),
    "3_1": ("↓2_2",),
    "10": ("1_1", "↑2_1"),
    "20": ("↓1_1", "2_1", "↑3_1"),
    "30": ("↓2_1", "3_1"),
    "40": ("↓3_1",),
    "11": ("10", "↑20"),
    "21": ("↓10", "20", "↑30"),
    "31": ("↓20", "30", "↑40"),
    "12": ("11", "↑21"),
    "22": ("↓11", "21", "↑31"),
    "13": ("12", "↑22"),
}
"""What each block reads, in an order that can be computed; the first figure is its row, ↓ and ↑ change the row."""
HEADS = ("1_1", "10", "11", "12", "13")
"""The full-resolution blocks whose logits are averaged."""
DIVISOR = 8
SMALLEST = 2 * DIVISOR
"""The shortest side that is computed: the deepest row keeps two pixels, which normalisation needs."""
SLOPE = 0.1
"""Of the leaky ReLU."""


class FRUNet(nn.Module):
    """The full-resolution U-Net (Liu et al., 2022), in 2-D, for any size of image.

    At the defaults, one channel in and one out, it has 5 719 621 parameters. The authors' code also builds four
    fusions and a convolution that its forward pass never calls; they are left out. Departures, ours: an image is
    padded by its border's values instead of zeros, and normalisation may be by instance.

    Args:
        in_channels: of the image.
        out_channels: of the logits.
        widths: channels of the four rows, from full resolution down.
        norm: "batch" or "instance", both with learned scale and shift.
        dropout: probability, on whole channels, after both convolutions of every block.

    Raises:
        SettingsError: an unknown norm.

    Example:
        >>> import torch
        >>> from scantling.networks import FRUNet
        >>> FRUNet(1, 1, widths=(4, 4, 6, 8))(torch.zeros(1, 1, 30, 41)).shape
        torch.Size([1, 1, 30, 41])
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        *,
        widths: Sequence[int] = (32, 64, 128, 256),
        norm: Literal["batch", "instance"] = "batch",
        dropout: float = 0.2,
    ) -> None:
        super().__init__()
        check_choice(norm, ("batch", "instance"), argument="norm")
        if len(widths) != 4:
            raise SettingsError(f"widths: found {tuple(widths)}; expected four, one for each resolution")
        self.in_channels = in_channels
        self.blocks, self.downs, self.ups = nn.ModuleDict(), nn.ModuleDict(), nn.ModuleDict()
        for name, sources in GRAPH.items():
            width = widths[_row(name)]
            for source in sources:
                if source[0] == "↓":
                    halve = nn.Conv2d(widths[_row(source[1:])], width, 2, stride=2, bias=False)
                    self.downs[source[1:]] = _activated(halve, width, norm)
                if source[0] == "↑":
                    double = nn.ConvTranspose2d(widths[_row(source[1:])], width, 2, stride=2, bias=False)
                    self.ups[source[1:]] = _activated(double, width, norm)
            self.blocks[name] = _block(in_channels if name == "1_3" else width * len(sources), width, norm, dropout)
        self.heads = nn.ModuleDict({name: nn.Conv2d(widths[0], out_channels, 1) for name in HEADS})
        self.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    def forward(self, image: Tensor) -> Tensor:
        """Logits (B, out_channels, H, W) of an image (B, in_channels, H, W).

        Raises:
            ArrayError: the image has other axes or channels than the network was made for.
        """
        return self.logits(self.maps(image))

    def features(self, image: Tensor) -> Tensor:
        """The map of the last block, 13: (B, widths[0], H, W)."""
        return self.maps(image)["13"]

    def logits(self, maps: Mapping[str, Tensor]) -> Tensor:
        """The mean of the five heads, each on its block's map."""
        return torch.stack([head(maps[name]) for name, head in self.heads.items()]).mean(0)

    def maps(self, image: Tensor) -> dict[str, Tensor]:
        """The full-resolution maps that the heads read, by block, each (B, widths[0], H, W)."""
        check_input(image.shape, channels=self.in_channels, spatial_dims=2)
        height, width = image.shape[2:]
        # 1. pad to what the rows divide
        below, right = (max(-n % DIVISOR, SMALLEST - n) for n in (height, width))
        if below or right:
            image = F.pad(image, [0, right, 0, below], mode="replicate")
        # 2. follow the graph, channels innermost, which convolutions are fastest in
        maps = {"image": image.contiguous(memory_format=torch.channels_last)}
        for name, sources in GRAPH.items():
            maps[name] = self.blocks[name](torch.cat([self._read(source, maps) for source in sources], 1))
        # 3. crop the padding away
        return {name: maps[name][..., :height, :width] for name in HEADS}

    def _read(self, source: str, maps: Mapping[str, Tensor]) -> Tensor:
        moves = {"↓": self.downs, "↑": self.ups}.get(source[0])
        if moves is None:
            return maps[source]
        moved: Tensor = moves[source[1:]](maps[source[1:]])
        return moved


class Fusion(nn.Module):
    """The sum of a pointwise, a 3 x 3 and a 3 x 3 convolution of dilation 2, normalised."""

    def __init__(self, inputs: int, outputs: int, *, norm: Literal["batch", "instance"]) -> None:
        super().__init__()
        self.point = nn.Conv2d(inputs, outputs, 1, bias=False)
        self.near = nn.Conv2d(inputs, outputs, 3, padding=1, bias=False)
        self.wide = nn.Conv2d(inputs, outputs, 3, padding=2, dilation=2, bias=False)
        self.norm = _normalised(outputs, norm)

    def forward(self, x: Tensor) -> Tensor:
        """(B, inputs, H, W) to (B, outputs, H, W)."""
        fused: Tensor = self.norm(self.point(x) + self.near(x) + self.wide(x))
        return fused


def _row(block: str) -> int:
    """0 at full resolution to 3 at an eighth."""
    return int(block[0]) - 1


def _block(inputs: int, outputs: int, norm: Literal["batch", "instance"], dropout: float) -> nn.Sequential:
    """Two convolutions, after a fusion where the number of channels changes."""
    layers: list[nn.Module] = [] if inputs == outputs else [Fusion(inputs, outputs, norm=norm)]
    for _ in range(2):
        convolution = nn.Conv2d(outputs, outputs, 3, padding=1, bias=False)
        layers.append(_activated(convolution, outputs, norm, dropout))
    return nn.Sequential(*layers)


def _activated(
    convolution: nn.Module, width: int, norm: Literal["batch", "instance"], dropout: float = 0.0
) -> nn.Sequential:
    """The convolution, normalised, with whole channels dropped, and activated."""
    drop = [nn.Dropout2d(dropout)] if dropout else []
    return nn.Sequential(convolution, _normalised(width, norm), *drop, nn.LeakyReLU(SLOPE, inplace=True))


def _normalised(width: int, norm: Literal["batch", "instance"]) -> nn.Module:
    """By instance as groups of one channel: of one image, PyTorch 2.13's InstanceNorm2d takes a gradient that comes
    with its channels innermost for one that does not, on the processor, and is silently wrong.
    """
    return nn.BatchNorm2d(width) if norm == "batch" else nn.GroupNorm(width, width)
