"""The random walker: labels that spread from where they are held, through edges of the image hardly.

Each class is held at 1 where it was drawn and at 0 where another was, and spreads as heat does until nothing changes.
What results is the probability that a walker who starts at a pixel, and steps over edges of the image rarely, meets
this class first (Grady, "Random walks for image segmentation", IEEE TPAMI 2006); it is the steady state of
edge-stopping diffusion (Perona and Malik, 1990).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from scantling.core.compiled import compiled

STEPS, TOLERANCE = 400, 1e-3
"""Of the conjugate gradients, unless said: at most so many, until the greatest residual is below this."""
SHORTEST = 16
"""Pixels of an axis that is made coarser."""
FINE, COARSE, MANY = 1e-4, 1e-6, 4000
"""The tolerances of `spread` on finer grids and on the coarsest one, and its steps at most."""
_PIECE = 4096
"""Values that are done at once, so that they stay in the cache."""


def edge_weights(image: np.ndarray, *, spacing: Sequence[float], edges: float) -> list[np.ndarray]:
    """The weight between each pixel and the next along each axis, 1 where they look alike and lie next to each other.

    exp(-edges d² / s²) (h / hᵢ)²: d their difference and s² its mean over neighbours, over all channels; of a volume,
    neighbours in the plane of the last two axes. hᵢ is their distance and h that of the finest of these axes.

    Args:
        image: (C, *S).
        spacing: of the axes *S.
        edges: how much a difference of the image stops.

    Returns:
        For each axis, an array that is shorter by one along it.
    """
    values = image.astype(np.float64)
    steps = [np.square(np.diff(values, axis=1 + axis)).mean(0) for axis in range(values.ndim - 1)]
    means = [float(step.mean()) for step in steps[-2:] if step.size]
    scale = float(np.mean(means)) if means else 0.0
    finest = min(spacing[-2:])
    return [
        (finest / mm) ** 2 * (np.exp(-edges * step / (scale or 1.0)) + 1e-6)
        for step, mm in zip(steps, spacing, strict=True)
    ]


def walked(
    start: np.ndarray,
    held: np.ndarray,
    weights: Sequence[np.ndarray],
    *,
    prior: np.ndarray | None = None,
    pull: float = 0.0,
    tolerance: float = TOLERANCE,
    steps: int = STEPS,
) -> np.ndarray:
    """The solution x of sum_j w_ij (x_i - x_j) + pull (x_i - prior_i) = 0 wherever x is not held at `start`.

    By conjugate gradients, divided by the diagonal.

    Args:
        start: (*S), what x begins as, and stays where it is held.
        held: (*S) bool.
        weights: as `edge_weights` gives them.
        prior, pull: what x is pulled to and how much; nothing without a prior.
        tolerance, steps: of the conjugate gradients.
    """
    padded = tuple(size + 1 for size in start.shape)
    inside = tuple(slice(0, size) for size in start.shape)
    strides = np.array([int(np.prod(padded[1 + axis :])) for axis in range(start.ndim)], np.int64)
    lead, size = int(strides[0]), int(np.prod(padded))

    def flat(values: np.ndarray) -> np.ndarray:
        """In a row, with a neighbour of weight 0 beyond every border."""
        wide = np.zeros(padded)
        wide[tuple(slice(0, one) for one in values.shape)] = values
        return np.concatenate([np.zeros(lead), wide.ravel(), np.zeros(lead)])

    after = np.stack([flat(weight) for weight in weights])
    diagonal = flat(np.full(start.shape, float(pull)))
    for weight, stride in zip(after, strides, strict=True):
        diagonal += weight
        diagonal[stride:] += weight[:-stride]
    free = flat((~held).astype(np.float64))
    free[diagonal <= 0] = 0
    x = flat(start)
    right = np.zeros_like(x) if prior is None else pull * flat(prior)
    _solve(x, right, free, diagonal, after, strides, lead, lead + size, steps, tolerance)
    return np.ascontiguousarray(x[lead : lead + size].reshape(padded)[inside])


def spread(start: np.ndarray, held: np.ndarray, weights: Sequence[np.ndarray]) -> np.ndarray:
    """The solution of `walked` without a prior, right far from all that is held, too.

    Nothing pulls a pixel there, so that conjugate gradients leave it long where it began. They begin with the solution
    on a grid of half the size, and so on (cascadic multigrid; Bornemann and Deuflhard, 1996): a coarse pixel is held
    where one of its pixels is, at their mean, and a coarse weight is the sum of those between two coarse pixels, halved
    along the axis, whose distance is twice as long.
    """
    factors = [2 if size >= SHORTEST else 1 for size in start.shape]
    if max(factors) == 1:
        return walked(start, held, weights, tolerance=COARSE, steps=MANY)
    counts = _sums(held, factors)
    known, every = _sums(np.where(held, start, 0), factors), _sums(start, factors) / _sums(np.ones_like(held), factors)
    coarser = []
    for axis, (weight, factor) in enumerate(zip(weights, factors, strict=True)):
        between = weight if factor == 1 else weight[(slice(None),) * axis + (slice(1, None, 2),)] / 2
        coarser.append(_sums(between, [1 if n == axis else other for n, other in enumerate(factors)]))
    x = spread(np.where(counts > 0, known / np.maximum(counts, 1), every), counts > 0, coarser)
    for axis, factor in enumerate(factors):
        x = x.repeat(factor, axis)
    x = x[tuple(slice(0, size) for size in start.shape)]
    return walked(np.where(held, start, x), held, weights, tolerance=FINE, steps=MANY)


def _sums(values: np.ndarray, factors: Sequence[int]) -> np.ndarray:
    """The sums of blocks of `factors` pixels; beyond the border is nothing."""
    padded = np.pad(values.astype(np.float64), [(0, -size % f) for size, f in zip(values.shape, factors, strict=True)])
    split = [part for size, f in zip(padded.shape, factors, strict=True) for part in (size // f, f)]
    total: np.ndarray = padded.reshape(split).sum(tuple(range(1, 2 * values.ndim, 2)))
    return total


@compiled(fastmath={"contract", "reassoc", "nsz"}, nogil=True)
def _solve(
    x: Any, right: Any, free: Any, diagonal: Any, after: Any, strides: Any, first: int, last: int, steps: int,
    tolerance: float,
) -> None:  # fmt: skip
    residual, direction, product = np.zeros_like(x), np.zeros_like(x), np.zeros_like(x)
    _applied(x, product, free, diagonal, after, strides, first, last)
    size = 0.0
    for i in range(first, last):
        if free[i] > 0:
            residual[i] = right[i] - product[i]
            direction[i] = residual[i] / diagonal[i]
            size += residual[i] * direction[i]
    for _ in range(steps):
        if size <= 0:
            break
        length = size / _applied(direction, product, free, diagonal, after, strides, first, last)
        before, size, greatest = size, 0.0, 0.0
        for i in range(first, last):
            x[i] += length * direction[i]
            residual[i] -= length * product[i]
            z = residual[i] * free[i] / max(diagonal[i], 1e-30)
            size += residual[i] * z
            greatest = max(greatest, abs(z))
        if greatest < tolerance:
            break
        for i in range(first, last):
            direction[i] = residual[i] * free[i] / max(diagonal[i], 1e-30) + size / before * direction[i]


@compiled(fastmath={"contract", "reassoc", "nsz"}, nogil=True)
def _applied(x: Any, out: Any, free: Any, diagonal: Any, after: Any, strides: Any, first: int, last: int) -> float:
    """The equations at x into `out`, 0 where x is held; the sum of x times them."""
    total = 0.0
    for begin in range(first, last, _PIECE):
        end = min(begin + _PIECE, last)
        for i in range(begin, end):
            out[i] = diagonal[i] * x[i]
        for axis in range(len(strides)):
            stride = strides[axis]
            weight = after[axis]
            for i in range(begin, end):
                out[i] -= weight[i] * x[i + stride] + weight[i - stride] * x[i - stride]
        for i in range(begin, end):
            out[i] *= free[i]
            total += x[i] * out[i]
    return total
