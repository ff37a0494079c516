"""Phantoms: images in range, masks that are where the light is missing, and truth that fits together."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import numpy as np
import pytest
import torch
from scipy import ndimage

from scantling.core.errors import SettingsError
from scantling.core.randomness import numpy_generator
from scantling.phantoms.angiogram import _wires, angiogram
from scantling.phantoms.backgrounds import _median_inside
from scantling.phantoms.eye import _fibres, place_eye
from scantling.phantoms.phantom import Phantom
from scantling.phantoms.retina import retina
from scantling.phantoms.texture import UNIT, smooth_noise
from scantling.phantoms.tubes import tubes

KINDS = pytest.mark.parametrize(
    ("make", "channels"),
    [(angiogram, 1), (retina, 3), (partial(tubes, dark=True), 1)],
    ids=["angiogram", "retina", "dark tubes"],
)


def generator(seed: int = 0) -> np.random.Generator:
    return numpy_generator(seed, "test phantoms")


@KINDS
@pytest.mark.parametrize("shape", [(64, 64), (131, 97), (160, 200)])
def test_images_are_in_range_and_the_truth_fits_together(
    make: Callable[..., Phantom], channels: int, shape: tuple[int, int]
) -> None:
    for seed in range(4):
        phantom = make(shape, generator=generator(seed))
        assert phantom.image.shape == (channels, *shape)
        assert phantom.image.dtype == np.float32
        assert np.isfinite(phantom.image).all()
        assert phantom.image.min() >= 0
        assert phantom.image.max() <= 1
        assert phantom.image[:, phantom.region].std() > 0.01
        for array in (phantom.mask, phantom.centre_line, phantom.region):
            assert array.shape == shape
            assert array.dtype == np.bool_
        assert phantom.mask[phantom.centre_line].all()
        assert phantom.region[phantom.mask].all()
        _, count = ndimage.label(np.pad(~phantom.mask, 1, constant_values=True))
        assert phantom.betti == (ndimage.label(phantom.mask, np.ones((3, 3)))[1], count - 1)
        assert all(tree.points.shape[1] == 2 for tree in phantom.trees)


@KINDS
def test_vessels_are_darker_than_what_is_beside_them(make: Callable[..., Phantom], channels: int) -> None:
    for seed in range(8):
        phantom = make((192, 192), generator=generator(seed))
        seen = phantom.image[min(1, channels - 1)]
        inside = ndimage.binary_erosion(phantom.region, iterations=4)
        beside = inside & ~ndimage.binary_dilation(phantom.mask, iterations=2)
        share = ndimage.gaussian_filter(beside.astype(float), 4.0)
        level = ndimage.gaussian_filter(np.where(beside, seen, 0.0), 4.0) / np.maximum(share, 1e-9)
        judged = phantom.mask & inside & (share > 0.1)
        darker = (seen - level)[judged]
        assert darker.mean() < -0.005, seed
        assert np.mean(darker < 0) > 0.6, seed


def test_bright_tubes_are_the_same_tubes_and_brighter_than_what_is_beside_them() -> None:
    for seed in range(4):
        bright, dark = (tubes((192, 192), generator=generator(seed), dark=dark) for dark in (False, True))
        assert np.array_equal(bright.mask, dark.mask)
        beside = ndimage.binary_dilation(bright.mask, iterations=6) & ~ndimage.binary_dilation(
            bright.mask, iterations=2
        )
        assert bright.image[0][bright.mask].mean() > bright.image[0][beside].mean() + 0.005


@KINDS
def test_phantoms_repeat_with_their_seed_and_vary_without(make: Callable[..., Phantom], channels: int) -> None:
    first, again, other = (make((80, 90), generator=generator(seed)) for seed in (3, 3, 4))
    assert np.array_equal(first.image, again.image)
    assert np.array_equal(first.mask, again.mask)
    assert not np.array_equal(first.mask, other.mask)
    assert np.abs(first.image - other.image).mean() > 0.02


@KINDS
def test_vessels_cover_a_plausible_part_of_the_region(make: Callable[..., Phantom], channels: int) -> None:
    covers = [(each := make((224, 224), generator=generator(seed))).mask[each.region].mean() for seed in range(12)]
    assert 0.02 < np.mean(covers) < 0.2
    assert np.std(covers) > 0.01


@KINDS
def test_a_frame_that_is_too_small_is_refused(make: Callable[..., Phantom], channels: int) -> None:
    with pytest.raises(SettingsError, match="63 x 99 pixels is too small; ask for 64"):
        make((63, 99), generator=generator())


@pytest.mark.parametrize("length", [2.0, 15.0, 60.0])
def test_smooth_noise_is_the_cubic_spline_through_its_grid(length: float) -> None:
    shape = (90, 70)
    made, again = generator(1), generator(1)
    grid = made.standard_normal([int(np.ceil(side / length)) + 4 for side in shape])
    shifts = made.uniform(0.0, 1.0, size=2)
    places = [np.arange(side) / length + 1.0 + shift for side, shift in zip(shape, shifts, strict=True)]
    truth = UNIT * ndimage.map_coordinates(grid, np.meshgrid(*places, indexing="ij"), order=3, mode="nearest")
    assert smooth_noise(shape, length, again) == pytest.approx(truth, abs=1e-9)


@pytest.mark.parametrize("length", [1.0, 5.0, 40.0])
def test_smooth_noise_has_a_deviation_of_one(length: float) -> None:
    draws = generator()
    power = np.mean([np.mean(smooth_noise((128, 128), length, draws) ** 2) for _ in range(60)])
    assert np.sqrt(power) == pytest.approx(1.0, abs=0.06)


def test_wires_end_and_do_not_fork_at_the_smallest_size() -> None:
    for seed in range(40):
        assert np.isfinite(_wires((64, 64), 64 / 512, generator(seed))).all()


def test_the_streaks_of_an_eye_do_not_break_along_the_horizontal_through_the_disc() -> None:
    jumps, usual = [], []
    for seed in range(12):
        eye = place_eye((200, 200), generator(seed))
        steps = np.abs(np.diff(_fibres(eye, generator(seed)), axis=0))
        row = int(np.floor(eye.disc[0]))
        jumps.append(steps[row].mean())
        usual.append(np.delete(steps, row, axis=0)[max(0, row - 20) : row + 20].mean())
    assert np.mean(jumps) < 2 * np.mean(usual)


def test_the_median_inside_a_region_is_that_of_its_values() -> None:
    values = torch.rand(3, 1, 9, 8, generator=torch.Generator().manual_seed(0))
    region = values > 0.3
    region[2] = False
    found = _median_inside(values, region)
    expected = [values[n][region[n]].median() for n in range(2)]
    torch.testing.assert_close(found[:2], torch.stack(expected))
    assert found[2] == 0
