"""Large arrays are gone through in pieces, so that what is computed of them never takes a copy of the whole."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np

AT_ONCE = 1 << 24
"""Values of a piece."""


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
