"""The mending equation in torch: for batches, for gradients through every step, and for the GPU.

The derivative has its transpose written out, so that a step saves a handful of maps, the backward pass is as cheap as
the forward one, and nothing in it depends on the order of threads. Steps are checkpointed: what stays in memory
between them is one map each.
"""

from __future__ import annotations

from typing import Any, get_args

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

from scantling.core.checks import check_choice
from scantling.mending.stencil import REACH, WEIGHTS, Integrator


def derivative(map_: Tensor, dim: int) -> Tensor:
    """The stencil along one dimension (counted from the end, -1 is the last), the border repeated."""
    return _Derivative.apply(map_, dim)  # type: ignore[no-untyped-call]


def transposed_derivative(map_: Tensor, dim: int) -> Tensor:
    """The transpose of `derivative` as a matrix; away from the border it is its negative."""
    return _Transposed.apply(map_, dim)  # type: ignore[no-untyped-call]


def change(
    u: Tensor, direction: Tensor, *, parallel: Tensor | float, perpendicular: Tensor | float, rectified: bool = True
) -> Tensor:
    r"""ReLU(div(D grad u)) with :math:`D = \lambda_\parallel v v^T + \lambda_\perp (I - v v^T)`.

    Args:
        u: (B, 1, *S).
        direction: v, (B, D, *S), in the order of the axes.
        parallel: λ∥, a number or (B, 1, *S).
        perpendicular: λ⊥, likewise.
        rectified: whether the ReLU is there.
    """
    axes = range(-direction.shape[1], 0)
    slopes = torch.cat([derivative(u, axis) for axis in axes], 1)
    along = (parallel - perpendicular) * (direction * slopes).sum(1, keepdim=True)
    flux = along * direction
    if isinstance(perpendicular, Tensor) or perpendicular:
        flux = flux + perpendicular * slopes
    parts = [derivative(flux[:, number : number + 1], axis) for number, axis in enumerate(axes)]
    total = torch.stack(parts).sum(0)
    return total.relu() if rectified else total


def sweep(
    u: Tensor,
    direction: Tensor,
    *,
    iterations: int,
    step: float,
    integrator: Integrator,
    parallel: Tensor | float,
    perpendicular: Tensor | float,
    rectified: bool = True,
) -> Tensor:
    """`iterations` steps of du/dt = ReLU(div(D grad u)), clipped to [0, 1] after each; arguments as in `change`."""

    check_choice(integrator, get_args(Integrator), argument="integrator")

    def advance(u: Tensor, direction: Tensor, parallel: Tensor | float, perpendicular: Tensor | float) -> Tensor:
        def slope(at: Tensor) -> Tensor:
            return change(at, direction, parallel=parallel, perpendicular=perpendicular, rectified=rectified)

        k1 = slope(u)
        if integrator == "euler":
            return (u + step * k1).clamp(0, 1)
        k2 = slope(u + step / 2 * k1)
        k3 = slope(u + step / 2 * k2)
        k4 = slope(u + step * k3)
        return (u + step / 6 * (k1 + 2 * (k2 + k3) + k4)).clamp(0, 1)

    learning = torch.is_grad_enabled() and any(
        isinstance(each, Tensor) and each.requires_grad for each in (u, direction, parallel, perpendicular)
    )
    for _ in range(iterations):
        if learning:
            u = checkpoint(
                advance, u, direction, parallel, perpendicular, use_reentrant=False, preserve_rng_state=False
            )
        else:
            u = advance(u, direction, parallel, perpendicular)
    return u


def _valid(padded: Tensor, dim: int) -> Tensor:
    """The stencil where all nine pixels are there: eight pixels fewer."""
    count = padded.shape[dim] - 2 * REACH

    def shifted(offset: int) -> Tensor:
        return padded.narrow(dim, REACH + offset, count)

    total = (shifted(1) - shifted(-1)).mul_(WEIGHTS[0])
    for offset, weight in enumerate(WEIGHTS[1:], 2):
        total.add_(shifted(offset), alpha=weight).sub_(shifted(-offset), alpha=weight)
    return total


def _first_and_last(map_: Tensor, dim: int) -> tuple[Tensor, Tensor]:
    return map_.narrow(dim, 0, 1), map_.narrow(dim, map_.shape[dim] - 1, 1)


class _Derivative(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, map_: Tensor, dim: int) -> Tensor:
        ctx.dim = dim
        first, last = _first_and_last(map_, dim)
        return _valid(torch.cat([*[first] * REACH, map_, *[last] * REACH], dim), dim)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        return transposed_derivative(gradients[0], ctx.dim), None


class _Transposed(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, map_: Tensor, dim: int) -> Tensor:
        ctx.dim = dim
        count = map_.shape[dim]
        after = -dim - 1  # dimensions behind this one, for the order of F.pad
        spread = _valid(F.pad(map_, (0, 0) * after + (2 * REACH, 2 * REACH)), dim).neg_()
        gathered = spread.narrow(dim, REACH, count).clone()
        first, last = _first_and_last(gathered, dim)
        first.add_(spread.narrow(dim, 0, REACH).sum(dim, keepdim=True))
        last.add_(spread.narrow(dim, REACH + count, REACH).sum(dim, keepdim=True))
        return gathered

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        return derivative(gradients[0], ctx.dim), None
