"""The course of a training as charts: losses by player, validation, learning rates, stage by stage."""

from __future__ import annotations

import math
from dataclasses import dataclass

from scantling.report.charts import Chart, Series, line_chart, shares
from scantling.report.logs import Curve
from scantling.report.targets import Run
from scantling.report.words import metric


@dataclass(frozen=True)
class StageCurves:
    """The charts of one stage; the stage has no name where there is only one."""

    name: str
    charts: tuple[Chart, ...]


def curves_of(run: Run) -> tuple[StageCurves, ...]:
    """The charts of every stage of the run's log."""
    stages = run.log.stages
    return tuple(StageCurves(name if len(stages) > 1 else "", tuple(_charts(run, name))) for name in stages)


def _charts(run: Run, stage: str) -> list[Chart]:
    log, charts = run.log, []
    players = list(dict.fromkeys(player for one, player, _ in log.losses if one == stage))
    for player in players:
        terms = {term: curve for (one, whose, term), curve in log.losses.items() if (one, whose) == (stage, player)}
        title = "Loss" if len(players) == 1 else f"Loss of {player}"
        charts.append(line_chart(title, _series(terms), noisy=True, log=True))
    values = {name: curve for (one, name), curve in log.validation.items() if one == stage}
    shares = {name: curve for name, curve in values.items() if not any(y < 0 or y > 1 for y in curve[1])}
    if shares:
        charts.append(_validation("Validation", shares, run, stage))
    for name in (name for name in values if name not in shares):
        charts.append(_validation(f"Validation {metric(name).title}", {name: values[name]}, run, stage))
    rates = {player: curve for (one, player), curve in log.rates.items() if one == stage}
    if rates:
        charts.append(line_chart("Learning rate", _series(rates), zero=True))
    return charts


def _validation(title: str, group: dict[str, Curve], run: Run, stage: str) -> Chart:
    selected = run.record.selected
    last = selected is not None and stage == run.log.stages[-1]
    step = selected.step if selected is not None and last and selected.rule == "best" else None
    steps = [step for curve in group.values() for step in curve[0]]
    mark = float(step) if step is not None and min(steps) <= step <= max(steps) else None
    note = f"Dashed: the weights that were kept, step {step:,}." if mark is not None else ""
    titled = {metric(key).title: curve for key, curve in group.items()}
    return line_chart(title, _series(titled), mark=mark, note=note, bounds=shares(group.values()))


def _series(curves: dict[str, Curve]) -> list[Series]:
    series = []
    for name, (steps, values) in curves.items():
        pairs = sorted(zip(steps, values, strict=True), key=lambda pair: pair[0])
        pairs = [pair for pair in pairs if math.isfinite(pair[0])]
        series.append(Series(name, [step for step, _ in pairs], [value for _, value in pairs]))
    return series
