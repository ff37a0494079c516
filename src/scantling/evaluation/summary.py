"""Many cases in a few numbers: mean, deviation, and how far the mean could be chance."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from scantling.evaluation.intervals import mean_interval, rate_interval


@dataclass(frozen=True)
class Summary:
    """By metric, over the cases in which it is defined; NaN where there are too few.

    Attributes:
        mean: the mean over cases.
        std: the sample standard deviation (n - 1), NaN for a single case.
        interval: the limits of the mean's 95 % interval, NaN for a single subject.
        count: how many cases define it.
        subjects: how many subjects these cases show.
    """

    mean: Mapping[str, float]
    std: Mapping[str, float]
    interval: Mapping[str, tuple[float, float]]
    count: Mapping[str, int]
    subjects: Mapping[str, int]


def summarise(
    scores: Sequence[Mapping[str, float]],
    subjects: Sequence[str],
    *,
    ranges: Mapping[str, tuple[float, float]] | None = None,
) -> Summary:
    """Summarise the metrics of several cases.

    Images of one person are not independent, so subjects are the units of the interval; see `mean_interval`, and
    `rate_interval` for metrics that are 0 or 1 in every case.

    Args:
        scores: for each case the value of each metric, NaN where it is undefined; the same metrics everywhere.
        subjects: for each case whom it shows.
        ranges: the bounds of the metrics; none where a metric is not named.
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
    intervals = []
    for number, name in enumerate(names):
        low, high = (ranges or {}).get(name, (-math.inf, math.inf))
        known = values[defined[:, number], number]
        if (low, high) == (0.0, 1.0) and np.isin(known, (0.0, 1.0)).all():
            intervals.append(rate_interval(sums[:, number], counts[:, number]))
        else:
            intervals.append(mean_interval(sums[:, number], counts[:, number], low=low, high=high))
    return Summary(
        dict(zip(names, mean.tolist(), strict=True)),
        dict(zip(names, std.tolist(), strict=True)),
        dict(zip(names, intervals, strict=True)),
        dict(zip(names, count.tolist(), strict=True)),
        dict(zip(names, (counts > 0).sum(axis=0).tolist(), strict=True)),
    )
