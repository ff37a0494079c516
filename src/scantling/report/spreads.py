"""How values spread: over cases, around a mean, over predicted probabilities."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from itertools import pairwise

from markupsafe import Markup, escape

from scantling.report.charts import (
    BOTTOM,
    HEIGHT,
    LEFT,
    RIGHT,
    SIGNED,
    TOP,
    WIDTH,
    Axis,
    Bounds,
    Chart,
    Key,
    Rows,
    brief,
    frame,
    svg,
    tick_text,
    trace,
)

Row = tuple[str, float, tuple[float, float], str]
"""A name, a difference, its interval, and a sentence on it."""
NO_VIEWERS: Mapping[str, str] = {}
ON_STRIPS = "Line: mean. Band: its 95 % interval."
MANY = 150
"""Above this many cases bars count them."""


def reliability_chart(
    edges: Sequence[float],
    bins: Sequence[tuple[float | None, float | None, float]],
    *,
    unit: str = "pixels",
    share: str = "foreground",
) -> Chart:
    """The share that is true over the predicted probability, with the number of pixels or cases in each bin as bars.

    Args:
        edges: the bins' edges, one more than there are bins.
        bins: for each bin its mean prediction, share that is true, number of units.
        unit: what is counted.
        share: what is true of a unit.
    """
    across, up = Axis([0, 1], LEFT, WIDTH - RIGHT), Axis([0, 1], HEIGHT - BOTTOM, TOP)
    parts = frame(across, up, "predicted probability")
    most = max((count for _, _, count in bins), default=0)
    for (left, right), (_, _, count) in zip(pairwise(edges), bins, strict=False):
        if count > 0:
            tall = (HEIGHT - BOTTOM - TOP) * 0.3 * math.log1p(count) / math.log1p(most)
            wide = max(0.5, across(right) - across(left) - 1)
            parts.append(
                f'<rect class="count" x="{across(left) + 0.5:.1f}" y="{HEIGHT - BOTTOM - tall:.1f}" width="{wide:.1f}"'
                f' height="{tall:.1f}"><title>{count:,.0f} {unit}</title></rect>'
            )
    parts.append(f'<path class="ideal" d="M{across(0)} {up(0)}L{across(1)} {up(1)}"/>')
    points = [
        (predicted, true, count)
        for predicted, true, count in bins
        if predicted is not None and true is not None and count > 0
    ]
    parts.append(f'<path class="curve s0" d="{trace([p[0] for p in points], [p[1] for p in points], across, up)}"/>')
    for predicted, true, count in points:
        parts.append(
            f'<circle class="dot s0" r="3" cx="{across(predicted):.1f}" cy="{up(true):.1f}">'
            f"<title>predicted {predicted:.3f}, true {true:.3f}, {count:,.0f} {unit}</title></circle>"
        )
    said_so = "; ".join(f"{predicted:.2f} predicted, {true:.2f} true" for predicted, true, _ in points)
    note = f"On the dashed line, of the {unit} given a probability p a share p is {share}. Bars: {unit} in a bin, "
    return Chart(
        "Reliability of the probabilities",
        svg(parts, f"Reliability: {said_so or f'no {unit}'}."),
        (Key(f"share that is {share}", 0),),
        note + "on a logarithmic scale.",
        ("predicted probability", f"share that is {share}"),
        (
            ("from", "to", "mean prediction", f"share that is {share}", unit),
            *(
                (left, right, *(math.nan if value is None else value for value in found))
                for (left, right), found in zip(pairwise(edges), bins, strict=False)
            ),
        ),
    )


def forest_chart(title: str, rows: Sequence[Row], *, label: str, note: str, axis: str = "difference") -> Chart:
    """Differences from something, each as a dot with its interval, around a line at 0.

    Args:
        rows: at least one; an interval of NaN is not drawn.
        label: what those hear who do not see it.
        axis: what the numbers are, with their unit.
    """
    step = 30.0
    floor = TOP + step * len(rows) + 6
    ends = [end for _, value, interval, _ in rows for end in (value, *interval) if not math.isnan(end)]
    across = Axis([0.0, *ends], LEFT, WIDTH - RIGHT, bounds=SIGNED)
    parts = []
    for tick in across.ticks:
        x = across(tick)
        parts.append(f'<path class="grid" d="M{x:.1f} {TOP}V{floor}"/>')
        parts.append(f'<text x="{x:.1f}" y="{floor + 16}" text-anchor="middle">{tick_text(tick)}</text>')
    parts.append(f'<path class="mark" d="M{across(0.0):.1f} {TOP}V{floor}"/>')
    for number, (name, value, (low, high), sentence) in enumerate(rows):
        y = TOP + step * number + 20
        parts.append(f'<text x="0" y="{y - 8}">{escape(name)}</text>')
        if not math.isnan(low):
            parts.append(f'<path class="curve s0" d="M{across(low):.1f} {y}H{across(high):.1f}"/>')
        at = across(value)
        parts.append(f'<circle class="dot s0" r="4" cx="{at:.1f}" cy="{y}"><title>{escape(sentence)}</title></circle>')
    numbers = ((name, value, *interval) for name, value, interval, _ in rows)
    table: Rows = (("name", axis, "low", "high"), *numbers)
    return Chart(title, svg(parts, label, height=floor + 26), (), note, (axis, ""), table)


def strip_chart(
    title: str,
    cases: Sequence[tuple[str, float]],
    *,
    mean: float | None,
    interval: tuple[float, float] | None,
    axis: str = "",
    bounds: Bounds | None = None,
    opens: Mapping[str, str] = NO_VIEWERS,
) -> Chart:
    """Each case as a dot over the values of a metric; above 150 cases, bars that count them.

    Args:
        axis: what the values are, with their unit; unless said the title.
        bounds: of the values.
        opens: by case the viewer on the page that its dot opens it in.
    """
    values = [value for _, value in cases]
    across = Axis([*values, *(interval or ())], 14.0, WIDTH - RIGHT, bounds=bounds)
    floor, parts = 128.0, []
    for tick in across.ticks:
        parts.append(f'<path class="grid" d="M{across(tick):.1f} {TOP}V{floor}"/>')
        parts.append(f'<text x="{across(tick):.1f}" y="{floor + 16}" text-anchor="middle">{tick_text(tick)}</text>')
    if interval:
        start, stop = (across(value) for value in interval)
        wide = max(1.0, stop - start)
        parts.append(f'<rect class="interval" x="{start:.1f}" y="{TOP}" width="{wide:.1f}" height="{floor - TOP}"/>')
    if mean is not None:
        parts.append(f'<path class="mean" d="M{across(mean):.1f} {TOP}V{floor}"/>')
    parts += _bars(values, across, floor) if len(values) > MANY else _swarm(cases, across, floor, opens)
    parts.append(f'<path class="axis" d="M{across.start} {floor}H{across.stop}"/>')
    ordered = sorted(values)
    label = f"{title}: {len(values)} cases from {brief(ordered[0])} to {brief(ordered[-1])}."
    linked = any('<a class="opens"' in part for part in parts)
    dot = "A dot is a case, and opens it." if linked else "A dot is a case."
    what = "Bars: number of cases." if len(values) > MANY else dot
    names = (axis or title, "number of cases" if len(values) > MANY else "")
    drawn = svg(parts, label, height=150.0, linked=linked)
    return Chart(title, drawn, (), f"{what} {ON_STRIPS}", names, (("id", names[0]), *cases))


def _swarm(cases: Sequence[tuple[str, float]], across: Axis, floor: float, opens: Mapping[str, str]) -> list[str]:
    """Dots that do not overlap while there is room: each as near to the middle as those before it allow."""
    radius = 5.0 if len(cases) <= 40 else 3.2
    middle, room = (TOP + floor) / 2, (floor - TOP) / 2 - radius
    ordered = sorted(cases, key=lambda case: (case[1], case[0]))
    placed: list[tuple[float, float]] = []
    for _, value in ordered:
        x = across(value)
        near = [(px, py) for px, py in placed[-80:] if x - px < 2 * radius]
        steps = (sign * step * radius / 2 for step in range(int(2 * room / radius) + 1) for sign in (1, -1))
        places = (middle + step for step in steps)
        free = (y for y in places if all(math.hypot(x - px, y - py) >= 2 * radius for px, py in near))
        placed.append((x, next(free, middle)))
    dots, first = [], True
    for (x, y), (name, value) in zip(placed, ordered, strict=True):
        dot = f'<circle class="case" r="{radius - 0.7:.1f}" cx="{x:.1f}" cy="{y:.1f}">'
        dot += f"<title>{escape(name)}: {value:.3f}</title></circle>"
        if name in opens:
            viewer, stop = opens[name], 0 if first else -1
            dot = (
                f'<a class="opens" href="#{viewer}" data-viewer="{viewer}" data-opens="{escape(name)}" '
                f'tabindex="{stop}" aria-label="{escape(name)}: {value:.3f}, open it">{dot}</a>'
            )
            first = False
        dots.append(dot)
    return dots


def _bars(values: Sequence[float], across: Axis, floor: float) -> list[str]:
    bins = 40
    low, width = across.low, (across.high - across.low) / bins
    counts = [0] * bins
    for value in values:
        counts[min(bins - 1, int((value - low) / width))] += 1
    bars = []
    for place, count in enumerate(counts):
        if count:
            tall = (floor - TOP) * count / max(counts)
            x, wide = across(low + place * width), across(low + width) - across(low) - 1
            bars.append(
                f'<rect class="case" x="{x + 0.5:.1f}" y="{floor - tall:.1f}" width="{wide:.1f}" height="{tall:.1f}">'
                f"<title>{count} cases</title></rect>"
            )
    return bars


def spread_bar(values: Sequence[float], *, mean: float | None, interval: tuple[float, float] | None) -> Markup:
    """A row's cases as ticks from the lowest to the highest, with the mean as a dot and its interval as a bar."""
    wide, high, margin = 150.0, 18.0, 5.0
    if not values:
        return Markup("")
    marks = [*values, *(interval or ())]
    low, top = min(marks), max(marks)

    def place(value: float) -> float:
        return wide / 2 if top <= low else margin + (value - low) / (top - low) * (wide - 2 * margin)

    middle = high / 2
    parts = [f'<path class="track" d="M{margin} {middle}H{wide - margin}"/>']
    ticks = sorted({round(place(value), 1) for value in values})
    parts.append(f'<path class="tick" d="{"".join(f"M{x} {middle - 5}v10" for x in ticks)}"/>')
    if interval:
        start, stop = place(interval[0]), place(interval[1])
        long = max(1.0, stop - start)
        parts.append(f'<rect class="bar" x="{start:.1f}" y="{middle - 3}" width="{long:.1f}" height="6" rx="3"/>')
    if mean is not None and math.isfinite(mean) and low <= mean <= top:
        parts.append(f'<circle class="point" r="4" cx="{place(mean):.1f}" cy="{middle}"/>')
    size = f'viewBox="0 0 {wide:g} {high:g}" width="{wide:g}" height="{high:g}"'
    return Markup(f'<svg class="spread" {size} aria-hidden="true">{"".join(parts)}</svg>')
