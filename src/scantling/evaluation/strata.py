"""Scores by stratum: of each skin tone, site or device by itself, and how far the best lies from the worst."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from scipy import special

from scantling.evaluation.intervals import LEVEL, NOWHERE
from scantling.evaluation.summary import summarise

Ranges = Mapping[str, tuple[float, float]]
MAIN = ("dice", "cldice", "hd95", "ece")
"""The metrics of masks that the table shows by stratum; JSON has all."""
CONVENTION = (
    "A stratum of fewer than two subjects has no interval and is in no gap. The gap is the largest difference between "
    "two values of a stratum; its 95 % interval is worked out from theirs (Zou and Donner, 2008), and holds for all "
    "pairs of values at once (Bonferroni)."
)


@dataclass(frozen=True)
class Estimate:
    """A score of several cases.

    Attributes:
        interval: its 95 % interval, NaN where there is none.
        cases, subjects: how many define it.
        without: the score without each subject that defines it.
    """

    value: float
    interval: tuple[float, float] = NOWHERE
    cases: int = 0
    subjects: int = 0
    without: Mapping[str, float] = field(default_factory=dict)

    def facts(self) -> dict[str, Any]:
        """As JSON; what is undefined is None."""
        return {
            "value": number(self.value),
            "interval": limits(self.interval),
            "cases": self.cases,
            "subjects": self.subjects,
        }


@dataclass(frozen=True)
class Gap:
    """The largest difference of a score between two values of a stratum: `high` scores `difference` more than `low`."""

    high: str
    low: str
    difference: float
    interval: tuple[float, float]

    def facts(self) -> dict[str, Any]:
        """As JSON; what is undefined is None."""
        return {
            "high": self.high,
            "low": self.low,
            "difference": number(self.difference),
            "interval": limits(self.interval),
        }


@dataclass(frozen=True)
class Stratum:
    """The scores of the cases by one stratum.

    Attributes:
        name: "skin".
        values: the estimate of each metric, by value ("dark", "light").
        gaps: by metric, where two values have at least two subjects each.
        unknown: the ids of cases of which the stratum is not known.
    """

    name: str
    values: Mapping[str, Mapping[str, Estimate]]
    gaps: Mapping[str, Gap]
    unknown: tuple[str, ...]

    def facts(self) -> dict[str, Any]:
        """As JSON."""
        return {
            "values": {
                value: {metric: one.facts() for metric, one in found.items()} for value, found in self.values.items()
            },
            "gaps": {metric: gap.facts() for metric, gap in self.gaps.items()},
            "unknown": list(self.unknown),
        }

    def lines(self, titles: Mapping[str, str]) -> list[str]:
        """For people: a line for each metric of `titles` and value, then the gap.

        Args:
            titles: of the metrics to show, by name.
        """
        lines = []
        for metric, title in titles.items():
            for value, found in self.values.items():
                one = found[metric]
                people = f"{one.cases} cases, {one.subjects} subjects"
                lines.append(f"{title}, {self.name} {value}: {text(one.value)}{between(one.interval)} ({people})")
            if gap := self.gaps.get(metric):
                lines.append(
                    f"{title}, largest gap by {self.name}: {text(gap.difference)}{between(gap.interval)} "
                    f"({gap.high} above {gap.low})"
                )
        if self.unknown:
            lines.append(f"The {self.name} of {len(self.unknown)} cases is not known; they are in none of its values.")
        return lines


def by_stratum(
    ids: Sequence[str],
    strata: Sequence[Mapping[str, str]],
    *,
    estimates: Callable[[Sequence[int]], Mapping[str, Estimate]],
    ranges: Ranges,
) -> tuple[Stratum, ...]:
    """The scores of cases by each stratum that any of them has.

    Args:
        ids: of the cases.
        strata: of the cases, values by name.
        estimates: the scores of the cases at some positions, by metric.
        ranges: the bounds of the metrics.
    """
    found = []
    for name in sorted({name for each in strata for name in each}):
        values = sorted({each[name] for each in strata if name in each})
        scores = {
            value: estimates([place for place, each in enumerate(strata) if each.get(name) == value])
            for value in values
        }
        gaps = {
            metric: gap
            for metric, bounds in ranges.items()
            if (gap := largest_gap({value: one[metric] for value, one in scores.items()}, *bounds)) is not None
        }
        unknown = tuple(id for id, each in zip(ids, strata, strict=True) if name not in each)
        found.append(Stratum(name, scores, gaps, unknown))
    return tuple(found)


def largest_gap(estimates: Mapping[str, Estimate], low: float, high: float) -> Gap | None:
    r"""The largest difference between two estimates, with an interval that holds for all pairs at once.

    The limits are worked out from those of both estimates (Zou and Donner, 2008): with :math:`l, u` the limits of
    :math:`a` and of :math:`b`, and the correlation :math:`r` of the two over the subjects that are in both,

    .. math:: a - b - \sqrt{(a - l_a)^2 + (u_b - b)^2 - 2 r (a - l_a)(u_b - b)}

    is the lower one; the upper one likewise. Both lie further out by the ratio of Student's t with and without
    Bonferroni's correction for the number of pairs, at the degrees of freedom of the smaller estimate.

    Args:
        low, high: the bounds of the score.

    Returns:
        None where fewer than two estimates are defined and have at least two subjects.
    """
    able = {name: one for name, one in estimates.items() if one.subjects >= 2 and not math.isnan(one.value)}
    if len(able) < 2:
        return None
    last, first = max(able, key=lambda name: able[name].value), min(able, key=lambda name: able[name].value)
    if first == last:  # all are equal
        first, last = list(able)[:2]
    difference = able[last].value - able[first].value
    down, up = _difference(able[last], able[first], pairs=math.comb(len(able), 2))
    width = high - low
    known = down + up > 0  # not NaN, and they scatter
    interval = (max(difference - down, -width), min(difference + up, width)) if known else NOWHERE
    return Gap(last, first, difference, interval)


def strata_of_masks(
    ids: Sequence[str],
    strata: Sequence[Mapping[str, str]],
    *,
    scores: Sequence[Mapping[str, float]],
    subjects: Sequence[str],
    ranges: Ranges,
) -> tuple[Stratum, ...]:
    """The means of the metrics of masks by stratum.

    Args:
        scores: for each case the value of each metric, NaN where it is undefined.
        subjects: for each case whom it shows.
        ranges: the bounds of all metrics.
    """

    def estimates(places: Sequence[int]) -> dict[str, Estimate]:
        chosen, people = [scores[place] for place in places], [subjects[place] for place in places]
        summary = summarise(chosen, people, ranges=ranges)
        return {
            name: Estimate(
                summary.mean[name],
                summary.interval[name],
                summary.count[name],
                summary.subjects[name],
                _means_without([case[name] for case in chosen], people),
            )
            for name in ranges
        }

    return by_stratum(ids, strata, estimates=estimates, ranges=ranges)


def strata_facts(strata: Sequence[Stratum]) -> dict[str, Any]:
    """As JSON: by name, beside the "convention"; empty without strata."""
    return {"convention": CONVENTION, "names": {one.name: one.facts() for one in strata}} if strata else {}


def number(value: float) -> float | None:
    """For JSON: None if it is not finite."""
    return value if math.isfinite(value) else None


def limits(pair: tuple[float, float]) -> list[float] | None:
    """For JSON: None if there is no interval."""
    return list(pair) if all(map(math.isfinite, pair)) else None


def text(value: float) -> str:
    """Four decimals below ten, two from there on; nothing is said of what is undefined."""
    return "undefined" if math.isnan(value) else f"{value:.4f}" if abs(value) < 10 else f"{value:.2f}"


def between(interval: tuple[float, float]) -> str:
    """An interval behind its value; empty if there is none."""
    return "" if any(map(math.isnan, interval)) else f", {text(interval[0])} to {text(interval[1])}"


def _means_without(values: Sequence[float], subjects: Sequence[str]) -> dict[str, float]:
    sums: dict[str, tuple[float, int]] = {}
    for subject, value in zip(subjects, values, strict=True):
        if not math.isnan(value):
            before = sums.get(subject, (0.0, 0))
            sums[subject] = before[0] + value, before[1] + 1
    total, count = math.fsum(each for each, _ in sums.values()), sum(number for _, number in sums.values())
    return {
        subject: (total - own) / (count - many) if count > many else math.nan for subject, (own, many) in sums.items()
    }


def _difference(one: Estimate, other: Estimate, *, pairs: int) -> tuple[float, float]:
    """How far the interval of `one - other` reaches below and above it; NaN where it cannot be known."""
    freedom = min(one.subjects, other.subjects) - 1
    tail = (1 - LEVEL) / 2
    wider = float(special.stdtrit(freedom, 1 - tail / pairs) / special.stdtrit(freedom, 1 - tail))
    correlation = _correlation(one, other)

    def reach(a: float, b: float) -> float:
        return wider * math.sqrt(max(a * a + b * b - 2 * correlation * a * b, 0.0))

    down = reach(one.value - one.interval[0], other.interval[1] - other.value)
    up = reach(one.interval[1] - one.value, other.value - other.interval[0])
    return down, up


def _correlation(one: Estimate, other: Estimate) -> float:
    """Of two estimates, by what they are without each subject; 0 where they share none."""
    shared = one.without.keys() & other.without.keys()
    if not shared:
        return 0.0
    parts = []
    for each in (one, other):
        without = np.array(list(each.without.values()), np.float64)
        scaled = math.sqrt((len(without) - 1) / len(without)) * (without - without.mean())
        parts.append(dict(zip(each.without, scaled.tolist(), strict=True)))
    first, second = (math.fsum(value**2 for value in part.values()) for part in parts)
    together = math.fsum(parts[0][subject] * parts[1][subject] for subject in shared)
    return together / math.sqrt(first * second) if first * second > 0 else 0.0
