"""Boxes with a class and a score against true ones: all cases together, with intervals over subjects."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from scantling.core.case import Case
from scantling.core.errors import DataError, FileError, ScantlingError
from scantling.core.outputs import PREDICTIONS
from scantling.core.text import aligned
from scantling.data.dataset import Dataset
from scantling.data.loading import load
from scantling.data.orientation import turned_rows
from scantling.evaluation.intervals import jackknife_interval
from scantling.evaluation.predictions import read_listing
from scantling.evaluation.strata import Estimate, between, text
from scantling.evaluation.truth import choose
from scantling.metrics.catalogue import BOX_METRICS
from scantling.metrics.detection import Detection, FoundBoxes, detection, matched
from scantling.phantoms.weak_labels import boxes_of_instances, boxes_of_layers
from scantling.records.boxes import BoxesRecord
from scantling.records.predictions import Failure

RATES = (0.125, 0.25, 0.5, 1.0, 2.0, 4.0, 8.0)
"""False alarms an image at which sensitivity is listed, as in studies of lung nodules (LUNA16)."""
CONVENTIONS = (
    "All cases count together. The 95 % interval has subjects as units (jackknife, degrees of freedom of as many "
    "subjects as have a true box).",
)


@dataclass(frozen=True)
class BoxCase:
    """One scored case: what was found in it, and what is there."""

    id: str
    subject: str
    boxes: FoundBoxes


@dataclass(frozen=True)
class BoxEvaluation:
    """Scores of boxes.

    Attributes:
        classes: those of the truth, then those that the predictions alone have.
        boxes_from: what the true boxes are: "boxes", or drawn around "mask" or "instances".
        made: all that the predictions say of how they were made.
    """

    prediction: Path
    truth: Path
    name: str
    split: str | None
    run: str | None
    classes: tuple[str, ...]
    boxes_from: str
    cases: tuple[BoxCase, ...]
    failed: tuple[Failure, ...] = ()
    made: Mapping[str, Any] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    @cached_property
    def whole(self) -> Detection:
        """The measures of all cases together."""
        return self._detection(self.cases)

    @cached_property
    def estimates(self) -> dict[str, Estimate]:
        """Each of `BOX_METRICS` with its interval."""
        subjects = sorted({case.subject for case in self.cases})
        left = [[case for case in self.cases if case.subject != subject] for subject in subjects]
        without = [self._detection(cases) for cases in left] if len(subjects) > 1 else []
        effective = len({case.subject for case in self.cases if len(case.boxes.true_boxes)})
        found = {}
        for name in BOX_METRICS:
            value, each = float(getattr(self.whole, name)), np.array([float(getattr(one, name)) for one in without])
            interval = jackknife_interval(value, each, low=0, high=1, effective=max(1, effective))
            named = dict(zip(subjects, each.tolist(), strict=False))
            found[name] = Estimate(value, interval, len(self.cases), len(subjects), named)
        return found

    def record(self) -> BoxesRecord:
        """What `--json` prints and a run keeps; undefined numbers are None."""
        return BoxesRecord.model_validate(
            {
                **{name: getattr(self, name) for name in ("split", "run", "classes", "boxes_from", "failed", "notes")},
                "prediction": str(self.prediction),
                "truth": str(self.truth),
                "scores": {name: one.facts() for name, one in self.estimates.items()},
                "sensitivity": [
                    {"false_alarms": rate, "sensitivity": None if math.isnan(value) else value}
                    for rate, value in ((rate, self.whole.sensitivity_at(rate)) for rate in RATES)
                ],
                "cases": [self._counts(case) for case in self.cases],
                "conventions": [*CONVENTIONS, *(metric.convention for metric in BOX_METRICS.values())],
            }
        )

    def table(self, *, width: int | None = None) -> str:
        """For people: the scores, sensitivity at rates of false alarms, then the notes.

        Args:
            width: columns of the terminal.
        """
        true = sum(len(case.boxes.true_boxes) for case in self.cases)
        drawn = {"boxes": "", "mask": ", drawn around their masks", "instances": ", drawn around their objects"}
        lines = [f"Boxes of {len(self.cases)} cases, {true} true ones{drawn[self.boxes_from]}"]
        lines += aligned(
            [
                ["", "value", "95 % interval"],
                *(
                    [BOX_METRICS[name].title, text(one.value), between(one.interval).removeprefix(", ")]
                    for name, one in self.estimates.items()
                ),
            ],
            width=width,
        )
        rates = ", ".join(f"{text(self.whole.sensitivity_at(rate))} at {rate:g}" for rate in RATES)
        lines.append(f"Sensitivity at false alarms an image: {rates}")
        return "\n".join([*lines, *self.notes])

    def _detection(self, cases: Sequence[BoxCase]) -> Detection:
        return detection([case.boxes for case in cases], classes=len(self.classes))

    def _counts(self, case: BoxCase) -> dict[str, Any]:
        hits = sum(int(matched([case.boxes], number).hit.sum()) for number in range(len(self.classes)))
        found, true = len(case.boxes.boxes), len(case.boxes.true_boxes)
        return {"id": case.id, "subject": case.subject, "found": found, "true": true, "matched": hits}


def finds_boxes(folder: Path) -> bool:
    """Whether a folder of predictions holds boxes: lists of objects that have a score, or of nothing in every case."""
    listing, lists = read_listing(folder / PREDICTIONS), 0
    for case in listing.cases if listing is not None else ():
        if not (file := _file_of(case.files)):
            continue
        lists += 1
        try:
            objects = _objects(folder / file)
        except FileError:  # the evaluation names it
            continue
        if objects:
            return objects[0].get("score") is not None
    return lists > 0


def boxes_from(truth: Dataset) -> str:
    """What the true boxes of a data set are: "boxes", "instances" or "mask", the first that a case has; "" if none."""
    return next((word for word in ("boxes", "instances", "mask") if any(case.has(word) for case in truth.cases)), "")


def evaluate_boxes(prediction: Path, truth: Dataset, *, split: str | None = None) -> BoxEvaluation:
    """Score the boxes that `predict` has written into `instances/`.

    True boxes are those of the data; where no case has any they are drawn around the objects of instance maps, where
    there is one class, else around the connected pieces of masks.

    Returns:
        The scores; cases that cannot be scored are listed in them, not raised.

    Raises:
        ScantlingError: nothing can be compared.
    """
    listing = read_listing(prediction / PREDICTIONS)
    if listing is None:
        raise DataError(f"{prediction}: found no {PREDICTIONS}; expected a folder that `predict` has written")
    source, names = boxes_from(truth), truth.labels.names if truth.labels is not None else ()
    if source == "instances" and len(names) > 1:
        source = "mask" if any(case.masks for case in truth.cases) else ""
    if not source:
        raise DataError(f"{truth.root}: found no boxes, no instance maps of one class and no masks; expected some")
    answered = {case.id: _file_of(case.files) for case in listing.cases}
    own = {case.id for case in truth.cases if case.has(source)}
    selection = choose(truth, prediction, answered=answered, listing=listing, split=split, kind="box", known=own)
    classes = (*names, *sorted({*listing.classes} - {*names}))
    failed, scored = dict(selection.failed), list[BoxCase]()
    for case in selection.cases:
        try:
            file = answered.get(case.id, "")
            if not file:
                raise DataError(f"there are no boxes of {case.id} in {prediction}; predict it, or leave it out")
            found = _found(prediction / file, classes) | _true(case, truth, source)
            scored.append(BoxCase(case.id, case.subject, FoundBoxes(**found)))
        except ScantlingError as error:
            failed[case.id] = str(error)
    if not scored:
        raise DataError(f"{prediction}: no case could be scored: {next(iter(failed.values()), 'none was predicted')}")
    return BoxEvaluation(
        prediction=prediction.resolve(), truth=truth.root.resolve(), name=truth.name, split=selection.split,
        run=listing.run, classes=classes, boxes_from=source, cases=tuple(scored),
        failed=tuple(Failure(id=id, error=failed[id]) for id in sorted(failed)), made=listing.made,
        notes=tuple(selection.notes),
    )  # fmt: skip


def _file_of(files: Sequence[str]) -> str:
    return next((file for file in files if file.startswith("instances/") and file.endswith(".json")), "")


def _objects(path: Path) -> list[dict[str, Any]]:
    """The list of objects in a file that `predict` has written.

    Raises:
        FileError: it is no such file.
    """
    try:
        objects = json.loads(path.read_text())["objects"]
        if not all(isinstance(one, dict) and {"class", "box"} <= one.keys() for one in objects):
            raise ValueError("an object without a class or a box")
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise FileError(
            path, f"holds no list of objects ({error})", expected="what predict writes: class, score, box"
        ) from error
    return list(objects)


def _found(path: Path, classes: Sequence[str]) -> dict[str, np.ndarray]:
    objects = _objects(path)
    try:
        boxes = np.array([one["box"] for one in objects], np.float64)
        scores = np.array([1.0 if one.get("score") is None else one["score"] for one in objects], np.float64)
        numbers = np.array([classes.index(one["class"]) for one in objects], np.int64)
    except (ValueError, TypeError) as error:
        raise FileError(
            path, f"holds an object that cannot be read ({error})", expected=f"boxes of {', '.join(classes)}"
        ) from error
    return {"boxes": boxes if len(boxes) else np.zeros((0, 2, 2)), "scores": scores, "classes": numbers}


def _true(case: Case, truth: Dataset, source: str) -> dict[str, np.ndarray]:
    """The true boxes of a case, as its file has them."""
    labels = truth.labels
    names = labels.names if labels is not None else ()
    if source == "boxes":
        boxes = np.array(case.boxes, np.float64) if case.boxes else np.zeros((0, 2, 2))
        if strange := sorted({*case.box_classes} - {*names}):
            raise DataError(
                f"{case.id}: found boxes of {strange[0]!r}; expected {', '.join(names) or 'declared classes'}"
            )
        numbers = [names.index(name) for name in case.box_classes] or [0] * len(boxes)
        return {"true_boxes": boxes, "true_classes": np.array(numbers, np.int64)}
    sample = load(case, labels=labels, reads=("image", source))
    if source == "instances" and sample.instances is not None:
        boxes, classes = boxes_of_instances(sample.instances)
    elif sample.mask is not None:
        boxes, classes = boxes_of_layers(sample.mask)
    else:
        raise DataError(f"{case.id}: has no {source} to draw boxes around")
    return {"true_boxes": turned_rows(boxes, sample.geometry, "boxes", back=True), "true_classes": classes}
