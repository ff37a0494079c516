"""How far a score may lie from its estimate: intervals that hold with a promised probability, whatever the model."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from scantling.core.checks import check_number
from scantling.core.errors import ArrayError


def residual_interval(groups: Sequence[Sequence[float]], *, coverage: float = 0.9) -> tuple[float, float] | None:
    """The limits of the residual of a new subject's case, given those of the calibration subjects.

    Conformal prediction (Vovk, Gammerman and Shafer, 2005; Lei et al., 2018): residuals are centred by the median over
    subjects, the new one among them, and the nonconformity is the distance to that centre. With n subjects of N_i
    cases, each residual weighs 1 / ((n + 1) N_i) and 1 / (n + 1) lies at infinity (Lee, Barber and Willett, 2023), so
    that a case of a new subject, drawn like these, lies inside with a probability of at least `coverage`. With one case
    each, the limits are the k-th smallest distance, k = ceil((n + 1) coverage), from either end of what the centre can
    be.

    Args:
        groups: the residuals (score - estimate) of each subject, none of them empty.
        coverage: in (0, 1).

    Returns:
        The lower and the upper limit; None where there are too few subjects (n < coverage / (1 - coverage)).

    Raises:
        SettingsError: the coverage is not in (0, 1).
        ArrayError: a subject has no residual, or one is NaN.
    """
    check_number(coverage, argument="coverage", above=0, most=1)
    count = len(groups)
    if any(not len(group) or np.isnan(group).any() for group in groups):
        raise ArrayError("found a subject without a residual, or one that is NaN; expected a number for each case")
    residuals = np.array([value for group in groups for value in group], np.float64)
    weights = np.array([1 / ((count + 1) * len(group)) for group in groups for _ in group], np.float64)
    middles = [float(np.median(group)) for group in groups]
    if count < 2 or float(weights.sum()) < coverage - 1e-9:
        return None

    def reach(centre: float) -> float:
        distances = np.abs(residuals - centre)
        order = np.argsort(distances, kind="stable")
        within = np.cumsum(weights[order])
        return float(distances[order][int(np.argmax(within >= coverage - 1e-9))])

    low, high = (float(np.median([*middles, end])) for end in (-math.inf, math.inf))
    return low - reach(low), high + reach(high)
