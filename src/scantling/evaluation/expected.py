"""What predictions promised of their own scores, held against the truth; and which images are unlike the training's."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from scantling.inference.scale import sentences_on_scale
from scantling.inference.unlike import sentence_on_unlike
from scantling.records.evaluation import CaseRecord, CoverageRecord
from scantling.records.predictions import PredictedCase

TOLERANCE = 1e-4
"""Limits are written with four digits."""


def coverage_of(cases: Sequence[tuple[PredictedCase, float | None]]) -> CoverageRecord | None:
    """How many intervals of expected scores hold the score that was found; None where no score was expected.

    Args:
        cases: what was predicted, and the Dice over the whole image: None or NaN where it is undefined.
    """
    scored = [
        (case, case.expected, dice)
        for case, dice in cases
        if case.expected is not None and dice is not None and not math.isnan(dice)
    ]
    if not scored:
        return None
    held = [
        (case, one, one.low - TOLERANCE <= dice <= one.high + TOLERANCE)
        for case, one, dice in scored
        if one.low is not None and one.high is not None
    ]
    alike = [inside for case, _, inside in held if not case.unlike]
    return CoverageRecord(
        promised=next((one.coverage for _, one, _ in held), None),
        held=sum(inside for *_, inside in held),
        cases=len(held),
        alike=(sum(alike), len(alike)),
        reason=next((one.reason for _, one, _ in scored if one.reason), ""),
        error=sum(abs(dice - (one.dice or 0.0)) for _, one, dice in scored) / len(scored),
    )


def expectation_of(case: PredictedCase | None, *, scored: bool = True) -> dict[str, Any]:
    """What the record of a scored case says of its prediction.

    Args:
        scored: whether the classes are scored of which it expected a score.
    """
    names = (*(("expected",) if scored else ()), "unlike", "stands_out", "scale", "scale_by")
    known = {} if case is None else {name: getattr(case, name) for name in names}
    return {name: value for name, value in known.items() if value not in (None, "")}


def sentences_on_expected(
    coverage: CoverageRecord | None, cases: Sequence[PredictedCase] | Sequence[CaseRecord]
) -> list[str]:
    """For people: what coverage the intervals reached or why there are none, and which images are unlike
    or were answered at another scale.

    Args:
        cases: the scored cases, with what their predictions say.
    """
    found = [] if coverage is None else [coverage.sentence]
    if unlike := [(case.id, case.stands_out) for case in cases if case.unlike]:
        intervals = coverage is not None and coverage.cases > 0
        promise = "; the intervals are promised for images like those" if intervals else ""
        found.append(f"{sentence_on_unlike(unlike, of=len(cases))}{promise}.")
    return found + [f"{sentence}." for sentence in sentences_on_scale(cases)]
