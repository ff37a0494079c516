"""The command `curve`: methods at several budgets of labels, each budget drawn several times, and what each is worth.

Every training is a cell (`experiments.cells`), an ordinary run folder that knows nothing of the others: a cell that is
done is not done again, an interrupted one goes on, one that fails is listed and the rest stands.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from rich.console import Console

from scantling.contract.method import Method
from scantling.core.checks import check_count
from scantling.core.engines import Share
from scantling.core.errors import DataError, FileError, SettingsError
from scantling.core.outputs import CURVE, check_inputs, check_record
from scantling.data.contents import count
from scantling.data.dataset import Dataset
from scantling.experiments.arms import arms_of, check_arm, method_of
from scantling.experiments.cell_runs import Engine, Progress, check_spread, do_cells
from scantling.experiments.cells import (
    ALL,
    OBJECTS,
    Cell,
    Recipe,
    budgets,
    cells_of,
    labelled_cases,
    labelled_subjects,
    labels_in_words,
    objects_read,
)
from scantling.experiments.curve_points import DoneCell, Grid, done_cell, points_of, scored_cells, undrawn_classes
from scantling.experiments.curve_result import Curve
from scantling.experiments.drawing_effort import effort_of
from scantling.experiments.experiment_folder import registered
from scantling.methods.catalogue import card_of, implementation_of
from scantling.metrics.catalogue import METRICS, Metric
from scantling.training.options import DEFAULTS, Options

Augment = Literal["own", "none", "strong"]


def curve(
    methods: Sequence[str | type[Method]],
    data: Path | str | Dataset,
    out: Path,
    *,
    labels: Sequence[int | str] = ("all",),
    label_instances: Sequence[int | str] = (),
    seeds: int = 1,
    label_seeds: int = 1,
    options: Options = DEFAULTS,
    augment: Augment | None = None,
    metric: str = "dice",
    shard: tuple[int, int] = (1, 1),
    engine: Engine = "local",
    share: Share | None = None,
    console: Console | None = None,
    progress: Progress | None = None,
) -> Curve:
    """Train methods at budgets of labels, score them on the test cases, and say how many labels each is worth.

    Args:
        methods: the first is the control that the others are held against; "METHOD@FOLDER" learns from the labels of
            another data set of the same images, or from corrected masks beside the budget.
        data: a data set with true masks; all of its labels may be asked for.
        out: the folder of the curve; new, empty, or that of a curve of the same data and settings, to which methods,
            budgets and seeds are added.
        labels: budgets: numbers of labelled subjects, percentages of them, "all".
        label_instances: budgets in drawn objects in the same way, in place of `labels` (`data.object_budget`).
        seeds: training seeds of each cell, from 0 on.
        label_seeds: seeds that draw the subjects, from 0 on; "all" draws none.
        options: of all trainings; labels and seeds are those of a cell, `minutes` become steps once for all.
        augment: see `Recipe.augment`.
        metric: of the catalogue, that answers are scored by.
        shard: (i, n) does every n-th cell, the i-th of n jobs, counted from 1.
        engine: "local" does one cell after the other; "ray" spreads them over the machine, or the cluster that
            `RAY_ADDRESS` names.
        share: what each cell takes of a machine, with Ray.
        console: where sentences go.

    Raises:
        StoppedError: a signal has stopped a training, which is saved.
        KeyboardInterrupt: the same, with Ray.
        ScantlingError: nothing can be started. Cells that fail are listed, not raised.
    """
    check_spread(engine, share, shard)
    console = console or Console(quiet=True)
    ready = prepare(
        methods, data, out, labels=labels, label_instances=label_instances, seeds=seeds, label_seeds=label_seeds,
        options=options, augment=augment, metric=metric, console=console,
    )  # fmt: skip
    own = ready.cells[shard[0] - 1 :: shard[1]]
    failed = do_cells(ready.recipe, own, engine=engine, share=share, console=console, progress=progress)
    efforts = efforts_of(ready.recipe, own) if ready.recipe.arms else {}
    return Curve(**summary(ready, own, failed, efforts=efforts))


@dataclass(frozen=True)
class Ready:
    """A curve that can be begun: its cells, what they share, and how many labelled subjects each budget is."""

    recipe: Recipe
    cells: Sequence[Cell]
    subjects: Mapping[str, int]
    metric: Metric
    warnings: Sequence[str]


def prepare(
    methods: Sequence[str | type[Method]],
    data: Path | str | Dataset,
    out: Path,
    *,
    labels: Sequence[int | str],
    label_instances: Sequence[int | str] = (),
    seeds: int,
    label_seeds: int,
    options: Options,
    augment: Augment | None,
    metric: str,
    console: Console,
) -> Ready:
    """Make sure that all cells can be begun, and write the record of the folder; see `curve`.

    Raises:
        ScantlingError: one cannot.
    """
    arms, known = arms_of(methods), masks_metric(metric)
    if label_instances and [*labels] != [ALL]:
        raise SettingsError("--labels and --label-instances are two budgets; leave one out")
    budget = budgets(label_instances, objects=True) if label_instances else budgets(labels)
    names = [arm.name for arm in arms]
    check_count(seeds, argument="--seeds", least=1)
    check_count(label_seeds, argument="--label-seeds", least=1)
    recipe = Recipe(
        data=data if isinstance(data, Dataset) else Path(data), out=out, options=options, control=names[0],
        augment=augment, metric=metric, arms={arm.name: arm.data for arm in arms if arm.data is not None},
    )  # fmt: skip
    cells = cells_of(names, budget, seeds=seeds, label_seeds=label_seeds)
    subjects, warnings = _checked(recipe, cells, budget)
    options = registered(recipe, names, budget, seeds, label_seeds, console)
    return Ready(replace(recipe, options=options), cells, subjects, known, warnings)


def masks_metric(name: str) -> Metric:
    """What masks are scored by.

    Raises:
        SettingsError: there is no such metric, or it is not of masks alone.
    """
    found = METRICS.get(name)
    if found is None or found.ideal is not None or "probability" in found.needs or "samples" in found.needs:
        known = [one.name for one in METRICS.values() if one.needs[0] == "mask" and one.ideal is None]
        raise SettingsError(f"--metric {name}: expected one of masks: {', '.join(known)}")
    return found


def _checked(recipe: Recipe, cells: Sequence[Cell], labels: Sequence[str]) -> tuple[dict[str, int], list[str]]:
    """How many labelled subjects, or drawn objects, of the control each budget is; all cells can be begun.

    And a warning for each other method that has other subjects, since what it learns from other people have drawn.

    Raises:
        SettingsError: a setting that not every method has, or two budgets that are the same.
        DataError: there are fewer labelled subjects, no test case with a mask, or a method cannot learn from the data.
    """
    options = recipe.options
    changes = dict(options.settings) | ({} if options.steps is None else {"steps": options.steps})
    for method in dict.fromkeys(cell.method for cell in cells):
        implementation_of(card_of(method_of(method))).Settings.preset(options.preset, changes)
        recipe.options_of(next(cell for cell in cells if cell.method == method)).check()
    dataset = recipe.dataset
    check_inputs(recipe.out, dataset.files())
    check_record(recipe.out, CURVE)
    if not any(case.masks and case.images for case in dataset.split("test")):
        raise DataError(f"{dataset.root}: no test case has an image and a mask; a curve needs some to be measured on")
    for name in recipe.arms:
        own = recipe.given_to(name)
        check_inputs(recipe.out, own.files())
        check_arm(name, own, dataset)
    held = {cell: labelled_subjects(recipe, cell) for cell in cells if (cell.seed, cell.label_seed) == (0, 0)}
    subjects = {cell.labels: len(found) for cell, found in held.items() if cell.method == recipe.control}
    if not all(subjects.values()):
        raise DataError(
            f"{dataset.root}: found no training subject with labels that {recipe.control} learns from; expected some "
            "to count budgets in; `scantling compare` holds methods without labels against each other"
        )
    of_objects = any(budget.endswith(OBJECTS) for budget in labels)
    unit = "drawn object" if of_objects else "subject"
    if of_objects:
        subjects = {cell.labels: objects_read(recipe, cell) for cell in held if cell.method == recipe.control}
    apart = dict.fromkeys(
        cell.method
        for cell, found in held.items()
        if found != held[replace(cell, method=recipe.control)] and not recipe.corrects(cell.method)
    )
    warnings = [
        f"{method} learns from labels that other subjects have than those of {recipe.control}: they are not compared "
        "at the same subjects, nor at the same number of them with all labels."
        for method in apart
    ]
    for number, budget in enumerate(labels):
        alike = [other for other in labels[:number] if subjects[other] == subjects[budget]]
        if alike and "all" not in (budget, *alike):
            raise SettingsError(
                f"{labels_in_words(budget)} are {count(subjects[budget], unit)}, as are {labels_in_words(alike[0])}; "
                "leave one out"
            )
    return subjects, warnings


def efforts_of(recipe: Recipe, cells: Iterable[Cell]) -> dict[Cell, dict[str, float]]:
    """What it takes to draw the labels that each cell may look at, an estimate."""
    known, efforts = defaultdict[str, dict[str, Mapping[str, float]]](dict), dict[Cell, dict[str, float]]()
    for cell in cells:
        cases, taught_by = labelled_cases(recipe, cell)
        efforts[cell] = effort_of(recipe.dataset_of(cell.method), cases, taught_by, known=known[cell.method])
    return efforts


def summary(
    ready: Ready,
    cells: Sequence[Cell],
    failed: Mapping[Cell, str],
    *,
    efforts: Mapping[Cell, Mapping[str, float]] | None = None,
) -> dict[str, Any]:
    """What the cells say together: the attributes of a `Curve`.

    Args:
        efforts: what it takes to draw the labels of each cell, where that is counted.
    """
    recipe, subjects, metric = ready.recipe, ready.subjects, ready.metric
    done, failed = list[DoneCell](), dict(failed)
    for cell in cells:
        try:
            one = done_cell(recipe, cell)
        except FileError as error:
            failed[cell] = str(error)
        else:
            done += [one] if one is not None else []
    known = {one.cell: efforts[one.cell] for one in done} if efforts else {}
    grid = Grid.of(done, cells, subjects=subjects, metric=metric, efforts=known)
    if done and not grid.cases:
        raise DataError(f"{recipe.out}: found no test case for which every training has a score")
    units: set[str | None] = {case.unit for one in done for case in one.scores.cases}
    if metric.is_volume and len(units) == 1:
        units = {one.scores.units.get(metric.name) for one in done}
    lost = [f"{one.cell}: test case {each.id}: {each.error}" for one in done for each in one.scores.failed]
    return {
        "data": recipe.dataset.root.resolve(),
        "name": recipe.dataset.name,
        "out": recipe.out,
        "control": recipe.control,
        "metric": metric.in_unit(next(iter(units)) if len(units) == 1 else None),
        "shared": recipe.facts(),
        "points": tuple(points_of(grid)),
        "cells": tuple(scored_cells(recipe, cells, grid, failed)),
        "cases": grid.cases,
        "left_out": grid.left_out,
        "subjects": len({*grid.which}),
        "warnings": (*ready.warnings, *undrawn_classes(done)),
        "failed": (*(f"{cell}: {error}" for cell, error in failed.items() if cell not in grid.done), *lost),
    }
