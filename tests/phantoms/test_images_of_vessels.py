"""Images made by rule: seeded, plausible, and with masks that are exactly what was painted."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import ndimage
from scipy.stats import rankdata

from scantling.core.errors import SettingsError
from scantling.core.randomness import numpy_generator
from scantling.phantoms import vessel_image, vessel_images
from scantling.phantoms.vessels import photograph, vessel_scene


def generator(seed: int = 0) -> np.random.Generator:
    return numpy_generator(seed, "test")


def test_the_same_state_gives_the_same_image_and_another_gives_another() -> None:
    first, mask = vessel_image((64, 97), generator=generator(0))
    again, mask_again = vessel_image((64, 97), generator=generator(0))
    other, other_mask = vessel_image((64, 97), generator=generator(1))
    assert first.shape == (64, 97, 3)
    assert mask.shape == (64, 97)
    assert first.dtype == np.uint8
    assert mask.dtype == np.bool_
    assert np.array_equal(first, again)
    assert np.array_equal(mask, mask_again)
    assert not np.array_equal(mask, other_mask)
    assert not np.array_equal(first, other)


def test_an_image_does_not_depend_on_how_many_are_made() -> None:
    few, many = list(vessel_images(2, 48, seed=3)), list(vessel_images(4, 48, seed=3))
    assert len(many) == 4
    for (image, mask), (same_image, same_mask) in zip(few, many, strict=False):
        assert np.array_equal(image, same_image)
        assert np.array_equal(mask, same_mask)


@pytest.mark.parametrize("size", [64, 128, 256])
def test_vessels_cover_a_plausible_share_of_every_image(size: int) -> None:
    for _, mask in vessel_images(6, size, seed=1):
        assert 0.04 < mask.mean() < 0.3  # experts mark about 12 % of a retinal photograph


def test_the_mask_is_the_union_of_the_discs_of_the_trees() -> None:
    scene = vessel_scene((40, 52), generator=generator(5))
    rows, columns = np.mgrid[:40, :52]
    union = np.zeros((40, 52), dtype=bool)
    for tree in scene.trees:
        for (row, column), radius in zip(tree.points, tree.radii, strict=True):
            union |= np.hypot(rows - row, columns - column) <= radius
    assert np.array_equal(scene.mask, union)


def test_the_mask_is_where_the_light_is_missing_and_nowhere_else() -> None:
    scene = vessel_scene((192, 192), generator=generator(2))
    kept = (scene.light / scene.background)[..., 1]
    assert np.median(kept[scene.mask]) < 0.85
    away = ~ndimage.binary_dilation(scene.mask, iterations=2)
    assert np.median(np.abs(kept[away] - 1.0)) < 1e-6
    assert np.mean(np.abs(kept[away] - 1.0) < 0.02) > 0.9  # the rest are spots, which are no vessels
    beside = ndimage.binary_dilation(scene.mask, iterations=4) & away
    assert np.median(kept[scene.mask]) < np.median(kept[beside]) - 0.1


def test_an_image_has_no_more_pieces_than_trees() -> None:
    for seed in range(4):
        scene = vessel_scene((128, 128), generator=generator(seed))
        assert 1 <= ndimage.label(scene.mask, np.ones((3, 3)))[1] <= len(scene.trees)


def test_a_photograph_shows_the_vessels_through_its_noise() -> None:
    for number, (image, mask) in enumerate(vessel_images(4, 160, seed=7)):
        green = image[..., 1].astype(float)
        darker = ndimage.gaussian_filter(green, 8.0) - ndimage.gaussian_filter(green, 1.0)
        ranks, positive = rankdata(darker), mask.ravel()
        count = positive.sum()
        area = (ranks[positive].sum() - count * (count + 1) / 2) / (count * (~positive).sum())
        assert 0.75 < area < 0.99, number  # visible, but not by a threshold alone


def test_a_photograph_of_an_even_scene_keeps_its_mean_level_and_is_noisy() -> None:
    image = photograph(np.full((96, 96, 3), 0.5), generator=generator(1))
    assert 0.35 * 255 < image.mean() < 0.65 * 255
    assert 1.0 < image[..., 1].std() < 12.0


def test_an_image_that_is_too_small_is_refused() -> None:
    with pytest.raises(SettingsError, match="20 x 64 pixels is too small; ask for 32"):
        vessel_image((20, 64), generator=generator())
