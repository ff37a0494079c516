"""The cells of an experiment: one training each, in a run folder of its own, and the score of its test answers."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal

import numpy as np

from scantling.core.case import Case
from scantling.core.errors import DataError, FileError, RunError, SettingsError, out_of_memory
from scantling.core.fields import reads_masks
from scantling.core.machine import Compute
from scantling.core.outputs import locked
from scantling.data.contents import count, some
from scantling.data.corrections import is_corrections
from scantling.data.dataset import Dataset
from scantling.data.division import within_budget
from scantling.data.label_budget import written_labels
from scantling.data.object_budget import objects_of
from scantling.data.opening import Opening
from scantling.data.splits import is_labelled
from scantling.evaluation.boxes import evaluate_boxes
from scantling.evaluation.classes import evaluate_classes
from scantling.evaluation.folders import evaluate
from scantling.experiments.arms import method_of
from scantling.experiments.boxes_by_case import box_scores
from scantling.experiments.image_classes import scores_by_case
from scantling.inference.prediction import predict
from scantling.methods.catalogue import card_of
from scantling.metrics.catalogue import BOX_METRICS
from scantling.records.evaluation import EvaluationRecord
from scantling.records.record import read_record
from scantling.records.run import RunRecord
from scantling.training.callbacks import Callback
from scantling.training.material import open_material, reading_masks
from scantling.training.options import Options
from scantling.training.training import train

ALL = "all"
"""The budget of all labels, which draws no subjects."""
OBJECTS = " objects"
"""The end of a budget that counts drawn objects, and not subjects: "50 objects", "10% objects"."""
RUNS, TEST, SCORES = "runs", "test", "test.json"
"""The folder of the cells; in each the answers about the test cases, and their scores."""


@dataclass(frozen=True)
class Cell:
    """One training: a method with so many labels, of subjects that a label seed draws, from a training seed.

    Attributes:
        method: the name of its arm (`experiments.arms`, `experiments.worth_arms`): "unet", "partial@scribbled",
            "real+100%@painted".
        labels: "7", "10%" or "all"; of drawn objects "50 objects", "10% objects".
        label_seed: 0 with all labels.
    """

    method: str
    labels: str
    label_seed: int
    seed: int

    @property
    def folder(self) -> Path:
        """Its run folder, below that of the experiment."""
        labels, arm = (
            name.replace("%", "-percent").replace(OBJECTS, "-objects")
            for name in (f"labels-{self.labels}", self.method)
        )
        draw = () if self.labels == ALL else (f"draw-{self.label_seed}",)
        return Path(RUNS, arm.replace("/", "-").replace(" ", "-"), labels, *draw, f"seed-{self.seed}")

    def __str__(self) -> str:
        draw = "" if self.labels == ALL else f", label seed {self.label_seed}"
        return f"{self.method} with {labels_in_words(self.labels)}{draw}, seed {self.seed}"


def labels_in_words(labels: str) -> str:
    """ "7 labels", "10% of the labels", "all labels"."""
    if labels == ALL:
        return "all labels"
    if labels.endswith(OBJECTS):
        number = labels.removesuffix(OBJECTS)
        of = " of the" if number.endswith("%") else ""
        return f"{number}{of} drawn object{'s'[: number != '1']}"
    return f"{labels} of the labels" if labels.endswith("%") else f"{labels} label{'s'[: labels != '1']}"


def budgets(labels: Sequence[int | str], *, objects: bool = False) -> tuple[str, ...]:
    """Budgets in one form, each once.

    Args:
        objects: they count drawn objects.

    Raises:
        SettingsError: there is none, one is named twice, or one is no number from 1, no percentage and not "all".
    """
    flag, end = ("--label-instances", OBJECTS) if objects else ("--labels", "")

    def written(one: int | str) -> str:
        if str(one).strip().lower() == ALL:
            return ALL
        return f"{written_labels(one, flag=flag, what='objects' if objects else 'subjects')}{end}"

    found = tuple(map(written, labels))
    if not found:
        raise SettingsError(f"{flag}: found no budget; name at least one, such as {flag} 3 7 all")
    if twice := [one for one in dict.fromkeys(found) if found.count(one) > 1]:
        raise SettingsError(f"{flag} {twice[0].removesuffix(end)}: is named twice; name each budget once")
    return found


def cells_of(methods: Sequence[str], labels: Sequence[str], *, seeds: int, label_seeds: int) -> list[Cell]:
    """All cells; the first of them are a whole curve of each method, of the first seeds."""
    return [
        Cell(method, budget, draw, seed)
        for seed in range(seeds)
        for draw in range(label_seeds)
        for budget in labels
        for method in methods
        if budget != ALL or draw == 0
    ]


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """What all cells share.

    Attributes:
        data: the folder of the data set, or the data set.
        out: the folder of the curve.
        options: of the trainings, but for what a cell says.
        control: the method that the others are held against.
        augment: of all methods; None: "strong" for the control and its method on other labels, their own for the
            others, so that no gain is one of more augmentation.
        metric: that the test answers are scored by.
        arms: the folder of each arm that has labels of its own, or corrected masks beside the budget.
    """

    data: Path | Dataset
    out: Path
    options: Options
    control: str
    augment: Literal["own", "none", "strong"] | None
    metric: str
    arms: Mapping[str, Path] = field(default_factory=dict)

    @property
    def opening(self) -> Opening:
        """How the data are opened."""
        return Opening(manifest=self.options.manifest, root=self.options.root, subjects=self.options.subjects)

    @property
    def dataset(self) -> Dataset:
        """The data set, opened once in a process."""
        return self.data if isinstance(self.data, Dataset) else _opened(self.data, self.opening)

    def dataset_of(self, arm: str) -> Dataset:
        """The data set whose labels an arm learns from, but for those that were corrected."""
        return self.given_to(arm) if arm in self.arms and not self.corrects(arm) else self.dataset

    def given_to(self, arm: str) -> Dataset:
        """The data set in the folder of an arm that has one."""
        return _opened(self.arms[arm], Opening(subjects=self.options.subjects))

    def corrects(self, arm: str) -> bool:
        """Whether the folder of an arm holds corrected masks, which come on top of the budget."""
        return arm in self.arms and is_corrections(self.arms[arm])

    def method_of(self, cell: Cell) -> str:
        """The method that a cell trains."""
        return method_of(cell.method)

    def classifies(self, cell: Cell) -> bool:
        """Whether the answers of a cell are image classes, and not masks."""
        return "segment" not in card_of(self.method_of(cell)).gives

    def parts_of(self, cell: Cell) -> list[Dataset]:
        """The data sets that the training of a cell is given.

        Raises:
            DataError: they have fewer cases than the cell takes.
        """
        corrected = [self.given_to(cell.method)] if self.corrects(cell.method) else []
        return [self.dataset_of(cell.method), *corrected]

    def elsewhere(self, options: Options) -> Recipe:
        """The same for other processes, which may stand in other folders."""
        arms = {name: folder.absolute() for name, folder in self.arms.items()}
        data = self.data if isinstance(self.data, Dataset) else self.data.absolute()
        return replace(self, data=data, out=self.out.absolute(), options=options, arms=arms)

    def opening_of(self, arm: str) -> Opening:
        """How the data of an arm are opened: manifest and root are those of the curve's own."""
        own = arm in self.arms and not self.corrects(arm)
        return Opening(subjects=self.options.subjects) if own else self.opening

    def options_of(self, cell: Cell) -> Options:
        """The options of a cell's training; what can learn from masks does, with all labels as with few."""
        budget: dict[str, Any] = {}
        if cell.labels != ALL:
            name = "label_instances" if cell.labels.endswith(OBJECTS) else "labels"
            budget = {name: cell.labels.removesuffix(OBJECTS), "label_seed": cell.label_seed}
        own: Literal["own", "strong"] = "strong" if method_of(cell.method) == method_of(self.control) else "own"
        opening = self.opening_of(cell.method)
        options = replace(
            self.options, seed=cell.seed, augment=self.augment or own, manifest=opening.manifest, root=opening.root,
            **budget,
        )  # fmt: skip
        return reading_masks(card_of(self.method_of(cell)), options)

    def facts(self) -> dict[str, Any]:
        """What the record of the folder says: another recipe would make other numbers."""
        of = self.options
        return {
            "preset": of.preset, "steps": of.steps, "settings": dict(of.settings), "augment": self.augment,
            "control": self.control, "precision": of.precision, **self.opening.facts(),
        }  # fmt: skip


@lru_cache(maxsize=8)
def _opened(data: Path, opening: Opening) -> Dataset:
    return opening.open(data)


def labelled_subjects(recipe: Recipe, cell: Cell) -> frozenset[str]:
    """Whose labels the training of a cell may look at, validation included; as `labelled_cases`."""
    return frozenset(case.subject for case in labelled_cases(recipe, cell)[0])


def objects_read(recipe: Recipe, cell: Cell) -> int:
    """How many drawn objects the training of a cell may look at, validation included; their maps are opened.

    Raises:
        ScantlingError: as `labelled_cases`, or a map cannot be read.
    """
    labels = recipe.dataset_of(cell.method).label_source.resolved
    return sum(
        len(case.drawn_objects)
        if isinstance(case.drawn_objects, tuple)
        else int((np.unique(objects_of(case, labels)) > 0).sum())
        for case in labelled_cases(recipe, cell)[0]
    )


def labelled_cases(recipe: Recipe, cell: Cell) -> tuple[list[Case], Collection[str]]:
    """The cases whose labels the training of a cell may look at, and the fields that teach it; no mask is opened.

    Raises:
        DataError: there are fewer than the budget, or the method cannot learn from the data.
    """
    card, parts = card_of(recipe.method_of(cell)), recipe.parts_of(cell)
    material = open_material(card, parts, recipe.out, recipe.options_of(cell))
    taught = [c for c in material.dataset.cases if c.split != "test" and is_labelled(c, material.taught_by)]
    return [case for case in taught if case.origin.kind != "synthetic"] or taught, material.taught_by


def do_cell(recipe: Recipe, cell: Cell, *, callbacks: Sequence[Callback] = ()) -> None:
    """Train a cell, answer about the test cases and score the answers, as far as that is not yet done.

    The true masks of the test cases are read when all else is done, and nothing depends on what they say.

    Raises:
        RunError: another process is at it, or it was begun with other settings.
        StoppedError: a signal has stopped the training; it goes on when the cell is done again.
        ScantlingError: it cannot be done.
    """
    run = recipe.out / cell.folder
    with locked(run.parent, shard=run.name):
        if scores_of(recipe, cell) is not None:
            return
        try:
            _do(recipe, cell, run, callbacks)
        except (MemoryError, RuntimeError) as error:
            if not out_of_memory(error):
                raise
            raise RunError(f"{run}: too large for the memory that is free; choose a smaller batch or patch") from None


def _do(recipe: Recipe, cell: Cell, run: Path, callbacks: Sequence[Callback]) -> None:
    from rich.console import Console

    dataset, options = recipe.dataset, recipe.options_of(cell)
    _check_classes(recipe, cell)
    compute = Compute(device=options.device, threads=options.threads, precision=options.precision)
    parts = recipe.parts_of(cell)
    train(recipe.method_of(cell), parts, run, options, console=Console(quiet=True), callbacks=callbacks)
    predict(run, dataset, out=run / TEST, split="test", opening=recipe.opening, compute=compute)
    found = scored(run / TEST, dataset, [recipe.metric], opening=recipe.opening, classes=recipe.classifies(cell))
    if not found.cases:
        raise DataError(f"{run}: no test case could be scored; the first: {found.failed[0].error}")
    found.write(run / SCORES)


def scored(
    folder: Path, dataset: Dataset, metrics: Sequence[str], *, opening: Opening, classes: bool
) -> EvaluationRecord:
    """The scores of the test answers in a folder.

    Args:
        metrics: of masks, or of boxes; image classes have accuracy and Brier score.
        classes: whether image classes are scored, or masks.

    Raises:
        ScantlingError: nothing can be compared.
    """
    if not BOX_METRICS.keys().isdisjoint(metrics):
        return box_scores(evaluate_boxes(folder, dataset, split="test"))
    if classes:
        return scores_by_case(evaluate_classes(folder, dataset, split="test").record())
    return evaluate(
        folder, dataset, split="test", metrics=metrics, manifest=opening.manifest, root=opening.root,
        subjects=opening.subjects,
    ).record()  # fmt: skip


def scores_of(recipe: Recipe, cell: Cell) -> EvaluationRecord | None:
    """The scores of a cell; None where it is not done, or its file is damaged, so that it is scored again."""
    path = recipe.out / cell.folder / SCORES
    if not path.is_file():
        return None
    try:
        record = read_record(EvaluationRecord, path)
    except FileError:
        return None
    return record if recipe.metric in record.mean else None


def run_of(recipe: Recipe, cell: Cell) -> RunRecord:
    """The record of a cell's training."""
    return read_record(RunRecord, recipe.out / cell.folder / "run.json")


def _check_classes(recipe: Recipe, cell: Cell) -> None:
    """Make sure that a cell knows all classes: those that are not declared are found in the masks of its budget alone.

    The masks of other training cases are opened for this, and decide nothing else; those of test cases are not.

    Raises:
        DataError: the labelled subjects lack a class that other training masks have.
    """
    dataset = recipe.dataset_of(cell.method)
    if cell.labels == ALL or dataset.label_source.resolved is not None:
        return
    card = card_of(recipe.method_of(cell))
    material = open_material(card, recipe.parts_of(cell), recipe.out, recipe.options_of(cell))
    if not reads_masks(material.reads) or (every := within_budget(dataset).labels) is None:
        return
    within = material.dataset.labels
    known = set(within.values) if within is not None else set()
    lost = [name for name, values in zip(every.names, every.values, strict=True) if values not in known]
    if lost:
        found = count(int(cell.labels), "labelled subject") if cell.labels.isdecimal() else "labelled subjects"
        raise DataError(
            f"the {found} of label seed {cell.label_seed} have no pixel of {some(lost)}, which other masks have; ask "
            "for more labels, or declare 'classes' in a manifest (scantling.toml), so that it counts as not found"
        )
