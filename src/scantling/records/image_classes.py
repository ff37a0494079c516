"""Scores of image classes: a part of an evaluation, beside those of masks or alone."""

from __future__ import annotations

from typing import Self

from pydantic import model_validator

from scantling.records.predictions import Failure
from scantling.records.record import Numbers, Record
from scantling.records.scores import EstimateRecord, Reliability, StrataRecord


class ClassifiedCaseRecord(Record):
    """One scored case: its true class, the predicted one, and the probability of each."""

    id: str
    subject: str
    true: str
    predicted: str
    probabilities: Numbers = {}
    strata: dict[str, str] = {}


class Confusion(Record):
    """How many cases of each true class (rows) were predicted as each class (columns)."""

    rows: str = "true"
    columns: str = "predicted"
    cases: tuple[tuple[int, ...], ...] = ()


class ImageClassesRecord(Record):
    """What an evaluation says of image classes; see `evaluation.classes.ClassEvaluation`.

    Attributes:
        scores: the estimate of each of `metrics.catalogue.CLASS_METRICS`.
        by_class: for each class its sensitivity, F1 and AUC.
        without_truth, without_prediction: ids of predictions without a true class, and the other way round.
    """

    prediction: str = ""
    truth: str = ""
    split: str | None = None
    run: str | None = None
    classes: tuple[str, ...]
    scores: dict[str, EstimateRecord]
    by_class: dict[str, dict[str, EstimateRecord]] = {}
    confusion: Confusion = Confusion()
    strata: StrataRecord = StrataRecord()
    reliability: Reliability = Reliability()
    cases: tuple[ClassifiedCaseRecord, ...]
    failed: tuple[Failure, ...] = ()
    without_truth: tuple[str, ...] = ()
    without_prediction: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    conventions: tuple[str, ...] = ()

    @model_validator(mode="after")
    def _fit(self) -> Self:
        table = self.confusion.cases
        if table and {len(table), *map(len, table)} != {len(self.classes)}:
            raise ValueError("the confusion matrix has other classes than the scores")
        return self
