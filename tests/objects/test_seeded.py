"""Rims and distances of objects, and the objects that grow from seeds."""

import numpy as np
import pytest
from scipy import ndimage

from scantling.core.errors import ArrayError
from scantling.objects import distance_map, rim_map, seeded_instances

PAIR = np.zeros((12, 20), np.int32)
PAIR[2:10, 2:9], PAIR[2:10, 9:20] = 4, 7  # they touch, and the border of the picture cuts the second


def test_the_rim_lies_inside_objects_and_on_both_sides_where_they_touch() -> None:
    rim = rim_map(PAIR, width=1)
    assert not rim[PAIR == 0].any()
    assert rim[5, 2:10].tolist() == [True, *[False] * 5, True, True]
    assert not rim[5, 10:].any()  # at the border of the picture the object goes on
    for width in (1, 2, 3):
        for number in (4, 7):
            whole = np.pad(number == PAIR, ((0, 0), (0, 9)), mode="edge")  # it goes on beyond the border
            inner = ndimage.binary_erosion(whole, iterations=width)[:, :20]
            np.testing.assert_array_equal((number == PAIR) & ~rim_map(PAIR, width=width), inner)


def test_the_distance_is_one_in_the_middle_of_each_object_and_counts_from_its_own_rim() -> None:
    distance = distance_map(PAIR)
    assert not distance[PAIR == 0].any()
    for number in (4, 7):
        own = distance[number == PAIR]
        assert own.max() == 1
        assert own.min() > 0
    np.testing.assert_allclose(distance[5, 2:9], np.array([1, 2, 3, 4, 3, 2, 1]) / 4)
    assert not distance_map(np.zeros((3, 4), int)).any()
    assert distance_map(np.ones((3, 4), int)).min() == 1  # an object without a rim


def test_seeds_part_what_touches_and_a_piece_without_a_seed_is_one_object_or_none() -> None:
    found = seeded_instances(PAIR > 0, ~rim_map(PAIR, width=1))
    np.testing.assert_array_equal(found, np.where(PAIR == 4, 1, np.where(PAIR == 7, 2, 0)))
    assert seeded_instances(PAIR > 0, PAIR * 0.0).max() == 1
    assert seeded_instances(PAIR > 0, PAIR * 0.0, keep_unmarked=False).max() == 0
    assert seeded_instances(PAIR > 0, PAIR * 0.0, smallest=500).max() == 0
    speck = np.zeros(PAIR.shape)
    speck[4, 4], speck[3:7, 12:16] = 1, 1
    assert seeded_instances(PAIR > 0, speck).max() == 1  # a seed of one pixel is none
    assert seeded_instances(PAIR > 0, speck, smallest_seed=1).max() == 2


def test_maps_that_do_not_fit_are_refused() -> None:
    with pytest.raises(ArrayError, match="twice"):
        seeded_instances(np.zeros((3, 4)), np.zeros((4, 3)))
    with pytest.raises(ArrayError, match="whole numbers"):
        rim_map(np.zeros((3, 4)), width=1)
