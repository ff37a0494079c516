"""The page on predictions without a truth: each case with contours, volumes and pieces, the most uncertain first."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from scantling.core import atomic
from scantling.core.errors import DataError, ScantlingError, SettingsError
from scantling.core.outputs import check_file
from scantling.data.pictures import Marks, class_colours
from scantling.inference.scale import sentences_on_scale
from scantling.inference.unlike import sentence_on_unlike
from scantling.metrics.catalogue import unit_name
from scantling.report.case_panels import contoured, unit_of, view_of
from scantling.report.charts import Chart
from scantling.report.commands import shell
from scantling.report.figures import Figures, check_figures, csv_text
from scantling.report.mended import mended_block
from scantling.report.panels import scaled
from scantling.report.pictures import jpeg_uri
from scantling.report.rendering import rendered
from scantling.report.spreads import strip_chart
from scantling.report.unscored import Progress, Unscored, UnscoredCase, read_unscored
from scantling.report.words import NONE, plural

TEMPLATE = "masks_page.html.j2"
PAGE_NAME, TABLE_NAME = "masks.html", "volumes.csv"
DRAWN = 24
"""Cases that are drawn; the table holds all."""
LONGEST = 480
"""Pixels of the longer side of a picture; smaller ones are enlarged by a whole number."""
RESEARCH_ONLY = "Research only, not a medical device."
CONVENTIONS = (
    "A volume is the number of voxels that were marked times the size of one: mL where a file or the manifest says it "
    "in mm; of pictures it is the area in mm². Where no file says how large a pixel is, pixels are counted.",
    "Pieces are connected components; pixels that touch at a corner belong together (8 or 26 neighbours).",
    "The first are the most uncertain: those with the lowest expected Dice, or, where none was expected, with the "
    "largest uncertainty of the image; then those of which neither is known, by id. Empty masks come last.",
    "An image is unlike the training images if it is farther from the nearest of them than they are from each other, "
    "in intensity, colour, sharpness and scale (docs/metrics.md).",
    "A picture shows the slice with most of what was marked; contours lie between the pixels.",
)


@dataclass(frozen=True)
class DrawnCase:
    """A case with its picture: a data URI, its width over its height, and letters for its borders."""

    case: UnscoredCase
    uri: str
    aspect: float
    alt: str
    marks: Marks | None
    facts: tuple[tuple[str, str], ...]
    notes: tuple[str, ...]


def report_unscored(
    folder: Path,
    *,
    out: Path | None = None,
    csv: Path | None = None,
    figures: Path | None = None,
    command: Sequence[str] = (),
    progress: Progress | None = None,
) -> tuple[Path, Path, tuple[str, ...]]:
    """Write one self-contained HTML page on predictions without a truth, and a table of volumes.

    Args:
        folder: that `predict` wrote.
        out: the page; unless said masks.html in the folder.
        csv: the table; unless said volumes.csv beside the page.
        figures: a folder for charts, panels and tables for a paper.
        command: what makes them again.
        progress: called with (done, total, id) after each mask.

    Returns:
        The page, the table, and a sentence for each case that could not be predicted or read.

    Raises:
        SettingsError: `out` is no HTML file, or something else stands where a file would go.
        RunError: the folder holds no masks.
    """
    page = folder / PAGE_NAME if out is None else out / PAGE_NAME if out.is_dir() else out
    if page.suffix.lower() not in (".html", ".htm"):
        raise SettingsError(f"{page}: the page would end in {page.suffix or 'nothing'!r}; name a file ending in .html")
    table = page.parent / TABLE_NAME if csv is None else csv
    check_file(page, suffix=".html")
    check_file(table, suffix=".csv")
    check_figures(figures)
    found = read_unscored(folder, progress=progress)
    drawn = [_drawn(case, found, most=LONGEST) for case in found.cases[:DRAWN]]
    charts = _charts(found)
    text = rendered(
        TEMPLATE, found=found, drawn=drawn, charts=charts, remarks=_remarks(found), lines=_lines(found),
        columns=_columns(found), legend=_legend(found), conventions=CONVENTIONS, research=RESEARCH_ONLY, most=DRAWN,
        mended=mended_block(folder, found.listing.made),
        counted=plural(len(found.cases), "case"), summary=_summary(found), command=shell(*command),
    )  # fmt: skip
    atomic.write_text(atomic.named(page), text)
    atomic.write_text(atomic.named(table), csv_text(list(found.rows())))
    if figures is not None:
        _write_figures(found, charts, Figures(figures), command)
    return page, table, found.failed


def _summary(found: Unscored) -> str:
    """What was predicted, by what."""
    listing = found.listing
    by = f" by {listing.method}" if listing.method else ""
    split = f", {listing.split} split" if listing.split not in (None, "all") else ""
    name = Path(listing.input).name if listing.input else "images"
    return f"{plural(len(found.cases), 'mask')} of {name}{split}{by}. No truth was read: nothing here is a score."


def _remarks(found: Unscored) -> list[tuple[str, str]]:
    """What to keep in mind, with its weight."""
    remarks: list[tuple[str, str]] = []
    unlike = sorted(
        (one for one in found.cases if one.predicted.unlike), key=lambda one: -(one.predicted.distance or 0)
    )
    compared = sum(case.predicted.unlike is not None for case in found.cases)
    if unlike:
        named = [(case.id, case.predicted.stands_out) for case in unlike]
        remarks.append(("serious", f"{sentence_on_unlike(named, of=compared)}. Look at these masks first."))
    if found.failed:
        listed = "; ".join(found.failed[:3]) + (f" and {len(found.failed) - 3} more" if len(found.failed) > 3 else "")
        remarks.append(("caution", f"{plural(len(found.failed), 'case')} could not be predicted or read: {listed}."))
    empty = [case.id for case in found.cases if case.empty]
    if empty:
        remarks.append(
            ("caution", f"In {plural(len(empty), 'case')} nothing was marked: {', '.join(empty[:3])}"
             f"{f' and {len(empty) - 3} more' if len(empty) > 3 else ''}; there is nothing there, or it was missed.")
        )  # fmt: skip
    units = sorted({unit_name(case.unit) for case in found.cases})
    if len(units) > 1:
        remarks.append(
            ("caution", f"Volumes have different units ({', '.join(units)}): of some cases no file says how large a "
             "pixel is, or some are pictures and others volumes. Each number has its own; set 'spacing' in a manifest.")
        )  # fmt: skip
    remarks += [("note", f"{sentence}.") for sentence in sentences_on_scale([one.predicted for one in found.cases])]
    if not any(case.doubt is not None for case in found.cases):
        remarks.append(
            ("note", "Nothing is known of how certain these masks are, so they stand in the order of their ids; "
             "--samples or an ensemble of `scantling predict` would say it.")
        )  # fmt: skip
    elif without := [said.reason for one in found.cases if (said := one.predicted.expected) and said.reason]:
        whom = (
            ""
            if len(without) == sum(one.predicted.expected is not None for one in found.cases)
            else (f" for {plural(len(without), 'mask')}")
        )
        remarks.append(("note", f"No interval of the expected Dice can be promised{whom}: {without[0]}."))
    if not compared and found.cases:
        remarks.append(("note", "Whether an image is unlike the training images is not known of these predictions."))
    return remarks + [("note", note) for note in found.notes]


def _columns(found: Unscored) -> list[str]:
    several = len(found.classes) > 1
    columns = []
    for name in found.classes:
        columns += [f"{name}, volume" if several else "Volume", f"{name}, pieces" if several else "Pieces"]
    return [*columns, "Expected Dice", *(name.capitalize() for name in found.uncertainties), "Unlike"]


def _lines(found: Unscored) -> list[tuple[UnscoredCase, list[tuple[str, str]]]]:
    """Each case with its cells."""
    return [(case, _cells(case, found.uncertainties)) for case in found.cases]


def _cells(case: UnscoredCase, uncertainties: Sequence[str]) -> list[tuple[str, str]]:
    """The cells of a case: text, and what the page sorts by; one for each uncertainty that any case has."""
    cells = []
    for amount in case.amounts.values():
        cells.append((_volume(amount.volume, case), f"{amount.volume:.6g}"))
        cells.append((f"{amount.pieces:,}", str(amount.pieces)))
    cells.append((_expected(case), "" if (dice := _dice(case)) is None else f"{dice:.4f}"))
    for value in map(case.predicted.uncertainty.get, uncertainties):
        cells.append((NONE if value is None else f"{value:.3g}", "" if value is None else f"{value:.6g}"))
    return cells


def _dice(case: UnscoredCase) -> float | None:
    expected = case.predicted.expected
    return None if expected is None or expected.estimate is None else expected.dice


def _expected(case: UnscoredCase) -> str:
    dice, expected = _dice(case), case.predicted.expected
    if dice is None or expected is None:
        return NONE
    limits = "" if expected.low is None or expected.high is None else f" ({expected.low:.2f} to {expected.high:.2f})"
    return f"{dice:.2f}{limits}"


def _volume(value: float, case: UnscoredCase) -> str:
    if case.unit == "pixel":
        return f"{value:,.0f} {'pixel' if value == 1 else 'pixels'}"
    digits = 0 if value == 0 or value >= 1000 else max(0, 2 - math.floor(math.log10(value)))
    return f"{value:,.{min(digits, 6)}f} {case.unit}"


def _drawn(case: UnscoredCase, found: Unscored, *, most: int) -> DrawnCase:
    """A case with its contours over its image, or over black where that cannot be read."""
    facts = []
    for name, amount in case.amounts.items():
        suffix = f", {name}" if len(case.amounts) > 1 else ""
        facts += [(f"Volume{suffix}", _volume(amount.volume, case)), (f"Pieces{suffix}", f"{amount.pieces:,}")]
    facts.append(("Expected Dice", _expected(case)))
    facts += [(name.capitalize(), NONE if v is None else f"{v:.3g}") for name, v in case.predicted.uncertainty.items()]
    try:
        mask = found.source.mask(case.id)
    except (ScantlingError, OSError) as error:  # it has changed since it was measured
        return DrawnCase(case, "", 1.0, "", None, tuple(facts), (f"The mask is not shown: {error}.",))
    image, note = found.source.image(case.id)
    notes = [note] if note else []
    if image is not None and image.shape != mask.shape:
        try:
            image = image.on(mask.geometry)
        except DataError:
            image, notes = None, [*notes, "The mask and the image differ in size, so the image is not drawn."]
    view = view_of(image, None, mask)
    if view is None:
        return DrawnCase(case, "", 1.0, "", None, tuple(facts), tuple(notes))
    picture, scale = contoured(image, None, mask, view, len(found.classes), most=most)
    picture = scaled(picture, view, scale, unit_of(image, mask))
    said = ", ".join(f"{name} {_volume(amount.volume, case)}" for name, amount in case.amounts.items())
    alt = f"Case {case.id}: contours of what was marked: {said}"
    aspect = picture.shape[1] / picture.shape[0]
    notes += [view.note] if view.note else []
    return DrawnCase(case, jpeg_uri(picture), aspect, alt, None, tuple(facts), tuple(notes))


def _legend(found: Unscored) -> list[tuple[str, str]]:
    """The colours of the classes by name."""
    colours = class_colours(len(found.classes))
    return [(name, colours[number]) for number, name in enumerate(found.classes, start=1)]


def _charts(found: Unscored) -> list[Chart]:
    """The volumes of each class, of the cases of the commonest unit, and the expected Dice."""
    units = [case.unit for case in found.cases]
    unit = max(sorted(set(units)), key=units.count, default="pixel")
    charts = []
    for name in found.classes:
        values = [(case.id, case.amounts[name].volume) for case in found.cases if case.unit == unit]
        if len(values) > 1:
            suffix = f" of {name}" if len(found.classes) > 1 else ""
            middle = median(value for _, value in values)
            chart = strip_chart(
                f"Volume{suffix} of each case", values, mean=middle, interval=None,
                axis=f"volume{suffix} ({unit_name(unit)})",
            )  # fmt: skip
            charts.append(Chart(chart.title, chart.svg, (), "A dot is a case. Line: median.", chart.axes, chart.table))
    dice = [(case.id, value) for case in found.cases if (value := _dice(case)) is not None]
    if len(dice) > 1:
        chart = strip_chart(
            "Expected Dice of each case", dice, mean=median(value for _, value in dice), interval=None,
            axis="expected Dice", bounds=(0.0, 1.0),
        )  # fmt: skip
        charts.append(Chart(chart.title, chart.svg, (), "A dot is a case. Line: median.", chart.axes, chart.table))
    return charts


def _write_figures(found: Unscored, charts: Sequence[Chart], figures: Figures, command: Sequence[str]) -> None:
    """The charts, the panels of the cases that are drawn, and the table of all."""
    for chart in charts:
        figures.chart(chart.title, chart)
    for case in found.cases[:DRAWN]:
        try:
            mask = found.source.mask(case.id)
            image, _ = found.source.image(case.id)
            image = image if image is None or image.shape == mask.shape else image.on(mask.geometry)
        except (ScantlingError, OSError):
            continue
        view = view_of(image, None, mask)
        if view is not None:
            picture, scale = contoured(image, None, mask, view, len(found.classes))
            figures.picture(f"panel {case.id} contours", scaled(picture, view, scale, unit_of(image, mask)))
    rows = [[case.id, *(text for text, _ in cells), _unlike(case)] for case, cells in _lines(found)]
    caption = "What was marked in each case; no truth was read."
    figures.table("table", ["Case", *_columns(found)], rows, caption=caption)
    figures.numbers("volumes", list(found.rows()))
    figures.finish(command)


def _unlike(case: UnscoredCase) -> str:
    """In what an image is unlike the training images."""
    return NONE if case.predicted.unlike is None else ", ".join(case.predicted.unlike) or "no"
