"""Tubes in volumes: round in space whatever the voxels are, brighter or darker, and the same again."""

from __future__ import annotations

import numpy as np
import pytest

from scantling.core.errors import SettingsError
from scantling.phantoms.tube_volume import averaged, haze, tube_volume


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


@pytest.mark.parametrize("dark", [False, True])
@pytest.mark.parametrize(("shape", "spacing"), [((24, 40, 36), (1.0, 1.0, 1.0)), ((8, 48, 40), (3.0, 1.0, 1.0))])
def test_tubes_stand_out_and_come_again(shape: tuple[int, ...], spacing: tuple[float, ...], dark: bool) -> None:
    made = [tube_volume(shape, generator=rng(seed), spacing=spacing, dark=dark) for seed in range(6)]
    for one in made:
        assert one.image.shape == (1, *shape)
        assert one.mask.shape == one.centre_line.shape == one.region.shape == shape
        assert 0 <= one.image.min() < one.image.max() <= 1
        assert not (one.centre_line & ~one.mask).any()
    lighter = [float(one.image[0][one.mask].mean() - one.image[0][~one.mask].mean()) for one in made if one.mask.any()]
    assert (np.mean(lighter) < 0) == dark
    again = tube_volume(shape, generator=rng(5), spacing=spacing, dark=dark)
    assert np.array_equal(again.image, made[5].image)


def test_a_tree_is_as_thick_along_a_coarse_axis_in_space() -> None:
    cubes = tube_volume((30, 40, 40), generator=rng(3))
    flat = tube_volume((10, 40, 40), generator=rng(3), spacing=(3.0, 1.0, 1.0))
    assert flat.trees[0].points.shape == cubes.trees[0].points.shape
    assert flat.mask.mean() == pytest.approx(cubes.mask.mean(), rel=0.5)


def test_averages_keep_the_mean_and_a_grid_that_is_the_same_keeps_all() -> None:
    values = rng().random((7, 5, 6))
    np.testing.assert_allclose(averaged(values, (7, 5, 6)), values)
    np.testing.assert_allclose(averaged(values, (3, 5, 4)).mean(), values.mean())
    np.testing.assert_allclose(averaged(np.ones((4, 4, 4)), (9, 3, 4)), 1)
    np.testing.assert_allclose(averaged(np.arange(4.0), (2,)), [0.5, 2.5])


def test_haze_has_the_deviation_it_promises_and_two_axes_are_refused() -> None:
    made = haze((20, 30, 10), 7, rng())
    assert made.shape == (20, 30, 10)
    assert (made.mean(), made.std()) == (pytest.approx(0, abs=1e-9), pytest.approx(1))
    with pytest.raises(SettingsError, match="expected three axes"):
        tube_volume((20, 20), generator=rng())
