"""The residual block of denoisers, which knows the timestep and may be led by a label map; its norm, and zeros."""

from __future__ import annotations

import math
from typing import Literal, TypeVar

from torch import Tensor, nn
from torch.nn import functional as F

from scantling.networks.spade import SpadeNorm
from scantling.networks.unet import CONV

Layer = TypeVar("Layer", bound=nn.Module)
Change = Literal["", "halved", "doubled"]


class ResidualBlock(nn.Module):
    """Two convolutions, each after a norm and SiLU, with the timestep in between; the input is added at the end.

    With a `change` of size both the input and what goes into the first convolution are averaged over blocks of two
    pixels a side, or repeated.
    """

    def __init__(
        self,
        inputs: int,
        width: int,
        *,
        code: int,
        dropout: float,
        scale_shift: bool,
        dimensions: int,
        change: Change = "",
    ) -> None:
        super().__init__()
        conv = CONV[dimensions]
        self.scale_shift, self.change = scale_shift, change
        self.first = nn.Sequential(norm(inputs), nn.SiLU(), conv(inputs, width, 3, padding=1))
        self.code = nn.Sequential(nn.SiLU(), nn.Linear(code, 2 * width if scale_shift else width))
        self.norm: nn.Module = norm(width)
        self.second = nn.Sequential(nn.SiLU(), nn.Dropout(dropout), zeroed(conv(width, width, 3, padding=1)))
        self.skip = conv(inputs, width, 1) if inputs != width else nn.Identity()

    def forward(self, x: Tensor, code: Tensor, *led: Tensor) -> Tensor:
        """(B, width, *S) of x (B, inputs, *S) and the code (B, code) of the timestep; *S as `change` says."""
        h = self.first[1](self.normed(0, x, *led))
        if self.change:
            h, x = self._changed(h), self._changed(x)
        h = self.first[2](h)
        embedded = self.code(code)[(..., *[None] * (x.ndim - 2))]
        if self.scale_shift:
            scale, shift = embedded.chunk(2, 1)
            h = self.normed(1, h, *led) * (1 + scale) + shift
        else:
            h = self.normed(1, h + embedded, *led)
        out: Tensor = self.skip(x) + self.second(h)
        return out

    def normed(self, place: int, h: Tensor) -> Tensor:
        """What goes into the first or into the second activation."""
        out: Tensor = self.norm(h) if place else self.first[0](h)
        return out

    def _changed(self, x: Tensor) -> Tensor:
        if self.change == "halved":
            return F.avg_pool2d(x, 2) if x.ndim == 4 else F.avg_pool3d(x, 2)
        return F.interpolate(x, scale_factor=2.0, mode="nearest")


class LedBlock(ResidualBlock):
    """A residual block whose norms a label map (B, labels, H, W) leads; arguments as of `ResidualBlock`."""

    def __init__(
        self,
        inputs: int,
        width: int,
        *,
        code: int,
        dropout: float,
        scale_shift: bool,
        dimensions: int,
        change: Change = "",
        labels: int,
        hidden: int,
    ) -> None:
        super().__init__(
            inputs, width, code=code, dropout=dropout, scale_shift=scale_shift, dimensions=dimensions, change=change
        )
        self.first[0], self.norm = (SpadeNorm(each, labels=labels, hidden=hidden) for each in (inputs, width))

    def normed(self, place: int, h: Tensor, labels: Tensor) -> Tensor:  # type: ignore[override]
        """As of `ResidualBlock`, led by the label map."""
        out: Tensor = (self.norm if place else self.first[0])(h, labels)
        return out


def norm(width: int) -> nn.GroupNorm:
    """Of 32 groups, or fewer where there are not two channels for each."""
    return nn.GroupNorm(math.gcd(width, max(width // 2, 1), 32), width)


def zeroed(layer: Layer) -> Layer:
    """The layer with all its parameters at zero."""
    for parameter in layer.parameters():
        nn.init.zeros_(parameter)
    return layer
