"""Whether one method is better than another on the same cases: paired differences, chance, many questions, ranks."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from scantling.core.randomness import numpy_generator
from scantling.evaluation.summary import summarise

Values = NDArray[np.float64]

SIGNIFICANT = 0.05
EXACT = 20
"""Up to this many subjects that differ, every pattern of signs is tried; above, `FLIPS` drawn ones."""
FLIPS = 9_999
_CHUNK = 4_000_000
"""At most this many signs in memory at once."""
_SAME = 1e-12
"""Values that are closer than this, or than this share of themselves, are equal but for rounding."""


@dataclass(frozen=True)
class Paired:
    """How two methods differ on the same cases.

    Attributes:
        difference: the mean over cases of the first minus the second.
        interval: the limits of its 95 % interval; NaN for a single subject.
        p: of the two-sided permutation test; NaN without a case.
    """

    difference: float
    interval: tuple[float, float]
    p: float


def paired(one: Values, other: Values, subjects: Sequence[str], *, most: float = math.inf) -> Paired:
    """Compare two methods case by case, with subjects as the units of chance.

    The interval is that of `intervals.mean_interval` of the differences. The test is `sign_flips`.

    Args:
        one, other: (N,) the values of the cases, NaN where undefined; such a case does not count.
        subjects: (N,) whom each case shows.
        most: no difference can be larger.
    """
    size = np.maximum(1.0, np.maximum(np.abs(one), np.abs(other)))
    difference = np.where(np.abs(one - other) <= _SAME * size, 0.0, one - other)
    known = ~np.isnan(difference)
    summary = summarise([{"difference": float(value)} for value in difference], subjects)
    low, high = summary.interval.get("difference", (math.nan, math.nan))
    persons = [subject for subject, there in zip(subjects, known, strict=True) if there]
    return Paired(
        difference=summary.mean.get("difference", math.nan),
        interval=(max(low, -most), min(high, most)) if low == low else (low, high),
        p=sign_flips(difference[known], persons),
    )


def sign_flips(differences: Values, subjects: Sequence[str]) -> float:
    """The two-sided p that paired differences have a mean of 0: Fisher's permutation test.

    Were the methods alike, it would be chance which of them is the first, for each subject; so the sign of all
    differences of a subject is flipped together, and p is the share of the patterns of signs whose sum is at least as
    far from 0 as the one that was seen. All patterns are tried where few subjects differ; otherwise `FLIPS` are drawn,
    and p = (1 + hits) / (1 + FLIPS) (Phipson and Smyth, 2010), the same at every time.

    Args:
        differences: (N,) without NaN.
        subjects: (N,) whom each shows.

    Returns:
        p in (0, 1]; NaN without differences.
    """
    if not len(differences):
        return math.nan
    members, which = np.unique(np.array(subjects, dtype=str), return_inverse=True)
    sums = np.zeros(len(members))
    np.add.at(sums, which, differences)
    sums = sums[np.abs(sums) > _SAME * np.abs(differences).max()]  # a flip of 0 changes nothing
    seen = abs(sums.sum()) - _SAME * np.abs(sums).sum()
    if len(sums) <= EXACT:
        totals = np.zeros(1)
        for number in sums:
            totals = np.concatenate([totals + number, totals - number])
        return float((np.abs(totals) >= seen).mean())
    draw, hits = numpy_generator("sign flips", len(sums)), 0
    at_once = max(1, _CHUNK // len(sums))
    for start in range(0, FLIPS, at_once):
        kept = draw.integers(0, 2, size=(min(at_once, FLIPS - start), len(sums)), dtype=np.int8)
        hits += int((np.abs(2 * (kept @ sums) - sums.sum()) >= seen).sum())
    return (1 + hits) / (1 + FLIPS)


def least_p(subjects: int) -> float:
    """The smallest p that `sign_flips` can give for so many subjects, however large the differences."""
    return 2.0 ** (1 - subjects) if subjects <= EXACT else 1 / (FLIPS + 1)


def holm(values: Sequence[float]) -> list[float]:
    """The p of several tests, such that the chance of any false one among those below a level is at most that level.

    The k-th smallest of m is multiplied by m - k + 1, is at least as large as those before it and at most 1 (Holm,
    1979). NaN stays and does not count.
    """
    p = np.array(values, dtype=np.float64)
    order = np.argsort(p)[: int((~np.isnan(p)).sum())]
    adjusted = np.full(len(p), np.nan)
    steps = len(order) - np.arange(len(order))
    adjusted[order] = np.minimum(1.0, np.maximum.accumulate(steps * p[order]))
    return [float(value) for value in adjusted]


def mean_ranks(values: Values, *, higher: bool) -> Values:
    """The mean over cases of each method's rank, 1 for the best; ties share the mean of their ranks.

    Args:
        values: (methods, cases); a case that is NaN for any method does not count.
        higher: whether a higher value is better.

    Returns:
        (methods,), NaN without a case.
    """
    whole = values[:, ~np.isnan(values).any(axis=0)]
    if not whole.shape[1]:
        return np.full(len(values), np.nan)
    worth = np.round(whole if higher else -whole, 12)
    ahead = (worth[None] > worth[:, None]).sum(axis=1)
    level = (worth[None] == worth[:, None]).sum(axis=1)
    return np.asarray((ahead + (level + 1) / 2).mean(axis=1))
