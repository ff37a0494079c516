"""How much noise each step adds, and which of the steps a sampler takes."""

from __future__ import annotations

import math
from typing import Literal, get_args

import torch
from torch import Tensor

from scantling.core.checks import check_choice, check_count
from scantling.core.errors import SettingsError

Schedule = Literal["linear", "scaled", "cosine", "cosine2", "sigmoid"]
Spacing = Literal["leading", "trailing"]

LARGEST_BETA = 0.999
"""No step may destroy more (Nichol and Dhariwal, 2021, section 3.2): ᾱ would be 0 and nothing could be undone."""
_OFFSET = 0.008


def betas(name: Schedule, steps: int, *, low: float | None = None, high: float | None = None) -> Tensor:
    r"""The variances β of the noise that the steps add, (T,) float64, each in (0, 0.999].

    With u from 0 to 1 over the steps, and f over their ends:

    ==========  ==========================================================================================
    "linear"    low + u (high - low) (Ho et al., 2020)
    "scaled"    (√low + u (√high - √low))² (Rombach et al., 2022)
    "sigmoid"   low + (high - low) / (1 + exp(6 - 12 u)) (Xu et al., 2022)
    "cosine"    1 - f(t + 1) / f(t), f(t) = cos(π/2 (t/T + s) / (1 + s)), s = 0.008 (the code of BerDiff)
    "cosine2"   the same with f squared (Nichol and Dhariwal, 2021, eq. 17: what others call "cosine")
    ==========  ==========================================================================================

    The two cosines are named by their formula, as in the code of BerDiff: ᾱ is proportional to cos or to cos².

    Args:
        name: of the schedule.
        steps: T, at least 2.
        low, high: the ends of "linear", "scaled" and "sigmoid", taken as they are, 0 < low ≤ high < 1; unless given,
            10⁻⁴ and 0.02 times 1000 / T, so that chains of any length end in the same noise (Nichol and Dhariwal's
            code).

    Raises:
        SettingsError: an unknown schedule, fewer than 2 steps, ends out of range, or ends of a cosine.

    Example:
        >>> from scantling.diffusion import betas
        >>> betas("linear", 1000)[[0, -1]].tolist()
        [0.0001, 0.02]
    """
    check_choice(name, get_args(Schedule), argument="name")
    check_count(steps, argument="steps", least=-(2**31))
    if steps < 2:
        raise SettingsError(f"a noise schedule of {steps} steps has no beginning and end; take at least 2")
    if name in ("cosine", "cosine2"):
        if low is not None or high is not None:
            raise SettingsError(f'the schedule "{name}" has no ends to choose; leave out low and high')
        u = torch.linspace(0, 1, steps + 1, dtype=torch.float64)
        f = torch.cos((u + _OFFSET) / (1 + _OFFSET) * math.pi / 2) ** (2 if name == "cosine2" else 1)
        return (1 - f[1:] / f[:-1]).clamp(max=LARGEST_BETA)
    first = 1e-4 * 1000 / steps if low is None else low
    last = 0.02 * 1000 / steps if high is None else high
    if not 0 < first <= last or (high is not None and high >= 1):
        raise SettingsError(f"betas from {first:g} to {last:g} are no noise schedule; take 0 < low <= high < 1")
    u = torch.linspace(0, 1, steps, dtype=torch.float64)
    if name == "linear":
        values = first + u * (last - first)
    elif name == "scaled":
        values = (math.sqrt(first) + u * (math.sqrt(last) - math.sqrt(first))) ** 2
    else:
        values = first + (last - first) * torch.sigmoid(12 * u - 6)
    return values.clamp(max=LARGEST_BETA)


def timesteps(total: int, count: int, *, spacing: Spacing) -> tuple[int, ...]:
    """The `count` of `total` time steps at which a sampler calls its model, evenly spaced, the noisiest first.

    The step after the last one goes to clean data, t = -1.

    Args:
        total: T, of the chain that the model was trained on.
        count: how many of them.
        spacing: "leading" counts from t = 0 upwards and so misses the end, where the start is drawn; "trailing"
            counts from T - 1 downwards (Lin et al., 2024, table 2).

    Raises:
        SettingsError: an unknown spacing, no step, or more than the chain has.

    Example:
        >>> from scantling.diffusion import timesteps
        >>> timesteps(1000, 4, spacing="trailing")
        (999, 749, 499, 249)
    """
    check_choice(spacing, get_args(Spacing), argument="spacing")
    check_count(total, argument="total", least=1)
    check_count(count, argument="count", least=-(2**31))
    if not 1 <= count <= total:
        raise SettingsError(f"{count} sampling steps on a chain of {total}; take 1 to {total}")
    if spacing == "leading":
        return tuple(total // count * i for i in reversed(range(count)))
    return tuple(round(total * i / count) - 1 for i in range(count, 0, -1))
