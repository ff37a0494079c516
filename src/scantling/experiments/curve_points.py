"""From the scores of the cells of a curve to its points: means, differences to the control, what labels are worth."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import median

import numpy as np

from scantling.core.outputs import PREDICTIONS
from scantling.evaluation.intervals import NOWHERE, Values
from scantling.experiments.candidates import median_seconds
from scantling.experiments.cells import TEST, Cell, Recipe, run_of, scores_of
from scantling.experiments.comparison import Cost
from scantling.experiments.curve_result import ClassMeans, Point, ScoredCell, Worth
from scantling.experiments.resampling import NOTHING, Draws, Estimate, estimate, limits, worth
from scantling.metrics.catalogue import Metric
from scantling.records.evaluation import EvaluationRecord
from scantling.records.predictions import PredictionsRecord
from scantling.records.record import read_record
from scantling.records.run import RunRecord


@dataclass(frozen=True)
class DoneCell:
    """A cell that is done, with what it has left behind."""

    cell: Cell
    scores: EvaluationRecord
    run: RunRecord
    made: PredictionsRecord


def done_cell(recipe: Recipe, cell: Cell) -> DoneCell | None:
    """What a cell has left behind; None where it is not done.

    Raises:
        FileError: a record of its run is damaged.
    """
    scores = scores_of(recipe, cell)
    if scores is None:
        return None
    made = read_record(PredictionsRecord, recipe.out / cell.folder / TEST / PREDICTIONS)
    return DoneCell(cell, scores, run_of(recipe, cell), made)


@dataclass(frozen=True)
class Grid:
    """The done cells of a curve on the cases that all of them have scores for.

    Attributes:
        methods, labels: of the cells, the control first.
        subjects: by budget, how many labelled subjects it is.
        which: (N,) the number of the subject that each case shows.
        efforts: what it takes to draw the labels of each cell; empty in a curve of one data set.
    """

    done: Mapping[Cell, DoneCell]
    methods: Sequence[str]
    labels: Sequence[str]
    subjects: Mapping[str, int]
    seeds: int
    label_seeds: int
    metric: Metric
    cases: tuple[str, ...]
    left_out: tuple[str, ...]
    which: tuple[int, ...]
    efforts: Mapping[Cell, Mapping[str, float]]

    @classmethod
    def of(
        cls,
        done: Sequence[DoneCell],
        cells: Sequence[Cell],
        *,
        subjects: Mapping[str, int],
        metric: Metric,
        efforts: Mapping[Cell, Mapping[str, float]],
    ) -> Grid:
        """From the cells that were asked for and those of them that are done.

        Args:
            subjects: by budget, how many labelled subjects it is.
            efforts: see above.
        """
        ids = [{case.id for case in one.scores.cases} for one in done]
        common = sorted(set.intersection(*ids)) if ids else []
        persons = {case.id: case.subject or case.id for case in done[0].scores.cases} if done else {}
        which = np.unique([persons[id] for id in common], return_inverse=True)[1]
        return cls(
            {one.cell: one for one in done},
            methods=list(dict.fromkeys(cell.method for cell in cells)),
            labels=sorted(subjects, key=lambda budget: subjects[budget]),
            subjects=subjects,
            seeds=1 + max(cell.seed for cell in cells),
            label_seeds=1 + max(cell.label_seed for cell in cells),
            metric=metric,
            cases=tuple(common),
            left_out=tuple(sorted(set[str]().union(*ids) - {*common})),
            which=tuple(int(number) for number in which),
            efforts=efforts,
        )

    @property
    def draws(self) -> Draws:
        """The weights of all that can be drawn anew."""
        return Draws.of(subjects=len({*self.which}), label_seeds=self.label_seeds, seeds=self.seeds)

    @property
    def classes(self) -> tuple[str, ...]:
        """The classes, where there are several."""
        found = dict.fromkeys(name for one in self.done.values() for case in one.scores.cases for name in case.classes)
        return tuple(found) if len(found) > 1 else ()

    def effort(self, method: str, labels: str) -> dict[str, float]:
        """The mean over the cells of a method at a budget; empty where none is known."""
        found = [one for cell, one in self.efforts.items() if (cell.method, cell.labels) == (method, labels)]
        names = dict.fromkeys(name for one in found for name in one)
        return {name: math.fsum(one.get(name, 0) for one in found) / len(found) for name in names}

    def values(self, method: str, labels: str, *, name: str | None = None) -> Values:
        """(D, S, N) of a method at a budget, of all classes or of the one called `name`; see `resampling.estimate`."""
        found = np.full((self.label_seeds, self.seeds, len(self.cases)), math.nan)
        for cell, one in self.done.items():
            if (cell.method, cell.labels) == (method, labels):
                scores = {case.id: case for case in one.scores.cases}
                tables = [scores[id].values if name is None else scores[id].classes.get(name, {}) for id in self.cases]
                row = [table.get(self.metric.name) for table in tables]
                found[cell.label_seed, cell.seed] = [math.nan if value is None else value for value in row]
        there = ~np.isnan(found).all(axis=2)
        if there.any():  # a case counts where it has a score in all trainings
            found[:, :, np.isnan(found[there]).any(axis=0)] = math.nan
        return found


def points_of(grid: Grid) -> list[Point]:
    """The points of all methods, the control's first, from few labels to many."""
    draws, control = grid.draws, grid.methods[0]
    low, high = grid.metric.range

    def means(method: str, labels: str, name: str | None = None) -> tuple[Estimate, Estimate]:
        own = grid.values(method, labels, name=name)
        if method == control:
            return estimate(own, grid.which, draws), NOTHING
        other = grid.values(control, labels, name=name)
        return estimate(own, grid.which, draws), estimate(own - other, grid.which, draws)

    estimates = {(method, labels): means(method, labels) for method in grid.methods for labels in grid.labels}
    own_values = {key: own for key, (own, _) in estimates.items()}
    valued = worth_by(control, own_values, grid, grid.subjects)
    pixels = {labels: grid.effort(control, labels).get("pixels", 0.0) for labels in grid.labels}
    drawn = worth_by(control, own_values, grid, pixels) if all(pixels.values()) else {}
    points = []
    for (method, labels), (own, apart) in estimates.items():
        classes = {}
        for name in grid.classes:
            of_class, class_apart = means(method, labels, name)
            classes[name] = ClassMeans(
                of_class.value, of_class.interval(low=low, high=high), class_apart.value,
                class_apart.interval(low=low - high, high=high - low),
            )  # fmt: skip
        done = [one for cell, one in grid.done.items() if (cell.method, cell.labels) == (method, labels)]
        points.append(
            Point(
                method=method,
                labels=labels,
                subjects=grid.subjects[labels],
                cells=len(done),
                mean=own.value,
                interval=own.interval(low=low, high=high),
                difference=apart.value,
                difference_interval=apart.interval(low=low - high, high=high - low),
                worth=valued.get((method, labels)),
                effort=grid.effort(method, labels),
                effort_worth=drawn.get((method, labels)),
                classes=classes,
                cost=_cost(done),
            )
        )
    return points


def worth_by(
    control: str, estimates: Mapping[tuple[str, str], Estimate], grid: Grid, sizes: Mapping[str, float]
) -> dict[tuple[str, str], Worth]:
    """What each method is worth at each budget, where the control was measured at two budgets or more.

    Args:
        sizes: of each budget of the control, what it is counted in: labelled subjects, or pixels that were drawn.
    """
    measured = [labels for labels in grid.labels if not math.isnan(estimates[control, labels].value)]
    budgets = [sizes[labels] for labels in measured]
    if len(measured) < 2 or budgets != sorted({*budgets}):
        return {}
    sign = -1.0 if grid.metric.direction == "lower" else 1.0
    curve = [estimates[control, labels] for labels in measured]
    found = {}
    for (method, labels), one in estimates.items():
        if method == control or math.isnan(one.value):
            continue
        value = worth(np.array([sign * one.value]), sign * np.array([[each.value for each in curve]]), budgets)[0]
        ends = NOWHERE
        if len(one.drawn) and all(len(each.drawn) for each in curve):
            drawn = sign * np.stack([each.drawn for each in curve], axis=1)
            ends = limits(worth(sign * one.drawn, drawn, budgets))
        found[method, labels] = Worth(float(value), ends, least=budgets[0], most=budgets[-1])
    return found


def scored_cells(recipe: Recipe, cells: Sequence[Cell], grid: Grid, failed: Mapping[Cell, str]) -> list[ScoredCell]:
    """What is known of each cell."""
    found = []
    for cell in cells:
        one = grid.done.get(cell)
        mean = None if one is None else one.scores.mean.get(recipe.metric)
        seconds = None if one is None or one.run.seconds is None else float(one.run.seconds)
        run, effort = recipe.out / cell.folder, grid.efforts.get(cell, {})
        found.append(ScoredCell(cell, run, mean, seconds, failed.get(cell, ""), effort))
    return found


def undrawn_classes(done: Sequence[DoneCell]) -> list[str]:
    """A sentence for each training whose labelled subjects have no pixel of a class."""
    sentences = []
    for one in done:
        traits = one.run.traits or {}
        names = (traits.get("labels") or {}).get("names") or ()
        lost = [name for name, share in zip(names, traits.get("foreground") or (), strict=False) if not share]
        if lost:
            sentences.append(f"{one.cell}: no labelled training subject has a pixel of {' or '.join(lost)}.")
    return sentences


def _cost(done: Sequence[DoneCell]) -> Cost:
    """The means over the cells of what is known."""

    def mean(values: Sequence[float | int | None]) -> float | None:
        known = [value for value in values if value is not None]
        return math.fsum(known) / len(known) if known else None

    def number(one: DoneCell) -> int | None:
        return one.run.parameters if isinstance(one.run.parameters, int) else None

    seconds = [value for one in done if (value := median_seconds(one.made)) is not None]
    return Cost(
        parameters=mean([number(one) for one in done]),
        calls=mean([one.made.calls for one in done]),
        seconds=float(median(seconds)) if seconds else None,
        training_seconds=mean([None if one.run.seconds is None else float(one.run.seconds) for one in done]),
    )
