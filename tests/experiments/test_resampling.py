"""Means over subjects and trainings drawn anew: they vary as they should, and labels are read off a rising curve."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy.optimize import isotonic_regression

from scantling.experiments.resampling import NOTHING, Draws, Estimate, estimate, limits, rising, weights, worth


@pytest.mark.parametrize("count", [2, 3, 5, 40])
def test_the_mean_of_a_few_values_varies_as_much_as_their_sample_deviation_says(count: int) -> None:
    values = np.random.default_rng(count).normal(size=count)
    drawn = (weights(count, "test") * values).sum(1) / weights(count, "test").sum(1)
    # 2000 draws give a deviation to within a twentieth or so
    assert drawn.std() == pytest.approx(values.std(ddof=1) / math.sqrt(count), rel=0.15)
    assert drawn.mean() == pytest.approx(values.mean(), abs=4 * drawn.std() / math.sqrt(2000))


def test_a_single_unit_is_never_drawn_otherwise() -> None:
    assert (weights(1, "test") == 1).all()


def test_intervals_hold_the_truth_about_as_often_as_they_say() -> None:
    generator, held = np.random.default_rng(0), 0
    draws = Draws.of(subjects=10, label_seeds=3, seeds=2)
    for _ in range(60):
        values = generator.normal(0, 0.05, (1, 1, 10)) + generator.normal(0, 0.03, (3, 1, 1))
        values = values + generator.normal(0, 0.02, (3, 2, 10))
        low, high = estimate(values, range(10), draws).interval()
        held += low <= 0 <= high
    assert 51 <= held <= 60, "of 60 intervals of 95 % 57 are expected; fewer than 51 would be a chance of 1 in 100"


def test_label_seeds_that_scatter_widen_the_interval() -> None:
    draws, subjects = Draws.of(subjects=8, label_seeds=3, seeds=1), np.linspace(0.7, 0.8, 8)
    alike = np.broadcast_to(subjects, (3, 1, 8))
    apart = alike + np.array([-0.1, 0.0, 0.1]).reshape(3, 1, 1)
    narrow, wide = (estimate(values, range(8), draws) for values in (alike, apart))
    assert narrow.value == pytest.approx(wide.value) == pytest.approx(0.75)
    spans = [high - low for low, high in (narrow.interval(), wide.interval())]
    assert spans[1] > 2 * spans[0]


def test_a_training_that_is_missing_and_a_case_without_a_score_count_for_nothing() -> None:
    draws = Draws.of(subjects=2, label_seeds=2, seeds=2)
    values = np.full((2, 2, 3), np.nan)
    values[0, 0], values[1, 0], values[1, 1] = (0.5, 0.7, np.nan), (0.6, 0.8, np.nan), (0.8, 1.0, np.nan)
    # the label seeds count alike: (0.6 + (0.7 + 0.9) / 2) / 2
    assert estimate(values, (0, 1, 1), draws).value == pytest.approx(0.7)
    assert estimate(np.full((2, 2, 3), np.nan), (0, 1, 1), draws) is NOTHING


def test_units_that_are_missing_leave_an_interval_as_wide_as_that_of_the_others_alone() -> None:
    values = np.random.default_rng(0).normal(size=(4, 1, 9)) + np.array([0.0, 1.0, 2.0, 3.0]).reshape(4, 1, 1)
    values[2:] = np.nan
    some = estimate(values, range(9), Draws.of(subjects=9, label_seeds=4, seeds=1))
    alone = estimate(values[:2], range(9), Draws.of(subjects=9, label_seeds=2, seeds=1))
    assert some.interval() == pytest.approx(alone.interval())


def test_one_test_subject_allows_no_interval() -> None:
    found = estimate(np.array([[[0.5, 0.6]]]), (0, 0), Draws.of(subjects=1, label_seeds=1, seeds=1))
    assert found.value == pytest.approx(0.55)
    assert all(math.isnan(end) for end in found.interval())


def test_an_interval_stays_within_the_bounds_of_its_metric() -> None:
    assert Estimate(0.9, np.linspace(0.5, 1.5, 1000)).interval(low=0, high=1)[1] == 1


def test_a_curve_is_made_to_rise_by_least_squares() -> None:
    values = np.random.default_rng(0).normal(size=(20, 6))
    for row, found in zip(values, rising(values), strict=True):
        np.testing.assert_allclose(found, isotonic_regression(row).x, atol=1e-12)


def test_labels_are_interpolated_on_their_logarithm() -> None:
    control = np.array([[0.5, 0.7, 0.7, 0.9]])

    def of(value: float) -> float:
        return float(worth(np.array([value]), control, (2, 8, 18, 32))[0])

    assert of(0.6) == pytest.approx(4), "half-way between 2 and 8"
    assert of(0.8) == pytest.approx(24), "half-way between 18 and 32"
    assert of(0.7) == pytest.approx(12), "level between 8 and 18: in the middle"
    assert of(0.5) == 2
    assert of(0.4) == 0
    assert of(0.95) == math.inf
    assert math.isnan(of(math.nan))


def test_limits_may_lie_beyond_what_was_measured() -> None:
    drawn = np.array([0.0] * 50 + [10.0] * 900 + [math.inf] * 50)
    assert limits(drawn) == (0.0, math.inf)
