"""Ranking and calibration: against counting pairs, thresholds and bins one by one."""

from __future__ import annotations

import math

import numpy as np
import pytest

from scantling.metrics.calibration import calibration
from scantling.metrics.ranking import ranking


def drawn(seed: int, *, levels: int, share: float, shape: tuple[int, ...] = (9, 11)) -> tuple[np.ndarray, np.ndarray]:
    """Probabilities with many ties, and a mask."""
    draw = np.random.default_rng(seed)
    return draw.integers(0, levels, shape) / (levels - 1), draw.random(shape) < share


def area_by_pairs(scores: np.ndarray, truth: np.ndarray) -> float:
    positives, negatives = scores[truth][:, None], scores[~truth][None, :]
    return float(np.mean((positives > negatives) + 0.5 * (positives == negatives)))


def precision_by_thresholds(scores: np.ndarray, truth: np.ndarray) -> float:
    total, recall_before = 0.0, 0.0
    for threshold in sorted(set(scores.ravel().tolist()), reverse=True):
        chosen = scores >= threshold
        recall = (chosen & truth).sum() / truth.sum()
        total += (recall - recall_before) * (chosen & truth).sum() / chosen.sum()
        recall_before = recall
    return total


@pytest.mark.parametrize("levels", [2, 5, 1000])
@pytest.mark.parametrize("share", [0.1, 0.5, 0.9])
def test_ranking_agrees_with_pairs_and_thresholds_whatever_the_ties(levels: int, share: float) -> None:
    for seed in range(5):
        scores, truth = drawn(seed, levels=levels, share=share)
        found = ranking(scores, truth)
        assert found.auc == pytest.approx(area_by_pairs(scores, truth), abs=1e-12)
        assert found.average_precision == pytest.approx(precision_by_thresholds(scores, truth), abs=1e-12)


def test_ranking_does_not_see_a_monotone_change_of_scale() -> None:
    scores, truth = drawn(0, levels=20, share=0.3)
    logits = np.log((scores + 0.01) / (1.01 - scores))
    assert ranking(logits, truth).auc == ranking(scores, truth).auc
    assert ranking(logits, truth).average_precision == ranking(scores, truth).average_precision


def test_the_right_order_is_1_the_wrong_order_0_and_no_order_a_half() -> None:
    truth = np.array([[0, 0, 1, 1, 1]])
    assert ranking(truth * 0.5, truth).auc == 1
    assert ranking(truth * 0.5, truth).average_precision == 1
    assert ranking(1 - truth, truth).auc == 0
    assert ranking(np.full((1, 5), 0.3), truth).auc == 0.5
    assert ranking(np.full((1, 5), 0.3), truth).average_precision == pytest.approx(3 / 5)  # the share of foreground


def test_a_truth_of_one_class_has_no_ranking() -> None:
    scores = np.array([[0.1, 0.9]])
    empty, full = np.zeros((1, 2)), np.ones((1, 2))
    assert math.isnan(ranking(scores, empty).auc)
    assert math.isnan(ranking(scores, full).auc)
    assert math.isnan(ranking(scores, empty).average_precision)
    assert ranking(scores, full).average_precision == 1


@pytest.mark.parametrize("bins", [1, 4, 15])
def test_calibration_agrees_with_going_through_the_bins(bins: int) -> None:
    draw = np.random.default_rng(bins)
    scores, truth = draw.random((20, 30)).astype(np.float32), draw.random((20, 30)) < 0.3
    error = 0.0
    for number in range(bins):
        inside = (scores >= number / bins) & (scores < (number + 1) / bins)
        if inside.any():
            error += inside.mean() * abs(truth[inside].mean() - scores[inside].mean(dtype=np.float64))
    found = calibration(scores, truth, bins=bins)
    assert found.ece == pytest.approx(error, abs=1e-9)
    assert found.brier == pytest.approx(float(np.mean((scores.astype(float) - truth) ** 2)), abs=1e-9)
    assert found.count.sum() == scores.size


def test_calibration_of_known_tables() -> None:
    truth = np.array([0, 1] * 50)
    assert calibration(np.full(100, 0.5), truth).ece == 0  # a half is right half of the time
    assert calibration(np.full(100, 0.75), truth).ece == pytest.approx(0.25)
    assert calibration(truth, truth).ece == 0
    assert calibration(truth, truth).brier == 0
    assert calibration(1 - truth, truth).ece == 1
    assert calibration(1 - truth, truth).brier == 1
    assert calibration(np.full(100, 0.5), truth).brier == 0.25


def test_probabilities_drawn_as_true_are_calibrated() -> None:
    draw = np.random.default_rng(0)
    scores = draw.random(100_000)
    found = calibration(scores, draw.random(100_000) < scores)
    assert found.ece < 0.01  # 15 bins of 6,667 pixels: a standard error of at most 0.006 each
    assert found.accuracy == pytest.approx(found.confidence, abs=0.03)  # five standard errors


def test_tables_of_two_images_add_up_to_the_table_of_both() -> None:
    draw = np.random.default_rng(1)
    scores, truth = draw.random((2, 50)), draw.random((2, 50)) < 0.5
    both, sum_ = calibration(scores, truth), calibration(scores[0], truth[0]) + calibration(scores[1], truth[1])
    assert sum_.ece == pytest.approx(both.ece)
    assert sum_.brier == pytest.approx(both.brier)
    assert np.array_equal(sum_.count, both.count)


def test_the_edges_of_the_range_have_a_bin_and_an_empty_bin_has_no_number() -> None:
    table = calibration(np.array([0.0, 1.0]), np.array([0, 1]), bins=4)
    assert table.count.tolist() == [1, 0, 0, 1]
    assert table.edges.tolist() == [0, 0.25, 0.5, 0.75, 1]
    assert np.isnan(table.confidence).tolist() == [False, True, True, False]


def test_only_the_region_counts() -> None:
    draw = np.random.default_rng(2)
    scores, truth, region = draw.random((8, 8)), draw.random((8, 8)) < 0.5, draw.random((8, 8)) < 0.5
    assert ranking(scores, truth, region=region).auc == ranking(scores[region], truth[region]).auc
    assert calibration(scores, truth, region=region).ece == calibration(scores[region], truth[region]).ece


def test_what_is_no_probability_is_refused() -> None:
    with pytest.raises(ValueError, match="NaN"):
        ranking(np.array([0.5, np.nan]), np.array([0, 1]))
    with pytest.raises(ValueError, match="from 0 to 255"):
        calibration(np.array([0, 255]), np.array([0, 1]))
    with pytest.raises(ValueError, match=r"from -0\.1 to 0\.5"):
        calibration(np.array([-0.1, 0.5]), np.array([0, 1]))
