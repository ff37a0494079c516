"""The Dice that is expected of a mask without its truth, with an interval where validation cases have calibrated it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import median
from typing import Any

from scantling.core.atomic import plain
from scantling.data.contents import count
from scantling.metrics.conformal import residual_interval
from scantling.records.expectations import ExpectedRecord

COVERAGE = 0.9
FEWEST = 10
"""Validation subjects from which on an interval is promised."""
OTHERWISE = ("memory", "seed", "scale")
"""Options that change no score but by chance; of a case at another scale its own entry says so."""
SHOWN = 3
"""So many of the lowest are named."""


def calibrated(
    scores: Sequence[tuple[str, float, float]], *, options: Mapping[str, Any], fitted: Sequence[str] = ()
) -> ExpectedRecord:
    """How far Dice lies from its estimate on validation cases, by conformal prediction (`metrics.conformal`).

    Args:
        scores: the subject, the estimate and the Dice of each case with a mask that is not empty.
        options: how they were answered (`prediction.kind_of_answer`).
        fitted: what was chosen or trained on the same cases, in words.
    """
    groups = dict[str, list[float]]()
    for subject, estimate, dice in scores:
        groups.setdefault(subject, []).append(dice - estimate)
    limits = residual_interval(list(groups.values()), coverage=COVERAGE) if len(groups) >= FEWEST else None
    low, high = limits or (None, None)
    return ExpectedRecord(
        cases=len(scores), subjects=len(groups), low=low, high=high, coverage=COVERAGE,
        centre=median(median(group) for group in groups.values()) if groups else 0.0,
        options=_of_kind(options), fitted=tuple(fitted),
    )  # fmt: skip


def doubt(known: ExpectedRecord | None, options: Mapping[str, Any]) -> str:
    """Why no interval can be promised for answers with these options; empty where one can."""
    if known is None:
        return "the model has no calibration on validation cases"
    if known.low is None or known.high is None:
        subjects = count(known.subjects, "validation subject")
        return f"calibrated on {subjects} with a mask and a truth, expected {FEWEST} or more"
    now = _of_kind(options)
    if any(now.get(name, value) != value for name, value in known.options.items()):
        return "calibrated on answers with the model's own options"
    return ""


def expected(estimate: float | None, known: ExpectedRecord | None, *, reason: str = "") -> dict[str, Any]:
    """What a record says of the Dice that is expected of a case.

    The estimate is moved by the median difference on the validation cases; limits are clipped to [0, 1]. The Dice of an
    empty mask is 0 whatever the truth, or undefined where that is empty too.

    Args:
        estimate: `metrics.confidence`; None of an empty mask.
        reason: why no interval is promised (`doubt`).
    """

    def moved(by: float | None) -> float:
        return 0.0 if estimate is None else round(min(max(estimate + (by or 0.0), 0.0), 1.0), 4)

    facts: dict[str, Any] = {"estimate": None if estimate is None else round(estimate, 4)}
    if known is None or reason:
        facts["dice"] = moved(0.0 if known is None else known.centre)
        return facts | ({"reason": reason} if reason else {})
    return facts | {
        "dice": moved(known.centre), "low": moved(known.low), "high": moved(known.high), "coverage": known.coverage,
    }  # fmt: skip


def sentences_on_expected(cases: Sequence[Mapping[str, Any]], known: ExpectedRecord | None) -> list[str]:
    """What a command says of the Dice that is expected of the cases that it has answered, in one line."""
    found = [(float(case["expected"]["dice"]), case) for case in cases if case.get("expected")]
    if not found:
        return []
    found.sort(key=lambda pair: pair[0])
    middle = f"median {median(dice for dice, _ in found):.2f}"
    worst = "; lowest " + ", ".join(_written(dice, case) for dice, case in found[:SHOWN])
    parts = f"{middle}{worst}" if len(found) > 1 else _written(*found[0])
    without = [reason for _, case in found if (reason := case["expected"].get("reason"))]
    if len(without) == len(found):
        return [f"expected Dice: {parts}; no interval can be promised: {without[0]}"]
    first = next(case["expected"] for _, case in found if not case["expected"].get("reason"))
    less = f"; fewer may hold, since {' and '.join(known.fitted)} on the same cases" if known and known.fitted else ""
    rests = f"from {known.subjects} validation subjects" if known else "from validation subjects"
    some = f" of {len(found) - len(without)} of {count(len(found), 'mask')}" if without else ""
    return [f"expected Dice: {parts}; {100 * first['coverage']:.0f} % intervals{some} {rests}{less}"]


def _written(dice: float, case: Mapping[str, Any]) -> str:
    low, high = (case["expected"].get(end) for end in ("low", "high"))
    limits = "" if low is None or high is None else f", {low:.2f} to {high:.2f}"
    return f"{dice:.2f} ({case['id']}{limits})"


def _of_kind(options: Mapping[str, Any]) -> dict[str, Any]:
    """The options that tell one kind of answer from another, as JSON has them."""
    kind: dict[str, Any] = plain({name: value for name, value in options.items() if name not in OTHERWISE})
    return kind
