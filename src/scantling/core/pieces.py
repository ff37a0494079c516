"""Large arrays are gone through in pieces, so that what is computed of them never takes a copy of the whole."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np

LARGE = 1 << 24
"""An array of more values is not copied as a whole."""
AT_ONCE = 1 << 20
"""Values of a piece: few enough for the caches of a processor."""
FEW = 4
"""So many values are counted one by one, which is faster than a histogram."""


def spans(size: int, *, most: int | None = None) -> Iterator[slice]:
    """Slices that cut so many values into pieces.

    Args:
        most: values of a piece; None: `AT_ONCE`.
    """
    step = AT_ONCE if most is None else max(1, most)
    return (slice(start, min(start + step, size)) for start in range(0, size, step))


def pieces(array: np.ndarray) -> Iterator[np.ndarray]:
    """All values of an array (*S) in flat pieces (n,), in the order of its indices."""
    flat = array.reshape(-1)
    return (flat[span] for span in spans(flat.size))


def slabs(shape: tuple[int, ...]) -> Iterator[slice]:
    """Slices along the first axis of an array (*S) that cut it into pieces."""
    return spans(shape[0], most=AT_ONCE // max(1, math.prod(shape[1:])))


def value_counts(array: np.ndarray, *, low: int, high: int) -> np.ndarray:
    """(high - low + 1,) int64: how often each whole number from `low` to `high` occurs; all values are among them."""
    total, likely = np.zeros(high - low + 1, np.int64), np.zeros(0, np.int64)
    for piece in pieces(array):
        found = [np.count_nonzero(piece == value) for value in likely]
        if sum(found) == piece.size:
            total[likely - low] += found
            continue
        counts = np.bincount(piece.astype(np.int64) - low, minlength=len(total))
        total += counts
        values = np.flatnonzero(counts) + low
        likely = values if len(values) <= FEW else values[:0]
    return total


def lookup(table: np.ndarray, indices: np.ndarray) -> np.ndarray:
    """`table[indices]` of a table (n,) without indices of 8 bytes for all of them at once."""
    out = np.empty(indices.size, table.dtype)
    flat = indices.reshape(-1)
    for span in spans(indices.size):
        out[span] = table[flat[span]]
    return out.reshape(indices.shape)
