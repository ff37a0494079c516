"""Cases side by side under several methods: a line for each case between them, and its pictures under every one."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from markupsafe import escape

from scantling.experiments.comparison import Comparison
from scantling.records.evaluation import CaseRecord
from scantling.report.case_files import read_case
from scantling.report.case_panels import contoured, unit_of, view_of
from scantling.report.charts import BOTTOM, HEIGHT, LEFT, RIGHT, TOP, WIDTH, Axis, Chart, Rows, frame, svg, trace
from scantling.report.panels import scaled
from scantling.report.pictures import jpeg_uri
from scantling.report.targets import EvaluationFile
from scantling.report.words import Metric

DRAWN = 6
"""Cases that are shown side by side."""
LONGEST = 360
"""Pixels of the longer side of a picture on the page."""
MANY = 60
"""Above so many cases their lines are faint."""


@dataclass(frozen=True)
class SidePicture:
    """A case under a method: a picture as a data URI, or why there is none."""

    method: str
    value: str
    uri: str
    aspect: float
    alt: str
    missing: str


@dataclass(frozen=True)
class SideBySide:
    """A case under every method, and how far apart its values lie."""

    id: str
    apart: str
    pictures: tuple[SidePicture, ...]


def paired_chart(found: Comparison, one: Metric) -> Chart | None:
    """Each case as a line between the methods, with the mean of each; None of a single method or without values."""
    by_method = found.by_case.get(one.key, {})
    names = [method.name for method in found.methods if method.name in by_method]
    rows = [
        (id, [by_method[name][place] for name in names])
        for place, id in enumerate(found.cases)
        if all(math.isfinite(by_method[name][place]) for name in names)
    ]
    if len(names) < 2 or not rows:
        return None
    places = [float(number) for number in range(len(names))]
    across = Axis(places, LEFT + 50, WIDTH - RIGHT - 50, snug=True)
    across.ticks, across.low, across.high = [], 0.0, float(len(names) - 1)
    up = Axis([value for _, values in rows for value in values], HEIGHT - BOTTOM, TOP, bounds=one.range)
    parts = frame(across, up, "")
    wide = (WIDTH - LEFT - RIGHT) / len(names)
    for place, name in zip(places, names, strict=True):
        most = max(6, int(wide / 6))
        short = name if len(name) <= most else name[: most - 1] + "…"
        at = f'x="{across(place):.1f}" y="{HEIGHT - BOTTOM + 16}"'
        parts.append(f'<text {at} text-anchor="middle">{escape(short)}</text>')
    for _, values in rows:
        parts.append(f'<path class="curve raw s5" d="{trace(places, values, across, up)}"/>')
    radius = 3.0 if len(rows) <= MANY else 2.0
    for id, values in rows:
        for number, (place, value) in enumerate(zip(places, values, strict=True)):
            words = escape(f"{id}, {names[number]}: {one.write(value)}")
            parts.append(
                f'<circle class="dot s{number % 5}" r="{radius}" cx="{across(place):.1f}" cy="{up(value):.1f}">'
                f"<title>{words}</title></circle>"
            )
    means = [float(np.mean([values[number] for _, values in rows])) for number in range(len(names))]
    parts.append(f'<path class="mean" d="{trace(places, means, across, up)}"/>')
    said = ", ".join(f"{name} {one.write(mean)}" for name, mean in zip(names, means, strict=True))
    title = f"{one.title}, case by case"
    lines: list[tuple[str | float, ...]] = [(id, *values) for id, values in rows]
    table: Rows = (("id", *names), *lines)
    note = f"A faint line is a case ({len(rows)} of {len(found.cases)}), the solid one the mean; {one.better}."
    return Chart(title, svg(parts, f"{title}: means {said}."), (), note, ("method", one.title), table)


def widest_apart(found: Comparison, one: Metric) -> list[tuple[str, float]]:
    """The cases by how far the values of the methods lie apart, the widest first."""
    by_method = found.by_case.get(one.key, {})
    rows = zip(found.cases, zip(*by_method.values(), strict=True), strict=True) if by_method else ()
    apart = [(id, max(values) - min(values)) for id, values in rows if all(map(math.isfinite, values))]
    return sorted(apart, key=lambda pair: (-pair[1], pair[0]))


def side_by_side(found: Comparison, one: Metric) -> Iterator[SideBySide]:
    """The cases on which the methods disagree most, each under every method; none where no masks were compared."""
    if not found.records:
        return
    for id, apart in widest_apart(found, one)[:DRAWN]:
        pictures = [
            SidePicture(name, value, *_picture(panel, id, name, value), missing)
            for name, value, panel, missing in _panels(found, one, id, most=LONGEST)
        ]
        yield SideBySide(id, one.write(apart), tuple(pictures))


def panels_side_by_side(found: Comparison, one: Metric) -> Iterator[tuple[str, np.ndarray]]:
    """The same cases at the resolution of their files, as (name, picture)."""
    for id, _ in widest_apart(found, one)[:DRAWN] if found.records else ():
        for name, _, panel, _ in _panels(found, one, id, most=None):
            if panel is not None:
                yield f"panel {id} {name}", panel


def _picture(panel: np.ndarray | None, id: str, name: str, value: str) -> tuple[str, float, str]:
    if panel is None:
        return "", 1.0, ""
    alt = f"Case {id} under {name}, {value}: truth solid, mask dashed"
    return jpeg_uri(panel), panel.shape[1] / panel.shape[0], alt


def _panels(
    found: Comparison, one: Metric, id: str, *, most: int | None
) -> Iterator[tuple[str, str, np.ndarray | None, str]]:
    """For each method its name, the value of the case, its picture, and why there is none."""
    place = found.cases.index(id)
    for method in found.methods:
        value = one.write(found.by_case[one.key][method.name][place])
        panel, missing = _panel(found, method.name, id, most=most)
        yield method.name, value, panel, missing


def _panel(found: Comparison, method: str, id: str, *, most: int | None) -> tuple[np.ndarray | None, str]:
    record = found.records.get(method)
    case: CaseRecord | None = None if record is None else next((each for each in record.cases if each.id == id), None)
    if record is None or case is None:
        return None, "Its files are not known."
    read = read_case(case, EvaluationFile(Path(record.prediction), method, record))
    view = view_of(read.image, read.truth, read.mask)
    if view is None or (read.truth is None and read.mask is None):
        return None, " ".join(read.missing) or "Its files cannot be read."
    picture, scale = contoured(read.image, read.truth, read.mask, view, len(read.classes), most=most)
    return scaled(picture, view, scale, unit_of(read.image, read.truth, read.mask)), " ".join(read.missing)


def values_of(found: Comparison, metrics: Sequence[Metric]) -> list[tuple[str | float, ...]]:
    """A header, and a line for each case and method with its values."""
    rows: list[tuple[str | float, ...]] = [("id", "method", *(one.key for one in metrics))]
    tables: list[Mapping[str, tuple[float, ...]]] = [found.by_case.get(one.key, {}) for one in metrics]
    for place, id in enumerate(found.cases):
        for method in found.methods:
            rows.append((id, method.name, *(table[method.name][place] for table in tables)))
    return rows
