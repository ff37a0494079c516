"""Intervals of means over few subjects, each with several cases: how far a mean could be chance.

The percentile bootstrap covers 80 % instead of 95 % at four subjects; `benchmarks/intervals.py` shows what these cover.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray
from scipy import special

LEVEL = 0.95
FEW = 10
"""Below this many subjects an interval is said to rest on few."""
Values = NDArray[np.float64]
NOWHERE = (math.nan, math.nan)


def mean_interval(
    sums: Values, counts: Values, *, low: float = -math.inf, high: float = math.inf
) -> tuple[float, float]:
    r"""The limits of the 95 % interval of the mean over all cases, with subjects as the units of chance.

    Student's t with the jackknife's variance over J subjects and J - 1 degrees of freedom (Tukey, 1958; for clusters
    of unequal size Bell and McCaffrey, 2002),

    .. math:: \bar x \pm t_{J-1} \sqrt{\tfrac{J-1}{J} \sum_j (\bar x_{(j)} - \bar x_{(\cdot)})^2},

    with the mean without subject j. Of a metric with two bounds it is worked out for the logit of the mean
    and brought back, as the values of few subjects lie skew between bounds; of one with a single bound it is cut there.

    Args:
        sums: (J,) the sum of the values of each subject's cases.
        counts: (J,) how many cases each has; subjects without a case do not count.
        low, high: the bounds of the metric.

    Returns:
        The limits, NaN below two subjects, and where the values of a metric with a bound are all equal, which says
        nothing of how they scatter. Where all values are at one of two bounds: `rate_interval`.
    """
    sums, counts = sums[counts > 0], counts[counts > 0]
    subjects = len(sums)
    if subjects < 2:
        return NOWHERE
    mean = float(sums.sum() / counts.sum())
    without = (sums.sum() - sums) / (counts.sum() - counts)
    return jackknife_interval(mean, without, low=low, high=high, effective=subjects)


def jackknife_interval(
    value: float, without: Values, *, low: float = -math.inf, high: float = math.inf, effective: int
) -> tuple[float, float]:
    """The limits of the 95 % interval of any number that all cases give together; see `mean_interval`.

    Args:
        without: (J,) the number without each of the subjects.
        low, high: its bounds.
        effective: how many subjects it rests on, those of its rarest part: they are the degrees of freedom plus one,
            and the independent cases that it is worth where it lies at one of two bounds.

    Returns:
        The limits, NaN below two subjects, where the number is undefined, without a subject too, and where it is the
        same without each of them.
    """
    if len(without) < 2 or not (math.isfinite(value) and np.isfinite(without).all()):
        return NOWHERE
    if value in (low, high) and math.isfinite(high - low):
        share = np.full(effective, (value - low) / (high - low))
        first, last = rate_interval(share, np.ones(effective))
        return low + first * (high - low), low + last * (high - low)
    if math.isfinite(low) and np.ptp(without) <= 1e-12 * max(1.0, abs(value)):
        return NOWHERE
    scaled = without.min() > low and without.max() < high and low < value < high
    if scaled and math.isfinite(high) and math.isfinite(low):
        centre, spread = _t(
            float(_logit((value - low) / (high - low))), _logit((without - low) / (high - low)), effective
        )
        limits = low + (high - low) / (1 + np.exp(-np.array([centre - spread, centre + spread])))
    else:
        centre, spread = _t(value, without, effective)
        limits = np.clip([centre - spread, centre + spread], low, high)
    return float(limits[0]), float(limits[1])


def rate_interval(sums: Values, counts: Values) -> tuple[float, float]:
    """The limits of the 95 % interval of a share of cases, values of 0 and 1, with subjects as the units of chance.

    The interval of Clopper and Pearson (1934) of as many independent cases as the jackknife's variance speaks of
    (Korn and Graubard, 1998); where all are alike, of as many as there are subjects. It is never of zero width.

    Args:
        sums: (J,) how many of each subject's cases are 1.
        counts: (J,) how many cases each has; subjects without a case do not count.

    Returns:
        The limits, NaN below two subjects.
    """
    sums, counts = sums[counts > 0], counts[counts > 0]
    subjects, cases = len(sums), float(counts.sum())
    if subjects < 2:
        return NOWHERE
    share = float(sums.sum() / cases)
    variance = _variance((sums.sum() - sums) / (cases - counts))
    effective = float(subjects)
    if 0 < share < 1 and variance > 0:
        at = (1 + LEVEL) / 2
        freedom = (special.stdtrit(cases - 1, at) / special.stdtrit(subjects - 1, at)) ** 2
        effective = float(np.clip(share * (1 - share) / variance * freedom, 1, cases))
    hits, tail = share * effective, (1 - LEVEL) / 2
    low = special.betaincinv(hits, effective - hits + 1, tail) if hits > 0 else 0.0
    high = special.betaincinv(hits + 1, effective - hits, 1 - tail) if hits < effective else 1.0
    return float(low), float(high)


def _t(centre: float, without: Values, subjects: int) -> tuple[float, float]:
    """The middle and half the width of the interval of a number whose values without each subject are known."""
    return centre, float(special.stdtrit(max(subjects - 1, 1), (1 + LEVEL) / 2) * math.sqrt(_variance(without)))


def _variance(without: Values) -> float:
    return float((len(without) - 1) / len(without) * np.square(without - without.mean()).sum())


def _logit(share: Values | float) -> Values:
    return np.asarray(np.log(share) - np.log1p(-np.asarray(share)))
