"""Samples against annotators: each metric against its definition, written out pair by pair."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from scantling.metrics.several import several
from scantling.metrics.uncertainty import error_ranking


def sets(number: int, others: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """(N, 7, 9) and (M, 7, 9) bool, some of them empty."""
    draw = np.random.default_rng(seed)
    masks = draw.random((number + others, 7, 9)) < draw.random((number + others, 1, 1))
    masks[draw.random(number + others) < 0.2] = False
    return masks[:number], masks[number:]


def distance(one: np.ndarray, other: np.ndarray) -> float:
    union = np.logical_or(one, other).sum()
    return 1 - np.logical_and(one, other).sum() / union if union else 0.0


def dice(one: np.ndarray, other: np.ndarray) -> float:
    sizes = one.sum() + other.sum()
    return float(2 * np.logical_and(one, other).sum() / sizes) if sizes else 1.0


def mean_distance(one: np.ndarray, other: np.ndarray) -> float:
    return float(np.mean([distance(a, b) for a in one for b in other]))


@pytest.mark.parametrize(("number", "others"), [(1, 2), (4, 2), (3, 4), (16, 4), (5, 1)])
def test_ged_is_its_definition(number: int, others: int) -> None:
    samples, annotators = sets(number, others, seed=number)
    across, within = mean_distance(samples, annotators), mean_distance(samples, samples)
    expected = 2 * across - within - mean_distance(annotators, annotators)
    assert several(samples, annotators).ged == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize(("number", "others"), [(2, 2), (3, 3), (4, 2), (2, 3)])
def test_hm_iou_is_the_best_of_all_matchings(number: int, others: int) -> None:
    samples, annotators = sets(number, others, seed=number)
    pairs = int(np.lcm(number, others))
    drawn, true = np.repeat(samples, pairs // number, axis=0), np.repeat(annotators, pairs // others, axis=0)
    iou = np.array([[1 - distance(a, b) for b in true] for a in drawn])
    best = max(iou[range(pairs), order].mean() for order in itertools.permutations(range(pairs)))
    assert several(samples, annotators).hm_iou == pytest.approx(best)


@pytest.mark.parametrize(("number", "others"), [(1, 3), (5, 2)])
def test_max_dice_asks_each_annotator_for_the_nearest_sample(number: int, others: int) -> None:
    samples, annotators = sets(number, others, seed=number)
    expected = np.mean([max(dice(sample, true) for sample in samples) for true in annotators])
    assert several(samples, annotators).max_dice == pytest.approx(expected)


def test_soft_dice_compares_the_means_at_five_thresholds() -> None:
    samples, annotators = sets(10, 4)
    one, other = samples.mean(0), annotators.mean(0)
    expected = np.mean([dice(one > threshold, other > threshold) for threshold in (0.1, 0.3, 0.5, 0.7, 0.9)])
    assert several(samples, annotators).soft_dice == pytest.approx(expected)


def test_a_share_that_equals_a_threshold_does_not_exceed_it_in_any_type() -> None:
    samples = np.arange(10).reshape(10, 1, 1) < np.array([[3, 5, 7, 9]])  # .3, .5, .7 and .9 of ten
    shares = np.array([[0.3, 0.5, 0.7, 0.9]])
    expected = several(samples, samples).soft_dice
    assert expected == 1
    for kind in (np.float32, np.float64):
        assert several(samples, samples, mean=shares.astype(kind)).soft_dice == expected


def test_the_same_sets_are_at_no_distance_in_any_order() -> None:
    samples, _ = sets(6, 1)
    shuffled = samples[[3, 0, 5, 1, 4, 2]]
    found = several(samples, shuffled)
    assert found.ged == pytest.approx(0, abs=1e-12)
    assert (found.hm_iou, found.max_dice, found.soft_dice) == (1, 1, 1)


def test_repeating_a_set_changes_neither_distance_nor_matching() -> None:
    samples, annotators = sets(4, 3)
    one, other = several(samples, annotators), several(np.repeat(samples, 3, axis=0), annotators)
    assert (other.ged, other.hm_iou) == pytest.approx((one.ged, one.hm_iou))


def test_everything_is_defined_where_masks_are_empty() -> None:
    empty, full = np.zeros((2, 4, 4), bool), np.ones((2, 4, 4), bool)
    found = several(empty, empty)
    assert (found.ged, found.hm_iou, found.max_dice, found.soft_dice) == (0, 1, 1, 1)
    found = several(empty, full)
    assert (found.ged, found.hm_iou, found.max_dice, found.soft_dice) == (2, 0, 0, 0)


def test_one_sure_mask_pays_for_the_spread_of_the_annotators() -> None:
    """Two annotators who share nothing spread by 1/2, and the mask is one of theirs: 2 · 1/2 - 1/2."""
    annotators = np.zeros((2, 4, 4), bool)
    annotators[0, :2], annotators[1, 2:] = True, True
    assert several(annotators[:1], annotators).ged == pytest.approx(0.5)
    assert several(annotators, annotators).ged == 0


def test_only_pixels_in_the_region_count() -> None:
    samples, annotators = sets(4, 2)
    region = np.zeros((7, 9), bool)
    region[2:5, 1:6] = True
    inside, cut = several(samples, annotators, region=region), several(samples[:, 2:5, 1:6], annotators[:, 2:5, 1:6])
    for name in ("ged", "hm_iou", "max_dice", "soft_dice"):
        assert getattr(inside, name) == getattr(cut, name), name


def test_large_images_are_counted_exactly() -> None:
    samples, annotators = np.ones((1, 700, 800), bool), np.ones((2, 700, 800), bool)  # more than two chunks
    annotators[:, 0, 0] = False
    assert several(samples, annotators).hm_iou == pytest.approx(1 - 1 / 560_000, abs=1e-12)


def test_sets_that_do_not_fit_are_refused() -> None:
    masks = np.ones((2, 4, 4), bool)
    with pytest.raises(ValueError, match="expected one shape"):
        several(masks, masks[:, :3])
    with pytest.raises(ValueError, match="0 samples and 2 annotators"):
        several(masks[:0], masks)
    with pytest.raises(ValueError, match="no pixel to compare"):
        several(masks, masks, region=np.zeros((4, 4)))


def test_uncertainty_finds_errors_as_often_as_pairs_say() -> None:
    draw = np.random.default_rng(0)
    uncertainty, prediction, truth = draw.random((6, 7)).round(1), draw.random((6, 7)) > 0.5, draw.random((6, 7)) > 0.5
    wrong = prediction != truth
    pairs = [(a > b) + 0.5 * (a == b) for a in uncertainty[wrong] for b in uncertainty[~wrong]]
    assert error_ranking(uncertainty, prediction, truth).uncertainty_auc == pytest.approx(np.mean(pairs))
    assert np.isnan(error_ranking(uncertainty, truth, truth).uncertainty_auc)
