"""The smallest eigenvalues of small symmetric matrices and where they point, in closed form, for every pixel."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from scantling.core.compiled import compiled

Array = NDArray[np.float32]

_ALIKE = 3e-7
"""Eigenvalues that differ by less, relatively, are equal: the entries are known to 24 bits."""


def smallest(entries: Sequence[NDArray[np.floating]]) -> tuple[Array, Array, Array]:
    """The smallest and the second smallest eigenvalue, and the eigenvector of the smallest.

    Args:
        entries: the upper triangle by rows, each (*S): three for matrices of 2 x 2, six for 3 x 3.

    Returns:
        (*S), (*S) and (D, *S); the vector has length 1, or is zero where both eigenvalues are equal.

    Raises:
        ValueError: neither three nor six entries.
    """
    if len(entries) not in (3, 6):
        raise ValueError(f"found {len(entries)} entries of symmetric matrices; expected 3 in 2-D or 6 in 3-D")
    shape, dimensions = entries[0].shape, 2 if len(entries) == 3 else 3
    flat = [np.ascontiguousarray(entry, np.float32).reshape(-1) for entry in entries]
    low, middle = np.empty(flat[0].size, np.float32), np.empty(flat[0].size, np.float32)
    vectors = np.zeros((dimensions, flat[0].size), np.float32)
    solve: Any = _solve_2d if dimensions == 2 else _solve_3d
    solve(*flat, low, middle, vectors)
    return low.reshape(shape), middle.reshape(shape), vectors.reshape(dimensions, *shape)


@compiled(nogil=True)
def _solve_2d(aa: Any, ab: Any, bb: Any, low: Any, middle: Any, vectors: Any) -> None:
    """With h = (a - c)/2 and r = √(h² + b²), the eigenvalues of [[a, b], [b, c]] are (a + c)/2 ∓ r.

    The vector can be read from either row; the one is taken in which nothing cancels.
    """
    for n in range(low.size):
        a, b, c = np.float64(aa[n]), np.float64(ab[n]), np.float64(bb[n])
        h, mean = (a - c) / 2, (a + c) / 2
        r = math.sqrt(h * h + b * b)
        low[n], middle[n] = mean - r, mean + r
        x, y = (-b, r + h) if h >= 0 else (r - h, -b)
        length = math.sqrt(x * x + y * y)
        if r > _ALIKE * abs(mean):
            vectors[0, n], vectors[1, n] = x / length, y / length


@compiled(nogil=True)
def _solve_3d(
    aa: Any, ab: Any, ac: Any, bb: Any, bc: Any, cc: Any, low: Any, middle: Any, vectors: Any
) -> None:  # fmt: skip
    """Eigenvalues by a third of an angle (Smith, 1961), the vector by the longest cross product of rows of A - λ."""
    for n in range(low.size):
        a, b, c = np.float64(aa[n]), np.float64(ab[n]), np.float64(ac[n])
        d, e, f = np.float64(bb[n]), np.float64(bc[n]), np.float64(cc[n])
        mean = (a + d + f) / 3
        a, d, f = a - mean, d - mean, f - mean
        radius = math.sqrt((a * a + d * d + f * f + 2 * (b * b + c * c + e * e)) / 6)
        if radius <= _ALIKE * abs(mean):
            low[n] = middle[n] = mean
            continue
        a, b, c, d, e, f = a / radius, b / radius, c / radius, d / radius, e / radius, f / radius
        half = (a * (d * f - e * e) - b * (b * f - c * e) + c * (b * e - c * d)) / 2
        angle = math.acos(min(max(half, -1.0), 1.0)) / 3
        smallest_, largest = 2 * math.cos(angle + 2 * math.pi / 3), 2 * math.cos(angle)
        low[n], middle[n] = mean + radius * smallest_, mean - radius * (smallest_ + largest)
        a, d, f = a - smallest_, d - smallest_, f - smallest_
        best = _ALIKE**2
        for first, second in (((a, b, c), (b, d, e)), ((a, b, c), (c, e, f)), ((b, d, e), (c, e, f))):
            x = first[1] * second[2] - first[2] * second[1]
            y = first[2] * second[0] - first[0] * second[2]
            z = first[0] * second[1] - first[1] * second[0]
            square = x * x + y * y + z * z
            if square > best:
                best, length = square, math.sqrt(square)
                vectors[0, n], vectors[1, n], vectors[2, n] = x / length, y / length, z / length
