"""Overlap: every pair of small masks against counting on sets."""

from __future__ import annotations

import math
from collections.abc import Iterator
from fractions import Fraction

import numpy as np
import pytest

from scantling.core.errors import ArrayError
from scantling.metrics.overlap import confusion


def masks(*shape: int) -> Iterator[np.ndarray]:
    """All masks of a shape."""
    pixels = int(np.prod(shape))
    for number in range(1 << pixels):
        yield ((number >> np.arange(pixels)) & 1).reshape(shape).astype(bool)


def where(mask: np.ndarray) -> set[tuple[int, ...]]:
    return {tuple(pixel) for pixel in np.argwhere(mask).tolist()}


def share(right: int, wrong: int, otherwise: float) -> float:
    return float(Fraction(right, right + wrong)) if right + wrong else otherwise


def same(value: float, expected: float) -> bool:
    return value == pytest.approx(expected, nan_ok=True)


def test_all_pairs_of_two_by_two_masks_agree_with_counting_on_sets() -> None:
    everything = where(np.ones((2, 2)))
    for prediction in masks(2, 2):
        for truth in masks(2, 2):
            p, t = where(prediction), where(truth)
            found = confusion(prediction, truth)
            assert same(found.dice, share(2 * len(p & t), len(p ^ t), 0.0) if t else math.nan)
            assert same(found.iou, share(len(p & t), len(p ^ t), 0.0) if t else math.nan)
            assert same(found.precision, share(len(p & t), len(p - t), 0.0) if t else math.nan)
            assert same(found.sensitivity, share(len(p & t), len(t - p), 0.0) if t else math.nan)
            assert same(found.found, float(bool(p & t)) if t else math.nan)
            assert same(found.false_alarm, math.nan if t else float(bool(p)))
            assert same(found.dice_or_empty, share(2 * len(p & t), len(p ^ t), 1.0))
            assert same(found.specificity, share(len(everything - p - t), len(p - t), float(p == t)))
            assert found.accuracy == pytest.approx(float(Fraction(len(everything - (p ^ t)), 4)))


def test_dice_is_the_harmonic_mean_of_precision_and_sensitivity_for_empty_masks_too() -> None:
    for prediction in masks(2, 2):
        for truth in masks(2, 2):
            found = confusion(prediction, truth)
            both = found.precision + found.sensitivity
            assert same(found.dice, 2 * found.precision * found.sensitivity / both if both else 0.0)


def test_without_a_truth_there_is_no_score_of_it_and_a_missed_one_is_zero() -> None:
    empty, some = np.zeros((3, 4)), np.eye(3, 4)
    for name in ("dice", "iou", "precision", "sensitivity"):
        assert math.isnan(getattr(confusion(empty, empty), name))
        assert math.isnan(getattr(confusion(some, empty), name))
        assert getattr(confusion(empty, some), name) == 0
    assert (confusion(empty, some).found, confusion(some, some).found) == (0, 1)
    assert (confusion(empty, empty).false_alarm, confusion(some, empty).false_alarm) == (0, 1)
    assert (confusion(empty, empty).dice_or_empty, confusion(some, empty).dice_or_empty) == (1, 0)
    full = np.ones((3, 4))
    assert confusion(full, full).specificity == 1
    assert confusion(some, full).specificity == 0


def test_a_region_counts_like_the_image_cut_to_it() -> None:
    draw = np.random.default_rng(0)
    prediction, truth = draw.random((2, 6, 7, 5)) < 0.4
    region = np.zeros((6, 7, 5), bool)
    region[1:5, 2:6, 1:4] = True
    assert confusion(prediction, truth, region=region) == confusion(prediction[1:5, 2:6, 1:4], truth[1:5, 2:6, 1:4])


@pytest.mark.parametrize("values", [(0, 255), (0, 1, 2), (0, 0.25, 1), (0, math.nan)])
def test_masks_of_other_values_than_0_and_1_are_refused(values: tuple[float, ...]) -> None:
    true = np.array([[0, 1], [1, 0]], np.uint8)
    found = np.resize(np.array(values), (2, 2))
    for pair in ((found, true), (true, found)):
        with pytest.raises(ArrayError, match="expected the mask of one class, bool or 0 and 1"):
            confusion(*pair)
    assert confusion(true, true == 1).dice == confusion(true.astype(float), true).dice == 1


def test_arrays_that_do_not_fit_are_refused() -> None:
    mask = np.ones((3, 4))
    with pytest.raises(ValueError, match=r"shapes \(3, 4\) and \(4, 3\)"):
        confusion(mask, mask.T)
    with pytest.raises(ValueError, match="region has shape"):
        confusion(mask, mask, region=mask.T)
    with pytest.raises(ValueError, match="no pixel to compare"):
        confusion(mask, mask, region=np.zeros((3, 4)))
    with pytest.raises(ValueError, match="no pixel to compare"):
        confusion(np.zeros((0, 4)), np.zeros((0, 4)))
