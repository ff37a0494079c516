"""The U-Net that diffusion models share: it sees a noisy tensor and its timestep, and can be guided at every level."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Literal, get_args

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from scantling.core.checks import check_choice, check_input
from scantling.core.errors import ArrayError
from scantling.networks.padding import cropped, padded
from scantling.networks.residual_blocks import Change, LedBlock, ResidualBlock, norm, zeroed
from scantling.networks.unet import CONV

Resample = Literal["convolution", "block"]
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
        labels: channels of a label map by which all norms of the middle and of the decoder are led (`SpadeNorm`), as in
            semantic diffusion models (Wang et al., 2022); the encoder never sees it. 0 for none; 2-D alone.
        hidden: channels in which each of these norms reads the label map.

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
        labels: int = 0,
        hidden: int = 128,
    ) -> None:
        super().__init__()
        check_choice(spatial_dims, (2,) if labels else CONV, argument="spatial_dims")
        check_choice(resample, get_args(Resample), argument="resample")
        conv, code, dimensions = CONV[spatial_dims], 4 * widths[0], spatial_dims
        self.in_channels, self.labels = in_channels, labels
        self.widths = tuple(widths)
        self.divisor = (2 ** (len(widths) - 1),) * dimensions

        def block(inputs: int, width: int, change: Change = "", led: int = 0) -> ResidualBlock:
            kind = partial(LedBlock, labels=led, hidden=hidden) if led else ResidualBlock
            return kind(
                inputs, width, code=code, dropout=dropout, scale_shift=scale_shift, dimensions=dimensions, change=change
            )

        def attended(width: int) -> SelfAttention:
            return SelfAttention(width, heads=heads if head_channels is None else max(1, width // head_channels))

        def step(channels: int, level: int, led: int = 0) -> Step:
            width = widths[level]
            return Step(block(channels, width, led=led), attended(width) if level in attention else nn.Identity())

        def resampled(width: int, change: Change) -> nn.Module:
            if resample == "block":
                return block(width, width, change, labels if change == "doubled" else 0)
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
        one, other = (block(width, width, led=labels) for _ in range(2))
        self.middle = nn.ModuleList([Step(one, attended(width)), Step(other, nn.Identity())])
        self.skips = tuple(skips)  # channels of what the encoder hands to the decoder, in the order of its making
        for level in reversed(range(len(widths))):
            for _ in range(blocks + 1):
                self.up.append(step(width + skips.pop(), level, labels))
                width = widths[level]
            if level:
                self.finer.append(resampled(width, "doubled"))
        self.head = nn.Sequential(norm(width), nn.SiLU(), zeroed(conv(width, out_channels, 3, padding=1)))

    def forward(
        self,
        x: Tensor,
        timestep: Tensor,
        *,
        guide: Guide | None = None,
        added: Sequence[Tensor] | None = None,
        labels: Tensor | None = None,
        told: Tensor | None = None,
    ) -> Tensor:
        """The answer (B, out_channels, *S) for a noisy x (B, in_channels, *S) at timesteps (B,).

        Args:
            guide: called at the end of each level of the encoder; sees sizes padded to `divisor`.
            added: to each skip connection in the order of `skips`, then to the middle: what `ControlNet` gives.
            labels: the label map (B or 1, labels, *S), where the network was made for one.
            told: (B or 1, 4 widths[0]), added to what all blocks are told of the timestep, such as a code of a class
                (Dhariwal and Nichol, 2021).

        Raises:
            ArrayError: x has other axes or channels than the network was made for, there is not one timestep each, or
                the label map is missing or another one.
        """
        size = tuple(x.shape[2:])
        code = self.code_of(timestep)
        code = code if told is None else code + told
        led = self._led(labels, size)
        # 1. encode, and the middle
        skips, h = self.encode(x, code, guide=guide, led=led)
        if added is not None:
            skips = [skip + more for skip, more in zip(skips, added[:-1], strict=True)]
            h = h + added[-1]
        # 2. decode
        for out in self.decode(skips, h, code, led=led):
            h = out
        return cropped(self.head(h), size)

    def _led(self, labels: Tensor | None, size: tuple[int, ...]) -> tuple[Tensor, ...]:
        """What the blocks of the middle and of the decoder are given beside the code: a padded label map, or nothing.

        Raises:
            ArrayError: it is missing, or another one than the network was made for.
        """
        if not self.labels and labels is None:
            return ()
        if labels is None or labels.shape[1] != self.labels or tuple(labels.shape[2:]) != size:
            found = None if labels is None else tuple(labels.shape)
            raise ArrayError(f"labels: found {found}; expected (B, {self.labels}, {', '.join(map(str, size))})")
        return (padded(labels, self.divisor),)

    def decode(
        self, skips: Sequence[Tensor], h: Tensor, code: Tensor, *, led: tuple[Tensor, ...] = ()
    ) -> Iterator[Tensor]:
        """What each block of the decoder ends with, from the coarsest one on, of what `encode` gives.

        The last block of a level ends with what it hands to the next one, in its size. Who needs the first blocks alone
        stops there.
        """
        for number, step in enumerate(self.up):
            h = step(torch.cat([h, skips[-1 - number]], 1), code, *led)
            level, place = divmod(number, self.blocks + 1)
            if place == self.blocks and level < len(self.finer):
                finer = self.finer[level]
                if isinstance(finer, ResidualBlock):
                    h = finer(h, code, *led)
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
        self,
        x: Tensor,
        code: Tensor,
        *,
        guide: Guide | None = None,
        hint: Tensor | None = None,
        led: tuple[Tensor, ...] = (),
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
            h = step(h, code, *led)
        return skips, h


class Step(nn.Module):
    """A residual block and what looks at its answer."""

    def __init__(self, block: ResidualBlock, attention: nn.Module) -> None:
        super().__init__()
        self.block, self.attention = block, attention

    def forward(self, x: Tensor, code: Tensor, *led: Tensor) -> Tensor:
        """(B, width, *S) of x (B, inputs, *S) and the code (B, code) of the timestep, led by a label map or not."""
        out: Tensor = self.attention(self.block(x, code, *led))
        return out


def sinusoid(timestep: Tensor, width: int) -> Tensor:
    """Timesteps (B,) as sines and cosines (B, width) of frequencies from 1 down to 1/10,000 (Vaswani et al., 2017)."""
    half = width // 2
    frequencies = torch.exp(-math.log(10_000) * torch.arange(half, device=timestep.device) / half)
    angle = timestep[:, None].float() * frequencies
    return F.pad(torch.cat([angle.cos(), angle.sin()], 1), (0, width % 2))


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
