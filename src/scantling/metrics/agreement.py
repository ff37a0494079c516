"""How far several readers agree in the grades that they give."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from scantling.core.checks import numbers
from scantling.core.errors import ArrayError


def krippendorff_alpha(grades: Any) -> float:
    """Krippendorff's α of ordered grades: 1 - D_o / D_e, 1 if all agree, about 0 by chance, below 0 if they oppose.

    Any number of readers, of whom each may leave cases out; a case with fewer than two grades does not count. NaN where
    no case has two, or all grades are equal.

    Args:
        grades: (R, N) of R readers and N cases, NaN where one is missing.

    Raises:
        ArrayError: another shape.

    Reference: Krippendorff, Computing Krippendorff's alpha-reliability (2011), section D, ordinal differences.
    """
    table = numbers(grades, "the grades").astype(np.float64)
    if table.ndim != 2:
        raise ArrayError(f"the grades have the shape {table.shape}; expected (R, N): a row for each reader")
    table = table[:, np.isfinite(table).sum(0) > 1]
    known = np.isfinite(table)
    values, places = np.unique(table[known], return_inverse=True)
    if len(values) < 2:
        return math.nan
    one_hot = np.zeros((*table.shape, len(values)))
    one_hot[(*np.nonzero(known), places)] = 1
    counts = one_hot.sum(0)  # (N, V)
    pairs = np.einsum("nv,nw->nvw", counts, counts) - counts[:, :, None] * np.eye(len(values))
    coincidences = (pairs / (counts.sum(1) - 1)[:, None, None]).sum(0)
    totals = coincidences.sum(0)
    cumulative = np.cumsum(totals) - totals / 2
    squares = np.square(cumulative[:, None] - cumulative)
    observed = (coincidences * squares).sum()
    expected = (np.outer(totals, totals) * squares).sum() / (totals.sum() - 1)
    return float(1 - observed / expected)
