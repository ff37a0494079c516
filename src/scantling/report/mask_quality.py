"""The page on masks: what those of several folders are like, side by side, and who or what made them."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from scantling.core import atomic
from scantling.core.errors import RunError, ScantlingError, SettingsError
from scantling.core.outputs import check_file
from scantling.data.pictures import Marks, View, class_colours
from scantling.evaluation.masks import CONVENTIONS, MOST, QUANTITIES, Made, MaskSet, Progress, measure_masks, read_mask
from scantling.report.charts import Chart
from scantling.report.commands import shell
from scantling.report.figures import Figures, check_figures
from scantling.report.histograms import histogram_chart
from scantling.report.pictures import png_uri, shrink
from scantling.report.rendering import rendered
from scantling.report.words import NONE, plural

TEMPLATE = "mask_quality.html.j2"
DRAWN = 6
"""Masks of each folder that are shown."""
LONGEST = 224
"""Pixels of a side of a picture."""
UNITS = {"coverage": "%", "width": "px", "widest": "px", "angle": "°"}
DIGITS = {"coverage": 1, "width": 2, "widest": 1, "angle": 1, "fractal_dimension": 2}
CHARTED = {
    "coverage": ("% of the pixels", 100.0, False),
    "components": ("pieces", 1.0, True),
    "holes": ("holes", 1.0, True),
    "tunnels": ("tunnels", 1.0, True),
    "fractal_dimension": ("dimension", 1.0, False),
}
"""Quantities that a chart shows: the name of the axis, a factor, whether they are whole numbers."""


@dataclass(frozen=True)
class Thumbnail:
    """A mask as a data URI, with width over height in the world, and letters where it is known how it lies."""

    id: str
    uri: str
    aspect: float
    marks: Marks | None


@dataclass(frozen=True)
class Column:
    """A folder on the page."""

    name: str
    masks: str
    size: str
    origins: tuple[str, ...]
    pictures: tuple[Thumbnail, ...]
    failed: tuple[str, ...]


@dataclass(frozen=True)
class Row:
    """A quantity in the table: mean and deviation for each folder."""

    title: str
    cells: tuple[tuple[str, str], ...]


def holds_masks(target: Path) -> bool:
    """Whether a target of `report` is a folder that nobody has trained in, predicted into or scored."""
    known = ("run.json", "scores.json", "predictions.json")
    return target.is_dir() and any(target.iterdir()) and not any((target / name).is_file() for name in known)


def report_masks(
    folders: Sequence[Path],
    *,
    out: Path | None = None,
    most: int = MOST,
    figures: Path | None = None,
    command: Sequence[str] = (),
    progress: Progress | None = None,
) -> tuple[Path, list[MaskSet]]:
    """Write one self-contained HTML page on the masks of data sets; returns it and what was measured.

    Args:
        folders: data sets, or folders of masks; in the order of the columns.
        out: the page; unless said mask-quality.html in the folder that holds all of them.
        most: masks of each that are measured.
        figures: a folder for its charts and its table for a paper.
        command: what makes the page again.
        progress: called with (done, total, id) after each mask.

    Raises:
        SettingsError: there is no folder, or `out` is no HTML file.
        RunError: a run or an evaluation is among them.
        DataError: a folder has no masks.
    """
    if not folders:
        raise SettingsError("report: no folder of masks was named; name a data set")
    for folder in folders:
        if not holds_masks(folder):
            raise RunError(f"{folder}: is no folder of masks as the others are; report runs and evaluations apart")
    if out is not None and not out.is_dir() and out.suffix.lower() not in (".html", ".htm"):
        raise SettingsError(f"{out}: the page would end in {out.suffix or 'nothing'!r}; name a file that ends in .html")
    home = Path(os.path.commonpath([folder.resolve().parent for folder in folders]))
    page = home / "mask-quality.html" if out is None else out / "mask-quality.html" if out.is_dir() else out
    check_file(page, suffix=".html")
    check_figures(figures)
    sets = [measure_masks(folder, most=most, progress=progress) for folder in folders]
    atomic.write_text(atomic.named(page), _render(sets, command))
    if figures is not None:
        _write_figures(sets, Figures(figures), command)
    return page, sets


def _write_figures(sets: Sequence[MaskSet], figures: Figures, command: Sequence[str]) -> None:
    """The charts, and the quantities as table.tex."""
    names = _names(sets)
    for chart in _charts(sets, names):
        figures.chart(chart.title, chart)
    known = [quantity for quantity in QUANTITIES if any(quantity in each.values for each in sets)]
    rows = [_row(quantity, sets) for quantity in known]
    table = [[row.title, *(f"{mean} {std}" for mean, std in row.cells)] for row in rows]
    figures.table("table", ["Quantity", *names], table, caption="Means over the masks, with standard deviations.")
    figures.finish(command)


def _render(sets: Sequence[MaskSet], command: Sequence[str]) -> str:
    names = _names(sets)
    return rendered(
        TEMPLATE,
        columns=[_column(each, name) for each, name in zip(sets, names, strict=True)],
        rows=[_row(quantity, sets) for quantity in QUANTITIES if any(quantity in each.values for each in sets)]
        + [_diversity(sets)],
        remarks=_remarks(sets, names),
        charts=_charts(sets, names),
        conventions=CONVENTIONS,
        command=shell(*command),
    )


def _names(sets: Sequence[MaskSet]) -> list[str]:
    """The names of the data sets, numbered where two are the same."""
    names = [each.name for each in sets]
    return [f"{name} ({place})" if names.count(name) > 1 else name for place, name in enumerate(names, 1)]


def _column(each: MaskSet, name: str) -> Column:
    measured = len(each.cases)
    masks = plural(measured, "mask") if measured == each.count else f"{measured:,} of {plural(each.count, 'mask')}"
    size = " × ".join(map(str, each.shapes[0]))
    if len(each.shapes) > 1:
        size += f" and {plural(len(each.shapes) - 1, 'other size')}"
    return Column(
        name,
        masks,
        size,
        tuple(_origin(made, each.count) for made in each.origins),
        tuple(_pictures(each)),
        each.failed,
    )


def _origin(made: Made, count: int) -> str:
    """Who or what made the masks, as a sentence."""
    some = "" if made.count == count else f"{made.count:,} masks: "
    if made.kind == "real":
        return f"{some}real, by annotators"
    model, _, rest = made.model.partition(" ")
    if made.kind == "simulated":
        return f"{some}real images, labels drawn by the rule {model}"
    suffix = f" ({_settings(rest)})" if rest else ""
    return f"{some}made by {model}{suffix}" if model else f"{some}made; by what is not said"


def _settings(text: str) -> str:
    """The settings of a rule as words, or what identifies a model as it is."""
    try:
        return ", ".join(f"{name} {value}" for name, value in json.loads(text).items())
    except (ValueError, AttributeError, RecursionError):
        return text


def _pictures(each: MaskSet) -> list[Thumbnail]:
    """The first masks, in the colour of a class alone; of a volume everything along the axis that a slice is across."""
    pictures = []
    colour = list(bytes.fromhex(class_colours(1)[1][1:]))
    for case in each.cases[:DRAWN]:
        try:
            mask, _, geometry = read_mask(case, each.labels)
        except (ScantlingError, OSError):
            continue
        view = View.of(geometry, mask)
        flat = view.through(mask)
        painted = np.zeros((*flat.shape, 3), np.uint8)
        painted[flat] = colour
        wide, high = view.size(flat, LONGEST)
        pictures.append(Thumbnail(case.id, png_uri(shrink(painted, LONGEST)), wide / high, view.marks))
    return pictures


def _row(quantity: str, sets: Sequence[MaskSet]) -> Row:
    unit = UNITS.get(quantity, "")
    factor = 100.0 if unit == "%" else 1.0

    def written(value: float) -> str:
        return NONE if math.isnan(value) else f"{factor * value:,.{DIGITS.get(quantity, 1)}f}"

    cells = []
    for each in sets:
        mean, std = each.mean(quantity)
        cells.append((written(mean), f"± {written(std)}"))
    return Row(f"{QUANTITIES[quantity]}{f', {unit}' if unit else ''}", tuple(cells))


def _diversity(sets: Sequence[MaskSet]) -> Row:
    return Row(
        "Diversity",
        tuple(
            (NONE, "")
            if math.isnan(each.diversity)
            else (f"{each.diversity:.2f}", f"of {plural(each.compared, 'mask')}")
            for each in sets
        ),
    )


def _remarks(sets: Sequence[MaskSet], names: Sequence[str]) -> list[tuple[str, str]]:
    """What to keep in mind, with its weight."""
    remarks = [
        ("caution", f"{name}: {plural(len(each.failed), 'mask')} could not be read: {'; '.join(each.failed[:3])}.")
        for each, name in zip(sets, names, strict=True)
        if each.failed
    ]
    if len({each.shapes[0] for each in sets}) > 1:
        suffix = ", ".join(
            f"{name} {' × '.join(map(str, each.shapes[0]))}" for each, name in zip(sets, names, strict=True)
        )
        remarks.append(
            (
                "caution",
                f"The masks have different sizes ({suffix}): widths are in pixels, and more fits into more pixels.",
            )
        )
    for each, name in zip(sets, names, strict=True):
        if len(each.cases) + len(each.failed) < each.count:
            drawn = f"{len(each.cases):,} of {plural(each.count, 'mask')}"
            remarks.append(("note", f"{name}: {drawn} were measured, drawn by a hash of their ids."))
        if len({made.kind for made in each.origins}) > 1:
            remarks.append(("caution", f"{name}: real masks and made ones are mixed."))
    return remarks


def _charts(sets: Sequence[MaskSet], names: Sequence[str]) -> list[Chart]:
    def groups(values: Sequence[np.ndarray]) -> list[tuple[str, np.ndarray]]:
        return list(zip(names, values, strict=True))

    charts = [
        histogram_chart(
            "Widths",
            groups([each.widths for each in sets]),
            label="pixels",
            note="One number a point of a centre line.",
        ),
        histogram_chart(
            "Branching angles", groups([each.angles for each in sets]), label="degrees", note="One number a fork."
        ),
    ]
    for quantity, (label, factor, whole) in CHARTED.items():
        values = [factor * each.values.get(quantity, np.zeros(0)) for each in sets]
        charts.append(
            histogram_chart(QUANTITIES[quantity], groups(values), label=label, whole=whole, note="One number a mask.")
        )
    return [chart for chart in charts if chart is not None]
