"""What a condition does to an image: two DDIM trajectories that differ in the condition alone.

Nothing is clipped: the difference stands for a derivative, and is linear in what the model says.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise

import torch
from torch import Tensor

from scantling.core.errors import SettingsError
from scantling.diffusion.gaussian import GaussianProcess

Conditioned = Callable[[Tensor, int, Tensor], Tensor]
"""`model(x_t, t, share)`: the noise in x_t (B, C, *S) under τ f(y1) + (1 - τ) f(y0), with τ = share (B,) in [0, 1]."""


def check_walk(first: int, steps: int, process: GaussianProcess) -> None:
    """Refuse steps that a chain does not have.

    Raises:
        SettingsError: they begin beyond the chain or end below clean data.
    """
    if not 0 <= first < process.steps or not 1 <= steps <= first + 1:
        raise SettingsError(
            f"{steps} steps from time step {first}: the chain goes from {process.steps - 1} down to -1; begin at most "
            "there and take no more steps than lie below"
        )


def condition_difference(
    model: Conditioned, start: Tensor, *, process: GaussianProcess, first: int, steps: int, tau: float
) -> Tensor:
    r"""The sum over steps of what a condition changes, as a finite difference (Hu et al., 2023, algorithm 1).

    .. math:: a = \sum_t \frac{x_{t-1}(f(y_1)) - x'_{t-1}(\tau f(y_1) + (1 - \tau) f(y_0))}{1 - \tau}

    Both trajectories begin with the same noisy image. For one step it tends to the derivative of x_{t-1} by y at y1 as
    τ tends to 1; of a model ε = A f(y) it is c_t A (f(y1) - f(y0)) for any τ, with
    c_t = √(1 - ᾱ_{t-1}) - √(ᾱ_{t-1} (1 - ᾱ_t) / ᾱ_t) < 0, so that its sign is opposite to that of the noise.

    Args:
        model: see `Conditioned`; it is asked about both trajectories at once.
        start: (B, C, *S), the noisy image.
        first: the time step of the first call; each step goes to the one below.
        steps: R, how many.
        tau: in [0, 1).

    Returns:
        (B, C, *S).

    Raises:
        SettingsError: steps that the chain does not have, or τ out of its range.
    """
    check_walk(first, steps, process)
    if not 0 <= tau < 1:
        raise SettingsError(f"tau: found {tau:g}; expected a number from 0 to below 1")
    both, total = torch.cat([start, start]), torch.zeros_like(start)
    share = torch.ones(len(both), device=start.device, dtype=start.dtype)
    share[len(start) :] = tau
    for t in range(first, first - steps, -1):
        both = process.moved(model(both, t, share), both, t, t - 1)
        one, other = both.chunk(2)
        total = total + (one - other)
    return total / (1 - tau)


def counterfactual(model: Conditioned, image: Tensor, *, process: GaussianProcess, level: int, steps: int) -> Tensor:
    """What an image (B, C, *S) would look like under y0: up the chain by DDIM under y1, and down again under y0.

    This is how anomalies are found by what a healthy image would lack (Wolleb et al., 2022; there the model knows no
    class and a classifier alone leads it down).

    Args:
        level: the time step that it goes up to.
        steps: how many steps up, and down; evenly spaced.

    Raises:
        SettingsError: more steps than the chain has below the level.
    """
    check_walk(level, steps, process)
    times = [-1, *(round((level + 1) * n / steps) - 1 for n in range(1, steps + 1))]
    ill, well = image.new_ones(len(image)), image.new_zeros(len(image))
    x = image
    for t, above in pairwise(times):
        x = process.moved(model(x, max(t, 0), ill), x, t, above)
    for t, below in pairwise(reversed(times)):
        x = process.moved(model(x, t, well), x, t, below)
    return x
