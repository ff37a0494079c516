"""Detectors in an experiment: what the boxes of each case are worth by themselves, so that cases can be paired."""

from __future__ import annotations

import math
from collections.abc import Sequence

from scantling.contract.card import Card
from scantling.core.errors import SettingsError
from scantling.evaluation.boxes import BoxEvaluation
from scantling.experiments.candidates import Candidate
from scantling.metrics.catalogue import BOX_METRICS
from scantling.metrics.detection import detection
from scantling.records.evaluation import EvaluationRecord

CHOICE = "boxes_from"
"""The setting by which a detector says what its boxes are drawn around."""


def detects(card: Card) -> bool:
    """Whether the answers of a method are boxes with classes and scores, and its masks only these, painted."""
    return CHOICE in card.labels_by


def metrics_of_boxes(named: Sequence[str], candidates: Sequence[Candidate]) -> list[str]:
    """The names of metrics of boxes, each once.

    Raises:
        SettingsError: some are of masks, or a candidate is no folder with boxes.
    """
    if others := [name for name in named if name not in BOX_METRICS]:
        raise SettingsError(f"--metrics {others[0]}: is of masks; compare boxes by {', '.join(BOX_METRICS)} alone")
    for one in candidates:
        if one.kind == "scores":
            raise SettingsError(f"{one.path}: boxes are compared case by case; name the folder that `predict` wrote")
    return list(dict.fromkeys(named))


def box_scores(found: BoxEvaluation) -> EvaluationRecord:
    """The scores of boxes in the form of those of masks: each of `BOX_METRICS` of each case alone, and their means.

    Of a case without a true box all are undefined, and it does not count in the means.
    """
    rows = []
    for case in found.cases:
        own = detection([case.boxes], classes=len(found.classes))
        rows.append(
            {"id": case.id, "subject": case.subject} | {name: float(getattr(own, name)) for name in BOX_METRICS}
        )
    means = dict[str, float]()
    for name in BOX_METRICS:
        values = [float(row[name]) for row in rows if not math.isnan(float(row[name]))]
        means[name] = sum(values) / len(values) if values else math.nan
    facts = found.record().model_dump(include={"prediction", "truth", "split", "run", "failed", "notes"})
    return EvaluationRecord.model_validate({**facts, "version": EvaluationRecord.newest, "mean": means, "cases": rows})
