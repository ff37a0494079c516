"""The page of a learning curve: what each method is worth in labels, the curves with bands, every mean and cost."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path

from markupsafe import escape

from scantling.core import atomic
from scantling.experiments.cells import ALL, OBJECTS
from scantling.experiments.curve_result import Curve, Point
from scantling.experiments.validity import Validity
from scantling.metrics.catalogue import BOX_METRICS_OF_A_CASE, CLASS_METRICS, METRICS
from scantling.report.charts import (
    BOTTOM,
    HEIGHT,
    LEFT,
    RIGHT,
    SIGNED,
    TOP,
    WIDTH,
    Axis,
    Chart,
    Key,
    Rows,
    frame,
    svg,
    trace,
)
from scantling.report.commands import shell
from scantling.report.figures import Figures
from scantling.report.generated import HEADINGS, ImageLine
from scantling.report.rendering import rendered
from scantling.report.words import NONE, Metric, duration, metric

PAGE = "curve.html.j2"
PAGE_NAME = "curve.html"


@dataclass(frozen=True)
class Line:
    """A point in the table: its cells as (text, what stands small below it)."""

    point: Point
    first: bool
    cells: tuple[tuple[str, str], ...]


def write_curve(found: Curve, page: Path, *, figures: Path | None = None, command: Sequence[str] = ()) -> Path:
    """Write one self-contained HTML page on a curve; returns it.

    Args:
        figures: a folder for its charts and tables for a paper.
        command: what makes it again.
    """
    one = metric_of(found)
    charts = [each for each in (curves_chart(found, one), _efforts(found, one), _differences(found, one)) if each]
    if figures is not None:
        _write_figures(found, one, charts, Figures(figures), command)
    return write_page(found, page, charts, command=command)


def _write_figures(
    found: Curve, one: Metric, charts: Sequence[Chart], figures: Figures, command: Sequence[str]
) -> None:
    """The charts, and every point as table.tex; the charts have their numbers beside them."""
    for chart in charts:
        figures.chart(chart.title, chart)
    header = ["Method", "Labels", one.short, "Difference", "Equals", "Trainings"]
    rows = []
    for line in _lines(found, one):
        labels, mean, difference, equals, trainings = line.cells[:5]
        cells = [
            f"{text} ({below})" if below else text for text, below in (labels, mean, difference, equals, trainings)
        ]
        rows.append([line.point.method, *cells])
    caption = f"{one.title} on {found.name}: means over test cases and trainings, with 95 % intervals. "
    caption += f"Difference: to {found.control} at equal labels; equals: {found.unit}s of {found.control}."
    figures.table("table", header, rows, caption=caption)
    figures.finish(command)


def metric_of(found: Curve) -> Metric:
    """How the metric of a curve is written."""
    units = {found.metric.name: next((unit for unit in ("mm", "pixel") if unit in found.metric.title), None)}
    known = next((each for each in (CLASS_METRICS, BOX_METRICS_OF_A_CASE) if found.metric in each.values()), METRICS)
    return metric(found.metric.name, known=known, units=units if found.metric.is_length else None)


def write_page(
    found: Curve,
    page: Path,
    charts: Sequence[Chart],
    *,
    command: Sequence[str] = (),
    name: str = "curve",
    noun: str = "method",
    arms: Sequence[tuple[str, str]] = (),
    validity: Sequence[Validity] = (),
    images: Sequence[ImageLine] = (),
) -> Path:
    """Write the page of a curve, or of what is told in the same tables.

    Args:
        name: of the command.
        noun: what is held against each other.
        arms: each with what it trains on.
        validity: what recognisers score on made cases.
        images: made images beside real ones.
    """
    one = metric_of(found)
    text = rendered(
        PAGE,
        found=found,
        name=name,
        noun=noun,
        metric=one,
        lines=list(_lines(found, one)),
        classes=list(_class_lines(found, one)),
        charts=charts,
        drawn=any(point.effort for point in found.points),
        corrected=found.corrected,
        command=shell(*command),
        arms=arms,
        validity=validity,
        images=images,
        measures=HEADINGS,
    )
    atomic.write_text(atomic.named(page), text)
    return page


def _lines(found: Curve, one: Metric) -> Iterator[Line]:
    for _, group in groupby(found.points, key=lambda point: point.method):
        for number, point in enumerate(group):
            cost = point.cost
            worth = point.worth.text if point.worth is not None else NONE
            cells = [
                (f"{point.subjects} ({ALL})" if point.labels == ALL else point.labels.removesuffix(OBJECTS), ""),
                (one.write(point.mean), _between(point.interval, one)),
                (_signed(point.difference, one), _between(point.difference_interval, one, signed=True)),
                (worth, ""),
                (str(point.cells), ""),
                (NONE if cost.parameters is None else f"{cost.parameters:,.0f}", ""),
                (NONE if cost.seconds is None else f"{cost.seconds:.3g}", ""),
                (NONE if cost.training_seconds is None else duration(cost.training_seconds), ""),
            ]
            if any(each.effort for each in found.points):
                cells += [(text or NONE, "") for text in (point.drawn if found.corrected else point.drawn[:-1])]
            yield Line(point, number == 0, tuple(cells))


def _class_lines(found: Curve, one: Metric) -> Iterator[tuple[str, str, tuple[tuple[str, str], ...]]]:
    """Method, budget and the means of each class."""
    for point in found.points if found.points and found.points[0].classes else ():
        cells = [(one.write(each.mean), _between(each.interval, one)) for each in point.classes.values()]
        yield point.method, f"{point.subjects}", tuple(cells)


def _between(interval: tuple[float, float], one: Metric, *, signed: bool = False) -> str:
    if any(math.isnan(end) for end in interval):
        return ""
    return " to ".join(_signed(end, one) if signed else one.write(end) for end in interval)


def _signed(value: float, one: Metric) -> str:
    """A difference, without a sign where it rounds to 0."""
    if math.isnan(value):
        return NONE
    rounded = round(value, one.digits) + 0.0
    return f"{'+' if rounded > 0 else ''}{one.write(rounded)}"


def curves_chart(found: Curve, one: Metric) -> Chart | None:
    """The mean of each method over the labelled subjects, with its interval as a band."""
    points = [point for point in found.points if not math.isnan(point.mean)]
    if not points:
        return None
    series = [(point, point.mean, point.interval) for point in points]
    title, note = f"{one.title} over {found.unit}s", f"A band is a 95 % interval; {one.better}."
    return _banded(title, series, list(found.methods), one, note=note, unit=f"{found.unit}s")


def _efforts(found: Curve, one: Metric) -> Chart | None:
    """The mean of each method over what it takes to draw its labels."""
    points = [point for point in found.points if not math.isnan(point.mean) and point.effort.get("pixels")]
    if not points:
        return None
    series = [(point, point.mean, point.interval) for point in points]
    note = f"Pixels that a hand follows, an estimate; a band is a 95 % interval; {one.better}."
    return _banded(
        f"{one.title} over pixels drawn", series, list(found.methods), one, note=note, unit="pixels drawn",
        place=lambda point: round(point.effort["pixels"]),
    )  # fmt: skip


def _differences(found: Curve, one: Metric) -> Chart | None:
    """The difference of each method to the control at equal labels, with its interval as a band."""
    points = [point for point in found.points if not math.isnan(point.difference)]
    if not points:
        return None
    series = [(point, point.difference, point.difference_interval) for point in points]
    title = f"{one.title}: difference to {found.control}"
    note = f"Minus {found.control} at equal labels; {one.better}. A band is a 95 % interval."
    return _banded(title, series, list(found.methods), one, note=note, zero=True, unit=f"{found.unit}s")


def _banded(
    title: str,
    series: Sequence[tuple[Point, float, tuple[float, float]]],
    methods: Sequence[str],
    one: Metric,
    *,
    note: str,
    zero: bool = False,
    unit: str = "labelled subjects",
    place: Callable[[Point], int] = lambda point: point.subjects,
) -> Chart:
    """Curves over a logarithmic axis, each with a band; a method has one colour in all charts.

    Args:
        unit: what the axis counts.
        place: of a point on it.
    """
    ends = [end for _, value, interval in series for end in (value, *interval) if not math.isnan(end)]
    across = _budget_axis([place(point) for point, _, _ in series])
    up = Axis([*ends, *([0.0] if zero else [])], HEIGHT - BOTTOM, TOP, bounds=SIGNED if zero else one.range)
    parts = frame(across, up, unit)
    if zero:
        parts.append(f'<path class="mark" d="M{LEFT} {up(0.0):.1f}H{WIDTH - RIGHT}"/>')
    said, keys = [], []
    for number, method in enumerate(methods):
        own = [each for each in series if each[0].method == method]
        if not own:
            continue
        colour, x = f"s{number % 6}", [float(place(point)) for point, _, _ in own]
        banded = [(at, low, high) for at, (_, _, (low, high)) in zip(x, own, strict=True) if not math.isnan(low + high)]
        if banded:
            corners = [(at, high) for at, _, high in banded] + [(at, low) for at, low, _ in reversed(banded)]
            outline = "L".join(f"{across(at):.1f} {up(y):.1f}" for at, y in corners)
            parts.append(f'<path class="band {colour}" d="M{outline}Z"/>')
            parts += [
                f'<path class="curve raw {colour}" d="M{across(a):.1f} {up(b):.1f}V{up(c):.1f}"/>' for a, b, c in banded
            ]
        y = [value for _, value, _ in own]
        parts.append(f'<path class="curve {colour}" d="{trace(x, y, across, up)}"/>')
        parts += [
            f'<circle class="dot {colour}" r="3" cx="{across(at):.1f}" cy="{up(value):.1f}">'
            f"<title>{escape(f'{method}, {at:,.0f} {unit}: {one.write(value)}')}</title></circle>"
            for at, value in zip(x, y, strict=True)
        ]
        keys.append(Key(method, number % 6))
        said.append(f"{method} " + ", ".join(f"{one.write(value)} at {at:.0f}" for at, value in zip(x, y, strict=True)))
    vertical = f"difference in {one.title}" if zero else one.title
    numbers = ((point.method, place(point), value, *interval) for point, value, interval in series)
    table: Rows = (("method", unit, vertical, "low", "high"), *numbers)
    return Chart(title, svg(parts, f"{title}: {'; '.join(said)}."), tuple(keys), note, (unit, vertical), table)


def _budget_axis(subjects: Sequence[int]) -> Axis:
    """A logarithmic axis whose ticks are the budgets, without those that would touch another."""
    axis = Axis([float(number) for number in subjects], LEFT + 12, WIDTH - RIGHT - 12, log=True)
    low, high = math.log10(min(subjects)), math.log10(max(subjects))
    axis.low, axis.high = (low, high) if high > low else (low - 0.5, high + 0.5)
    axis.ticks = []
    for number in sorted({*subjects}):
        if not axis.ticks or axis(number) - axis(axis.ticks[-1]) >= 20:
            axis.ticks.append(float(number))
    return axis
