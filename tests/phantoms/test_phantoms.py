"""Phantoms: images in range, masks that are where the light is missing, and truth that fits together."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from scipy import ndimage

from scantling.core.errors import SettingsError
from scantling.core.randomness import numpy_generator
from scantling.phantoms.angiogram import angiogram
from scantling.phantoms.phantom import Phantom
from scantling.phantoms.retina import retina
from scantling.phantoms.texture import smooth_noise

KINDS = pytest.mark.parametrize(("make", "channels"), [(angiogram, 1), (retina, 3)], ids=["angiogram", "retina"])


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
    truth = 1.6 * ndimage.map_coordinates(grid, np.meshgrid(*places, indexing="ij"), order=3, mode="nearest")
    assert smooth_noise(shape, length, again) == pytest.approx(truth, abs=1e-9)
