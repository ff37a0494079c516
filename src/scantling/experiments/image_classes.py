"""Classifiers in a comparison: what each case is worth, by its class and by the probabilities of all classes."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from scantling.core.errors import DataError, SettingsError
from scantling.data.dataset import Dataset
from scantling.evaluation.truth import ids_in
from scantling.experiments.candidates import Candidate
from scantling.experiments.pairs import Scored
from scantling.metrics.catalogue import CLASS_METRICS
from scantling.metrics.classification import brier_by_case
from scantling.records.evaluation import EvaluationRecord
from scantling.records.image_classes import ClassifiedCaseRecord, ImageClassesRecord

OF_A_CASE = ("accuracy", "brier")
"""The metrics that a case has by itself, and that pairs of cases can be compared in; the first is tested."""


def metrics_of_classes(named: Sequence[str] | None) -> list[str]:
    """The names of the metrics, in the order in which they were named.

    Raises:
        SettingsError: one is unknown, or has no value for a case.
    """
    wanted = list(dict.fromkeys(OF_A_CASE if named is None else named))
    if strange := [name for name in wanted if name not in OF_A_CASE]:
        why = "is of all cases together, and has no value for one"
        found = why if strange[0] in CLASS_METRICS else "is no metric of image classes"
        raise SettingsError(
            f"--metrics {strange[0]}: {found}; classifiers are compared case by case, by {' and '.join(OF_A_CASE)}"
        )
    return wanted


def scored_classes(candidate: Candidate, record: ImageClassesRecord, dataset: Dataset, split: str) -> Scored:
    """What an evaluation of image classes says of the cases of a split.

    Of a case the accuracy is 1 where its class is right, else 0; the Brier score is the sum over the classes of the
    squared errors of their probabilities.

    Raises:
        DataError: it says nothing of any of them.
    """
    persons = {case.id: case.subject for case in dataset.cases}
    meant = ids_in(split, dataset, run=record.run)
    cases = [case for case in record.cases if case.id in meant]
    if not cases:
        raise DataError(
            f"{candidate.path}: holds no image class of a case of the split {split!r} of {dataset.root}; score that "
            "split, or choose another --split"
        )
    notes: tuple[str, ...] = ()
    if Path(record.truth).resolve() != dataset.root.resolve():
        notes = (f"{candidate.path} was scored against {record.truth}, not against {dataset.root}.",)
    return Scored(
        candidate,
        values={case.id: {"accuracy": float(case.predicted == case.true), "brier": _brier(case)} for case in cases},
        subjects={case.id: persons.get(case.id, case.subject) for case in cases},
        failed={failure.id: failure.error for failure in record.failed if failure.id in meant},
        made=candidate.made,
        region=None,
        notes=notes,
    )


def scores_by_case(found: ImageClassesRecord) -> EvaluationRecord:
    """The scores of image classes in the form of those of masks: accuracy and Brier score of each case, their means."""
    rows = [
        {
            "id": case.id, "subject": case.subject, "strata": case.strata,
            "accuracy": float(case.predicted == case.true), "brier": _brier(case),
        }
        for case in found.cases
    ]  # fmt: skip
    means = {name: float(np.nanmean([row[name] for row in rows])) for name in OF_A_CASE} if rows else {}
    facts = found.model_dump(include={"prediction", "truth", "split", "run", "failed", "notes"})
    return EvaluationRecord.model_validate({**facts, "version": EvaluationRecord.newest, "mean": means, "cases": rows})


def _brier(case: ClassifiedCaseRecord) -> float:
    values = [math.nan if value is None else value for value in case.probabilities.values()]
    names = list(case.probabilities)
    if case.true not in names:
        return math.nan
    return float(brier_by_case(np.array([values]), np.array([names.index(case.true)]))[0])
