"""Whether made cases are valid: what recognisers trained on real cases find in real test cases and in made ones.

As in the thesis on multimodal synthesis (its Table 4): a low score on made cases, beside that on real ones, says that
images and masks of the made cases do not fit each other as real ones do. Made cases that a gate has chosen by such a
recogniser are no test, which is said.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from statistics import fmean
from typing import Any

from rich.console import Console

from scantling.core.errors import ScantlingError
from scantling.core.machine import Compute
from scantling.core.outputs import locked
from scantling.data.contents import some
from scantling.data.dataset import Dataset
from scantling.experiments.cells import Cell, do_cell, labels_in_words, scored, scores_of
from scantling.experiments.made_sets import opened
from scantling.experiments.worth_recipe import WorthRecipe, one_image
from scantling.inference.prediction import predict
from scantling.metrics.catalogue import Metric

MOST = 200
"""Made cases that are looked at, drawn as arms draw them."""
MSE = "brier"
"""The mean squared error of the probabilities against the masks; of image classes summed over the classes."""
REAL = "real test cases"


@dataclass(frozen=True)
class Validity:
    """What recognisers of one kind score on one set.

    Attributes:
        on: "real test cases", or the name of made data.
        modality: the one image that they see; empty: all; "mean": the mean over the single ones.
        cases: how many were scored.
        score: the mean of the metric, over cases and trainings.
        error: the mean squared error of the probabilities; NaN of boxes.
    """

    on: str
    modality: str
    labels: str
    cases: int
    score: float
    error: float
    remark: str = ""

    def facts(self) -> dict[str, Any]:
        """For JSON."""
        return asdict(self)


def measured(recipe: WorthRecipe, cells: Sequence[Cell], metric: Metric, *, console: Console) -> list[Validity]:
    """The table, from the trainings on real cases with most subjects; of cases with several images also one by one.

    What is done is not done again. Trainings and sets that fail are told and left out.

    Raises:
        StoppedError: a signal has stopped a training, which is saved.
    """
    controls = [cell for cell in cells if cell.method == recipe.control]
    most = max(dict.fromkeys(cell.labels for cell in controls), key=lambda one: len(recipe.budget(one, 0).all_subjects))
    controls = [cell for cell in controls if cell.labels == most]
    images = dict.fromkeys(name for case in recipe.dataset.split("test") for name in case.images)
    found = list[Validity]()
    for modality in ("", *(images if len(images) > 1 else ())):
        own = recipe if not modality else replace(
            recipe, modality=modality, out=recipe.out / "validity" / modality, known={}
        )  # fmt: skip
        for cell in controls:
            try:
                if modality:
                    console.print(f"{modality} alone: {cell}", highlight=False, markup=False)
                    do_cell(own, cell)
            except ScantlingError as error:
                console.print(f"{modality or 'all images'}: {cell}: {error}", highlight=False, markup=False)
        done = [cell for cell in controls if scores_of(own, cell) is not None]
        rows = [_row(own, done, name, metric, console) for name in (REAL, *own.sources)]
        found += [replace(row, modality=modality) for row in rows if row is not None]
    singles = [one for one in found if one.modality]
    for name in dict.fromkeys(one.on for one in singles):
        those = [one for one in singles if one.on == name]
        means = [fmean(getattr(one, field) for one in those) for field in ("score", "error")]
        found.append(Validity(name, "mean", most, those[0].cases, means[0], means[1], those[0].remark))
    return found


def _row(recipe: WorthRecipe, cells: Sequence[Cell], name: str, metric: Metric, console: Console) -> Validity | None:
    """What the trainings score on one set; None where nothing can be scored."""
    scores, number, remark = list[tuple[float, float]](), 0, ""
    for cell in cells:
        dataset, folder_name = recipe.dataset, name.replace(" ", "-")
        if name != REAL:
            if (folder := recipe.sources[name].folder(cell.labels)) is None:
                continue
            made = opened(folder)
            budget = recipe.budget(cell.labels, cell.label_seed)
            chosen = recipe.drawn(name, replace(cell, label_seed=0), budget)[:MOST]
            gates = [case.id for case in chosen if "accepted:" in case.origin.model]
            remark = f"a gate has chosen them ({some(gates)})" if gates else ""
            folder_name += f"-{len(chosen)}"  # a run may have made more since
            tested = tuple(replace(case, split="test") for case in chosen)
            dataset = one_image(replace(made, cases=tested, parted=True), recipe.modality)
        try:
            out = recipe.out / cell.folder / "validity" / folder_name
            row = _scored(recipe, cell, dataset, out, metric)
        except ScantlingError as error:
            console.print(f"{name}: {cell}: {error}", highlight=False, markup=False)
            continue
        scores.append(row[:2])
        number = row[2]
    if not scores:
        return None
    means = [fmean(column) for column in zip(*scores, strict=True)]
    return Validity(name, recipe.modality, cells[0].labels, number, means[0], means[1], remark)


def _scored(recipe: WorthRecipe, cell: Cell, dataset: Dataset, out: Path, metric: Metric) -> tuple[float, float, int]:
    run, options = recipe.out / cell.folder, recipe.options
    compute = Compute(device=options.device, threads=options.threads, precision=options.precision)
    with locked(run.parent, shard=run.name):
        predict(run, dataset, out=out, split="test", probabilities=recipe.label == "mask", compute=compute)
    found = scored(out, dataset, [metric.name, MSE], opening=recipe.opening, classes=recipe.classifies(cell))
    score, error = (math.nan if (mean := found.mean.get(of)) is None else float(mean) for of in (metric.name, MSE))
    return score, error, len(found.cases)


def sentences(rows: Sequence[Validity], metric: Metric) -> list[str]:
    """How far made cases are from real ones, in words."""
    found = []
    for row in rows:
        real = next((one for one in rows if one.on == REAL and one.modality == row.modality), None)
        if row is real or real is None or row.modality not in ("", "mean"):
            continue
        which = "with one image at a time (mean) " if row.modality else ""
        found.append(
            f"Trained on real cases with {labels_in_words(row.labels)}, recognisers score {which}{metric.title} "
            f"{row.score:.3f} on {row.on} and {real.score:.3f} on real test cases"
            + (f"; but {row.remark}, so that this is no test of the generator." if row.remark else ".")
        )
    return found
