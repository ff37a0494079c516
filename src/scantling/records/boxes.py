"""Scores of boxes: a part of an evaluation, beside those of masks or alone."""

from __future__ import annotations

from scantling.records.predictions import Failure
from scantling.records.record import Number, Record
from scantling.records.scores import EstimateRecord


class BoxCaseRecord(Record):
    """One scored case: how many boxes were found, how many are there, and how many of these were matched."""

    id: str
    subject: str
    found: int
    true: int
    matched: int


class SensitivityRecord(Record):
    """Sensitivity at a rate of false alarms an image."""

    false_alarms: float
    sensitivity: Number


class BoxesRecord(Record):
    """What an evaluation says of boxes; see `evaluation.boxes.BoxEvaluation`.

    Attributes:
        boxes_from: what the true boxes are: "boxes", or drawn around "mask" or "instances".
        scores: the estimate of each of `metrics.catalogue.BOX_METRICS`.
        sensitivity: the curve (FROC).
    """

    prediction: str = ""
    truth: str = ""
    split: str | None = None
    run: str | None = None
    classes: tuple[str, ...]
    boxes_from: str
    scores: dict[str, EstimateRecord]
    sensitivity: tuple[SensitivityRecord, ...] = ()
    cases: tuple[BoxCaseRecord, ...]
    failed: tuple[Failure, ...] = ()
    notes: tuple[str, ...] = ()
    conventions: tuple[str, ...] = ()
