"""Which of many things to take so that every other one is near to one that is taken: the k-centre greedy rule."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from scantling.core.errors import DataError


def k_centre_greedy(features: ArrayLike, taken: ArrayLike, *, count: int) -> list[tuple[int, float]]:
    """In turn the row that is farthest from all that are taken, at most `count`.

    Algorithm 1 of Sener and Savarese (ICLR 2018); it covers the rows within twice the least possible radius.

    Args:
        features: (N, F), a row for each candidate.
        taken: (M, F), those that are taken already; where there is none, the first row begins (ours).

    Returns:
        The rows in the order in which they are taken, each with its distance to the nearest one that was taken before
        (infinite where none was).

    Raises:
        DataError: features are not finite, or differ in length.
    """
    rows = np.asarray(features, np.float64)
    before = np.asarray(taken, np.float64).reshape(-1, rows.shape[1] if rows.ndim == 2 else 0)
    if rows.ndim != 2 or not (np.isfinite(rows).all() and np.isfinite(before).all()):
        raise DataError("found features that are not finite; expected a row of numbers for each case")
    nearest = np.full(len(rows), np.inf)
    for one in before:
        nearest = np.minimum(nearest, np.linalg.norm(rows - one, axis=1))
    found: list[tuple[int, float]] = []
    left = np.ones(len(rows), bool)
    for _ in range(min(count, len(rows))):
        place = int(np.argmax(np.where(left, nearest, -1.0)))
        found.append((place, float(nearest[place])))
        left[place] = False
        nearest = np.minimum(nearest, np.linalg.norm(rows - rows[place], axis=1))
    return found
