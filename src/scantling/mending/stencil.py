"""The derivative of the mending equation: a central difference of the eighth order, and how long a step may be.

The weights belong to the offsets -4..4 and are odd, so that four numbers say all. Gradient and divergence both use
them. Beyond the border the nearest pixel is repeated.
"""

from __future__ import annotations

import math
from typing import Literal

from scantling.core.errors import SettingsError

REACH = 4
WEIGHTS = (4 / 5, -1 / 5, 4 / 105, -1 / 280)
"""The weights of the offsets 1..4; offset -k has the opposite of the weight of k."""

Integrator = Literal["rk4", "euler"]
REAL_STABILITY = {"rk4": 2.785293563405282, "euler": 2.0}
"""How far each integrator's region of stability reaches along the negative real axis."""


def symbol(frequency: float) -> float:
    r"""What the stencil makes of a wave: :math:`d(\theta) = 2 \sum_k w_k \sin k\theta`; exact would be θ."""
    return 2 * sum(weight * math.sin(k * frequency) for k, weight in enumerate(WEIGHTS, 1))


LARGEST_SQUARE = 2.9949709
"""The maximum of d(θ)², at θ = 0.647 π."""


def longest_step(dimensions: int, *, conductivity: float, integrator: Integrator) -> float:
    r"""The longest stable Δt for the largest eigenvalue λ (`conductivity`) of the diffusion tensor.

    The operator div(D grad) turns a wave with frequencies θ into :math:`-d(\theta)^T D\, d(\theta)` times the wave,
    and :math:`d^T D d \le \lambda |d|^2 \le \lambda n \max d^2` in n dimensions, reached along the diagonal. So its
    eigenvalues go down to -5.990 λ in two dimensions and -8.985 λ in three, and Δt to 0.465/λ and 0.310/λ with
    RK4, 0.334/λ and 0.223/λ with Euler. Beyond it nothing overflows, because values are clipped: an unstable step
    only shows as noise and flooding, and so it has to be refused.
    """
    return REAL_STABILITY[integrator] / (dimensions * LARGEST_SQUARE * conductivity) if conductivity else math.inf


def check_step(step: float, dimensions: int, *, conductivity: float, integrator: Integrator) -> None:
    """Refuse a step that is not stable.

    Raises:
        SettingsError: the step is longer than `longest_step`.
    """
    longest = longest_step(dimensions, conductivity=conductivity, integrator=integrator)
    if step > longest:
        raise SettingsError(
            f"a time step of {step:g} is unstable: {integrator} in {dimensions}-D with a conductivity of "
            f"{conductivity:g} allows at most {math.floor(longest * 1000) / 1000:g}; take a shorter step and more "
            "iterations, or a lower conductivity"
        )
