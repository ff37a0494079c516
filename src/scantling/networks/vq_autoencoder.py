"""A convolutional autoencoder of volumes with a codebook in its middle: the networks of a 3-D VQ-GAN."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from scantling.core.checks import check_input
from scantling.core.errors import SettingsError
from scantling.networks.codebook import Codebook
from scantling.networks.residual_blocks import norm


class VQAutoencoder(nn.Module):
    """Encoder and decoder of the 3-D VQ-GAN of Medical Diffusion (Khader et al., 2023).

    A convolution; for each halving a 4-wide one of stride 2 and a residual block; a 1 x 1 x 1 convolution to the width
    of the codes. The decoder mirrors it with transposed convolutions and two residual blocks a level. All convolutions
    see the border repeated instead of zeros. Along an axis that a level does not halve its kernel is 3 wide.

    Args:
        channels: of the volume.
        width: channels at full resolution; each halving doubles them.
        down: for each axis by which power of two it is reduced.
        code: C, numbers of a code.
        codes: K.
        decay, restart: see `Codebook`.

    Raises:
        SettingsError: a factor is no power of two, or none is above 1.

    Example:
        >>> import torch
        >>> from scantling.networks import VQAutoencoder
        >>> network = VQAutoencoder(1, width=4, down=(1, 2, 2), code=4, codes=8)
        >>> network.encode(torch.zeros(1, 1, 5, 8, 12)).shape
        torch.Size([1, 4, 5, 4, 6])
    """

    def __init__(
        self,
        channels: int,
        *,
        width: int = 16,
        down: Sequence[int] = (4, 4, 4),
        code: int = 8,
        codes: int = 16384,
        decay: float = 0.99,
        restart: float = 1.0,
    ) -> None:
        super().__init__()
        halvings = [factor.bit_length() - 1 for factor in down]
        if any(factor < 1 or factor & (factor - 1) for factor in down) or not max(halvings):
            raise SettingsError(f"down: found {tuple(down)}; expected powers of two, one of them above 1")
        self.channels, self.down = channels, tuple(down)
        strides = [_three(2 if level < n else 1 for n in halvings) for level in range(max(halvings))]
        widths = [width * 2**level for level in range(len(strides) + 1)]
        levels = [*zip(pairwise(widths), strides, strict=True)]
        self.stem = _Conv(channels, width)
        self.encoder = nn.ModuleList(nn.Sequential(_Conv(a, b, stride), _Block(b)) for (a, b), stride in levels)
        self.to_code = nn.Sequential(norm(widths[-1]), nn.SiLU(), nn.Conv3d(widths[-1], code, 1))
        self.codebook = Codebook(codes, code, decay=decay, restart=restart)
        self.from_code = nn.Conv3d(code, widths[-1], 1)
        self.middle = nn.Sequential(norm(widths[-1]), nn.SiLU())
        self.decoder = nn.ModuleList(
            nn.Sequential(_Larger(b, a, stride), _Block(a), _Block(a)) for (a, b), stride in reversed(levels)
        )
        self.head = _Conv(width, channels)

    def encode(self, x: Tensor) -> Tensor:
        """The vectors (B, code, *s) of a volume (B, channels, *S) whose sides the factors divide, not quantised.

        Raises:
            ArrayError: the volume has other axes or channels than the network was made for.
        """
        check_input(x.shape, channels=self.channels, spatial_dims=3)
        h = self.stem(x)
        for level in self.encoder:
            h = level(h)
        z: Tensor = self.to_code(h)
        return z

    def decode(self, quantised: Tensor) -> Tensor:
        """The volume (B, channels, *S) of codes (B, code, *s)."""
        h = self.middle(self.from_code(quantised))
        for level in self.decoder:
            h = level(h)
        out: Tensor = self.head(h)
        return out

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """What comes out (B, channels, *S), the vectors z, their codes, and the numbers of these.

        Gradients pass the codebook as if it were not there (the straight-through estimate).
        """
        z = self.encode(x)
        quantised, numbers = self.codebook(z)
        return self.decode(z + (quantised - z).detach()), z, quantised, numbers


class _Conv(nn.Module):
    """A convolution 3 wide, 4 where it halves, over a border that is repeated."""

    def __init__(self, inputs: int, outputs: int, stride: Sequence[int] = (1, 1, 1)) -> None:
        super().__init__()
        self.conv = nn.Conv3d(inputs, outputs, _three(4 if s > 1 else 3 for s in stride), stride=_three(stride))

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.conv(repeated_border(x))
        return out


class _Larger(nn.Module):
    """A transposed convolution, 4 wide and of stride 2 where it doubles, over a border that is repeated."""

    def __init__(self, inputs: int, outputs: int, stride: Sequence[int]) -> None:
        super().__init__()
        # of the repeated border one pixel is left on each side, which `padding` takes off
        padding = _three(3 if s > 1 else 2 for s in stride)
        kernel = _three(4 if s > 1 else 3 for s in stride)
        self.conv = nn.ConvTranspose3d(inputs, outputs, kernel, stride=_three(stride), padding=padding)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.conv(repeated_border(x))
        return out


class _Block(nn.Module):
    """Two convolutions, each after a norm and SiLU, added to what comes in."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.first, self.second = (nn.Sequential(norm(width), nn.SiLU(), _Conv(width, width)) for _ in range(2))

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = x + self.second(self.first(x))
        return out


def _three(numbers: Iterable[int]) -> tuple[int, int, int]:
    depth, height, width = numbers
    return depth, height, width


def repeated_border(x: Tensor) -> Tensor:
    """(B, C, *(S + 2)) of (B, C, *S): one more pixel on each side, with a gradient that repeats bit for bit on a GPU.

    `F.pad(mode="replicate")` has none there.
    """
    if x.device.type == "cpu":
        return F.pad(x, [1, 1] * (x.ndim - 2), mode="replicate")
    for axis in range(2, x.ndim):
        x = torch.cat([x.narrow(axis, 0, 1), x, x.narrow(axis, x.shape[axis] - 1, 1)], axis)
    return x
