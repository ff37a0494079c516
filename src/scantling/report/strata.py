"""Scores by stratum as tables: a row for each value, and the largest gap between two of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from scantling.records.scores import Interval, StrataRecord
from scantling.report.words import Metric, plural


@dataclass(frozen=True)
class StratumTable:
    """The scores by one stratum.

    Attributes:
        rows: the value, how many cases and subjects have it, and for each metric its score and the interval.
        gaps: for each metric the largest gap, its interval, and which value lies above which; empty where there is
            none.
        unknown: a sentence on the cases of which the stratum is not known.
    """

    name: str
    metrics: tuple[Metric, ...]
    rows: tuple[tuple[str, str, tuple[tuple[str, str], ...]], ...]
    gaps: tuple[tuple[str, str, str], ...]
    unknown: str


def tables_of(strata: StrataRecord, metrics: Sequence[Metric]) -> tuple[StratumTable, ...]:
    """A table for each stratum, with those of `metrics` that it has."""
    tables = []
    for name, stratum in strata.names.items():
        shown = [one for one in metrics if any(one.key in scores for scores in stratum.values.values())]
        rows, gaps = [], []
        for value, scores in stratum.values.items():
            known = [scores.get(one.key) for one in shown]
            cells = [(one.write(each.value), interval(one, each.interval)) if each else ("", "") for one, each in zip(
                shown, known, strict=True
            )]  # fmt: skip
            most = max((each for each in known if each), key=lambda each: each.cases, default=None)
            people = f"{plural(most.cases, 'case')}, {plural(most.subjects, 'subject')}" if most else ""
            rows.append((value, people, tuple(cells)))
        for one in shown:
            gap = stratum.gaps.get(one.key)
            above = f"{gap.high} above {gap.low}" if gap else ""
            gaps.append((one.write(gap.difference), interval(one, gap.interval), above) if gap else ("", "", ""))
        number = len(stratum.unknown)
        unknown = f"Of {plural(number, 'case')} it is not known; they are in no row." if number else ""
        tables.append(
            StratumTable(name, tuple(shown), tuple(rows), tuple(gaps) if any(map(any, gaps)) else (), unknown)
        )
    return tuple(tables)


def interval(metric: Metric, limits: Interval) -> str:
    """ "0.61 to 0.74"; nothing where there is no interval."""
    return "" if limits is None else " to ".join(metric.write(end) for end in limits)
