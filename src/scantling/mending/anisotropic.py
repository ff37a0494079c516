r"""Mending by anisotropic diffusion (Sano, 2025): broken tubes grow together along their direction, not across it.

.. math:: \partial u / \partial t = \mathrm{ReLU}(\nabla \cdot (D \nabla u)), \qquad
          D = \lambda_\parallel v v^T + \lambda_\perp (I - v v^T)

u is a probability map, v the direction of the tube at each pixel. The ReLU keeps what is there and lets only the
pixels beside it rise. One equation, two ways to compute it: `diffuse` on numpy arrays by a compiled sweep, and
`diffuse_tensors` in torch for batches, gradients and the GPU.
"""

from __future__ import annotations

from typing import Annotated

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor

from scantling.core.checks import SLACK, numbers, probabilities
from scantling.core.errors import ArrayError
from scantling.mending import differentiable
from scantling.mending.stencil import Integrator, check_step

Array = NDArray[np.float32]


class Diffusion(BaseModel):
    """How to diffuse. λ∥, λ⊥, Δt and the integrator are those of the author's code; N is that of his training."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    iterations: Annotated[int, Field(ge=0)] = 100
    """N, the number of steps."""
    step: Annotated[float, Field(gt=0, allow_inf_nan=False)] = 0.1
    """Δt."""
    parallel: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 1.0
    """λ∥, the conductivity along the direction."""
    perpendicular: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 0.0
    """λ⊥, the conductivity across the direction."""
    integrator: Integrator = "rk4"
    rectified: bool = True
    """Whether the ReLU is there; without it, what is high falls, as in ordinary diffusion: the control of the claim."""

    def check(self, dimensions: int) -> None:
        """Refuse a step that is not stable in this many dimensions.

        Raises:
            SettingsError: with the longest stable step.
        """
        conductivity = max(self.parallel, self.perpendicular)
        check_step(self.step, dimensions, conductivity=conductivity, integrator=self.integrator)


def diffuse(
    probability: NDArray[np.floating],
    direction: NDArray[np.floating],
    *,
    settings: Diffusion,
    strength: NDArray[np.floating] | None = None,
) -> Array:
    """Mend one probability map on the processor.

    Args:
        probability: u, (*S) in two or three dimensions, values in [0, 1].
        direction: v, (D, *S) in the order of the axes; its sign is of no matter; a zero vector has no direction,
            and then only λ⊥ acts.
        settings: λ∥, λ⊥, Δt, N and the integrator.
        strength: (*S) in [0, 1], what λ∥ and λ⊥ are multiplied with at each pixel; 1 where it is not given.

    Returns:
        The mended map, (*S) float32, nowhere lower than the map that came unless it is not `rectified`.

    Raises:
        SettingsError: the step is not stable.
        ArrayError: the shapes do not belong together, or the values are no probabilities, directions or strengths.
    """
    from scantling.mending.kernel import sweep

    u, direction = probabilities(probability, "the map").astype(np.float32, copy=False), directions(direction)
    strength = None if strength is None else probabilities(strength, "the strength")
    _check_shapes(u.shape, tuple(direction.shape), None if strength is None else tuple(strength.shape))
    settings.check(u.ndim)
    tensor = diffusion_tensor(direction, settings=settings, strength=strength)
    return sweep(
        u, tensor, iterations=settings.iterations, step=settings.step, integrator=settings.integrator,
        rectified=settings.rectified,
    )  # fmt: skip


def directions(direction: NDArray[np.floating]) -> NDArray[np.floating]:
    """Directions (D, *S) as numbers.

    Raises:
        ArrayError: some are NaN or longer than 1, which an unstable step follows from.
    """
    v = numbers(direction, "the direction")
    longest = float(np.square(v, dtype=np.float64).sum(0).max()) if v.ndim > 1 and v.size else 0.0
    if not longest <= 1 + 1e-3:  # also NaN
        raise ArrayError(f"the directions are up to {longest**0.5:g} long; expected vectors of length 1, or 0")
    return v


def diffusion_tensor(
    direction: NDArray[np.floating], *, settings: Diffusion, strength: NDArray[np.floating] | None = None
) -> Array:
    """D of each pixel, its upper triangle by rows: (3, *S) in 2-D, (6, *S) in 3-D; arguments as in `diffuse`."""
    v = np.asarray(numbers(direction, "the direction"), np.float32)
    if v.ndim - 1 != len(v) or len(v) not in (2, 3) or (strength is not None and strength.shape != v.shape[1:]):
        raise ArrayError(
            f"found directions of shape {v.shape} and a strength of {None if strength is None else strength.shape}; "
            "expected (D, *S) and (*S) of two or three axes"
        )
    pairs = [(a, b) for a in range(len(v)) for b in range(a, len(v))]
    tensor = np.empty((len(pairs), *v.shape[1:]), np.float32)
    for entry, (a, b) in zip(tensor, pairs, strict=True):
        np.multiply(v[a], v[b], out=entry)
        entry *= np.float32(settings.parallel - settings.perpendicular)
        if a == b:
            entry += np.float32(settings.perpendicular)
        if strength is not None:
            entry *= strength
    return tensor


def diffuse_tensors(
    probability: Tensor, direction: Tensor, *, settings: Diffusion, strength: Tensor | None = None
) -> Tensor:
    """Mend a batch of probability maps in torch; differentiable in all three tensors.

    Args:
        probability: u, (B, 1, *S) in [0, 1].
        direction: v, (B, D, *S) in the order of the axes.
        settings: λ∥, λ⊥, Δt, N and the integrator.
        strength: (B, 1, *S) in [0, 1], or none.

    Returns:
        The mended maps, (B, 1, *S).

    Raises:
        SettingsError: the step is not stable.
        ArrayError: the shapes do not belong together, or a map or a strength lies outside [0, 1]; looked at on the
            processor.
    """
    for map_ in (probability,) if strength is None else (probability, strength):
        if map_.ndim < 3 or map_.shape[1] != 1 or map_.shape[0] != direction.shape[0]:
            raise ArrayError(
                f"found a map {tuple(map_.shape)} for directions {tuple(direction.shape)}; expected (B, 1, *S)"
            )
        if map_.is_cpu and map_.numel():
            low, high = (float(end) for end in map_.detach().aminmax())
            if low < -SLACK or high > 1 + SLACK:
                raise ArrayError(f"found values from {low:g} to {high:g}; expected a map and a strength in [0, 1]")
    _check_shapes(
        tuple(probability.shape[2:]),
        tuple(direction.shape[1:]),
        None if strength is None else tuple(strength.shape[2:]),
    )
    settings.check(direction.shape[1])
    factor = 1.0 if strength is None else strength
    return differentiable.sweep(
        probability,
        direction,
        iterations=settings.iterations,
        step=settings.step,
        integrator=settings.integrator,
        parallel=settings.parallel * factor,
        perpendicular=settings.perpendicular * factor if settings.perpendicular else 0.0,
        rectified=settings.rectified,
    )


def _check_shapes(shape: tuple[int, ...], direction: tuple[int, ...], strength: tuple[int, ...] | None) -> None:
    if len(shape) not in (2, 3):
        raise ArrayError(f"the map has {len(shape)} dimensions; expected 2 or 3")
    if direction != (len(shape), *shape):
        raise ArrayError(f"the directions have shape {direction}; expected {(len(shape), *shape)}")
    if strength is not None and strength != shape:
        raise ArrayError(f"the strength has shape {strength}; expected {shape}")
