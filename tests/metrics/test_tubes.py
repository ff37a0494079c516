"""What vessel masks are like, against bars, forks, squares and lines whose answers are known."""

from __future__ import annotations

import math

import numpy as np
import pytest

from scantling.metrics.overlap import confusion
from scantling.metrics.tubes import branching_angles, coverage, diversity, fractal_dimension, widths


def rod(shape: tuple[int, ...], start: tuple[float, ...], stop: tuple[float, ...], radius: float) -> np.ndarray:
    pixels = np.moveaxis(np.indices(shape), 0, -1).astype(float)
    first, way = np.array(start), np.array(stop) - np.array(start)
    along = np.clip((pixels - first) @ way / (way @ way), 0, 1)[..., None]
    return np.linalg.norm(pixels - first - along * way, axis=-1) <= radius


def test_coverage_is_a_share_of_the_region() -> None:
    mask = np.zeros((10, 20), bool)
    mask[:2, :5] = True
    assert coverage(mask) == 10 / 200
    region = np.zeros_like(mask)
    region[:4, :10] = True
    assert coverage(mask, region=region) == 10 / 40
    with pytest.raises(ValueError, match="no pixel"):
        coverage(mask, region=np.zeros_like(mask))


@pytest.mark.parametrize("width", [1, 2, 3, 4, 7, 10])
@pytest.mark.parametrize("turned", [False, True])
def test_a_straight_bar_has_its_width_odd_or_even(width: int, turned: bool) -> None:
    mask = np.zeros((40, 120), bool)
    mask[12 : 12 + width, :] = True
    found = widths(mask.T if turned else mask)
    assert len(found) >= 200  # two points a pixel
    assert np.median(found) == width
    assert np.mean(found == width) > 0.9


@pytest.mark.parametrize("width", [3, 4])
def test_a_straight_rod_in_3d_has_its_width(width: int) -> None:
    mask = np.zeros((20, 20, 40), bool)
    mask[6 : 6 + width, 8 : 8 + width, :] = True
    assert np.median(widths(mask)) == width


def test_a_slanting_bar_has_about_its_width() -> None:
    assert np.median(widths(rod((120, 120), (10, 10), (110, 80), 4.0))) == pytest.approx(8.0, abs=0.7)


def test_an_empty_or_full_mask_has_no_widths() -> None:
    assert widths(np.zeros((9, 9), bool)).size == 0
    assert widths(np.ones((9, 9), bool)).size == 0


@pytest.mark.parametrize("half", [20, 30, 45])
@pytest.mark.parametrize("turn", [0, 40])
def test_a_fork_has_the_angle_that_it_was_drawn_with(half: int, turn: int) -> None:
    ends = [math.radians(turn + each) for each in (180, half, -half)]
    mask = np.zeros((121, 121), bool)
    for end in ends:
        mask |= rod((121, 121), (60, 60), (60 + 55 * math.sin(end), 60 + 55 * math.cos(end)), 1.2)
    assert branching_angles(mask, reach=25) == pytest.approx([2 * half], abs=5)


def test_a_fork_in_3d_has_its_angle() -> None:
    mask = np.zeros((41, 41, 61), bool)
    for end in (math.pi, math.radians(40), math.radians(-40)):
        mask |= rod(mask.shape, (20, 20, 30), (20, 20 + 28 * math.sin(end), 30 + 28 * math.cos(end)), 1.5)
    assert branching_angles(mask, reach=15) == pytest.approx([80], abs=8)


def test_lines_ends_and_crossings_are_no_forks() -> None:
    line, cross = np.zeros((61, 61), bool), np.zeros((61, 61), bool)
    line[30, 5:55] = True
    cross[30, 5:56] = cross[5:56, 30] = True
    assert branching_angles(line).size == 0
    assert branching_angles(cross).size == 0
    assert branching_angles(np.zeros((30, 30), bool)).size == 0


@pytest.mark.parametrize("side", [8, 64])
def test_a_filled_square_has_dimension_two_and_a_line_one(side: int) -> None:
    assert fractal_dimension(np.ones((side, side), bool)) == pytest.approx(2)
    line = np.zeros((side, side), bool)
    line[3] = True
    assert fractal_dimension(line) == pytest.approx(1)
    assert fractal_dimension(np.eye(side, dtype=bool)) == pytest.approx(1)
    assert fractal_dimension(np.ones((8, 8, 8), bool)) == pytest.approx(3)


def test_the_sierpinski_gasket_has_its_dimension() -> None:
    rows, columns = np.indices((256, 256))
    assert fractal_dimension((rows & columns) == 0) == pytest.approx(math.log2(3))


def test_a_mask_without_foreground_or_of_one_pixel_has_no_dimension() -> None:
    assert math.isnan(fractal_dimension(np.zeros((16, 16), bool)))
    assert math.isnan(fractal_dimension(np.ones((1, 1), bool)))


def test_diversity_is_the_mean_distance_of_all_pairs() -> None:
    made = np.random.default_rng(0)
    masks = [made.random((13, 17)) < 0.3 for _ in range(6)]
    pairs = [1 - confusion(a, b).dice for number, a in enumerate(masks) for b in masks[number + 1 :]]
    assert diversity(masks) == pytest.approx(np.mean(pairs))


def test_equal_masks_have_no_diversity_and_disjoint_ones_have_all() -> None:
    left = np.zeros((8, 8), bool)
    left[:, :4] = True
    assert diversity([left, left, left]) == 0
    assert diversity([left, ~left]) == 1
    assert diversity([np.zeros((8, 8)), np.zeros((8, 8))]) == 0
    assert math.isnan(diversity([left]))
    with pytest.raises(ValueError, match="shapes"):
        diversity([left, left[:4]])
