"""`predictions.json`: which masks a folder holds, what made them and how; of a shard, its part of them."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal

from pydantic import BeforeValidator

from scantling.core.case import Labels
from scantling.records.record import FileRecord, Number, Numbers, Record, Table, renamed

Listed = str | tuple[str, ...]
"""The path of a mask below its folder; where classes overlap one for each class."""


class Failure(Record):
    """A case that could not be predicted or scored, and why."""

    id: str
    error: str = ""


class ExpectedScore(Record):
    """The Dice that is expected of a predicted case, the mean over the classes that were found.

    Attributes:
        estimate: from the model's own probabilities alone; None of an empty mask.
        dice: the estimate moved by what it was wrong by on the validation cases.
        low, high, coverage: the interval, and the share of cases like the validation cases that it is to hold.
        reason: why no interval is promised.
    """

    estimate: Number = None
    dice: Number = None
    low: Number = None
    high: Number = None
    coverage: Number = None
    reason: str = ""


class PredictedCase(Record):
    """A case that was predicted; paths start from the folder.

    Attributes:
        probability: the map; None where maps were not wanted.
        samples: the masks that were drawn.
        uncertainty: one number of the whole image for each way to measure it; `uncertainty_maps` are their files.
        image_class, classes: the image class that was found, and the probability of each, by a classifier.
        class_uncertainty: one number of the image for each way to measure it.
        expected: the score that is expected; None where that was not asked, as in earlier versions.
        unlike: the kinds of features (intensity, colour, sharpness, scale) in which the image is unlike the training
            images; None where that cannot be told.
        distance: to the nearest training image over the threshold: above 1 the image is unlike.
        stands_out: the feature that differs most, of an image that is unlike.
        scale, scale_by: how many times as large as the training images it was taken to be, and what said so.
        files: what else was written for it, below the folder.
        content: a hash of what was read; a case is predicted again where it has changed.
        seconds: that the case took.
    """

    id: str
    mask: Listed | None = None
    probability: str | None = None
    samples: tuple[Listed, ...] | None = None
    uncertainty: Annotated[Numbers, BeforeValidator(lambda value: value or {})] = {}
    uncertainty_maps: dict[str, str] | None = None
    image_class: str | None = None
    classes: Numbers = {}
    class_uncertainty: Numbers = {}
    expected: ExpectedScore | None = None
    unlike: tuple[str, ...] | None = None
    distance: Number = None
    stands_out: str = ""
    scale: Number = None
    scale_by: str = ""
    files: tuple[str, ...] = ()
    content: str | None = None
    seconds: Number = None


class PredictionsRecord(FileRecord):
    """The contents of `predictions.json`.

    Attributes:
        run, method, model: the run, its method and a short name for its weights.
        input, manifest, root, subjects, split: what was predicted.
        classes, values: the foreground classes, and their values in the masks.
        data_values: their values in the masks of the training data, where those are others (colours).
        exclusive: whether a pixel has one class at most.
        postprocessing: what was done to the answers of each model: probabilities are after the temperature; thresholds
            and rules of components are those of one model that answers once.
        requested: the options as they were given; `options` are those that were used.
        reliabilities: how far each model of an ensemble is believed, where that was learnt
            (`inference.reliabilities.Learnt`).
        calls: passes through the network for an image.
        mending, mended: the settings of a mending, and of what.
        total: cases of the command, of which `cases` and `failed` are done.
        of: a hash of the ids of all cases of the job, whichever shard does them.
    """

    what: ClassVar[str] = "list of predictions"
    writer: ClassVar[str] = "scantling predict"

    run: str | None = None
    method: str | None = None
    model: str | None = None
    input: str | None = None
    manifest: str | None = None
    root: str | None = None
    subjects: Literal["name", "file"] = "name"
    split: str | None = None
    classes: tuple[str, ...] = ()
    values: tuple[tuple[int, ...], ...] = ()
    data_values: tuple[tuple[int, ...], ...] = ()
    exclusive: bool | None = None
    postprocessing: tuple[Table, ...] = ()
    requested: Table = {}
    options: Table = {}
    reliabilities: Table = {}
    calls: Number = None
    mending: Table = {}
    mended: Table = {}
    total: int | None = None
    of: str = ""
    cases: tuple[PredictedCase, ...] = ()
    failed: tuple[Failure, ...] = ()

    @classmethod
    def upgraded(cls, facts: dict[str, Any]) -> dict[str, Any]:
        """What was requested was once `asked`, without the memory."""
        asked, options = facts.get("asked"), facts.get("options")
        if isinstance(asked, dict) and isinstance(options, dict) and "memory" in options:
            facts = {**facts, "asked": {"memory": options["memory"], **asked}}
        return renamed(facts, "asked", "requested")

    @property
    def labels(self) -> Labels:
        """What the values of the masks mean."""
        return Labels(names=self.classes, values=self.values)

    @property
    def made(self) -> dict[str, Any]:
        """How the masks were made: all but the cases, as plain values."""
        facts = self.facts()
        return {key: value for key, value in facts.items() if key not in ("version", "cases", "failed")}


NO_PREDICTIONS = PredictionsRecord()
"""What is known of masks of which nothing is said."""
