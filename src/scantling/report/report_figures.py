"""The figures of a report: its charts, the worst, median and best cases as panels, its scores as tables."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from scantling.report.case_panels import panels_of
from scantling.report.exemplars import choose
from scantling.report.figures import Figures
from scantling.report.page import Section
from scantling.report.tables import Row, ScoreBlock
from scantling.report.words import NONE

MOST_PANELS = 8
"""Above this many evaluations no panels are drawn, as on the page."""


def write_figures(sections: Sequence[Section], folder: Path, *, command: Sequence[str] = ()) -> list[str]:
    """Write the figures of the sections of a report; returns sentences on what is not there.

    Args:
        command: what makes them again.
    """
    figures = Figures(folder)
    blocks = [block for section in sections for block in _blocks(section)]
    for section in sections:
        begin = f"{section.header.title} " if len(sections) > 1 else ""
        charts = [(f"{begin}{_called(block, blocks)}", chart) for block in _blocks(section) for chart in block.charts]
        charts += [(begin, chart) for classes in section.classes for chart in classes.charts]
        charts += [(begin, chart) for registrations in section.registrations for chart in registrations.charts]
        for named, chart in charts:
            figures.chart(f"{named} {chart.title}", chart)
        for stage in section.curves:
            for chart in stage.charts:
                figures.chart(f"{begin}training {stage.name} {chart.title}", chart)
    for block in blocks[:MOST_PANELS]:
        for rank, case in choose(block.evaluation)[1]:
            for what, picture in panels_of(case, block.evaluation):
                figures.picture(f"panel {_called(block, blocks)} {rank} {case.id} {what}", picture)
    if blocks:
        _tables(figures, blocks)
    return figures.finish(command)


def _blocks(section: Section) -> list[ScoreBlock]:
    return [*section.blocks, *([section.validation] if section.validation is not None else [])]


def _called(block: ScoreBlock, blocks: Sequence[ScoreBlock]) -> str:
    """What tells a block from the others in the name of a file."""
    return "" if len(blocks) < 2 else "validation" if block.validation else block.where


def _tables(figures: Figures, blocks: Sequence[ScoreBlock]) -> None:
    """The scores as table.tex, table.csv and, case by case, cases.csv."""
    names = [_called(block, blocks) or block.where for block in blocks]
    rows = [{row.metric.key: row for group in block.groups for row in group.rows} for block in blocks]
    metrics = {key: row.metric for one in rows for key, row in one.items()}
    several = len(blocks) > 1
    header = ["Metric", *([f"{name}" for name in names] if several else ["Mean", "95 % interval", "Cases"])]
    lines = []
    for key, metric in metrics.items():
        found = [one.get(key) for one in rows]
        title = f"{metric.title} {metric.arrow}".strip()
        if several:
            lines.append([title, *(NONE if row is None else _mean(row) for row in found)])
        elif (row := found[0]) is not None:
            lines.append([title, row.written_mean, row.written_interval, str(row.count)])
    caption = f"Scores of {names[0]}." if not several else "Scores."
    caption += " Means over cases, with 95 % intervals of the mean over subjects."
    figures.table("table", header, lines, caption=caption)
    head = ("evaluation", "metric", "title", "mean", "std", "low", "high", "cases")
    numbers = [
        (name, key, row.metric.title, row.mean, row.std, *(row.interval or (None, None)), row.count)
        for name, one in zip(names, rows, strict=True)
        for key, row in one.items()
    ]
    figures.numbers("scores", [head, *numbers])
    keys = list(metrics)
    cases = [
        (name, case.id, case.subject, case.unit, *(case.values.get(key) for key in keys))
        for name, block in zip(names, blocks, strict=True)
        for case in block.cases
    ]
    figures.numbers("cases", [("evaluation", "id", "subject", "unit", *keys), *cases])


def _mean(row: Row) -> str:
    return row.written_mean + ("" if row.interval is None else f" ({row.written_interval})")
