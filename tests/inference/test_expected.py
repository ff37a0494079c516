"""What is expected of a score: moved and bounded by what the validation cases have shown, or plainly not promised."""

from __future__ import annotations

import pytest

from scantling.inference.expected import calibrated, doubt, expected, sentences_on_expected

OPTIONS = {"samples": None, "views": False, "seed": 3, "memory": None, "ensemble": []}
SCORES = [(f"s{number}", 0.9, 0.9 - 0.01 * number) for number in range(12)]  # 0 to 0.11 too much


def test_an_interval_is_the_estimate_with_the_residuals_of_validation() -> None:
    known = calibrated(SCORES, options=OPTIONS)
    assert (known.cases, known.subjects, known.coverage) == (12, 12, 0.9)
    assert known.centre == pytest.approx(-0.055)
    assert known.low is not None
    assert known.high is not None
    assert known.low <= -0.10, "90 % of what was seen lies inside"
    assert known.high >= -0.01
    found = expected(0.95, known)
    assert found["dice"] == pytest.approx(0.895)
    assert found["low"] < found["dice"] < found["high"] <= 1
    assert found["coverage"] == 0.9
    assert expected(0.02, known)["low"] == 0, "clipped"


def test_no_interval_is_promised_of_few_subjects_or_of_other_answers() -> None:
    few = calibrated([*SCORES[:9], SCORES[8]], options=OPTIONS)
    assert doubt(few, OPTIONS) == "calibrated on 9 validation subjects with a mask and a truth, expected 10 or more"
    known = calibrated(SCORES, options=OPTIONS)
    assert doubt(known, OPTIONS | {"seed": 8, "memory": 2.0}) == ""
    assert "own options" in doubt(known, OPTIONS | {"views": True})
    assert "own options" in doubt(known, OPTIONS | {"ensemble": [{"run": "b"}]})
    assert "no calibration" in doubt(None, OPTIONS)
    for reason in (doubt(few, OPTIONS), doubt(None, OPTIONS)):
        found = expected(0.8, few, reason=reason)
        assert "low" not in found
        assert found["reason"] == reason


def test_an_empty_mask_is_expected_to_score_nothing() -> None:
    known = calibrated(SCORES, options=OPTIONS)
    assert expected(None, known) == {"estimate": None, "dice": 0.0, "low": 0.0, "high": 0.0, "coverage": 0.9}


def test_one_line_says_the_median_the_lowest_and_what_the_intervals_rest_on() -> None:
    known = calibrated(SCORES, options=OPTIONS, fitted=["the weights were chosen"])
    cases = [{"id": f"c{n}", "expected": expected(0.5 + 0.05 * n, known)} for n in range(5)]
    (sentence,) = sentences_on_expected(cases, known)
    assert sentence.startswith("expected Dice: median 0.55; lowest 0.45 (c0, 0.38 to 0.51)")
    assert "12 validation subjects; fewer may hold, since the weights were chosen on the same cases" in sentence
    few = calibrated(SCORES[:4], options=OPTIONS)
    (sentence,) = sentences_on_expected([{"id": "a", "expected": expected(0.5, few, reason=doubt(few, OPTIONS))}], few)
    assert sentence.endswith(
        "no interval can be promised: calibrated on 4 validation subjects with a mask and a truth, expected 10 or more"
    )
    assert sentences_on_expected([{"id": "of an earlier version"}], known) == []
