"""Centre lines widened to masks: as wide as vessels of known width are, and better than one width for all."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import ndimage

from scantling.core.errors import ArrayError
from scantling.core.fields import IGNORE
from scantling.mending.widening import widened
from scantling.metrics.topology import skeleton
from scantling.phantoms.tubes import tubes
from scantling.phantoms.weak_labels import unsteady


def bar(half: float, *, side: int = 64, bright: bool = False) -> np.ndarray:
    """A vertical bar of this half-width, blurred a little, under noise that is a tenth of its contrast."""
    away = np.abs(np.arange(side) - side / 2 + 0.25)
    signal = np.tile(np.clip(half + 0.5 - away, 0, 1), (side, 1))
    signal = ndimage.gaussian_filter(signal, 0.7) + 0.1 * np.random.default_rng(0).standard_normal((side, side))
    return 2.0 + (signal if bright else -signal)


def dice(one: np.ndarray, other: np.ndarray) -> float:
    return float(2 * np.count_nonzero(one & other) / (np.count_nonzero(one) + np.count_nonzero(other)))


@pytest.mark.parametrize("half", [1.0, 1.5, 2.5, 4.0, 6.0])
def test_a_bar_is_as_wide_as_it_is_though_its_line_lies_beside_its_middle(half: float) -> None:
    line = np.zeros((64, 64), bool)
    line[:, 33 if half < 2 else 34] = True
    found = widened(line, bar(half))
    width = np.median((found == 1).sum(1))
    assert width == pytest.approx(2 * half, abs=1.0)
    middle = np.median([np.flatnonzero(row == 1).mean() for row in found])
    assert middle == pytest.approx(31.75, abs=0.6)
    assert {*np.unique(found)} == {0, 1, IGNORE}
    assert np.median((found == 0).sum(1)) == pytest.approx(6, abs=1), "three pixels of background on each side"


def test_a_wide_vessel_stays_whole_where_a_thin_branch_leaves_it() -> None:
    rows, columns = np.mgrid[:96, :96]
    wide = np.abs(columns - 48) < 11
    thin = (np.abs(rows - 48) < 2) & (columns >= 48)
    line = np.zeros((96, 96), bool)
    line[:, 48] = line[48, 48:] = True
    found = widened(line, 2.0 - ndimage.gaussian_filter((wide | thin).astype(float), 0.7))
    inner = np.abs(columns - 48) < 8
    assert (found[inner & (np.abs(rows - 48) < 30)] == 1).all()


def test_bright_vessels_and_images_that_go_below_zero_are_widened_too() -> None:
    line = np.zeros((64, 64), bool)
    line[:, 32] = True
    found = widened(line, bar(3.0, bright=True) - 5, dark=False, ratios=False)
    assert np.median((found == 1).sum(1)) == pytest.approx(6, abs=1)


@pytest.mark.parametrize("seed", [0, 1])
def test_a_noisy_line_of_a_tree_is_nearer_to_its_mask_than_one_width_for_all(seed: int) -> None:
    phantom = tubes((192, 192), generator=np.random.default_rng(seed), dark=True)
    line = skeleton(unsteady(phantom.mask, noise=1.0, generator=np.random.default_rng(seed)))
    distance = ndimage.distance_transform_edt(~line)
    constant = max(dice(distance <= radius, phantom.mask) for radius in (0, 1, 1.5, 2, 3, 4))
    found = widened(line, phantom.image[0])
    assert dice(found == 1, phantom.mask) > constant + 0.04


def test_a_line_tells_nothing_of_what_it_does_not_touch_nor_of_what_lies_outside_of_the_region() -> None:
    image, line = bar(2.0), np.zeros((64, 64), bool)
    assert (widened(line, image) == IGNORE).all()
    line[10:20, 32] = True
    found = widened(line, image)
    assert (found[30:] == IGNORE).all()
    assert (widened(line, image, np.arange(64)[:, None] * np.ones((1, 64)) > 30) == IGNORE).all()
    dot = np.zeros((64, 64), bool)
    dot[12, 32] = True
    assert (widened(dot, image) == 1).any()
    assert (widened(dot, np.ones((64, 64))) == 1).sum() == 1, "where nothing is seen the line stays as it is"


def test_shapes_that_differ_are_refused() -> None:
    with pytest.raises(ArrayError, match=r"expected one shape \(H, W\)"):
        widened(np.zeros((4, 5), bool), np.ones((4, 4)))
