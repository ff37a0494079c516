"""What a learning curve says: as JSON, as tables, and in sentences on how many labels each method is worth."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from scantling.core.atomic import named, write_text
from scantling.core.text import aligned
from scantling.data.contents import count, some
from scantling.evaluation.intervals import FEW
from scantling.experiments.arms import method_of
from scantling.experiments.cells import ALL, OBJECTS, Cell, labels_in_words
from scantling.experiments.comparison import Cost, written
from scantling.experiments.drawing_effort import MINUTES
from scantling.experiments.resampling import DRAWS
from scantling.metrics.catalogue import Metric
from scantling.records.curve import CurveRecord

Interval = tuple[float, float]
EFFORT = (
    "What is drawn is an estimate: of masks the pixels on the borders of objects, slice by slice, a stroke for each; "
    "of scribbles their pixels and strokes; of a box two pixels, of a point one. Looking and correcting is not in it; "
    "where masks were corrected, the minutes are those that the viewer counted."
)
DRAWN = ("pixels drawn", "strokes", "equals pixels", "minutes corrected")
"""The columns of what is drawn, in the order of `Point.drawn`."""


@dataclass(frozen=True)
class Worth:
    """How many labelled subjects of the control a method equals at its budget.

    Attributes:
        value: 0 below what the control was measured at, infinite beyond it.
        interval: its 95 % interval in the same way; NaN where nothing can be drawn.
        least, most: the budgets of the control.
    """

    value: float
    interval: Interval
    least: float
    most: float

    @property
    def text(self) -> str:
        """ "12 (9 to 17)", "more than 70 (41 to more than 70)"."""
        if any(math.isnan(end) for end in self.interval):
            return self._said(self.value)
        low, high = (self._said(end) for end in self.interval)
        return self._said(self.value) if low == high else f"{self._said(self.value)} ({low} to {high})"

    def _said(self, value: float) -> str:
        if value == 0:
            return f"fewer than {self.least:,.0f}"
        if math.isinf(value):
            return f"more than {self.most:,.0f}"
        return f"{value:,.0f}" if value >= 10 else f"{value:.2g}"

    def facts(self) -> dict[str, Any]:
        """For JSON: numbers where it lies within what was measured."""

        def number(value: float) -> float | None:
            return value if value > 0 and math.isfinite(value) else None

        ends = [number(end) for end in (self.value, *self.interval)]
        return {"worth": ends[0], "worth_interval": tuple(ends[1:]), "worth_text": self.text}


@dataclass(frozen=True)
class ClassMeans:
    """Of one class: its mean and its difference to the control, with 95 % intervals."""

    mean: float
    interval: Interval
    difference: float
    difference_interval: Interval


@dataclass(frozen=True)
class Point:
    """A method at one budget.

    Attributes:
        subjects: the labelled subjects of the budget, or where budgets count these the drawn objects.
        cells: trainings that are done.
        mean: over the cases and the trainings; NaN without one.
        difference: to the control at the same budget, of the trainings that both have; NaN of the control.
        worth: None of the control, and where it was measured at one budget alone.
        effort: what it takes to draw the labels, "pixels" and "strokes", an estimate and the mean over the trainings,
            and the "minutes" that corrections took; empty in a curve of one data set.
        effort_worth: as `worth`, in pixels drawn of the control.
    """

    method: str
    labels: str
    subjects: int
    cells: int
    mean: float
    interval: Interval
    difference: float
    difference_interval: Interval
    worth: Worth | None
    classes: Mapping[str, ClassMeans]
    cost: Cost
    effort: Mapping[str, float] = field(default_factory=dict)
    effort_worth: Worth | None = None

    @property
    def drawn(self) -> tuple[str, str, str, str]:
        """In tables: pixels and strokes drawn, the pixels of the control that are worth as much, minutes corrected."""
        pixels, strokes = (f"{self.effort[name]:,.0f}" if self.effort else "" for name in ("pixels", "strokes"))
        minutes = f"{self.effort[MINUTES]:.1f}" if MINUTES in self.effort else ""
        return pixels, strokes, "" if self.effort_worth is None else self.effort_worth.text, minutes

    @property
    def shown(self) -> bool:
        """Whether the interval of the difference leaves out 0."""
        low, high = self.difference_interval
        return low > 0 or high < 0

    def facts(self) -> dict[str, Any]:
        """For JSON."""
        names = ("method", "labels", "subjects", "cells", "mean", "interval", "difference", "difference_interval")
        classes = {name: asdict(one) for name, one in self.classes.items()}
        found = {name: getattr(self, name) for name in names} | {"classes": classes, "cost": asdict(self.cost)}
        found |= self.worth.facts() if self.worth is not None else {}
        if self.effort:
            drawn = self.effort_worth.facts() if self.effort_worth is not None else {}
            found |= {"effort": dict(self.effort)} | {f"effort_{name}": value for name, value in drawn.items()}
        return found


@dataclass(frozen=True)
class ScoredCell:
    """A training of the curve: where it lies, its mean over the test cases, its seconds, and why it has none."""

    cell: Cell
    run: Path
    mean: float | None = None
    seconds: float | None = None
    error: str = ""
    effort: Mapping[str, float] = field(default_factory=dict)

    def facts(self) -> dict[str, Any]:
        """For JSON."""
        label_seed = None if self.cell.labels == ALL else self.cell.label_seed
        place = {"method": self.cell.method, "labels": self.cell.labels, "label_seed": label_seed}
        found = {"run": str(self.run), "mean": self.mean, "seconds": self.seconds, "error": self.error}
        return {**place, "seed": self.cell.seed, **found, **({"effort": dict(self.effort)} if self.effort else {})}


@dataclass(frozen=True)
class Curve:
    """What several methods are worth at several budgets of labels.

    Attributes:
        data: the folder of the data; `name` is what they are called.
        out: the folder of the curve.
        control: the method that the others are held against.
        shared: what all trainings share.
        points: the control's first, from few labels to many.
        cells: all that were asked for.
        cases: ids of the test cases that every training has a score for; `left_out` of the others.
        subjects: how many people the cases show.
    """

    data: Path
    name: str
    out: Path
    control: str
    metric: Metric
    shared: Mapping[str, Any]
    points: tuple[Point, ...]
    cells: tuple[ScoredCell, ...]
    cases: tuple[str, ...] = ()
    left_out: tuple[str, ...] = ()
    subjects: int = 0
    warnings: tuple[str, ...] = ()
    failed: tuple[str, ...] = field(default=())

    @property
    def methods(self) -> tuple[str, ...]:
        """The names of the methods, the control first."""
        return tuple(dict.fromkeys(point.method for point in self.points))

    @property
    def unit(self) -> str:
        """What budgets count: "labelled subject" or "drawn object"."""
        return "drawn object" if any(one.cell.labels.endswith(OBJECTS) for one in self.cells) else "labelled subject"

    @property
    def corrected(self) -> bool:
        """Whether a method learns from corrected masks, too."""
        return any(MINUTES in point.effort for point in self.points)

    @property
    def scope(self) -> str:
        """What was measured on what."""
        whole = f"{sum(one.mean is not None for one in self.cells)} of {count(len(self.cells), 'training')}"
        people = count(self.subjects, "subject")
        on = count(len(self.cases), "test case") + ("" if self.subjects == len(self.cases) else f" of {people}")
        return f"{count(len(self.methods), 'method')} in {whole} on {on} of {self.name}"

    @property
    def sentences(self) -> tuple[str, ...]:
        """What was found, plainly: what each method is worth at each budget, or that no difference could be shown."""
        others = [point for point in self.points if point.method != self.control]
        found = [sentence for point in others if (sentence := self._sentence(point))]
        if self.cases and self.subjects < FEW:
            found.append(f"{self.subjects} test subjects are few: the intervals rest on how these few scatter.")
        found += [*self._efforts(), *self._corrections()]
        found += self._once()
        if self.left_out:
            left = count(len(self.left_out), "test case")
            found.append(f"{left} left out, because not every training has a score there: {some(self.left_out)}.")
        return tuple(found)

    def _once(self) -> list[str]:
        """A sentence on what was tried but once: whole trainings, or the labelled subjects of a budget."""
        tried: dict[str, dict[str, set[tuple[int, int]]]] = {}
        for one in self.cells:
            if one.mean is not None:
                methods = tried.setdefault(one.cell.labels, {})
                methods.setdefault(one.cell.method, set()).add((one.cell.label_seed, one.cell.seed))
        once = [labels for labels, methods in tried.items() if min(map(len, methods.values())) < 2]
        drawn = [
            labels
            for labels, methods in tried.items()
            if labels not in (*once, ALL) and min(len({draw for draw, _ in each}) for each in methods.values()) < 2
        ]
        rest = "is not in these numbers."
        what = "another seed" if once == [ALL] else f"other {self.unit}s or another seed"
        found = [f"Trained once with {some(map(labels_in_words, once), most=9)}: what {what} would change {rest}"]
        drawn_once = f"Drawn once for {some(map(labels_in_words, drawn), most=9)}: what other {self.unit}s would"
        return [*(found if once else []), *([f"{drawn_once} change {rest}"] if drawn else [])]

    def _sentence(self, point: Point) -> str:
        if math.isnan(point.difference):
            return ""
        one, other, title = f"`{point.method}`", f"`{self.control}`", self.metric.title
        where = f"At {count(point.subjects, self.unit)}"
        low, high = (written(end, self.metric) for end in point.difference_interval)
        size, interval = self._signed(point.difference), f"95 % {self._between(point.difference_interval, signed=True)}"
        if not low or not high:
            return f"{where}, {one} and {other} differ in {title} by {size}; one test subject allows no interval."
        if not point.shown:
            return f"{where}, no difference between {one} and {other} could be shown: {title} {size} ({interval})."
        better = (point.difference > 0) == (self.metric.direction == "higher")
        verdict = "is better than" if better else "is worse than"
        said = f"{where}, {one} {verdict} {other}: {title} {size} ({interval})"
        if point.worth is None:
            return f"{said}."
        return f"{said}; it equals {point.worth.text} {self.unit}s of {other}."

    def _efforts(self) -> list[str]:
        """What was drawn for each arm at each budget, and what the control takes for as much."""
        return [
            f"At {count(point.subjects, self.unit)}, the labels of `{point.method}` take about "
            f"{point.drawn[0]} pixels to draw; `{self.control}` is as good with {point.drawn[2]} pixels."
            for point in self.points
            if point.effort_worth is not None and MINUTES not in point.effort
        ]

    def _corrections(self) -> list[str]:
        """What the minutes of correcting have gained."""
        found = list[str]()
        for point in self.points:
            minutes = point.effort.get(MINUTES)
            if minutes and not math.isnan(point.difference):
                gained = ", for which no difference could be shown."
                if point.shown:
                    rate = f"{abs(point.difference) / minutes:.2g}"
                    gained = (
                        f": {self.metric.title} {self._signed(point.difference)} at as many {self.unit}s, "
                        f"{'+' if point.difference > 0 else '−'}{rate} a minute."
                    )
                where = f"At {count(point.subjects, self.unit)}"
                found.append(f"{where}, the corrections of `{point.method}` took {minutes:.1f} minutes{gained}")
        return found

    def _signed(self, value: float) -> str:
        text = written(abs(value), self.metric)
        return text if not text or not float(text) else f"{'+' if value > 0 else '−'}{text}"

    @property
    def conventions(self) -> tuple[str, ...]:
        """How the numbers are defined, a sentence each."""
        augment = self.shared.get("augment")
        changes = (
            f"All methods are trained with the augmentation {augment!r}."
            if augment
            else f"{method_of(self.control)} is trained with strong augmentation, the others with their own."
        )
        objects = (
            "A budget is of drawn objects, those for validation included: subjects with all their objects, and of the "
            "last image as many as are left, where nothing else is known but a rim around them; those of a smaller "
            "budget are among those of a larger one."
        )
        return (
            objects
            if self.unit == "drawn object"
            else "A budget is of labelled subjects, those for validation included; at one label seed all methods have "
            "the same subjects (a warning says where not), and those of a smaller budget are among those of a larger "
            "one. All labels are the labelled subjects of training and validation.",
            f"All trainings have the same number of steps ({self.shared.get('steps') or 'of the preset'}). {changes}",
            "The masks of the test cases are read when a training has ended, and nothing is chosen by them.",
            "A mean is over the test cases and the trainings of a budget; only cases that every training has a score "
            "for count. A difference is of the trainings that both methods have.",
            "Intervals of 95 % draw test subjects and trainings anew, independently of each other "
            f"({DRAWS:,} times; Owen, 2007), where several label seeds are the trainings' units and training seeds "
            "are averaged, with weights whose spread fits few units and stretched as Student's t is wider than the "
            "normal distribution (ours). They are not corrected for the number of methods and budgets.",
            "What a method equals is where the curve of the control has its value: between two budgets on a line over "
            f"the logarithm of the {self.unit}s, after a curve that falls somewhere is made level there "
            "(isotonic regression); its interval is from the same draws.",
            *([EFFORT] if any(point.effort for point in self.points) else []),
            "That no difference could be shown does not mean that there is none; the interval says how large it may "
            "be.",
            "Seconds for an image are the median of those measured while it was answered, whatever else the machine "
            "was doing; the seconds of a training are those of its steps and looks at the validation cases.",
            self.metric.convention,
        )

    def record(self) -> CurveRecord:
        """What `--json` prints."""
        facts = {
            "data": str(self.data), "out": str(self.out), "control": self.control, "metric": self.metric.name,
            "shared": dict(self.shared), "points": [point.facts() for point in self.points],
            "cells": [one.facts() for one in self.cells], "cases": self.cases, "left_out": self.left_out,
            "subjects": self.subjects, "sentences": self.sentences, "warnings": self.warnings,
            "failed": self.failed, "conventions": self.conventions,
        }  # fmt: skip
        return CurveRecord.model_validate(facts)

    def facts(self) -> dict[str, Any]:
        """`record` as plain values, ready for JSON; undefined numbers are None."""
        return self.record().facts()

    def table(self, *, width: int | None = None) -> str:
        """For people: a line for each method at each budget, and what can be said.

        Args:
            width: columns of the terminal.
        """
        lines = [f"WARNING: {sentence}" for sentence in self.warnings] + [self.scope]
        rows = [
            [
                "",
                "objects" if self.unit == "drawn object" else "labels",
                self.metric.title,
                "95 % interval",
                f"- {self.control}",
                "95 % interval",
                "equals",
            ]
        ]
        rows[0] += ["trainings", "s/image", "training"]
        efforts = any(point.effort for point in self.points)
        drawn = len(DRAWN) - (not self.corrected)
        rows[0] += DRAWN[:drawn] if efforts else []
        for point in self.points:
            first = point is next(one for one in self.points if one.method == point.method)
            cost = (point.cost.seconds, point.cost.training_seconds)
            rows.append([
                point.method if first else "",
                f"{point.subjects} ({ALL})" if point.labels == ALL else point.labels.removesuffix(OBJECTS),
                written(point.mean, self.metric), self._between(point.interval, signed=False),
                "" if math.isnan(point.difference) else self._signed(point.difference),
                self._between(point.difference_interval, signed=True),
                "" if point.worth is None else point.worth.text, str(point.cells),
                *("" if value is None else f"{value:,.3g}" for value in cost),
                *(point.drawn[:drawn] if efforts else ()),
            ])  # fmt: skip
        return "\n".join([*lines, "", *aligned(rows, width=width, keys=2), "", *self.sentences])

    def _between(self, interval: Interval, *, signed: bool) -> str:
        if any(math.isnan(end) for end in interval):
            return ""
        return " to ".join(self._signed(end) if signed else written(end, self.metric) for end in interval)

    def write_csv(self, path: Path | str) -> None:
        """Write one line for each training: where it stands, its mean, its seconds."""
        text = io.StringIO()
        table = csv.writer(text, lineterminator="\n")
        columns = ["method", "labels", "label_seed", "seed", "subjects", self.metric.name, "seconds", "run"]
        efforts = ["pixels", "strokes", *([MINUTES] if self.corrected else [])]
        efforts = efforts if any(one.effort for one in self.cells) else []
        table.writerow(columns + efforts)
        subjects = {point.labels: point.subjects for point in self.points}
        for one in self.cells:
            facts = one.facts()
            cells = [facts[name] for name in ("method", "labels", "label_seed", "seed")]
            cells += [subjects.get(one.cell.labels), one.mean, one.seconds, one.run]
            cells += [one.effort.get(name) for name in efforts]
            table.writerow(["" if cell is None else cell for cell in cells])
        write_text(named(path), text.getvalue())


def told(cells: Sequence[Cell]) -> str:
    """What is to be done, in a sentence: "12 trainings: unet, fixmatch with 3, 7 labels, ..."."""
    methods, labels = (list(dict.fromkeys(getattr(cell, name) for cell in cells)) for name in ("method", "labels"))
    return f"{count(len(cells), 'training')}: {some(methods)} with {some(map(labels_in_words, labels))}"
