"""The scores of what runs answer about the cases of a split, kept in a file beside the answers: made once."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from scantling.core.errors import FileError, RunError
from scantling.core.machine import COMPUTE, Compute
from scantling.data.dataset import Dataset
from scantling.evaluation.folders import evaluate
from scantling.evaluation.intervals import Values
from scantling.inference.prediction import predict
from scantling.records.evaluation import CaseRecord, EvaluationRecord
from scantling.records.record import read_record


def scores_once(
    runs: Sequence[Path],
    data: Dataset,
    out: Path,
    *,
    split: str,
    metrics: Sequence[str],
    options: Mapping[str, Any] | None = None,
    compute: Compute = COMPUTE,
) -> EvaluationRecord:
    """The scores of a run, or of several that answer together.

    Args:
        out: the file of the scores; the answers lie in the folder of its name. What is there is not made again, unless
            the file is damaged or lacks a metric.
        options: of the answers, by name.

    Raises:
        RunError: a case could not be answered or scored.
        ScantlingError: nothing can be answered or compared.
    """
    if (found := kept_scores(out, metrics)) is not None:
        return found
    folder = out.with_suffix("")
    answered = predict(runs[0], data, out=folder, ensemble=runs[1:], split=split, options=options, compute=compute)
    if answered.failed:
        raise RunError(f"{folder}: {answered.failed[0]['id']} was not answered: {answered.failed[0]['error']}")
    record = evaluate(folder, data, split=split, metrics=metrics).record()
    if record.failed:
        raise RunError(f"{folder}: {record.failed[0].id} was not scored: {record.failed[0].error}")
    record.write(out)
    return record


def kept_scores(path: Path, metrics: Sequence[str]) -> EvaluationRecord | None:
    """The scores in a file; None where there is none, or it is damaged or lacks one of the metrics."""
    try:
        found = read_record(EvaluationRecord, path) if path.is_file() else None
    except FileError:
        return None
    if found is None or not found.cases:
        return None
    return found if all(case.values.keys() >= {*metrics} for case in found.cases) else None


def values_of(records: Sequence[EvaluationRecord], metric: str) -> Values:
    """(records, cases) of a metric, the cases by id; NaN where it is undefined or not measured."""
    return np.array(
        [
            [math.nan if (value := case.values.get(metric)) is None else value for case in _sorted(record)]
            for record in records
        ],
        dtype=np.float64,
    )


def subjects_of(record: EvaluationRecord) -> list[str]:
    """Whom each case shows, the cases by id."""
    return [case.subject or case.id for case in _sorted(record)]


def _sorted(record: EvaluationRecord) -> list[CaseRecord]:
    return sorted(record.cases, key=lambda case: case.id)
