"""The page of a comparison: what was found in sentences, the methods with their costs, and every difference drawn."""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from scantling.core import atomic
from scantling.experiments.comparison import ComparedMethod, Comparison, Pair, probability
from scantling.metrics.catalogue import BOX_METRICS_OF_A_CASE, CLASS_METRICS, METRICS
from scantling.report.charts import Chart
from scantling.report.commands import shell
from scantling.report.figures import Figures
from scantling.report.paired import paired_chart, panels_side_by_side, side_by_side, values_of
from scantling.report.rendering import rendered
from scantling.report.spreads import forest_chart
from scantling.report.words import NONE, Metric, duration, metric

PAGE = "comparison.html.j2"


@dataclass(frozen=True)
class Line:
    """A method in the table: its cells as (text, what stands small below it, number to sort by)."""

    method: ComparedMethod
    cells: tuple[tuple[str, str, str], ...]


@dataclass(frozen=True)
class TestedPair:
    """A tested pair in the table."""

    pair: Pair
    cells: tuple[str, ...]


def page_of(runs: Sequence[Path], out: Path | None) -> Path:
    """Where the page goes: into `out`, else into the folder that holds all of what is compared."""
    folder = out or Path(os.path.commonpath([path.resolve().parent for path in runs]))
    return folder / "compare.html"


def write_comparison(
    found: Comparison, page: Path, *, figures: Path | None = None, command: Sequence[str] = ()
) -> Path:
    """Write one self-contained HTML page on a comparison; returns it.

    Args:
        figures: a folder for its charts, panels and tables for a paper.
        command: what makes it again.
    """
    known = METRICS if found.region else {**CLASS_METRICS, **BOX_METRICS_OF_A_CASE}
    metrics = [metric(one.name, known=known, units=found.units) for one in found.metrics]
    text = rendered(
        PAGE,
        found=found,
        metrics=metrics,
        lines=[_line(one, metrics) for one in found.methods],
        tested_pairs=[_tested_pair(pair, metrics[0]) for pair in found.tested],
        seeds=[one for one in found.methods if len(one.runs) > 1],
        charts=[chart for one in metrics if (chart := _differences(found, one)) is not None],
        paired=[chart for one in metrics if (chart := paired_chart(found, one)) is not None],
        sides=list(side_by_side(found, metrics[0])),
        command=shell(*command),
    )
    atomic.write_text(atomic.named(page), text)
    if figures is not None:
        _write_figures(found, metrics, Figures(figures), command)
    return page


def _write_figures(found: Comparison, metrics: Sequence[Metric], figures: Figures, command: Sequence[str]) -> None:
    """The charts, the cases of most disagreement as panels, and tables of methods, settings and cases."""
    for one in metrics:
        for chart in (paired_chart(found, one), _differences(found, one)):
            if chart is not None:
                figures.chart(chart.title, chart)
    for name, picture in panels_side_by_side(found, metrics[0]):
        figures.picture(name, picture)
    rows = []
    for method in found.methods:
        cells = [(one.write(method.mean[one.key]), method.interval[one.key], one) for one in metrics]
        written = [
            mean if math.isnan(low) else f"{mean} ({one.write(low)} to {one.write(high)})"
            for mean, (low, high), one in cells
        ]
        rows.append([method.title, *written])
    header = ["Method", *(f"{one.title} {one.arrow}".strip() for one in metrics)]
    figures.table("table", header, rows, caption=f"Means with 95 % intervals: {found.scope}.")
    if found.settings:
        names = [method.name for method in found.methods]
        settings = [[name, *values] for name, values in found.settings]
        figures.table("settings", ["Setting", *names], settings, caption="Settings in which the methods differ.")
        figures.numbers("settings", [["setting", *names], *settings])
    figures.numbers("cases", values_of(found, metrics))
    figures.finish(command)


def _line(method: ComparedMethod, metrics: Sequence[Metric]) -> Line:
    cells = []
    for number, one in enumerate(metrics):
        mean, (low, high) = method.mean[one.key], method.interval[one.key]
        below = "" if math.isnan(low) else f"{one.write(low)} to {one.write(high)}"
        cells.append((one.write(mean), below, _key(mean)))
        if number == 0:
            rank = method.rank[one.key]
            cells.append((NONE if math.isnan(rank) else f"{rank:.2f}", "", _key(rank)))
    cost = method.cost
    for value, text in (
        (cost.parameters, "{:,.0f}".format),
        (cost.calls, "{:g}".format),
        (cost.seconds, "{:.3g}".format),
        (cost.training_seconds, duration),
    ):
        cells.append((NONE if value is None else text(value), "", _key(value)))
    return Line(method, tuple(cells))


def _key(value: float | None) -> str:
    """What the page sorts by."""
    return "" if value is None or math.isnan(value) else f"{value:.6g}"


def _tested_pair(pair: Pair, one: Metric) -> TestedPair:
    low, high = pair.interval
    interval = NONE if math.isnan(low) else f"{_signed(low, one)} to {_signed(high, one)}"
    corrected = probability(pair.p_holm) or NONE
    cells = (_signed(pair.difference, one), interval, probability(pair.p) or NONE, corrected, pair.verdict)
    return TestedPair(pair, cells)


def _signed(value: float, one: Metric) -> str:
    """A difference, without a sign where it rounds to 0."""
    return one.write(value if math.isnan(value) else round(value, one.digits) + 0.0)


def _differences(found: Comparison, one: Metric) -> Chart | None:
    """Each method's difference from the baseline as a dot with its 95 % interval, around a line at 0."""
    pairs = [pair for pair in found.pairs if pair.metric == one.key and pair.b == found.baseline]
    pairs = [pair for pair in pairs if not math.isnan(pair.difference)]
    if not pairs:
        return None
    rows = [
        (pair.a, pair.difference, pair.interval, f"{pair.a} − {pair.b}: {_signed(pair.difference, one)}")
        for pair in pairs
    ]
    label = f"{one.title}: difference of {len(pairs)} from {found.baseline}, with 95 % intervals."
    what = f"Minus {found.baseline}; {one.better}"
    if one.ideal is not None:
        what = f"Distances from {one.ideal:g}, minus {found.baseline}; lower is better"
    note = f"{what}. A line is a 95 % interval."
    return forest_chart(
        f"{one.title}: difference from {found.baseline}",
        rows,
        label=label,
        note=note,
        axis=f"difference in {one.title}",
    )
