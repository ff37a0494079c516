"""A learning curve: what all trainings of a folder share, and the result as `scantling curve --json` prints it."""

from __future__ import annotations

from typing import ClassVar

from scantling.records.comparison import CostRecord
from scantling.records.record import FileRecord, Number, Record, Table
from scantling.records.scores import Interval


class ArmRecord(Record):
    """The data set whose labels an arm of a curve learns from, and the hash of all of its files."""

    data: str
    sha256: str


class CurveFolder(FileRecord):
    """The contents of `curve.json`, the record of the folder that a curve is in.

    Attributes:
        data: the folder of the data; `sha256` is of all of their files.
        shared: what all trainings share; another is refused.
        minutes: into which the `steps` of `shared` were fitted; None where they were not.
        arms: the labels of methods that learn from others than those of `data`, by the name of the arm.
        methods, labels, seeds, label_seeds: all that was asked of the folder so far, in one command or in several.
    """

    what: ClassVar[str] = "record of a curve"
    writer: ClassVar[str] = "scantling curve"
    name: ClassVar[str] = "a curve"
    besides: ClassVar[str] = "the labels"
    """What `arms` are, in sentences."""

    data: str
    sha256: str
    shared: Table = {}
    minutes: Number = None
    arms: dict[str, ArmRecord] = {}
    methods: tuple[str, ...] = ()
    labels: tuple[str, ...] = ()
    seeds: int = 1
    label_seeds: int = 1


class CellRecord(Record):
    """One training of a curve and its score; see `experiments.cells.Cell`.

    Attributes:
        labels: as they were asked for: a number, a percentage, or "all"; "50 objects" where drawn objects are counted.
        label_seed: None with all labels.
        run: its folder.
        mean: of the metric over the test cases.
        seconds: of the training.
        error: why there is no score.
        effort: what it takes to draw its labels, see `PointRecord`; empty in a curve of one data set.
    """

    method: str
    labels: str
    label_seed: int | None = None
    seed: int = 0
    run: str
    mean: Number = None
    seconds: Number = None
    error: str = ""
    effort: dict[str, Number] = {}


class ClassPoint(Record):
    """The mean of one class, and its difference to the control."""

    mean: Number = None
    interval: Interval = None
    difference: Number = None
    difference_interval: Interval = None


class PointRecord(Record):
    """A method at one budget of labels; see `experiments.curve_result.Point`.

    Attributes:
        subjects: the labelled subjects of the budget, or where budgets count these the drawn objects.
        worth: how many labelled subjects (drawn objects) of the control it equals: None where that is below or
            beyond what was measured, and of the control itself; `worth_text` says it in words.
        effort: an estimate of what it takes to draw the labels, the mean over the trainings: "pixels" that a hand
            follows, "strokes"; with corrected masks also the "minutes" that these took; empty in a curve of one data
            set.
        effort_worth: with how many pixels drawn the control is as good, in the same way.
    """

    method: str
    labels: str
    subjects: int
    cells: int = 0
    mean: Number = None
    interval: Interval = None
    difference: Number = None
    difference_interval: Interval = None
    worth: Number = None
    worth_interval: tuple[Number, Number] | None = None
    worth_text: str = ""
    effort: dict[str, Number] = {}
    effort_worth: Number = None
    effort_worth_interval: tuple[Number, Number] | None = None
    effort_worth_text: str = ""
    classes: dict[str, ClassPoint] = {}
    cost: CostRecord = CostRecord()


class CurveRecord(FileRecord):
    """The result of a curve; see `experiments.curve_result.Curve`.

    Attributes:
        cases: the test cases that every training has a score for; `left_out` are the others.
        subjects: how many the cases show.
        page: the page that was written.
    """

    what: ClassVar[str] = "learning curve"
    writer: ClassVar[str] = "scantling curve --json"

    data: str
    out: str
    control: str
    metric: str
    shared: Table = {}
    points: tuple[PointRecord, ...] = ()
    cells: tuple[CellRecord, ...] = ()
    cases: tuple[str, ...] = ()
    left_out: tuple[str, ...] = ()
    subjects: int = 0
    sentences: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
    failed: tuple[str, ...] = ()
    conventions: tuple[str, ...] = ()
    page: str | None = None
