"""The U-Net that diffusion models share: it sees a noisy tensor and its timestep, and can be guided at every level."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from typing import Literal, TypeVar, get_args

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from scantling.core.checks import check_choice, check_input
from scantling.core.errors import ArrayError
from scantling.networks.padding import cropped, padded
from scantling.networks.unet import CONV

Layer = TypeVar("Layer", bound=nn.Module)
Resample = Literal["convolution", "block"]
Change = Literal["", "halved", "doubled"]
Guide = Callable[[int, Tensor], Tensor]
"""Given the level (0 is full resolution) and what the encoder ends it with (B, C, *S / 2^level): what goes on."""


class Denoiser(nn.Module):
    """The U-Net of Dhariwal and Nichol (2021): residual blocks that know the timestep, attention where it is coarse.

    Each level of the encoder has `blocks` residual blocks, the decoder one more; the output of every block is a
    skip connection. The last convolution of each block and the head start at zero. Departure, ours: fewer groups in
    the norms of narrow networks, and any size of image, by padding.

    Args:
        in_channels: of what comes in, a condition that stands beside the noisy tensor included.
        out_channels: of the answer.
        widths: channels of each level, from full resolution down.
        blocks: residual blocks a level.
        attention: the levels with self-attention; there is always one in the middle.
        heads: of each attention.
        head_channels: of each head of an attention, instead of `heads`.
        resample: what leads from a level to the next: a convolution, or, as in the authors' networks for large images,
            a residual block that halves or doubles what goes into it ("block").
        dropout: probability, before the second convolution of each block.
        scale_shift: the timestep scales and shifts the second norm of a block, instead of being added before it.
        spatial_dims: 2 or 3.

    Example:
        >>> import torch
        >>> from scantling.networks import Denoiser
        >>> network = Denoiser(1 + 3, 1, widths=(8, 16))  # a noisy mask beside a colour image
        >>> network(torch.zeros(2, 4, 30, 41), torch.tensor([999, 0])).shape
        torch.Size([2, 1, 30, 41])
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        *,
        widths: Sequence[int] = (64, 128, 256, 512),
        blocks: int = 2,
        attention: Sequence[int] = (),
        heads: int = 1,
        head_channels: int | None = None,
        resample: Resample = "convolution",
        dropout: float = 0.0,
        scale_shift: bool = False,
        spatial_dims: int = 2,
    ) -> None:
        super().__init__()
        check_choice(spatial_dims, CONV, argument="spatial_dims")
        check_choice(resample, get_args(Resample), argument="resample")
        conv, code, dimensions = CONV[spatial_dims], 4 * widths[0], spatial_dims
        self.in_channels = in_channels
        self.widths = tuple(widths)
        self.divisor = (2 ** (len(widths) - 1),) * dimensions

        def block(inputs: int, width: int, change: Change = "") -> ResidualBlock:
            return ResidualBlock(
                inputs, width, code=code, dropout=dropout, scale_shift=scale_shift, dimensions=dimensions, change=change
            )

        def attended(width: int) -> SelfAttention:
            return SelfAttention(width, heads=heads if head_channels is None else max(1, width // head_channels))

        def step(channels: int, level: int) -> Step:
            width = widths[level]
            return Step(block(channels, width), attended(width) if level in attention else nn.Identity())

        def resampled(width: int, change: Change) -> nn.Module:
            if resample == "block":
                return block(width, width, change)
            return conv(width, width, 3, stride=2 if change == "halved" else 1, padding=1)

        self.blocks = blocks
        self.time = nn.Sequential(nn.Linear(widths[0], code), nn.SiLU(), nn.Linear(code, code))
        self.stem = conv(in_channels, widths[0], 3, padding=1)
        self.down, self.coarser, self.up, self.finer = (nn.ModuleList() for _ in range(4))
        skips, width = [widths[0]], widths[0]
        for level, wide in enumerate(widths):
            if level:
                self.coarser.append(resampled(width, "halved"))
                skips.append(width)
            for _ in range(blocks):
                self.down.append(step(width, level))
                width = wide
                skips.append(width)
        one, other = block(width, width), block(width, width)
        self.middle = nn.ModuleList([Step(one, attended(width)), Step(other, nn.Identity())])
        self.skips = tuple(skips)  # channels of what the encoder hands to the decoder, in the order of its making
        for level in reversed(range(len(widths))):
            for _ in range(blocks + 1):
                self.up.append(step(width + skips.pop(), level))
                width = widths[level]
            if level:
                self.finer.append(resampled(width, "doubled"))
        self.head = nn.Sequential(norm(width), nn.SiLU(), zeroed(conv(width, out_channels, 3, padding=1)))

    def forward(
        self, x: Tensor, timestep: Tensor, *, guide: Guide | None = None, added: Sequence[Tensor] | None = None
    ) -> Tensor:
        """The answer (B, out_channels, *S) for a noisy x (B, in_channels, *S) at timesteps (B,).

        Args:
            guide: called at the end of each level of the encoder; sees sizes padded to `divisor`.
            added: to each skip connection in the order of `skips`, then to the middle: what `ControlNet` gives.

        Raises:
            ArrayError: x has other axes or channels than the network was made for, or there is not one timestep each.
        """
        size = tuple(x.shape[2:])
        code = self.code_of(timestep)
        # 1. encode, and the middle
        skips, h = self.encode(x, code, guide=guide)
        if added is not None:
            skips = [skip + more for skip, more in zip(skips, added[:-1], strict=True)]
            h = h + added[-1]
        # 2. decode
        for out in self.decode(skips, h, code):
            h = out
        return cropped(self.head(h), size)

    def decode(self, skips: Sequence[Tensor], h: Tensor, code: Tensor) -> Iterator[Tensor]:
        """What each block of the decoder ends with, from the coarsest one on, of what `encode` gives.

        The last block of a level ends with what it hands to the next one, in its size. Who needs the first blocks alone
        stops there.
        """
        for number, step in enumerate(self.up):
            h = step(torch.cat([h, skips[-1 - number]], 1), code)
            level, place = divmod(number, self.blocks + 1)
            if place == self.blocks and level < len(self.finer):
                finer = self.finer[level]
                if isinstance(finer, ResidualBlock):
                    h = finer(h, code)
                else:
                    h = finer(F.interpolate(h, scale_factor=2.0, mode="nearest"))
            yield h

    @property
    def decoded(self) -> tuple[tuple[int, int], ...]:
        """How many times smaller than the image what each block of the decoder ends with is, and its channels."""
        found = []
        for number in range(len(self.up)):
            depth, place = divmod(number, self.blocks + 1)
            level = len(self.widths) - 1 - depth
            found.append((2 ** max(0, level - (place == self.blocks)), self.widths[level]))
        return tuple(found)

    def code_of(self, timestep: Tensor) -> Tensor:
        """What all blocks are told of timesteps (B,): (B, 4 widths[0])."""
        code: Tensor = self.time(sinusoid(timestep, self.widths[0]).to(next(self.stem.parameters()).dtype))
        return code

    def encode(
        self, x: Tensor, code: Tensor, *, guide: Guide | None = None, hint: Tensor | None = None
    ) -> tuple[list[Tensor], Tensor]:
        """The skip connections and the middle of a noisy x; `hint` (B, widths[0], *S) is added to the stem's answer."""
        check_input(x.shape, channels=self.in_channels, spatial_dims=len(self.divisor), what="the noisy tensor")
        if len(code) not in (1, len(x)):
            raise ArrayError(f"found {len(code)} timesteps for {len(x)} samples; expected (B,), one for each sample")
        h = self.stem(padded(x, self.divisor))
        h = h if hint is None else h + hint
        skips = [h]
        for level in range(len(self.widths)):
            if level:
                coarser = self.coarser[level - 1]
                h = coarser(h, code) if isinstance(coarser, ResidualBlock) else coarser(h)
                skips.append(h)
            for step in self.down[level * self.blocks : (level + 1) * self.blocks]:
                h = step(h, code)  # (B, widths[level], *S / 2^level)
                skips.append(h)
            if guide is not None:
                h = skips[-1] = guide(level, h)
        for step in self.middle:
            h = step(h, code)
        return skips, h


class Step(nn.Module):
    """A residual block and what looks at its answer."""

    def __init__(self, block: ResidualBlock, attention: nn.Module) -> None:
        super().__init__()
        self.block, self.attention = block, attention

    def forward(self, x: Tensor, code: Tensor) -> Tensor:
        """(B, width, *S) of x (B, inputs, *S) and the code (B, code) of the timestep."""
        out: Tensor = self.attention(self.block(x, code))
        return out


def sinusoid(timestep: Tensor, width: int) -> Tensor:
    """Timesteps (B,) as sines and cosines (B, width) of frequencies from 1 down to 1/10,000 (Vaswani et al., 2017)."""
    half = width // 2
    frequencies = torch.exp(-math.log(10_000) * torch.arange(half, device=timestep.device) / half)
    angle = timestep[:, None].float() * frequencies
    return F.pad(torch.cat([angle.cos(), angle.sin()], 1), (0, width % 2))


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
        self.norm = norm(width)
        self.second = nn.Sequential(nn.SiLU(), nn.Dropout(dropout), zeroed(conv(width, width, 3, padding=1)))
        self.skip = conv(inputs, width, 1) if inputs != width else nn.Identity()

    def forward(self, x: Tensor, code: Tensor) -> Tensor:
        """(B, width, *S) of x (B, inputs, *S) and the code (B, code) of the timestep; *S as `change` says."""
        if self.change:
            h = self.first[2](self._changed(self.first[1](self.first[0](x))))
            x = self._changed(x)
        else:
            h = self.first(x)
        embedded = self.code(code)[(..., *[None] * (x.ndim - 2))]
        if self.scale_shift:
            scale, shift = embedded.chunk(2, 1)
            h = self.norm(h) * (1 + scale) + shift
        else:
            h = self.norm(h + embedded)
        out: Tensor = self.skip(x) + self.second(h)
        return out

    def _changed(self, x: Tensor) -> Tensor:
        if self.change == "halved":
            return F.avg_pool2d(x, 2) if x.ndim == 4 else F.avg_pool3d(x, 2)
        return F.interpolate(x, scale_factor=2.0, mode="nearest")


class SelfAttention(nn.Module):
    """Every pixel looks at every other, added to what it was (Vaswani et al., 2017)."""

    def __init__(self, width: int, *, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.norm = norm(width)
        self.tell = nn.Linear(width, 3 * width)
        self.out = zeroed(nn.Linear(width, width))

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, *S) as it came."""
        tokens = self.norm(x).flatten(2).transpose(1, 2)  # (B, N, C)
        three = self.tell(tokens).unflatten(2, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)  # (3, B, heads, N, C / h)
        seen = F.scaled_dot_product_attention(three[0], three[1], three[2])
        attended: Tensor = self.out(seen.transpose(1, 2).flatten(2))
        return x + attended.transpose(1, 2).reshape(x.shape)


def norm(width: int) -> nn.GroupNorm:
    """Of 32 groups, or fewer where there are not two channels for each."""
    return nn.GroupNorm(math.gcd(width, max(width // 2, 1), 32), width)


def zeroed(layer: Layer) -> Layer:
    """The layer with all its parameters at zero."""
    for parameter in layer.parameters():
        nn.init.zeros_(parameter)
    return layer
