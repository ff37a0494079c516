"""Between drawn slices: steady diffusion against a direct solution, shapes against their closed form."""

from __future__ import annotations

import numpy as np
import pytest

from scantling.mending.between_slices import (
    between_by_distance,
    between_by_walk,
    signed_distance,
)
from scantling.mending.random_walk import edge_weights, walked

SPACING = (2.0, 1.0, 1.0)


def test_the_walk_is_the_solution_of_its_linear_equations() -> None:
    generator = np.random.default_rng(0)
    shape = (3, 4, 5)
    weights = edge_weights(generator.random((2, *shape)), spacing=SPACING, edges=1.0)
    prior, start = generator.random(shape), generator.random(shape)
    held = generator.random(shape) < 0.3
    found = walked(start, held, weights, prior=prior, pull=0.2)
    size = int(np.prod(shape))
    matrix, numbers = 0.2 * np.eye(size), np.arange(size).reshape(shape)
    for axis, weight in enumerate(weights):
        low, high = (np.delete(numbers, end, axis).ravel() for end in (-1, 0))
        for a, b, w in zip(low, high, weight.ravel(), strict=True):
            matrix[[a, b], [a, b]] += w
            matrix[[a, b], [b, a]] -= w
    free = ~held.ravel()
    right = 0.2 * prior.ravel()[free] - matrix[np.ix_(free, ~free)] @ start.ravel()[~free]
    expected = np.linalg.solve(matrix[np.ix_(free, free)], right)
    np.testing.assert_allclose(found.ravel()[free], expected, atol=0.01)
    np.testing.assert_array_equal(found[held], start[held])


def test_a_cone_is_found_from_its_ends_by_distances() -> None:
    z, y, x = np.indices((9, 41, 41))
    cone = (np.hypot(y - 20, x - 20) < 6 + z).astype(np.uint8)
    likely = between_by_distance(np.where(z % 8 == 0, cone, 0), [0, 8], spacing=SPACING)
    np.testing.assert_allclose(likely.sum(0), 1, atol=1e-5)
    wrong = (likely.argmax(0) != cone).mean()
    assert wrong < 0.01


def test_a_class_that_one_end_lacks_ends_half_way() -> None:
    drawn = np.zeros((9, 21, 21), np.uint8)
    drawn[0, 5:16, 5:16] = 1
    found = between_by_distance(drawn, [0, 8], spacing=SPACING).argmax(0)
    there = found.any((1, 2))
    assert there[:3].all()
    assert not there[5:].any()


def test_certainty_falls_with_the_distance_to_drawn_slices() -> None:
    drawn = np.zeros((13, 21, 21), np.uint8)
    drawn[:, 5:16, 5:16] = 1
    likely = between_by_distance(drawn, [2, 8], spacing=SPACING)
    sure = likely.max(0).mean((1, 2))
    assert (np.diff(sure[2:6]) < 0).all()
    assert (np.diff(sure[8:]) < 0).all()


def test_the_walk_stops_at_the_edges_of_the_image() -> None:
    truth = np.zeros((5, 24, 24), np.uint8)
    for z, side in enumerate((4, 9, 9, 9, 4)):  # which shapes alone cannot know
        truth[z, 12 - side : 12 + side, 12 - side : 12 + side] = 1
    image = truth[None] + np.random.default_rng(0).normal(0, 0.05, (1, *truth.shape))
    drawn = np.where(np.isin(np.arange(5), (0, 2, 4))[:, None, None], truth, 0)
    prior = between_by_distance(drawn, [0, 2, 4], spacing=(1.0, 1.0, 1.0))
    found = between_by_walk(image, drawn, [0, 2, 4], spacing=(1.0, 1.0, 1.0), prior=prior, edges=1.0, pull=0.02)
    by_walk, by_shape = ((each.argmax(0) != truth).mean() for each in (found, prior))
    assert by_walk < 0.5 * by_shape


@pytest.mark.parametrize("mask", [np.zeros((4, 6), bool), np.ones((4, 6), bool)])
def test_without_a_border_the_distance_is_far(mask: np.ndarray) -> None:
    assert (np.abs(signed_distance(mask, (1.0, 1.0))) >= 10).all()
    assert (signed_distance(mask, (1.0, 1.0)) > 0).all() == mask.all()
