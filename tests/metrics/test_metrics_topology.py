"""Topology: every small mask against gudhi's cubical complex, shapes whose numbers are known, skeletons by hand."""

from __future__ import annotations

import math
from collections.abc import Iterator

import gudhi
import numpy as np
import pytest
from scipy import ndimage
from skimage.measure import euler_number
from skimage.morphology import skeletonize

from scantling.metrics.topology import betti_numbers, components, euler_characteristic, skeleton, topology


def masks(*shape: int) -> Iterator[np.ndarray]:
    pixels = int(np.prod(shape))
    for number in range(1 << pixels):
        yield ((number >> np.arange(pixels)) & 1).reshape(shape).astype(bool)


def by_gudhi(mask: np.ndarray) -> tuple[int, ...]:
    complex_ = gudhi.CubicalComplex(top_dimensional_cells=1.0 - mask)
    complex_.compute_persistence()
    return tuple(complex_.persistent_betti_numbers(0.0, 0.5)[: mask.ndim])


def largest_piece(mask: np.ndarray) -> np.ndarray:
    pieces, number = ndimage.label(mask, np.ones((3,) * mask.ndim))
    return pieces == 1 + np.argmax(ndimage.sum_labels(mask, pieces, np.arange(1, number + 1)))


@pytest.mark.parametrize("shape", [(3, 3), (2, 5), (1, 4), (2, 2, 2), (1, 3, 3), (2, 2, 3)])
def test_betti_numbers_of_all_masks_of_a_shape_are_gudhis(shape: tuple[int, ...]) -> None:
    for mask in masks(*shape):
        assert betti_numbers(mask, spatial_dims=len(shape)) == by_gudhi(mask)


@pytest.mark.parametrize("share", [0.1, 0.4, 0.7, 0.9])
@pytest.mark.parametrize("shape", [(40, 31), (12, 9, 11)])
def test_betti_numbers_of_random_masks_are_gudhis(shape: tuple[int, ...], share: float) -> None:
    mask = np.random.default_rng(0).random(shape) < share
    assert betti_numbers(mask) == by_gudhi(mask)


def test_betti_numbers_of_known_shapes() -> None:
    ring = np.ones((5, 5), bool)
    ring[1:4, 1:4] = False
    assert betti_numbers(ring) == (1, 1)
    assert betti_numbers(np.eye(4)) == (1, 0)  # corners connect
    shell = np.ones((5, 5, 5), bool)
    shell[1:4, 1:4, 1:4] = False
    assert betti_numbers(shell) == (1, 0, 1)
    assert betti_numbers(np.stack([ring] * 2)) == (1, 1, 0)  # a thick ring has one tunnel
    assert betti_numbers(np.zeros((4, 4))) == (0, 0)
    assert betti_numbers(np.zeros((4, 4, 4))) == (0, 0, 0)
    with pytest.raises(ValueError, match=r"shape \(4,\); expected \(H, W\)"):
        betti_numbers(np.ones(4))


def test_a_hole_that_is_open_to_the_border_is_none() -> None:
    ring = np.ones((5, 5), bool)
    ring[1:4, 1:] = False
    assert betti_numbers(ring) == (1, 0)


@pytest.mark.parametrize("shape", [(17, 23), (8, 9, 7)])
def test_the_euler_characteristic_is_scikit_images(shape: tuple[int, ...]) -> None:
    for seed in range(20):
        mask = np.random.default_rng(seed).random(shape) < 0.1 + 0.04 * seed
        assert euler_characteristic(mask) == euler_number(mask, connectivity=mask.ndim)


def test_turning_and_mirroring_changes_no_number() -> None:
    mask = np.random.default_rng(0).random((9, 12, 10)) < 0.4
    for turned in (mask[::-1], mask.transpose(2, 0, 1), np.rot90(mask, axes=(1, 2))):
        assert betti_numbers(turned) == betti_numbers(mask)


def test_components_touch_at_corners() -> None:
    assert components(np.eye(5)) == 1
    assert components(np.array([[1, 0, 1, 0, 1]])) == 3
    assert components(np.zeros((3, 3))) == 0
    cube = np.zeros((2, 2, 2))
    cube[0, 0, 0] = cube[1, 1, 1] = 1
    assert components(cube) == 1


def test_vca_is_the_ratio_of_components_without_the_background() -> None:
    truth = np.zeros((5, 9))
    truth[1] = truth[3] = 1
    prediction = truth.copy()
    prediction[:, 2::3] = 0  # 2 vessels of 2 become 2 vessels in 3 pieces
    found = topology(prediction, truth)
    assert found.vca == 3
    assert found.log_vca == pytest.approx(math.log(3))
    assert topology(truth, prediction).vca == pytest.approx(1 / 3)
    assert topology(truth, prediction).log_vca == pytest.approx(math.log(3))
    assert topology(truth, truth).vca == 1
    assert topology(truth, truth).log_vca == 0


def test_betti_errors_are_differences_over_the_whole_image() -> None:
    ring = np.ones((5, 5))
    ring[2, 2] = 0
    dots = np.zeros((5, 5))
    dots[::2, ::2] = 1
    found = topology(ring, dots)
    assert found.betti0_error == 8  # 1 piece, 9 pieces
    assert found.betti1_error == 1
    assert topology(dots, ring).betti0_error == 8


@pytest.mark.parametrize(("shape", "method"), [((30, 40), "zhang"), ((14, 16, 12), "lee")])
def test_cldice_is_the_harmonic_mean_of_skeletons_in_masks(shape: tuple[int, ...], method: str) -> None:
    for seed in range(10):
        draw = np.random.default_rng(seed)
        smooth = ndimage.gaussian_filter(draw.standard_normal((2, *shape)), (0, *[1.5] * len(shape)))
        prediction, truth = (largest_piece(mask) for mask in smooth > 0.1)  # scikit-image may lose small ones in 3-D
        lines_p, lines_t = (skeletonize(mask, method=method) > 0 for mask in (prediction, truth))
        precision = (lines_p & truth).sum() / lines_p.sum()
        sensitivity = (lines_t & prediction).sum() / lines_t.sum()
        expected = 2 * precision * sensitivity / max(precision + sensitivity, 1e-9)
        assert topology(prediction, truth).cldice == pytest.approx(expected)


def test_cldice_does_not_see_how_thick_a_vessel_is_and_does_see_that_it_ends() -> None:
    thin, thick, line = np.zeros((3, 15, 40))
    thin[6:9] = thick[4:11] = line[7] = 1  # Zhang's centre line bends by a pixel at the ends of a bar
    assert topology(thick, thin).cldice == 1
    half = line.copy()
    half[:, 20:] = 0
    assert topology(half, line).cldice == pytest.approx(2 * 0.5 / 1.5)  # precision 1, sensitivity 1/2
    assert topology(np.roll(line, 3, axis=0), line).cldice == 0


def test_no_foreground_has_an_empty_skeleton_and_a_skeleton_lies_in_its_mask() -> None:
    for shape in ((3, 3), (2, 2, 2)):
        for mask in masks(*shape):
            lines = skeleton(mask)
            assert lines.any() == mask.any()
            assert not (lines & ~mask).any()


def test_a_piece_that_lee_would_lose_has_a_centre_line() -> None:
    rods = np.zeros((12, 12, 30), bool)
    rods[1:5, 1:5, 5:25] = rods[8:11, 8:11, 5:25] = True  # 4 x 4 and 3 x 3 voxels thick
    assert not skeletonize(rods, method="lee")[:6].any(), "scikit-image has mended it: drop our stand-in"
    lines = skeleton(rods)
    assert components(lines) == 2
    assert {tuple(voxel) for voxel in np.argwhere(lines[:6])[:, :2]} == {(2, 2), (2, 3), (3, 2), (3, 3)}
    assert np.array_equal(lines[6:], skeletonize(rods, method="lee")[6:] > 0)
    assert topology(rods, rods).cldice == 1


@pytest.mark.parametrize(("shape", "method"), [((40, 40), "zhang"), ((16, 16, 16), "lee")])
def test_the_skeleton_of_the_bounding_box_is_that_of_the_image(shape: tuple[int, ...], method: str) -> None:
    for seed in range(10):
        inner = tuple(slice(seed % 4, -1 - seed % 3) for _ in shape)
        mask = np.zeros(shape, bool)
        smooth = ndimage.gaussian_filter(np.random.default_rng(seed).standard_normal(shape), 2.0)
        mask[inner] = smooth[inner] > 0
        expected = skeletonize(mask, method=method) > 0
        pieces, number = ndimage.label(mask, np.ones((3,) * mask.ndim))
        lost = np.isin(pieces, list(set(range(1, number + 1)) - set(pieces[expected].tolist())))
        assert np.array_equal(skeleton(mask) & ~lost, expected)


@pytest.mark.parametrize("dimensions", [2, 3])
def test_the_width_ratio_is_that_of_the_widths_along_what_both_have(dimensions: int) -> None:
    def bar(half: int, start: int = 0, aside: int = 0) -> np.ndarray:
        across = tuple(slice(9 + aside - half, 10 + aside + half) for _ in range(dimensions - 1))
        mask = np.zeros((*[20] * (dimensions - 1), 40), bool)
        mask[(*across, slice(start, 40))] = True
        return mask

    truth = bar(2)
    assert topology(truth, truth).width_ratio == 1
    assert topology(bar(3), truth).width_ratio == pytest.approx(7 / 5, rel=0.03)
    assert topology(bar(1), truth).width_ratio == pytest.approx(3 / 5, rel=0.03)
    assert topology(bar(3, start=20), truth).width_ratio == pytest.approx(7 / 5, rel=0.1), (
        "what is missing says nothing"
    )
    assert topology(bar(3, aside=1), truth).width_ratio == pytest.approx(7 / 5, rel=0.03), "nor does a shift"
    for one, other in ((truth, ~truth & False), (~truth & False, truth), (bar(0), bar(0, aside=5))):
        assert math.isnan(topology(one, other).width_ratio)


def test_empty_masks_get_what_the_conventions_say() -> None:
    empty, some = np.zeros((2, 6, 6))
    some[2, 1:5] = 1
    some[4, 1:5] = 1
    for prediction in (empty, some):
        for name in ("cldice", "vca", "log_vca", "betti0_error", "betti1_error"):
            assert math.isnan(getattr(topology(prediction, empty), name)), name
    missed, half = topology(empty, some), topology(np.where(np.arange(6)[:, None] < 3, some, 0), some)
    assert (missed.cldice, missed.vca, missed.betti0_error) == (0, 0, 2)
    assert missed.log_vca == pytest.approx(math.log(4)), "half a piece for two"
    assert half.log_vca == pytest.approx(math.log(2)), "one piece for two is better than none"


def test_a_region_empties_both_masks_outside() -> None:
    draw = np.random.default_rng(3)
    prediction, truth, region = draw.random((3, 20, 20)) < 0.5
    inside, cut = topology(prediction, truth, region=region), topology(prediction & region, truth & region)
    for name in ("cldice", "vca", "betti0_error", "betti1_error"):
        assert getattr(inside, name) == getattr(cut, name)
