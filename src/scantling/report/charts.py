"""Charts as SVG written by hand: they take their colours from the page, so light, dark and print all read well."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise

from markupsafe import Markup, escape

WIDTH, HEIGHT = 420.0, 226.0
LEFT, RIGHT, TOP, BOTTOM = 46.0, 14.0, 10.0, 36.0
POINTS = 400
"""The most points that a drawn curve keeps."""


Rows = tuple[tuple[str | float, ...], ...]
"""A header and the rows below it."""


@dataclass(frozen=True)
class Series:
    """A curve: x ascending, y with NaN where there is no value."""

    name: str
    x: Sequence[float]
    y: Sequence[float]


@dataclass(frozen=True)
class Key:
    """An entry of a legend: the number of its colour, and a word on its value."""

    name: str
    colour: int
    note: str = ""


@dataclass(frozen=True)
class Chart:
    """A drawn chart with what stands around it.

    Attributes:
        axes: the names of the horizontal and the vertical axis with their units, "" where there is no such axis.
        table: the numbers that are drawn, as rows below a header.
    """

    title: str
    svg: Markup
    keys: tuple[Key, ...] = ()
    note: str = ""
    axes: tuple[str, str] = ("", "")
    table: Rows = ()


Bounds = tuple[float, float]
"""The smallest and the largest value that a number can take."""
SIGNED: Bounds = (-math.inf, math.inf)
"""Of a difference, which may have either sign."""


class Axis:
    """Numbers to positions, linear or logarithmic, with round ticks.

    A snug axis ends where its values end, and starts at 0 if they start near it. No axis reaches beyond what its
    values can be: `bounds`, or unless said not below 0 where no value is negative.
    """

    def __init__(
        self,
        values: Sequence[float],
        start: float,
        stop: float,
        *,
        log: bool = False,
        snug: bool = False,
        bounds: Bounds | None = None,
    ) -> None:
        finite = [value for value in values if math.isfinite(value) and (value > 0 or not log)] or [1.0 if log else 0.0]
        low, high = min(finite), max(finite)
        least, most = bounds or (0.0 if low >= 0 else -math.inf, math.inf)
        least, most = min(least, low), max(most, high)  # a file may hold what cannot be
        self.log, self.start, self.stop = log, start, stop
        if log:
            self.ticks = _decades(low, high)
        else:
            if snug and 0 < low <= 0.1 * high:
                low = 0.0
            if high <= low:
                snug = True
                margin = abs(low) * 0.05 or 0.5
                low, high = max(low - margin, least), min(high + margin, most)
            if high <= low:  # the one value that can be
                low, high = low - 0.5, high + 0.5
            self.ticks = round_ticks(low, high, about=5)
            if snug:
                self.ticks = [tick for tick in self.ticks if low <= tick <= high]
                self.low, self.high = low, high
                return
            least, most = min(least, low), max(most, high)
            start_tick, stop_tick = max(self.ticks[0], least), min(self.ticks[-1], most)
            self.ticks = [tick for tick in self.ticks if start_tick <= tick <= stop_tick]
            self.low, self.high = min(low, start_tick), max(high, stop_tick)
            return
        self.low, self.high = self._of(min(low, self.ticks[0])), self._of(max(high, self.ticks[-1]))

    def _of(self, value: float) -> float:
        return math.log10(value) if self.log else value

    def __call__(self, value: float) -> float:
        return self.start + (self._of(value) - self.low) / (self.high - self.low) * (self.stop - self.start)


def round_ticks(low: float, high: float, *, about: int = 4) -> list[float]:
    """Round numbers (1, 2 or 5 times a power of ten apart) that enclose [low, high]."""
    if not math.isfinite(high - low) or high <= low:
        return [low, low + 1] if math.isfinite(low) else [0.0, 1.0]
    rough = (high - low) / about
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(factor * power for factor in (1, 2, 5, 10) if factor * power >= rough * (1 - 1e-9))
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    return [number * step for number in range(first, last + 1)]


def _decades(low: float, high: float) -> list[float]:
    first, last = math.floor(math.log10(low) + 1e-9), math.ceil(math.log10(high) - 1e-9)
    every = max(1, math.ceil((last - first) / 5))
    powers = list(range(first, max(last, first + 1) + 1, every))
    return [10.0**power for power in (powers if powers[-1] >= last else [*powers, powers[-1] + every])]


def tick_text(value: float) -> str:
    """A tick as short as it can be: 0.002, 25, 1.5k, 1e-5."""
    if value == 0:
        return "0"
    size = abs(value)
    if size < 1e-3 or size >= 1e7:
        return _scientific(value)
    if size >= 10_000:
        return f"{value / 1000:g}k".replace("-", "−")
    return f"{value:,.6g}".replace("-", "−")


def thin(x: Sequence[float], y: Sequence[float], most: int = POINTS) -> tuple[list[float], list[float]]:
    """At most `most` points: means of runs of neighbours, without the values that are not finite."""
    if len(x) <= most:
        return list(x), list(y)
    kept_x, kept_y = [], []
    edges = [round(number * len(x) / most) for number in range(most + 1)]
    for start, stop in pairwise(edges):
        values = [value for value in y[start:stop] if math.isfinite(value)]
        kept_x.append(math.fsum(x[start:stop]) / (stop - start))
        kept_y.append(math.fsum(values) / len(values) if values else math.nan)
    return kept_x, kept_y


def smooth(y: Sequence[float], span: int) -> list[float]:
    """Means over a window of `span` values centred on each, fewer at the ends; NaN counts for nothing."""
    half, means = span // 2, []
    for centre in range(len(y)):
        reach = min(half, centre)  # symmetric where a curve is steep, at its start
        window = [value for value in y[centre - reach : centre + reach + 1] if math.isfinite(value)]
        means.append(math.fsum(window) / len(window) if window else math.nan)
    return means


def line_chart(
    title: str,
    series: Sequence[Series],
    *,
    noisy: bool = False,
    log: bool = False,
    zero: bool = False,
    mark: float | None = None,
    note: str = "",
    bounds: Bounds | None = None,
) -> Chart:
    """Curves over steps.

    Args:
        noisy: a curve of more than 60 points is drawn faint, with a running mean over it.
        log: logarithmic where all values are positive and span a factor over 30.
        zero: the vertical axis includes 0.
        mark: a step to point out.
        note: what to say below the chart.
        bounds: of the values.
    """
    drawn = [Series(one.name, *thin(one.x, one.y)) for one in series]
    values = [value for one in drawn for value in one.y if math.isfinite(value)]
    log = log and bool(values) and 0 < 30 * min(values) < max(values)
    across = Axis([value for one in drawn for value in one.x], LEFT, WIDTH - RIGHT, snug=True)
    up = Axis([*values, *([0.0] if zero else [])], HEIGHT - BOTTOM, TOP, log=log, bounds=bounds)
    parts = frame(across, up, "step")
    if mark is not None:
        parts.append(f'<path class="mark" d="M{across(mark):.1f} {TOP}V{HEIGHT - BOTTOM}"/>')
    smoothed = False
    for number, one in enumerate(drawn):
        colour = f"s{number % 6}"
        if noisy and len(one.x) > 60:
            smoothed = True
            parts.append(f'<path class="curve raw {colour}" d="{trace(one.x, one.y, across, up)}"/>')
            mean = smooth(one.y, len(one.x) // 20)
            parts.append(f'<path class="curve {colour}" d="{trace(one.x, mean, across, up)}"/>')
        else:
            parts.append(f'<path class="curve {colour}" d="{trace(one.x, one.y, across, up)}"/>')
        if len(one.x) <= 60:
            parts += [
                f'<circle class="dot {colour}" r="2.4" cx="{across(x):.1f}" cy="{up(y):.1f}"/>'
                for x, y in zip(one.x, one.y, strict=True)
                if math.isfinite(y)
            ]
    ends = [(one, [value for value in one.y if math.isfinite(value)]) for one in series]
    clauses = [f"{one.name} from {brief(found[0])} to {brief(found[-1])}" for one, found in ends if found]
    keys = tuple(
        Key(one.name, place % 6, brief(found[-1]) if found else "no numbers") for place, (one, found) in enumerate(ends)
    )
    words = [note] if note else []
    if smoothed:
        words.append("Faint: as logged. Solid: running mean over a twentieth of the curve.")
    if log:
        words.append("Logarithmic scale.")
    points = ((one.name, x, y) for one in series for x, y in zip(one.x, one.y, strict=True))
    table: Rows = (("curve", "step", title), *points)
    said = f"{title}: {'; '.join(clauses) or 'no numbers'}."
    return Chart(title, svg(parts, said), keys, " ".join(words), ("step", title), table)


def shares(curves: Iterable[tuple[Sequence[float], Sequence[float]]]) -> Bounds | None:
    """The bounds of curves (x, y) whose values are shares; None where one is not between 0 and 1."""
    values = [value for _, y in curves for value in y if math.isfinite(value)]
    return (0.0, 1.0) if all(0 <= value <= 1 for value in values) else None


def brief(value: float) -> str:
    """A number of a curve with three significant digits."""
    return _scientific(value) if 0 < abs(value) < 1e-3 else f"{value:,.4g}".replace("-", "−")


def _scientific(value: float) -> str:
    """1.8e−4."""
    power = math.floor(math.log10(abs(value)))
    return f"{value / 10.0**power:.3g}e{power}".replace("-", "−")


def frame(across: Axis, up: Axis, label: str) -> list[str]:
    """The grid, the ticks and the name of the horizontal axis."""
    parts = []
    for tick in up.ticks:
        y = up(tick)
        parts.append(f'<path class="grid" d="M{LEFT} {y:.1f}H{WIDTH - RIGHT}"/>')
        parts.append(f'<text x="{LEFT - 8}" y="{y + 3.8:.1f}" text-anchor="end">{tick_text(tick)}</text>')
    for tick in across.ticks:
        x, y = across(tick), HEIGHT - BOTTOM + 16
        parts.append(f'<text x="{x:.1f}" y="{y}" text-anchor="middle">{tick_text(tick)}</text>')
    parts.append(f'<path class="axis" d="M{LEFT} {HEIGHT - BOTTOM}H{WIDTH - RIGHT}"/>')
    parts.append(f'<text class="label" x="{WIDTH - RIGHT}" y="{HEIGHT - 2}" text-anchor="end">{escape(label)}</text>')
    return parts


def trace(x: Sequence[float], y: Sequence[float], across: Axis, up: Axis) -> str:
    """A path that is lifted where there is no value."""
    path, pen = [], "M"
    for one, other in zip(x, y, strict=True):
        if math.isfinite(other):
            path.append(f"{pen}{across(one):.1f} {up(other):.1f}")
            pen = "L"
        else:
            pen = "M"
    return "".join(path)


def svg(parts: list[str], label: str, *, height: float = HEIGHT, linked: bool = False) -> Markup:
    """The parts as one picture that a screen reader describes by `label`; `linked`: with parts that open something."""
    role = 'class="chart dots" role="group"' if linked else 'class="chart" role="img"'
    head = f'<svg {role} viewBox="0 0 {WIDTH:g} {height:g}" aria-label="{escape(label)}">'
    return Markup(f"{head}{''.join(parts)}</svg>")
