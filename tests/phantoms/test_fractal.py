"""Fractal vessels: the rectangles of SSVS, their coverage, and the warp."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.ndimage import map_coordinates

from scantling.core.errors import SettingsError
from scantling.core.randomness import numpy_generator
from scantling.phantoms.fractal import CANVAS, Fractal, _warp, fractal_rectangles, fractal_vessels

STRAIGHT = Fractal(jitter=(0.0, 0.0), turned=0.0)


def generator(seed: int = 0) -> np.random.Generator:
    return numpy_generator(seed, "test fractal")


def test_there_are_7_or_15_rectangles_and_both_occur() -> None:
    numbers = [len(fractal_rectangles(Fractal(), generator=generator(seed))) for seed in range(40)]
    assert set(numbers) == {7, 15}


@pytest.mark.parametrize("thickness", [(15, 20), (10, 20)])
def test_rectangles_lie_across_their_parents_and_are_a_quarter_to_three_quarters_of_them(
    thickness: tuple[int, int],
) -> None:
    for seed in range(60):
        found = fractal_rectangles(Fractal(levels=(4,), thickness=thickness), generator=generator(seed))
        trunk = found[0]
        assert 10 <= trunk.top < 250
        assert 2 <= trunk.left < 80
        assert thickness[0] <= trunk.bottom - trunk.top < thickness[1]
        assert 350 <= trunk.right - trunk.left < 450
        for number, each in enumerate(found[1:], 1):
            parent = found[(number - 1) // 2]  # two children each, level by level
            down, right = each.bottom - each.top, each.right - each.left
            above, aside = parent.bottom - parent.top, parent.right - parent.left
            horizontal = number < 3 or number >= 7  # the parent's way: along a row on even levels
            longer, whole = (down, aside) if horizontal else (right, above)
            wider, thick = (right, above) if horizontal else (down, aside)
            assert max(1, whole // 4) <= longer <= max(1, 0.75 * whole)
            assert max(1, thick // 4) <= wider <= max(1, 0.75 * thick)
            first = number % 2 == 1
            if horizontal and first:
                assert each.left == parent.left + aside // 3
                assert each.top == max(0, parent.top - down)
            elif horizontal:
                assert each.top == parent.bottom
            else:
                assert (each.left == max(0, parent.left - right)) if first else (each.left == parent.right)


def test_straight_masks_cover_as_much_as_the_authors_do() -> None:
    # Measured on the authors' generator: 4.1 % on average, 3.1 to 5.3 % from the 5th to the 95th percentile.
    covers = [fractal_vessels((CANVAS,) * 2, generator=generator(seed), fractal=STRAIGHT).mean() for seed in range(400)]
    assert 0.039 < np.mean(covers) < 0.044
    assert 0.029 < np.percentile(covers, 5) < 0.033
    assert 0.051 < np.percentile(covers, 95) < 0.059


def test_a_mask_that_is_neither_warped_nor_turned_is_its_rectangles() -> None:
    made = generator(3), generator(3)
    mask = fractal_vessels((CANVAS, CANVAS), generator=made[0], fractal=STRAIGHT)
    truth = np.zeros((CANVAS, CANVAS), bool)
    for each in fractal_rectangles(STRAIGHT, generator=made[1]):
        truth[each.top : each.bottom, each.left : each.right] = True
    truth[-1] = truth[:, -1] = False  # the authors never paint the last row and column
    assert np.array_equal(mask, truth)


def test_the_warp_agrees_with_interpolation_by_another_library() -> None:
    made = generator(5)
    canvas = np.zeros((CANVAS, CANVAS), np.float32)
    canvas[100:140, 60:400] = 1
    nodes = 50 * made.standard_normal((4, 4, 2))
    warped = np.zeros((90, 70), bool)
    angle = 0.4
    _warp(canvas, nodes, np.cos(angle), np.sin(angle), warped)
    middle = (CANVAS - 1) / 2
    rows, columns = np.meshgrid(
        (np.arange(90) + 0.5) / 90 * CANVAS - 0.5, (np.arange(70) + 0.5) / 70 * CANVAS - 0.5, indexing="ij"
    )
    y = np.cos(angle) * (rows - middle) - np.sin(angle) * (columns - middle) + middle
    x = np.sin(angle) * (rows - middle) + np.cos(angle) * (columns - middle) + middle
    nodal = np.stack([y, x]) / (CANVAS - 1) * 3
    shifts = [map_coordinates(nodes[..., axis], nodal, order=1, mode="nearest") for axis in range(2)]
    there = map_coordinates(canvas.astype(float), np.stack([y + shifts[0], x + shifts[1]]), order=1)
    clear = np.abs(there - 0.5) > 1e-9
    assert np.array_equal(warped[clear], (there >= 0.5)[clear])


def test_masks_repeat_with_their_seed_vary_without_and_have_any_shape() -> None:
    first, again, other = (fractal_vessels((77, 130), generator=generator(seed)) for seed in (1, 1, 2))
    assert first.shape == (77, 130)
    assert first.dtype == np.bool_
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)
    assert all(0 < fractal_vessels((128, 128), generator=generator(seed)).mean() < 0.15 for seed in range(30))


def test_settings_that_leave_nothing_to_draw_are_refused() -> None:
    with pytest.raises(SettingsError, match=r"thickness is \(20, 20\); expected 0 ≤ low < high"):
        Fractal(thickness=(20, 20))
    with pytest.raises(SettingsError, match="levels are"):
        Fractal(levels=())
