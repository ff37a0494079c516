"""Intervals of residuals hold with the promised probability, and are what the formulas say where those are short."""

from __future__ import annotations

import numpy as np
import pytest

from scantling.metrics.conformal import residual_interval


def test_the_limits_of_one_case_a_subject_are_the_kth_distances_from_the_ends_of_the_median() -> None:
    residuals = [0.0, 0.01, 0.02, 0.03, 0.04, 0.05, 0.06, 0.07, 0.20]  # 9, so k = ceil(10 * 0.9) = 9: the farthest
    # with one more beside them the median lies between the 5th and the mean of it and a neighbour
    assert residual_interval([[value] for value in residuals]) == pytest.approx((0.035 - 0.165, 0.045 + 0.155))
    many = np.linspace(-1, 1, 99)  # k = ceil(100 * 0.9) = 90, and the median is within 0.0103 of 0
    low, high = residual_interval([[value] for value in many]) or (0, 0)
    assert high == pytest.approx(-low)
    assert high == pytest.approx(np.sort(np.abs(many - 1 / 98))[89] + 1 / 98)


@pytest.mark.parametrize(("subjects", "coverage", "enough"), [(8, 0.9, False), (9, 0.9, True), (3, 0.8, False)])
def test_too_few_subjects_promise_nothing(subjects: int, coverage: float, enough: bool) -> None:
    found = residual_interval([[0.1 * number, 0.0] for number in range(subjects)], coverage=coverage)
    assert (found is not None) == enough


@pytest.mark.parametrize("subjects", [10, 14, 40])
@pytest.mark.parametrize("cases", [1, 5])
def test_a_case_of_a_new_subject_lies_inside_as_often_as_promised(subjects: int, cases: int) -> None:
    generator = np.random.default_rng(subjects + cases)
    trials, held = 500, 0
    for _ in range(trials):
        number = generator.integers(1, cases + 1, subjects + 1)
        own = generator.gamma(2, 0.05, subjects + 1)  # skewed: models expect too much, some by far
        groups = [(-own[s] + generator.normal(0, 0.02, number[s])).tolist() for s in range(subjects + 1)]
        low, high = residual_interval(groups[1:]) or (0, 0)
        held += low <= groups[0][0] <= high
    # three binomial deviations below what is promised at most
    assert held / trials >= 0.9 - 3 * np.sqrt(0.9 * 0.1 / trials)
    assert held / trials <= 1 if subjects < 40 else held / trials < 0.97, "nor is it much wider than it has to be"
