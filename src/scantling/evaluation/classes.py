"""Image classes, scored: `classes.csv` of a folder of predictions against the classes of a data set or of a table."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from scantling.core.atomic import named, plain, write_text
from scantling.core.case import Case
from scantling.core.errors import DataError, FileError
from scantling.core.outputs import PREDICTIONS
from scantling.core.text import aligned
from scantling.data.contents import safe_id
from scantling.data.dataset import Dataset, open_dataset
from scantling.data.files import is_image_name, stem_of
from scantling.data.subjects import Subjects
from scantling.data.tables import read_table
from scantling.evaluation.cases import resolved
from scantling.evaluation.class_estimates import ClassEstimates
from scantling.evaluation.intervals import FEW
from scantling.evaluation.predictions import read_listing
from scantling.evaluation.strata import Stratum, between, by_stratum, strata_facts, text
from scantling.evaluation.truth import choose
from scantling.metrics.catalogue import CLASS_METRICS
from scantling.metrics.classification import class_calibration
from scantling.records.classes_csv import CLASSES, read_classes
from scantling.records.image_classes import ImageClassesRecord
from scantling.records.predictions import Failure

STRATUM = "stratum "
"""How the column of a stratum begins in a table of true classes, which may have other columns."""
TITLES = {name: metric.title for name, metric in CLASS_METRICS.items()}
RANGES = {name: metric.range for name, metric in CLASS_METRICS.items()}
CONVENTIONS = (
    "All cases count together, each once; a failed case counts nowhere and is listed.",
    "The 95 % interval has subjects as units: of a share of cases it is Clopper and Pearson's of as many cases as the "
    "subjects are worth, else Student's t with the jackknife's variance (on the logit scale between two bounds), and "
    "at a bound Clopper and Pearson's, both of as many subjects as the rarest class has. Where a single subject has "
    "all cases of a class there is none.",
)


@dataclass(frozen=True)
class ClassifiedCase:
    """One scored case.

    Attributes:
        probabilities: of the classes of the evaluation, in their order.
    """

    id: str
    subject: str
    true: str
    predicted: str
    probabilities: tuple[float, ...]
    strata: Mapping[str, str]


@dataclass(frozen=True)
class ClassEvaluation:
    """Scores of image classes.

    Attributes:
        prediction: the folder.
        truth: the data set, manifest or table that it was compared with.
        name: what the truth is called.
        split: the split that was asked for.
        run: the run that predicted, where that is known.
        classes: those of the predictions, then those that the truth alone has.
        cases: the scored cases, by id.
        failed: the cases that could not be scored.
        without_truth, without_prediction: the ids of predictions without a true class, and the other way round.
        options: how the truth was opened: "manifest", "root" and "subjects".
        made: all that the predictions say of how they were made.
        notes: what a reader should know of how cases were chosen.
    """

    prediction: Path
    truth: Path
    name: str
    split: str | None
    run: str | None
    classes: tuple[str, ...]
    cases: tuple[ClassifiedCase, ...]
    failed: tuple[Failure, ...] = ()
    without_truth: tuple[str, ...] = ()
    without_prediction: tuple[str, ...] = ()
    options: Mapping[str, Any] = field(default_factory=dict)
    made: Mapping[str, Any] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    @cached_property
    def estimates(self) -> ClassEstimates:
        """The scores of all cases, with intervals."""
        return self._estimates(range(len(self.cases)))

    @cached_property
    def strata(self) -> tuple[Stratum, ...]:
        """The scores by each stratum of the cases."""
        return by_stratum(
            [case.id for case in self.cases],
            [case.strata for case in self.cases],
            estimates=lambda places: self._estimates(places).whole,
            ranges=RANGES,
        )

    @property
    def conventions(self) -> list[str]:
        """How the numbers are defined, a sentence each."""
        return [*CONVENTIONS, *(metric.convention for metric in CLASS_METRICS.values())]

    def record(self) -> ImageClassesRecord:
        """What `--json` prints and a run keeps; undefined numbers are None."""
        found, (predicted, truth, probabilities) = self.estimates, self._arrays(range(len(self.cases)))
        table = class_calibration(probabilities, predicted, truth)
        facts = {
            "prediction": str(self.prediction),
            "truth": str(self.truth),
            "split": self.split,
            "run": self.run,
            "classes": self.classes,
            "scores": {name: one.facts() for name, one in found.whole.items()},
            "by_class": {
                name: {metric: one.facts() for metric, one in scores.items()}
                for name, scores in zip(self.classes, found.by_class, strict=True)
            },
            "confusion": {"rows": "true", "columns": "predicted", "cases": found.confusion.tolist()},
            "strata": strata_facts(self.strata),
            "reliability": {key: getattr(table, key).tolist() for key in ("edges", "confidence", "accuracy", "count")},
            "cases": [
                {
                    "id": case.id,
                    "subject": case.subject,
                    "true": case.true,
                    "predicted": case.predicted,
                    "probabilities": dict(zip(self.classes, case.probabilities, strict=True)),
                    "strata": case.strata,
                }
                for case in self.cases
            ],
            "failed": self.failed,
            "without_truth": self.without_truth,
            "without_prediction": self.without_prediction,
            "notes": self.notes,
            "conventions": self.conventions,
        }  # fmt: skip
        return ImageClassesRecord.model_validate(facts)

    def facts(self) -> dict[str, Any]:
        """`record` as plain values, ready for JSON."""
        facts: dict[str, Any] = plain(self.record().model_dump(exclude_unset=True))
        return facts

    def __repr__(self) -> str:
        return self.table()

    def table(self, *, width: int | None = None) -> str:
        """For people: the scores, those by class, the confusion matrix, the strata, then the notes.

        Args:
            width: columns of the terminal.
        """
        found = self.estimates
        subjects = len({case.subject for case in self.cases})
        lines = [f"Image classes of {len(self.cases)} cases, {subjects} subjects"]
        lines += aligned(
            [["", "value", "95 % interval"]]
            + [
                [TITLES[name], text(one.value), between(one.interval).removeprefix(", ")]
                for name, one in found.whole.items()
            ],
            width=width,
        )
        lines += ["", "By class"]
        lines += aligned(
            [["", "cases", "sensitivity", "F1", "AUC"]]
            + [
                [
                    name,
                    str(one["sensitivity"].cases),
                    *(text(one[key].value) + between(one[key].interval) for key in ("sensitivity", "f1", "auc")),
                ]
                for name, one in zip(self.classes, found.by_class, strict=True)
            ],
            width=width,
        )
        lines += ["", "Confusion: true class in rows, predicted class in columns"]
        lines += aligned(
            [
                ["", *self.classes],
                *([name, *map(str, row)] for name, row in zip(self.classes, found.confusion.tolist(), strict=True)),
            ],
            width=width,
        )
        lines += [line for stratum in self.strata for line in stratum.lines(TITLES)]
        if 1 < subjects < FEW:
            lines.append(f"{subjects} subjects are few: the intervals are wide, and rest on how these few scatter.")
        return "\n".join([*lines, *self.notes])

    def write_csv(self, path: Path | str) -> None:
        """Write one line for each case: id, subject, true, predicted, then the probability of each class."""
        target = io.StringIO()
        table = csv.writer(target, lineterminator="\n")
        table.writerow(["id", "subject", "true", "predicted", *(f"p {name}" for name in self.classes)])
        for case in self.cases:
            table.writerow([case.id, case.subject, case.true, case.predicted, *case.probabilities])
        write_text(named(path), target.getvalue())

    def _estimates(self, places: Sequence[int]) -> ClassEstimates:
        return ClassEstimates(*self._arrays(places), [self.cases[place].subject for place in places])

    def _arrays(self, places: Sequence[int]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Class numbers (n,) of prediction and truth, and probabilities (n, K)."""
        numbers = {name: place for place, name in enumerate(self.classes)}
        cases = [self.cases[place] for place in places]
        predicted, truth = (
            np.array([numbers[name] for name in side])
            for side in ([case.predicted for case in cases], [case.true for case in cases])
        )
        return predicted, truth, np.array([case.probabilities for case in cases], np.float64)


def evaluate_classes(
    prediction: Path | str,
    truth: Path | str | Dataset,
    *,
    split: str | None = None,
    manifest: Path | str | None = None,
    root: Path | str | None = None,
    subjects: Subjects = "name",
) -> ClassEvaluation:
    """Score the image classes of a folder of predictions, whoever made them.

    Args:
        prediction: a folder with `classes.csv` (`records.classes_csv`); a `predictions.json` says more.
        truth: a data set, its folder or manifest, or a table (`.csv`) with the columns `id` (or `stem`, `image`) and
            `class` (or `label`), if need be `subject`, and `stratum NAME` for each stratum.
        split: "train", "validation", "test" or "all"; see `truth.choose`.
        manifest: describes the files below `truth`.
        root: the folder that holds the files of the manifest.
        subjects: see `open_dataset`.

    Returns:
        The scores; cases that cannot be scored are listed in them, not raised.

    Raises:
        ScantlingError: nothing can be compared.
    """
    folder = Path(prediction)
    names, rows = read_classes(folder / CLASSES)
    answers, listing = {row.id: row for row in rows}, read_listing(folder / PREDICTIONS)
    dataset = (
        truth
        if isinstance(truth, Dataset)
        else open_classes(Path(truth), manifest=manifest, root=root, subjects=subjects)
    )
    selection = choose(dataset, folder, answered=answers, listing=listing, split=split, kind="class")
    true = {case.id: case.image_class for case in dataset.cases if case.image_class is not None}
    failed = dict(selection.failed)
    failed |= {
        case.id: f"{folder / CLASSES}: there is no prediction for {case.id}; predict it, or leave it out with --split"
        for case in selection.cases
        if case.id not in answers
    }
    scored = [case for case in selection.cases if case.id in answers]
    if not scored:
        raise DataError(f"{folder / CLASSES}: no case of the split {selection.split!r} was predicted; predict it")
    strange = sorted({true[case.id] for case in scored} - set(names))
    classes, notes = (*names, *strange), list(selection.notes)
    if strange:
        notes.append(f"The predictions do not know {', '.join(strange)}; cases of that class are always wrong.")
    return ClassEvaluation(
        prediction=folder.resolve(),
        truth=(truth.root if isinstance(truth, Dataset) else Path(truth)).resolve(),
        name=dataset.name,
        split=selection.split,
        run=listing.run if listing else None,
        classes=classes,
        cases=tuple(
            ClassifiedCase(
                case.id,
                case.subject,
                true[case.id],
                answers[case.id].predicted,
                tuple(answers[case.id].probabilities.get(name, 0.0) for name in classes),
                case.strata,
            )
            for case in scored
        ),
        failed=tuple(Failure(id=id, error=failed[id]) for id in sorted(failed)),
        without_truth=tuple(sorted(answers.keys() - true.keys())),
        without_prediction=tuple(sorted(true.keys() - answers.keys())),
        options={"manifest": resolved(manifest), "root": resolved(root), "subjects": subjects},
        made=listing.made if listing else {},
        notes=tuple(notes),
    )


def open_classes(
    path: Path,
    *,
    manifest: Path | str | None = None,
    root: Path | str | None = None,
    subjects: Subjects = "name",
) -> Dataset:
    """Open a data set with image classes, or a table of them (`.csv`): see `evaluate_classes`.

    Raises:
        DataError: there is no class in it.
        FileError: a manifest or table cannot be read.
    """
    if path.suffix.lower() != ".csv":
        dataset = open_dataset(path, manifest=manifest, root=root, subjects=subjects)
        if not any(case.image_class is not None for case in dataset.cases):
            raise DataError(
                f"{path}: found no image class; expected a data set with classes (labels.csv, or 'class' in its "
                "manifest), or a table of 'id' and 'class'"
            )
        return dataset
    columns, table = read_table(path)
    key = next((column for column in columns if column in ("id", "stem", "image")), None)
    given = next((column for column in columns if column in ("class", "label")), None)
    if key is None or given is None:
        raise FileError(path, f"the table has the columns {', '.join(columns[:9])}", expected="'id' and 'class'")
    cases: dict[str, Case] = {}
    for cells in table:
        file = Path(cells[key])
        id = safe_id(stem_of(file) if is_image_name(file) else cells[key], path)
        if id in cases:
            raise FileError(path, f"the id {id!r} is there twice", expected="one row for each case")
        strata = {n.removeprefix(STRATUM): cell for n, cell in cells.items() if n.startswith(STRATUM) and cell}
        subject = cells.get("subject") or id
        cases[id] = Case(id=id, subject=subject, image_class=cells[given] or None, strata=strata)
    if not any(case.image_class for case in cases.values()):
        raise DataError(f"{path}: no row has a class in the column {given!r}; expected the class of each {key}")
    return Dataset(path.stem, path, tuple(cases.values()))
