"""Horizontal and vertical maps, and the objects that the energy watershed finds in them."""

from itertools import product

import numpy as np
import pytest

from scantling.core.errors import ArrayError
from scantling.metrics import instances as compared
from scantling.objects import hover_instances, hover_maps, signed_turn

TURNS = list(product(range(4), (False, True)))


def discs(size: int, *placed: tuple[float, float, float]) -> np.ndarray:
    rows, columns = np.mgrid[:size, :size]
    instances = np.zeros((size, size), np.int32)
    for number, (row, column, radius) in enumerate(placed, start=1):
        inside = (rows - row) ** 2 + (columns - column) ** 2 <= radius**2
        instances[inside & (instances == 0)] = number
    return instances


APART = discs(96, (20, 22, 9), (60, 30, 12), (30, 70, 14), (75, 75, 8))
TOUCHING = discs(96, (30, 30, 12), (30, 53, 12), (50, 41, 12), (70, 76, 11), (90, 76, 11))


def turned(array: np.ndarray, quarters: int, mirror: bool) -> np.ndarray:
    return np.rot90(array[..., ::-1] if mirror else array, quarters, axes=(-2, -1))


@pytest.mark.parametrize(("quarters", "mirror"), TURNS)
def test_maps_of_a_turned_picture_are_the_turned_maps_with_their_signs(quarters: int, mirror: bool) -> None:
    rng = np.random.default_rng(1)
    ragged = np.where(rng.random(TOUCHING.shape) < 0.8, TOUCHING, 0)[:, :90]  # nothing about it is symmetric
    expected = hover_maps(turned(ragged, quarters, mirror))
    np.testing.assert_array_equal(signed_turn(hover_maps(ragged), quarters=quarters, mirror=mirror), expected)


@pytest.mark.parametrize(("quarters", "mirror"), TURNS)
def test_objects_of_turned_maps_are_the_turned_objects(quarters: int, mirror: bool) -> None:
    whole = hover_instances(TOUCHING > 0, hover_maps(TOUCHING))
    maps = signed_turn(hover_maps(TOUCHING), quarters=quarters, mirror=mirror)
    found = hover_instances(turned(TOUCHING > 0, quarters, mirror), maps)
    assert compared(found, turned(whole, quarters, mirror)).aji > 0.99  # ties of the watershed alone


def test_each_side_of_an_object_reaches_one_and_its_middle_is_zero() -> None:
    lopsided = np.zeros((7, 12), int)
    lopsided[1:6, 2:5] = lopsided[3, 5:11] = 5
    horizontal, vertical = hover_maps(lopsided)
    inside = lopsided > 0
    assert horizontal[inside].min() == vertical[inside].min() == -1
    assert horizontal[inside].max() == vertical[inside].max() == 1
    assert not horizontal[~inside].any()
    assert not vertical[3].any()  # the row of the centre
    assert (np.diff(horizontal[3, 2:11]) > 0).all()
    assert (np.diff(vertical[1:6, 3]) > 0).all()


def test_an_object_of_one_pixel_and_a_picture_without_any_have_zeros() -> None:
    single = np.zeros((5, 6), np.uint16)
    assert not hover_maps(single).any()
    single[2, 3] = 9
    assert not hover_maps(single).any()
    assert not hover_instances(np.zeros((5, 6)), np.zeros((2, 5, 6))).any()


@pytest.mark.parametrize(("instances", "least"), [(APART, 0.95), (TOUCHING, 0.9)])
def test_objects_come_back_from_their_maps(instances: np.ndarray, least: float) -> None:
    found = hover_instances(instances > 0, hover_maps(instances))
    assert found.max() == instances.max()
    assert compared(found, instances).aji > least


def test_touching_objects_without_maps_are_one_piece() -> None:
    found = hover_instances(TOUCHING > 0, np.zeros((2, *TOUCHING.shape)))
    assert found.max() == 2


def test_a_piece_without_a_marker_is_dropped_or_kept() -> None:
    small = discs(96, (20, 22, 12))
    small[60:63, 60:66] = 2  # no disc of radius 2 fits
    maps = hover_maps(small)
    assert hover_instances(small > 0, maps, keep_unmarked=False).max() == 1
    assert hover_instances(small > 0, maps).max() == 2
    assert hover_instances(small > 0, maps, smallest=30).max() == 1


def test_other_shapes_and_numbers_are_refused() -> None:
    with pytest.raises(ArrayError, match="whole numbers"):
        hover_maps(np.zeros((4, 4)))
    with pytest.raises(ArrayError, match=r"\(2, H, W\)"):
        hover_instances(np.zeros((4, 4)), np.zeros((2, 4, 5)))
    with pytest.raises(ArrayError, match="odd"):
        hover_instances(np.zeros((4, 4)), np.zeros((2, 4, 4)), kernel=4)
