"""An evaluation: the scores of a folder of masks, as `scantling evaluate --json` prints and a run keeps them."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import BeforeValidator, model_validator

from scantling.core.case import Labels, Unit
from scantling.metrics.catalogue import MetricUnit
from scantling.records.boxes import BoxesRecord
from scantling.records.image_classes import ImageClassesRecord
from scantling.records.predictions import ExpectedScore, Failure, PredictionsRecord
from scantling.records.record import GREATEST, FileRecord, Number, Numbers, Record, Table, renamed
from scantling.records.scores import Reliability, ScoredRecord, StrataRecord

Located = str | dict[str, str]
"""An address; of a mask whose classes lie in a file each, one by class."""


def _sides(value: Any) -> Any:
    """A spacing, or None for one that is none."""
    sides = value if isinstance(value, list | tuple) else ()
    sound = all(isinstance(side, int | float) and 1 / GREATEST < side < GREATEST for side in sides)
    return value if sides and sound else None


def _addresses(value: Any) -> Any:
    if isinstance(value, dict):
        return list(value.values())
    return [value] if isinstance(value, str) else value or []


class Region(Record):
    """Which pixels count: those of the whole image, in the cases' own regions, or in the masks of a folder."""

    of: Literal["image", "cases", "folder"] = "image"
    folder: str | None = None

    @property
    def sentence(self) -> str:
        """For people."""
        outside = "outside, both masks are taken as empty"
        if self.of == "image":
            return "All pixels of the image count."
        if self.of == "cases":
            return f"Only pixels in the cases' own regions count; {outside}."
        return f"Only pixels in the regions of the folder {Path(self.folder or '').name} count; {outside}."


class CaseFiles(Record):
    """The addresses of a scored case.

    Attributes:
        annotators: the further true masks.
        samples: the masks that were drawn.
        uncertainty: maps by name.
        instances: the true instance map.
        predicted_instances, predicted_objects: the predicted instance map, and the list of its objects.
        threshold, known, drawn_slices, drawn_axis, drawn_objects, drawn_rim, drawn_classes, spacing: what the data say
            of this case beside its files (see `core.case.Case`).
    """

    image: Annotated[tuple[str, ...], BeforeValidator(_addresses)] = ()
    prediction: Located | None = None
    truth: Located | None = None
    region: str | None = None
    probability: str | None = None
    annotators: tuple[Located, ...] = ()
    samples: tuple[Located, ...] = ()
    uncertainty: Annotated[dict[str, str], BeforeValidator(lambda value: value or {})] = {}
    instances: str | None = None
    predicted_instances: str | None = None
    predicted_objects: str | None = None
    threshold: float | None = None
    known: str | None = None
    drawn_slices: tuple[int, ...] | Literal["marked"] | None = None
    drawn_axis: int | None = None
    drawn_objects: tuple[int, ...] | Literal["marked"] | None = None
    drawn_rim: float = 0.0
    drawn_classes: tuple[str, ...] | None = None
    spacing: Annotated[tuple[float, ...] | None, BeforeValidator(_sides)] = None


class MaskLabels(Record):
    """What the values of the masks on both sides mean; `order`: for each class its number, from 0, in `prediction`."""

    truth: Labels
    prediction: Labels
    order: tuple[int, ...]

    @model_validator(mode="after")
    def _fit(self) -> Self:
        for labels in (self.truth, self.prediction):
            if len(labels.values) != len(labels.names):
                raise ValueError("a class without its values")
        if not set(self.order) <= set(range(len(self.prediction.names))):
            raise ValueError("a class that the predictions do not have")
        return self


class CaseRecord(ScoredRecord):
    """One scored case; its metrics stand beside its id, under their own names.

    Attributes:
        strata: of the case, see `core.case.Case`.
        classes: the metrics by class, where there are several.
        marked: the shares of the pixels that count which the "prediction" marks, and which the "truth" does.
        unit: of the metrics that are lengths; None in files of early versions.
        expected, unlike, stands_out, scale, scale_by: what its prediction says (`records.predictions.PredictedCase`).
    """

    id: str
    subject: str | None = None
    strata: dict[str, str] = {}
    classes: dict[str, Numbers] = {}
    marked: Numbers = {}
    unit: Unit | None = None
    expected: ExpectedScore | None = None
    unlike: tuple[str, ...] | None = None
    stands_out: str = ""
    scale: Number = None
    scale_by: str = ""
    files: CaseFiles = CaseFiles()


class Tally(Record):
    """How many of how many.

    Attributes:
        cases: k and m over cases; with several classes every class of a case counts.
        subjects: k and m over subjects: a subject counts once, however many of its cases do.
        classes: by class, where there are several.
    """

    cases: tuple[int, int]
    subjects: tuple[int, int]
    classes: dict[str, Tally] = {}

    def text(self, classes: int = 1) -> str:
        """ "92 of 98 cases, 10 of 10 subjects"; subjects only where they are fewer than cases.

        Args:
            classes: of several, the classes of the cases are counted.
        """
        (k, m), (some, all_) = self.cases, self.subjects
        people = f", {some:,} of {all_:,} subjects" if all_ != m else ""
        return f"{k:,} of {m:,} {'classes of cases' if classes > 1 else 'cases'}{people}"


class CoverageRecord(Record):
    """How far the scores that were expected of predictions were right.

    Attributes:
        promised: the share of cases that the intervals are to hold; None where there are none.
        held, cases: how many of the cases with an interval and a Dice it holds.
        alike: the same of the images that are not unlike the training images.
        reason: why no interval was promised.
        error: the mean distance of the expected Dice to the one that was found.
    """

    promised: Number = None
    held: int = 0
    cases: int = 0
    alike: tuple[int, int] = (0, 0)
    reason: str = ""
    error: Number = None

    @property
    def sentence(self) -> str:
        """For people."""
        off = "" if self.error is None else f"; expected and found Dice differ by {self.error:.3f} on average"
        if not self.cases:
            reason = self.reason or "the predictions do not say why"
            return f"No interval of the expected score was promised: {reason}{off}."
        (k, m), promised = self.alike, f"{100 * (self.promised or 0):.0f} % promised"
        apart = f", in {k} of {m} of those like the training images" if m < self.cases else ""
        return f"The interval held the score in {self.held} of {self.cases} cases{apart} ({promised}){off}."


class NamesRecord(Record):
    """Scores of some of the classes together.

    Attributes:
        classes: which.
        mean: of each measure over these classes.
    """

    classes: tuple[str, ...] = ()
    mean: Numbers = {}


class NotPredicted(Record):
    """A value of the true masks that is no class of the predictions, and counts as background in the scores.

    Attributes:
        value: in the file, "#ff0000" of a colour.
        name: of its class, where it has one.
        cases, pixels: how many of the scored ones have it.
    """

    value: int | str
    name: str | None = None
    cases: int
    pixels: int

    @property
    def sentence(self) -> str:
        """For people."""
        named = f"the class {self.name!r} (value {self.value})" if self.name else f"the value {self.value}"
        masks = "1 true mask" if self.cases == 1 else f"{self.cases} true masks"
        return (
            f"Not predicted: {named}, {self.pixels:,} pixels in {masks}; the predictions have no such class, so it "
            "is not scored and counts as background."
        )


class EvaluationRecord(FileRecord):
    """The contents of an evaluation's file.

    Attributes:
        prediction, truth: the folders.
        run: that made the masks.
        labels: what the values of the masks mean; None in files of early versions.
        options: of the command: "probabilities", "region", "metrics", "manifest", "root" and "subjects".
        made: what the masks say of how they were made (`PredictionsRecord.made`).
        region: which pixels count; None where nobody says.
        mean, std, interval, count, subjects: by metric, over the cases that define it.
        units: by metric that is a length what its means are in; the cases of another unit are in none. Empty in files
            of early versions, whose lengths are in mm or in pixels.
        definitions: by metric the number of its definition, which grows when its values change (`Metric.definition`).
        detection: how often structures were found, and how often one was marked where there is none.
        objects: by class what all objects of all cases together are worth, as if they lay in one image, and how many
            there are; empty where metrics of objects were not measured.
        strata: the scores by stratum.
        classes_mean: by class and metric, where there are several classes.
        coverage: how far the scores that were expected were right; None where none were.
        boxes: the scores of boxes.
        image_classes: the scores of image classes; without masks only these and what stands before `classes` is set.
        not_predicted: classes of the truth that the predictions do not have.
        regions: what was scored in place of the classes, and the classes that each joins; empty where classes were.
        names: where a vocabulary was asked for, the scores of the classes that the model had learned ("seen") and of
            the others ("unseen").
        notes, conventions: sentences.
    """

    what: ClassVar[str] = "evaluation"
    writer: ClassVar[str] = "scantling evaluate --json"

    prediction: str = ""
    truth: str = ""
    split: str | None = None
    run: str | None = None
    options: Table = {}
    made: Table = {}
    classes: tuple[str, ...] = ()
    labels: MaskLabels | None = None
    region: Region | None = None
    mean: Numbers = {}
    std: Numbers = {}
    interval: dict[str, tuple[Number, Number] | None] = {}
    count: dict[str, int] = {}
    subjects: dict[str, int] = {}
    units: dict[str, MetricUnit] = {}
    definitions: dict[str, int] = {}
    detection: dict[str, Tally] = {}
    objects: dict[str, Numbers] = {}
    strata: StrataRecord = StrataRecord()
    classes_mean: dict[str, Numbers] = {}
    cases: tuple[CaseRecord, ...] = ()
    coverage: CoverageRecord | None = None
    image_classes: ImageClassesRecord | None = None
    boxes: BoxesRecord | None = None
    failed: tuple[Failure, ...] = ()
    not_predicted: tuple[NotPredicted, ...] = ()
    regions: dict[str, tuple[str, ...]] = {}
    names: dict[str, NamesRecord] = {}
    notes: tuple[str, ...] = ()
    conventions: tuple[str, ...] = ()
    reliability: Reliability | None = None

    @classmethod
    def upgraded(cls, facts: dict[str, Any]) -> dict[str, Any]:
        """Metrics were once `measures`; the region stood in the options, and nowhere which definitions were used."""
        facts = dict(facts)
        options = facts.get("options")
        if isinstance(facts.get("made"), dict):
            facts["made"] = PredictionsRecord.upgraded(facts["made"])
        if isinstance(options, dict):
            facts["options"] = renamed(options, "measures", "metrics")
            region = options.get("region")
            if "region" in options and (region is None or isinstance(region, str)):
                of = "image" if region is None else "cases" if region == "dataset" else "folder"
                facts.setdefault("region", {"of": of, "folder": region if of == "folder" else None})
        # before detections were counted, an empty truth answered by an empty mask was a Dice of 1
        mean = facts.get("mean")
        names = mean if isinstance(mean, dict) else ("dice",)
        facts.setdefault("definitions", dict.fromkeys(names, 1 if "detection" in facts else 0))
        return facts

    @model_validator(mode="after")
    def _fit(self) -> Self:
        if "cases" not in self.model_fields_set and self.image_classes is None and self.boxes is None:
            raise ValueError("cases: field required")
        if self.labels is not None and len(self.labels.order) != len(self.classes):
            raise ValueError("the labels have other classes than the scores")
        return self
