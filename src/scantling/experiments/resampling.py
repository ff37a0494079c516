"""Means over subjects and trainings at once, and how far they could be chance: both are drawn anew, crossed.

Which subjects are tested, and which were labelled, are two samples of their own; an interval that knows one of them
alone is too narrow. Both are resampled independently (Owen, 2007), with weights in place of counts: those of n units
are Dirichlet with a concentration of (n - 2) / n each, so that the mean of few units varies as much as it should (ours;
counts vary by a factor (n - 1) / n too little).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import special

from scantling.core.randomness import numpy_generator
from scantling.evaluation.intervals import LEVEL, NOWHERE, Values

DRAWS = 2000
"""How often all is drawn anew."""


@dataclass(frozen=True)
class Draws:
    """Weights of the test subjects, the label seeds and the training seeds, the same for all that is compared.

    Attributes:
        subjects: (B, J), of a mean of 1.
        label_seeds: (B, D).
        seeds: (B, S).
    """

    subjects: Values
    label_seeds: Values
    seeds: Values

    @classmethod
    def of(cls, *, subjects: int, label_seeds: int, seeds: int) -> Draws:
        """The same at every time."""
        return cls(*(weights(count, name) for count, name in zip((subjects, label_seeds, seeds), _NAMES, strict=True)))


_NAMES = ("subjects", "label seeds", "seeds")


def weights(count: int, purpose: str) -> Values:
    """(B, count) weights of a mean of 1, with which the mean of `count` values varies by s² / count.

    Of two units one is drawn with all the weight, which the concentration tends to; one unit stays what it is.
    """
    if not count:
        return np.zeros((DRAWS, 0))
    draw = numpy_generator("resampling", purpose, count)
    if count < 3:
        return np.eye(count)[draw.integers(0, count, DRAWS)] * count
    return count * draw.dirichlet(np.full(count, (count - 2) / count), DRAWS)


@dataclass(frozen=True)
class Estimate:
    """A mean, and what it is with all drawn anew.

    Attributes:
        value: the mean over cases and trainings; NaN where there are none.
        drawn: (B,), stretched about `value` as Student's t is wider than a normal distribution with as few units;
            empty where a single subject allows none.
    """

    value: float
    drawn: Values

    def interval(self, *, low: float = -math.inf, high: float = math.inf) -> tuple[float, float]:
        """The limits of the 95 % interval, within the bounds of the metric; NaN where nothing can be drawn."""
        return limits(np.clip(self.drawn, low, high))


def limits(drawn: Values) -> tuple[float, float]:
    """The middle 95 % of what was drawn, infinite values included; NaN without any."""
    if not len(drawn) or np.isnan(drawn).any():
        return NOWHERE
    tail = (1 - LEVEL) / 2
    ends = np.quantile(drawn, (tail, 1 - tail), method="inverted_cdf")
    return float(ends[0]), float(ends[1])


NOTHING = Estimate(math.nan, np.zeros(0))


def estimate(values: Values, which: Sequence[int], draws: Draws) -> Estimate:
    """The mean of one method at one budget, or of its difference to another.

    The units of chance among the trainings are the label seeds, with the mean over the training seeds of each; where
    there is one label seed, they are the training seeds.

    Args:
        values: (D, S, N) by label seed, training seed and case; NaN for a training that there is not, and in all
            trainings for a case that does not count.
        which: (N,) the number of the subject that each case shows.
        draws: the weights.
    """
    defined = ~np.isnan(values)
    counts = np.any(defined, axis=(0, 1))
    if not counts.any():
        return NOTHING
    several = np.any(defined, axis=(1, 2)).sum() > 1
    used: NDArray[np.bool_] = np.any(defined, axis=(1, 2) if several else (0, 2))
    there = values[used] if several else np.swapaxes(values, 0, 1)[used]
    units = np.nanmean(there[..., counts], axis=1)  # (U, N)
    of_units = draws.label_seeds if several else draws.seeds
    if len(units) < of_units.shape[1]:  # a training is missing; fewer units have weights that vary more
        of_units = weights(len(units), _NAMES[1] if several else _NAMES[2])
    members = np.asarray(which)[counts]
    persons, place = np.unique(members, return_inverse=True)
    sums = np.zeros((len(units), len(persons)))
    np.add.at(sums.T, place, units.T)
    sizes = np.bincount(place).astype(np.float64)
    value = float(sums.sum() / (len(units) * sizes.sum()))
    if len(persons) < 2:
        return Estimate(value, np.zeros(0))
    by_person = draws.subjects if len(persons) == draws.subjects.shape[1] else weights(len(persons), _NAMES[0])
    alone = [
        (by_person * sums.mean(axis=0)).sum(1) / (by_person * sizes).sum(1),
        (of_units * sums.sum(axis=1)).sum(1) / (of_units.sum(1) * sizes.sum()),
    ]
    both = np.einsum("bu,bj,uj->b", of_units, by_person, sums, optimize=True)
    both /= of_units.sum(1) * (by_person * sizes).sum(1)
    freedom = _freedom([float(part.var()) for part in alone], [len(persons), len(units)])
    wider = special.stdtrit(freedom, (1 + LEVEL) / 2) / special.ndtri((1 + LEVEL) / 2)
    return Estimate(value, value + wider * (both - value))


def _freedom(variances: Sequence[float], units: Sequence[int]) -> float:
    """The degrees of freedom of a variance with two parts (Satterthwaite, 1946)."""
    parts = [(variance, count - 1) for variance, count in zip(variances, units, strict=True) if count > 1]
    below = sum(variance**2 / freedom for variance, freedom in parts)
    return sum(variance for variance, _ in parts) ** 2 / below if below > 0 else max(count for _, count in parts)


def rising(values: Values) -> Values:
    """The nearest values (B, N) that never fall along the last axis: least squares, by the max-min formula.

    Isotonic regression (Barlow et al., 1972): at n the largest, over a start a ≤ n, of the smallest mean from a to an
    end b ≥ n.
    """
    number = values.shape[-1]
    sums = np.concatenate([np.zeros((*values.shape[:-1], 1)), np.cumsum(values, -1)], -1)
    found = np.empty_like(values)
    for n in range(number):
        least = [
            np.min([(sums[..., b + 1] - sums[..., a]) / (b + 1 - a) for b in range(n, number)], axis=0)
            for a in range(n + 1)
        ]
        found[..., n] = np.max(least, axis=0)
    return found


def worth(values: Values, control: Values, subjects: Sequence[float]) -> Values:
    """How many labelled subjects of the control give a value: interpolated on its rising curve over log(subjects).

    Where the curve is level at a value, the middle of that part.

    Args:
        values: (B,).
        control: (B, N) what the control is worth at each budget; higher is better.
        subjects: (N,) of the budgets, rising; or what else they are counted in, as pixels drawn.

    Returns:
        (B,), 0 below what the control was measured at, infinite beyond it; NaN where `values` are.
    """
    curve, at = rising(control), np.log(np.asarray(subjects, dtype=np.float64))
    found = np.full(len(values), math.nan)
    for row, (value, heights) in enumerate(zip(values, curve, strict=True)):
        if math.isnan(value):
            continue
        first, last = (int(np.searchsorted(heights, value, side=side)) for side in ("left", "right"))
        if last > first:  # level at the value
            found[row] = math.exp((at[first] + at[last - 1]) / 2)
        elif first in (0, len(heights)):
            found[row] = 0.0 if first == 0 else math.inf
        else:
            share = (value - heights[first - 1]) / (heights[first] - heights[first - 1])
            found[row] = math.exp(at[first - 1] + share * (at[first] - at[first - 1]))
    return found
