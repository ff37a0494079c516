"""Surface distances: against all pairs of border pixels, and against MONAI."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from monai import metrics
from scipy import ndimage
from scipy.spatial.distance import cdist

from scantling.metrics.distance import TOLERANCE, surface_distances


def border(mask: np.ndarray) -> np.ndarray:
    """The coordinates of the foreground pixels that have a side on the background, one pixel at a time."""
    padded = np.pad(mask, 1)
    found = []
    for pixel in np.argwhere(mask):
        sides = [pixel + 1 + step * np.eye(mask.ndim, dtype=int)[axis] for axis in range(mask.ndim) for step in (-1, 1)]
        if not all(padded[tuple(side)] for side in sides):
            found.append(pixel)
    return np.array(found, dtype=float).reshape(-1, mask.ndim)


def blobs(seed: int, shape: tuple[int, ...]) -> np.ndarray:
    noise = np.random.default_rng(seed).standard_normal((2, *shape))
    return ndimage.gaussian_filter(noise, (0, *[1.5] * len(shape))) > 0.1


@pytest.mark.parametrize(
    ("shape", "spacing"),
    [((14, 17), (1.0, 1.0)), ((14, 17), (0.3, 2.5)), ((7, 9, 8), (1.0, 1.0, 1.0)), ((7, 9, 8), (3.0, 0.5, 0.7))],
)
def test_distances_agree_with_all_pairs_of_border_pixels(shape: tuple[int, ...], spacing: tuple[float, ...]) -> None:
    for seed in range(6):
        prediction, truth = blobs(seed, shape)
        pairs = cdist(border(prediction) * spacing, border(truth) * spacing)
        there, back = pairs.min(axis=1), pairs.min(axis=0)
        found = surface_distances(prediction, truth, spacing=spacing)
        assert sorted(found.from_prediction) == pytest.approx(sorted(there))
        assert sorted(found.from_truth) == pytest.approx(sorted(back))
        assert found.hd95 == pytest.approx(max(np.percentile(there, 95), np.percentile(back, 95)))
        assert found.assd == pytest.approx(np.concatenate([there, back]).mean())


@pytest.mark.filterwarnings("ignore:.*always_return_as_numpy:FutureWarning")  # MONAI calls itself in an old way
def test_distances_agree_with_monai() -> None:
    for shape, spacing in (((24, 30), (0.5, 2.0)), ((12, 10, 14), (1.0, 2.0, 0.4))):
        for seed in range(3):
            prediction, truth = blobs(seed, shape)
            p, t = (torch.from_numpy(mask[None, None].astype(np.float32)) for mask in (prediction, truth))
            hd95 = metrics.compute_hausdorff_distance(p, t, percentile=95, spacing=spacing).item()
            assd = metrics.compute_average_surface_distance(p, t, symmetric=True, spacing=spacing).item()
            found = surface_distances(prediction, truth, spacing=spacing)
            assert found.hd95 == pytest.approx(hd95, rel=1e-5)
            assert found.assd == pytest.approx(assd, rel=1e-5)


def test_two_pixels_are_as_far_apart_as_they_are() -> None:
    prediction, truth = np.zeros((2, 9, 9))
    prediction[1, 2], truth[4, 6] = 1, 1
    assert surface_distances(prediction, truth).hd95 == 5  # 3, 4, 5
    assert surface_distances(prediction, truth, spacing=(2, 1)).assd == pytest.approx(math.hypot(6, 4))


def test_a_shift_of_a_line_is_its_distance_and_the_larger_direction_counts() -> None:
    truth = np.zeros((20, 200))
    truth[5] = 1
    assert surface_distances(np.roll(truth, 4, axis=0), truth).hd95 == 4
    part = truth.copy()
    part[:, 100:] = 0
    found = surface_distances(part, truth)
    assert np.percentile(found.from_prediction, 95) == 0
    assert found.hd95 == np.percentile(found.from_truth, 95) > 85  # the missing half reaches 100 pixels far


def test_distances_are_symmetric_and_scale_with_the_spacing() -> None:
    prediction, truth = blobs(0, (20, 20))
    one, other = surface_distances(prediction, truth), surface_distances(truth, prediction)
    assert (one.hd95, one.assd) == pytest.approx((other.hd95, other.assd))
    tripled = surface_distances(prediction, truth, spacing=(3, 3))
    assert (tripled.hd95, tripled.assd) == pytest.approx((3 * one.hd95, 3 * one.assd))


def test_an_empty_mask_is_as_far_as_the_image_allows_and_no_mask_is_farther() -> None:
    empty, corner, opposite = np.zeros((3, 4, 7))
    corner[0, 0] = opposite[-1, -1] = 1
    diagonal = math.hypot(3 * 0.5, 6 * 2)
    for pair in ((empty, corner), (corner, opposite)):
        found = surface_distances(*pair, spacing=(0.5, 2))
        assert found.hd95 == pytest.approx(diagonal)
        assert found.assd == pytest.approx(diagonal)
    for prediction in (empty, corner):  # there is nothing to be near to
        assert math.isnan(surface_distances(prediction, empty).hd95)
        assert math.isnan(surface_distances(prediction, empty).assd)


def test_equal_masks_have_no_distance() -> None:
    mask = blobs(1, (10, 11, 12))[0]
    assert surface_distances(mask, mask).hd95 == 0
    assert surface_distances(mask, mask).assd == 0


def test_a_region_empties_both_masks_outside() -> None:
    prediction, truth = blobs(2, (20, 20))
    region = np.zeros((20, 20), bool)
    region[3:15, 4:18] = True
    inside = surface_distances(prediction, truth, region=region)
    cut = surface_distances(prediction & region, truth & region)
    assert (inside.hd95, inside.assd) == (cut.hd95, cut.assd)


@pytest.mark.parametrize("spacing", [(1.0,), (1.0, 0.0), (1.0, math.nan), (1.0, -1.0), (1.0, 1.0, 1.0)])
def test_a_spacing_that_is_none_is_refused(spacing: tuple[float, ...]) -> None:
    with pytest.raises(ValueError, match="expected 2 positive numbers"):
        surface_distances(np.ones((3, 3)), np.ones((3, 3)), spacing=spacing)


@pytest.mark.filterwarnings("ignore:.*always_return_as_numpy:FutureWarning")
@pytest.mark.parametrize("spacing", [(1.0, 1.0, 1.0), (3.0, 0.7, 0.7)])
def test_the_normalised_surface_dice_is_that_of_monai(spacing: tuple[float, ...]) -> None:
    for seed in range(3):
        prediction, truth = blobs(seed, (12, 20, 16))
        p, t = (torch.from_numpy(mask[None, None].astype(np.float32)) for mask in (prediction, truth))
        expected = metrics.compute_surface_dice(p, t, [TOLERANCE], include_background=True, spacing=spacing).item()
        assert 0 < expected < 1
        assert surface_distances(prediction, truth, spacing=spacing).nsd == pytest.approx(expected, abs=1e-6)


def test_the_normalised_surface_dice_of_a_missed_structure_is_0_and_of_none_undefined() -> None:
    mask, empty = np.eye(5, dtype=bool), np.zeros((5, 5), bool)
    assert surface_distances(mask, mask).nsd == 1
    assert surface_distances(empty, mask).nsd == 0
    assert math.isnan(surface_distances(mask, empty).nsd)
