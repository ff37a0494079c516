"""Gaussian smoothing in float32, row by row, so that a structure tensor costs less than a few steps of diffusion."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from scantling.core.compiled import compiled

Array = NDArray[np.float32]

_PIECE = 1024
"""Floats of a row that are done at once, so that all rows of the kernel stay in the cache."""
_U = np.uint64


def smoothed(map_: NDArray[np.floating], scale: float) -> Array:
    """A map (*S) smoothed by a Gaussian of `scale` pixels, cut off at four of them; the border is repeated."""
    radius = int(4 * scale + 0.5)
    weights = np.exp(-0.5 * np.square(np.arange(radius + 1) / scale))
    weights = (weights / (2 * weights.sum() - weights[0])).astype(np.float32)
    smooth = np.array(map_, np.float32, order="C")
    shape, source = smooth.shape, np.empty_like(smooth)
    for axis, count in enumerate(shape):
        source, smooth = smooth, source
        before, after = math.prod(shape[:axis]), math.prod(shape[axis + 1 :])
        if after == 1:
            _along(source.reshape(-1), smooth.reshape(-1), before, count, weights)
        else:
            _across(source.reshape(-1), smooth.reshape(-1), before, count, after, weights)
    return smooth


@compiled(fastmath={"contract"}, nogil=True)
def _across(a: Any, out: Any, before: int, count: int, after: int, weights: Any) -> None:
    for first in range(before):
        for begin in range(0, after, _PIECE):
            width = _U(min(_PIECE, after - begin))
            for i in range(count):
                here = _U((first * count + i) * after + begin)
                for j in range(width):
                    out[here + j] = weights[0] * a[here + j]
                for k in range(1, len(weights)):
                    weight = weights[k]
                    low = _U((first * count + max(i - k, 0)) * after + begin)
                    high = _U((first * count + min(i + k, count - 1)) * after + begin)
                    for j in range(width):
                        out[here + j] += weight * (a[low + j] + a[high + j])


@compiled(fastmath={"contract"}, nogil=True)
def _along(a: Any, out: Any, lines: int, count: int, weights: Any) -> None:
    radius = len(weights) - 1
    line = np.empty(count + 2 * radius, np.float32)
    width = _U(count)
    for number in range(lines):
        here = _U(number * count)
        line[:radius], line[radius + count :] = a[here], a[here + width - _U(1)]
        for j in range(width):
            line[_U(radius) + j] = a[here + j]
        for j in range(width):
            out[here + j] = weights[0] * line[_U(radius) + j]
        for k in range(1, len(weights)):
            weight, low, high = weights[k], _U(radius - k), _U(radius + k)
            for j in range(width):
                out[here + j] += weight * (line[low + j] + line[high + j])
