"""What both noise processes share: the share of signal ᾱ_t that is left after each step."""

from __future__ import annotations

import math
import operator
from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor

from scantling.core.errors import ArrayError, SettingsError

Time = int | Tensor
"""A time step of all samples, or one for each: (B,) whole numbers, -1 for clean data."""


class Chain:
    """T steps of noise; step t keeps α_t = 1 - β_t of what was there, and steps 0 to t together ᾱ_t = α_0 ⋯ α_t.

    The tables are float64 on the processor. Coefficients are computed there, since 1 - ᾱ of the first steps has few
    digits left in float32, and then brought to the tensor that they multiply.

    Args:
        betas: (T,), each in (0, 1), T ≥ 2: see `schedules.betas`.

    Raises:
        SettingsError: other betas.
    """

    def __init__(self, betas: Tensor) -> None:
        betas = torch.as_tensor(betas)
        if betas.ndim != 1 or len(betas) < 2 or not bool(((betas > 0) & (betas < 1)).all()):
            raise SettingsError("a noise process needs at least 2 betas between 0 and 1; take them from a schedule")
        self.betas = betas.to("cpu", torch.float64)
        self._kept = torch.cat([torch.ones(1, dtype=torch.float64), (1 - self.betas).cumprod(0)])

    @property
    def steps(self) -> int:
        """T."""
        return len(self.betas)

    def alpha_bar(self, t: Time) -> Tensor:
        """ᾱ_t in float64 on the processor, 1 at t = -1: () for one time step, (B,) for one for each sample.

        Raises:
            SettingsError: a time step that the chain does not have.
        """
        index = torch.as_tensor(t, device="cpu") + 1
        whole = not (index.is_floating_point() or index.is_complex())
        if not whole or index.ndim > 1 or bool(((index < 0) | (index > self.steps)).any()):
            raise SettingsError(
                f"time step {t} on a chain that goes from -1 to {self.steps - 1}; expected whole numbers, () or (B,)"
            )
        return self._kept[index]


def pairs(timesteps: Sequence[int]) -> list[tuple[int, int]]:
    """The moves (t, before) of a sampler: from each time step to the next, and from the last one to -1.

    Raises:
        SettingsError: the time steps do not go down to 0 or above, there is none, or they are no list of whole numbers.
    """
    try:
        timesteps = [operator.index(t) for t in timesteps]
    except TypeError:
        raise SettingsError(
            f"timesteps: found {timesteps!r}; expected a list of whole numbers, as diffusion.timesteps gives it"
        ) from None
    moves = list(pairwise([*timesteps, -1]))
    if not moves or any(t <= before for t, before in moves):
        raise SettingsError(f"sampling steps {list(timesteps)} do not go down to the data; take them descending, >= 0")
    return moves


def columns(like: Tensor, *coefficients: Tensor) -> list[Tensor]:
    """Coefficients () or (B,), as (1 or B, 1, ...) beside `like`: on its device, in its type or at least float32.

    Raises:
        ArrayError: there is a time step for another number of samples.
    """
    for c in coefficients:
        if c.ndim and like.ndim and c.numel() not in (1, like.shape[0]):
            raise ArrayError(f"found {c.numel()} time steps for {like.shape[0]} samples; expected one, or one for each")
    dtype = torch.promote_types(like.dtype, torch.float32)
    return [c.reshape(-1, *[1] * (like.ndim - 1)).to(like.device, dtype) for c in coefficients]


def exact(tensor: Tensor) -> Tensor:
    """In float32, or float64 if it is."""
    return tensor.to(torch.promote_types(tensor.dtype, torch.float32))


def bits(nats: Tensor, known: Tensor | None) -> Tensor:
    """The mean of (B, K, *S) nats over the known elements of each sample, in bits: (B,); 0 where none is known.

    Args:
        nats: (B, K, *S).
        known: (B, K, *S) or (B, 1, *S) bool, all if None.
    """
    known = torch.ones_like(nats, dtype=torch.bool) if known is None else known.expand_as(nats)
    sums = nats.masked_fill(~known, 0).flatten(1).sum(1)
    return sums / known.flatten(1).sum(1).clamp(min=1) / math.log(2)
