"""A chart by itself, for a paper: its shapes in the colours of print, with both axes named and its legend above.

What a page draws is read back from its SVG, so that a figure shows the same as the page; colours are those of the
page's light form.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cache
from itertools import pairwise
from pathlib import Path
from typing import Literal
from xml.etree import ElementTree

from scantling.report.charts import Chart

FONT = 14.0
"""Height of the letters in units of the chart, 7.8 points where the figure is as wide as a column."""
COLUMN = 88.0
"""Millimetres: a column of a journal with two of them."""
LETTER = 0.56
"""The mean width of a letter over its height."""
Anchor = Literal["start", "middle", "end"]
Point = tuple[float, float]


@dataclass(frozen=True)
class Line:
    """Polygons or polylines; `fill` and `stroke` are "#rrggbb", None for none."""

    parts: tuple[tuple[Point, ...], ...]
    closed: bool = False
    stroke: str | None = None
    fill: str | None = None
    width: float = 1.0
    dash: tuple[float, ...] = ()
    opacity: float = 1.0


@dataclass(frozen=True)
class Disc:
    """A filled circle."""

    x: float
    y: float
    radius: float
    fill: str
    opacity: float = 1.0


@dataclass(frozen=True)
class Words:
    """Text at a point; `upright`: it reads upwards."""

    x: float
    y: float
    text: str
    anchor: Anchor = "start"
    fill: str = "#1d1c1a"
    size: float = FONT
    upright: bool = False

    @property
    def width(self) -> float:
        """About how wide it is."""
        return len(self.text) * LETTER * self.size

    @property
    def left(self) -> float:
        """About where it starts."""
        return self.x - {"start": 0.0, "middle": 0.5, "end": 1.0}[self.anchor] * self.width


Shape = Line | Disc | Words


@dataclass(frozen=True)
class Drawing:
    """Shapes in a box of (width, height) from (left, top), in units of the chart; `label` describes them."""

    title: str
    label: str
    left: float
    top: float
    width: float
    height: float
    shapes: tuple[Shape, ...]


def drawing_of(chart: Chart) -> Drawing:
    """The chart with its axes named, as it stands alone."""
    root = ElementTree.fromstring(str(chart.svg))
    left, top, width, height = (float(number) for number in root.attrib["viewBox"].split())
    shapes = list(_shapes(root))
    texts = [shape for shape in shapes if isinstance(shape, Words)]
    shapes = [shape for shape in shapes if not isinstance(shape, Words)]
    texts = _apart(texts)
    across, up = chart.axes
    right, bottom = left + width, max((text.y for text in texts), default=height - 4)
    if across:
        bottom += FONT + 5
        texts.append(Words((46 + right) / 2 if up else (left + right) / 2, bottom, across, "middle"))
    edge = min([left, *(text.left for text in texts)])
    if up:
        edge -= FONT
        texts.append(Words(edge, (top + height - 36) / 2, up, "middle", upright=True))
        edge -= FONT
    legend, high = _legend(chart, left, right)
    above = top - high - (4 if high else 0)
    placed = [replace(one, y=one.y + above + FONT) if isinstance(one, Words) else _moved(one, above) for one in legend]
    return Drawing(
        chart.title, root.attrib.get("aria-label", chart.title), edge - 2, above - 2, right - edge + 4,
        bottom - above + 8, (*shapes, *texts, *placed),
    )  # fmt: skip


@cache
def palette() -> Mapping[str, str]:
    """The colours of the light page by name."""
    css = (Path(__file__).parent / "page.css").read_text(encoding="utf-8")
    return dict(re.findall(r"--(\w+): (#[0-9a-f]{6});", css.partition("}")[0]))


def _shapes(root: ElementTree.Element) -> Iterator[Shape]:
    for one in root:
        names, at = set(one.attrib.get("class", "").split()), one.attrib
        if one.tag == "text" and "label" not in names:
            anchor: Anchor = {"middle": "middle", "end": "end"}.get(at.get("text-anchor", ""), "start")  # type: ignore[assignment]
            yield Words(float(at["x"]), float(at["y"]), "".join(one.itertext()), anchor)
        elif one.tag == "circle":
            yield Disc(float(at["cx"]), float(at["cy"]), float(at["r"]), *_filled(names))
        elif one.tag == "rect":
            x, y, wide, high = (float(at[name]) for name in ("x", "y", "width", "height"))
            fill, opacity = _filled(names)
            corners = ((x, y), (x + wide, y), (x + wide, y + high), (x, y + high))
            yield Line((corners,), closed=True, fill=fill, opacity=opacity)
        elif one.tag == "path":
            parts, closed = _polylines(at["d"])
            if "band" in names:
                fill, opacity = _filled(names)
                yield Line(parts, closed=True, fill=fill, opacity=opacity)
            else:
                yield _stroked(parts, names, closed=closed)


def _filled(names: set[str]) -> tuple[str, float]:
    """The colour and opacity of a surface."""
    known = palette()
    if "count" in names:
        return known["soft"], 0.22
    if "interval" in names:
        return known["wash"], 1.0
    series = next((name for name in sorted(names) if re.fullmatch(r"s\d", name)), None)
    if "band" in names:
        return known[series or "s0"], 0.15
    return known[series or "accent"], 0.8 if "case" in names else 1.0


def _stroked(parts: tuple[tuple[Point, ...], ...], names: set[str], *, closed: bool) -> Line:
    known = palette()
    if names & {"mark", "ideal"}:
        return Line(parts, closed, known["soft"], width=1.0, dash=(4.0, 3.0))
    if "grid" in names:
        return Line(parts, closed, known["line"], width=0.8)
    if "axis" in names:
        return Line(parts, closed, known["soft"], width=1.0)
    if "mean" in names:
        return Line(parts, closed, known["accent"], width=1.4)
    series = next((name for name in sorted(names) if re.fullmatch(r"s\d", name)), "s0")
    faint = "raw" in names
    return Line(parts, closed, known[series], width=1.0 if faint else 1.7, opacity=0.35 if faint else 1.0)


def _polylines(path: str) -> tuple[tuple[tuple[Point, ...], ...], bool]:
    """The polylines of a path of M, L, H, V and Z, and whether they are closed."""
    parts: list[list[Point]] = []
    x = y = 0.0
    for command, text in re.findall(r"([MLHVZ])([^MLHVZ]*)", path):
        numbers = [float(number) for number in re.findall(r"-?[\d.]+(?:e-?\d+)?", text)]
        if command == "M":
            parts.append([])
        if command in "ML":
            pairs = list(zip(numbers[::2], numbers[1::2], strict=True))
            parts[-1] += pairs
            x, y = pairs[-1]
        elif command == "H":
            x = numbers[-1]
            parts[-1].append((x, y))
        elif command == "V":
            y = numbers[-1]
            parts[-1].append((x, y))
    return tuple(tuple(part) for part in parts), path.endswith("Z")


def _apart(texts: list[Words]) -> list[Words]:
    """Without the numbers of an axis that would touch the one before them at this size."""
    kept = [text for text in texts if text.anchor != "middle"]
    row = sorted((text for text in texts if text.anchor == "middle"), key=lambda text: text.x)
    shown = row[:1]
    for _, text in pairwise(row):
        if text.left > shown[-1].left + shown[-1].width + 4:
            shown.append(text)
    return kept + shown


def _legend(chart: Chart, left: float, right: float) -> tuple[list[Shape], float]:
    """The keys of a chart in rows below y = 0, and how high they are; none of a single one."""
    if len(chart.keys) < 2:
        return [], 0.0
    shapes: list[Shape] = []
    x, y, known = left, 0.0, palette()
    for key in chart.keys:
        words = Words(x + 22, y, key.name)
        if x > left and x + 22 + words.width > right:
            x, y = left, y + FONT + 5
            words = replace(words, x=x + 22, y=y)
        shapes += [
            Line((((x, y + 9), (x + 16, y + 9)),), stroke=known[f"s{key.colour}"], width=2.4),
            words,
        ]
        x += 22 + words.width + 16
    return shapes, y + FONT + 5


def _moved(shape: Shape, by: float) -> Shape:
    """A line further down."""
    if isinstance(shape, Line):
        return replace(shape, parts=tuple(tuple((x, y + by) for x, y in part) for part in shape.parts))
    return shape
