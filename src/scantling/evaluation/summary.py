"""Many cases in a few numbers: mean, deviation, and how far the mean could be chance."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from scantling.randomness import numpy_generator

RESAMPLES = 10_000
LEVEL = 0.95
_CHUNK = 4_000_000
"""At most this many counts of subjects in memory at once."""


@dataclass(frozen=True)
class Summary:
    """By measure, over the cases in which it is defined; NaN where there are too few.

    Attributes:
        mean: the mean over cases.
        std: the sample standard deviation (n - 1), NaN for a single case.
        interval: the limits of the mean's 95 % interval, NaN for a single subject.
        count: how many cases define it.
    """

    mean: Mapping[str, float]
    std: Mapping[str, float]
    interval: Mapping[str, tuple[float, float]]
    count: Mapping[str, int]


def summarise(scores: Sequence[Mapping[str, float]], subjects: Sequence[str]) -> Summary:
    """Summarise the measures of several cases.

    The interval is the percentile bootstrap of Efron (1979) with whole subjects as units: images of one person are
    not independent, so each resample draws subjects with replacement and takes all their cases. The draws are the same
    for every measure and at every time.

    Args:
        scores: for each case the value of each measure, NaN where it is undefined; the same measures everywhere.
        subjects: for each case whom it shows.
    """
    names = list(scores[0]) if scores else []
    values = np.array([[case[name] for name in names] for case in scores], dtype=np.float64)
    values = values.reshape(len(scores), len(names))
    defined = ~np.isnan(values)
    count = defined.sum(axis=0)
    filled = np.where(defined, values, 0.0)
    with np.errstate(invalid="ignore", divide="ignore"):
        mean = filled.sum(axis=0) / count
        std = np.sqrt(np.where(defined, (values - mean) ** 2, 0.0).sum(axis=0) / np.where(count > 1, count - 1, np.nan))
    members, which = np.unique(np.array(subjects, dtype=str), return_inverse=True)
    sums, counts = (np.zeros((len(members), len(names))) for _ in range(2))
    np.add.at(sums, which, filled)
    np.add.at(counts, which, defined)
    low, high = _interval(sums, counts)
    return Summary(
        dict(zip(names, mean.tolist(), strict=True)),
        dict(zip(names, std.tolist(), strict=True)),
        dict(zip(names, zip(low.tolist(), high.tolist(), strict=True), strict=True)),
        dict(zip(names, count.tolist(), strict=True)),
    )


def _interval(sums: NDArray[np.float64], counts: NDArray[np.float64]) -> NDArray[np.float64]:
    """(2, M) limits from the sums and counts `(J, M)` of J subjects and M measures.

    A measure that is defined in fewer than two subjects has no interval, and a resample without a defined case has no
    mean and is left out.
    """
    subjects, measures = sums.shape
    limits = np.full((2, measures), np.nan)
    enough = (counts > 0).sum(axis=0) > 1
    if not enough.any():
        return limits
    draw = numpy_generator("bootstrap", subjects)
    means = []
    at_once = max(1, _CHUNK // subjects)
    for start in range(0, RESAMPLES, at_once):
        times = draw.multinomial(subjects, np.full(subjects, 1 / subjects), size=min(at_once, RESAMPLES - start))
        with np.errstate(invalid="ignore"):
            means.append((times @ sums[:, enough]) / (times @ counts[:, enough]))
    tail = 100 * (1 - LEVEL) / 2
    limits[:, enough] = np.nanpercentile(np.concatenate(means), (tail, 100 - tail), axis=0)
    return limits
