"""The page of `worth`: the verdict, each arm against real data alone, every mean, and whether made cases are valid."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

from scantling.experiments.cells import labels_in_words
from scantling.experiments.worth_result import WorthResult
from scantling.report.charts import Chart
from scantling.report.curve import curves_chart, metric_of, write_page
from scantling.report.generated import image_lines
from scantling.report.spreads import forest_chart

PAGE_NAME = "worth.html"
MOST_CURVES = 6
"""More arms than there are colours are not drawn as curves."""


def write_worth(found: WorthResult, page: Path, *, command: Sequence[str] = ()) -> Path:
    """Write one self-contained HTML page; returns it.

    Args:
        command: what makes it again.
    """
    labels = list(dict.fromkeys(point.labels for point in found.points))
    charts = [chart for budget in labels if (chart := _arms(found, budget)) is not None]
    curves = curves_chart(found, metric_of(found)) if len(labels) > 1 and len(found.methods) <= MOST_CURVES else None
    charts += [curves] if curves is not None else []
    return write_page(
        found,
        page,
        charts,
        command=command,
        name="worth",
        noun="arm",
        arms=found.described(),
        validity=found.validity,
        images=[line for name, one in found.images.items() for line in image_lines(name, one)],
    )


def _arms(found: WorthResult, labels: str) -> Chart | None:
    """The difference of each arm to real data alone at one budget, with its interval."""
    points = [point for point in found.points if point.labels == labels and not math.isnan(point.difference)]
    if not points:
        return None
    one = metric_of(found)
    rows = [
        (point.method, point.difference, point.difference_interval, f"{point.method}: {point.difference:+.3f}")
        for point in points
    ]
    title = f"{one.title} with {labels_in_words(labels)}: difference to {found.control}"
    note = f"Minus {found.control} with the same subjects; {one.better}. A line is a 95 % interval."
    return forest_chart(
        title, rows, label=f"{title}, with 95 % intervals.", note=note, axis=f"difference in {one.title}"
    )
