"""Objects in number, size and distance, against what is known of discs on a grid and of equal sets."""

from __future__ import annotations

import numpy as np
import pytest

from scantling.core.errors import ArrayError
from scantling.metrics import ks_distance, object_statistics


def test_squares_on_a_grid_have_their_number_area_and_distance_however_they_are_numbered() -> None:
    numbers = np.zeros((30, 40), np.int32)
    for place, (row, column) in enumerate([(2, 2), (2, 12), (2, 22), (20, 2)]):
        numbers[row : row + 4, column : column + 4] = 7 * place + 3
    found = object_statistics(numbers)
    assert found.count == 4
    assert found.areas.tolist() == [16] * 4
    assert found.neighbours.tolist() == [10, 10, 10, 18]


@pytest.mark.parametrize("count", [0, 1])
def test_fewer_than_two_objects_have_no_neighbour(count: int) -> None:
    found = object_statistics(np.full((3, 3), count, np.int32))
    assert (found.count, found.neighbours.size) == (count, 0)


def test_what_is_no_instance_map_is_refused() -> None:
    with pytest.raises(ArrayError):
        object_statistics(np.full((3, 3), 0.5))


def test_equal_samples_are_at_distance_0_and_samples_apart_at_1_and_none_at_nan() -> None:
    assert ks_distance([3, 1, 2], [1, 2, 3]) == 0
    assert ks_distance([1, 2], [5, 6]) == 1
    assert np.isnan(ks_distance([], [1]))
