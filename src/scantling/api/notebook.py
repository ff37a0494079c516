"""A training in a notebook: a bar and live curves, drawn from the log of its run; IPython is needed only there."""

from __future__ import annotations

import time
from html import escape
from pathlib import Path
from typing import Any

from scantling.report.charts import Chart, Series, line_chart, shares
from scantling.report.logs import Curve, read_log
from scantling.training.callbacks import LoggedStep
from scantling.training.log import spoken

COLOURS = ("#0a6f83", "#c2560a", "#6650b8", "#a81c68", "#5d7300", "#5f5b53")
"""Of the curves, as in a report; dark enough for a light page and light enough for a dark one."""
EVERY = 1.0
"""Seconds between two pictures."""

_STYLE = (
    ".scantling svg { width: 420px; font-size: 11px; } .scantling figure { display: inline-block; margin: 4px; }"
    " .scantling text { fill: #777; } .scantling .grid, .scantling .axis { stroke: #8884; fill: none; }"
    " .scantling .curve { fill: none; stroke-width: 1.7; } .scantling .raw { opacity: .3; }"
    + "".join(
        f" .scantling .curve.s{n} {{ stroke: {c}; }} .scantling .dot.s{n} {{ fill: {c}; }} .scantling .key.s{n} "
        f"{{ color: {c}; }}"
        for n, c in enumerate(COLOURS)
    )
)


class LiveDisplay:
    """A callback that shows the progress of a training in a notebook, at most once in `EVERY` seconds."""

    def __init__(self, run: Path) -> None:
        self.run = run
        self._handle: Any = None
        self._shown = -EVERY
        self._step: LoggedStep | None = None

    def __call__(self, step: LoggedStep) -> None:
        """Show a step."""
        now, self._step = time.monotonic(), step
        if now - self._shown < EVERY and step.step < step.steps:
            return
        self._shown = now
        if self._handle is None:
            from IPython.display import display

            self._handle = display(self, display_id=True)
        else:
            self._handle.update(self)

    def __repr__(self) -> str:
        step = self._step
        if step is None:
            return str(self.run)
        left = f", {spoken(step.seconds_left)} left" if step.step < step.steps else ""
        return f"{self.run}: {step.stage}, step {step.step} of {step.steps}{left}"

    def _repr_html_(self) -> str:
        step = self._step
        bar = f'<progress value="{step.step}" max="{step.steps}"></progress> ' if step is not None else ""
        return f"<div>{bar}{escape(repr(self))}{curves(self.run / 'log.jsonl')}</div>"


def curves(log: Path) -> str:
    """The losses and the validation of each stage of a run as charts in HTML; empty where nothing is logged."""
    found, drawn = read_log(log), list[Chart]()
    for stage in found.stages:
        title = f" of {stage}" if len(found.stages) > 1 else ""
        losses = {f"{player}/{term}": curve for (one, player, term), curve in found.losses.items() if one == stage}
        values = {name: curve for (one, name), curve in found.validation.items() if one == stage}
        drawn += [line_chart(f"Loss{title}", _series(losses), noisy=True, log=True)] if losses else []
        drawn += [line_chart(f"Validation{title}", _series(values), bounds=shares(values.values()))] if values else []
    return f'<style>{_STYLE}</style><div class="scantling">{"".join(map(_figure, drawn))}</div>' if drawn else ""


def _series(found: dict[str, Curve]) -> list[Series]:
    return [Series(name, *curve) for name, curve in found.items()]


def _figure(chart: Chart) -> str:
    keys = " ".join(
        f'<span class="key s{key.colour}">{escape(key.name)} {escape(key.note)}</span>' for key in chart.keys
    )
    return f"<figure><figcaption>{escape(chart.title)}: {keys}</figcaption>{chart.svg}</figure>"
