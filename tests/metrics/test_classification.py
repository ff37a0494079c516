"""Scores of image classes against enumeration: counting cases, comparing every pair, taking groups away by hand."""

from __future__ import annotations

import math
from itertools import product

import numpy as np
import pytest

from scantling.metrics import classification as metrics
from scantling.metrics.ranking import ranking

RANDOM = np.random.default_rng(3)
TRUTH = RANDOM.integers(0, 3, 40)
# tenths, so that probabilities tie
PROBABILITIES = np.round(RANDOM.dirichlet((1, 1, 1), 40), 1)
PREDICTED = PROBABILITIES.argmax(1)
CONFUSION = metrics.confusion_matrix(PREDICTED, TRUTH, classes=3)


def test_the_confusion_matrix_counts_true_classes_in_rows() -> None:
    for row, column in product(range(3), repeat=2):
        assert CONFUSION[row, column] == sum(t == row and p == column for t, p in zip(TRUTH, PREDICTED, strict=True))


def test_accuracy_is_the_share_of_equal_pairs() -> None:
    assert metrics.accuracy(CONFUSION) == pytest.approx(np.mean(TRUTH == PREDICTED))


def test_balanced_accuracy_is_the_mean_share_of_each_class() -> None:
    shares = [np.mean(PREDICTED[k == TRUTH] == k) for k in range(3)]
    assert metrics.sensitivity_by_class(CONFUSION) == pytest.approx(shares)
    assert metrics.balanced_accuracy(CONFUSION) == pytest.approx(np.mean(shares))


def test_f1_is_the_harmonic_mean_of_precision_and_sensitivity() -> None:
    each = []
    for k in range(3):
        precision, sensitivity = np.mean(TRUTH[k == PREDICTED] == k), np.mean(PREDICTED[k == TRUTH] == k)
        each.append(2 * precision * sensitivity / (precision + sensitivity))
    assert metrics.f1_by_class(CONFUSION) == pytest.approx(each)
    assert metrics.f1(CONFUSION) == pytest.approx(np.mean(each))


def test_auc_is_the_share_of_pairs_in_order_and_half_of_the_equal_ones() -> None:
    each = []
    for k in range(3):
        scores = PROBABILITIES[:, k]
        pairs = [(a > b) + (a == b) / 2 for a in scores[k == TRUTH] for b in scores[k != TRUTH]]
        each.append(np.mean(pairs))
    assert metrics.auc_by_class(PROBABILITIES, TRUTH) == pytest.approx(each)
    assert metrics.auc(PROBABILITIES, TRUTH) == pytest.approx(np.mean(each))


def test_auc_without_each_group_is_that_of_the_others() -> None:
    groups = RANDOM.permutation(np.arange(40) % 7)
    positive, scores = TRUTH == 1, PROBABILITIES[:, 1]
    expected = [ranking(scores[groups != j], positive[groups != j]).auc for j in range(7)]
    assert metrics.auc_without_each(scores, positive, groups) == pytest.approx(expected)


def test_auc_without_the_only_group_of_a_side_is_undefined() -> None:
    found = metrics.auc_without_each([0.9, 0.1, 0.2], [True, False, False], [0, 1, 2])
    assert math.isnan(found[0])
    assert found[1:] == pytest.approx([1, 1])


def test_brier_is_the_squared_distance_from_the_true_corner() -> None:
    expected = np.mean([np.square(p - np.eye(3)[t]).sum() for p, t in zip(PROBABILITIES, TRUTH, strict=True)])
    assert metrics.brier(PROBABILITIES, TRUTH) == pytest.approx(expected)
    assert metrics.brier([[0.0, 1.0]], [0]) == 2  # sure and wrong, the worst


def test_ece_is_the_distance_of_confidence_from_accuracy_over_bins() -> None:
    confidence, right = PROBABILITIES.max(1), PREDICTED == TRUTH
    bins = np.minimum((confidence * 15).astype(int), 14)
    expected = sum(
        (bins == b).mean() * abs(confidence[bins == b].mean() - right[bins == b].mean()) for b in set(bins.tolist())
    )
    assert metrics.class_calibration(PROBABILITIES, PREDICTED, TRUTH).ece == pytest.approx(expected)


def test_a_class_that_the_truth_lacks_is_undefined_and_left_out_of_means() -> None:
    confusion = metrics.confusion_matrix([0, 2, 1], [0, 0, 1], classes=3)
    assert math.isnan(metrics.sensitivity_by_class(confusion)[2])
    assert math.isnan(metrics.f1_by_class(confusion)[2])
    assert metrics.balanced_accuracy(confusion) == pytest.approx((1 / 2 + 1) / 2)
    assert metrics.f1(confusion) == pytest.approx((2 / 3 + 1) / 2)
    areas = metrics.auc_by_class([[0.8, 0.1, 0.1], [0.3, 0.2, 0.5], [0.1, 0.8, 0.1]], [0, 0, 1])
    assert np.isnan(areas).tolist() == [False, False, True]


def test_nothing_is_defined_without_a_case_or_with_one_class_alone() -> None:
    empty = metrics.confusion_matrix([], [], classes=2)
    assert math.isnan(metrics.accuracy(empty))
    assert math.isnan(metrics.balanced_accuracy(empty))
    assert math.isnan(metrics.auc([[0.4, 0.6], [0.3, 0.7]], [1, 1]))


def test_a_number_that_is_no_class_is_refused() -> None:
    with pytest.raises(ValueError, match="predicted holds 2; expected whole numbers from 0 to 1"):
        metrics.confusion_matrix([0, 2], [0, 1], classes=2)
    with pytest.raises(ValueError, match="shapes"):
        metrics.confusion_matrix([0], [0, 1], classes=2)
