"""Along which axes images may be mirrored: where the labels do not tell one side from the other."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from made import write
from scantling.core.case import IGNORE
from scantling.core.samples import Storage, Traits
from scantling.core.streams import MOST_ROTATED, Augmentation
from scantling.data.dataset import open_dataset
from scantling.data.division import divide
from scantling.data.mirroring import class_places, mirrored_axes, sides_told_apart
from scantling.data.placement import Placement
from scantling.data.traits import measure_traits

DRAW = np.random.default_rng


def places(*columns: np.ndarray) -> list[np.ndarray]:
    """The places of classes along one axis, one array (subjects,) for each class."""
    return [row[:, None] for row in np.stack(columns, 1)]


def names(number: int) -> list[str]:
    return [f"s{each}" for each in range(number)]


def test_the_place_of_a_class_is_its_centre_of_mass_between_the_ends_of_what_is_known() -> None:
    mask = DRAW(0).integers(0, 4, (1, 9, 12, 7)).astype(np.uint8)
    mask[mask == 3] = IGNORE
    mask[:, :2] = IGNORE
    found = class_places(mask, 3)
    known = np.argwhere(mask[0] != IGNORE)
    low, high = known.min(0), known.max(0)
    for number in (1, 2):
        centre = np.argwhere(mask[0] == number).mean(0)
        assert np.allclose(found[number - 1], (centre - (low + high) / 2) / ((high - low + 1) / 2))
    assert np.isnan(found[2]).all()


def test_classes_that_overlap_have_their_own_places() -> None:
    mask = np.zeros((2, 8, 8), np.uint8)
    mask[0, :4], mask[1, :, 6:] = 1, 1
    assert np.allclose(class_places(mask, 2), [[-0.5, 0], [0, 0.75]])


def test_an_axis_of_which_one_row_is_known_has_no_place() -> None:
    mask = np.full((1, 5, 8), IGNORE, np.uint8)
    mask[0, 3] = [0, 1, 1, 0, 0, 0, 0, 0]
    assert np.isnan(class_places(mask, 1)[0, 0])
    assert class_places(mask, 1)[0, 1] == pytest.approx(-0.5)


@pytest.mark.parametrize("number", [1, 2, 3, 5, 8, 30])
def test_two_classes_that_are_named_by_side_bar_the_axis_with_any_number_of_subjects(number: int) -> None:
    left, right = -0.5 + 0.05 * DRAW(1).standard_normal(number), 0.5 + 0.05 * DRAW(2).standard_normal(number)
    assert mirrored_axes(places(left, right), names(number)) == (False,)


@pytest.mark.parametrize("number", [6, 20, 60])
def test_two_classes_whose_sides_are_drawn_bar_nothing(number: int) -> None:
    generator = DRAW(number)
    barred = 0
    for _ in range(100):
        one, other = generator.uniform(-0.7, 0.7, (2, number))
        barred += mirrored_axes(places(one, other), names(number)) == (False,)
    assert barred <= 10  # a level of .05, and one deviation of a hundred draws


@pytest.mark.parametrize("number", [1, 2, 4, 7, 20])
def test_two_classes_that_always_lie_in_one_order_bar_the_axis_wherever_they_lie(number: int) -> None:
    one = DRAW(4).uniform(-0.9, 0.2, number)
    other = one + DRAW(5).uniform(0.1, 0.7, number)
    assert mirrored_axes(places(one, other), names(number)) == (False,)


def test_two_classes_that_few_of_many_subjects_have_together_bar_nothing() -> None:
    one, other = DRAW(6).uniform(-0.5, 0.5, (2, 40))
    other[2:] = np.nan
    other[:2] = one[:2] + 0.5
    assert mirrored_axes(places(one, other), names(40)) == (True,)


def test_one_class_bars_an_axis_where_enough_subjects_have_it_always_on_one_side() -> None:
    kidney = 0.45 + 0.08 * DRAW(0).standard_normal(12)
    assert mirrored_axes(places(kidney), names(12)) == (False,)
    assert mirrored_axes(places(kidney[:5]), names(5)) == (True,)
    either = kidney * np.where(np.arange(12) % 2, 1, -1)
    assert mirrored_axes(places(either), names(12)) == (True,)
    lesion = -0.3 + 0.15 * DRAW(0).standard_normal(12)  # mostly in the upper half, as in ultrasound
    assert mirrored_axes(places(lesion), names(12)) == (True,)


def test_a_small_distance_bars_nothing_however_constant_it_is() -> None:
    assert mirrored_axes(places(np.full(40, 0.02), np.full(40, 0.04)), names(40)) == (True,)


def test_a_subject_counts_once_however_many_images_it_has() -> None:
    kidney = np.full(12, 0.5)
    assert mirrored_axes(places(kidney), ["one"] * 12) == (True,)
    assert mirrored_axes(places(kidney), names(12)) == (False,)


def test_cases_that_lack_a_class_say_nothing_of_it() -> None:
    left, right = np.full(4, -0.5), np.array([0.5, np.nan, np.nan, 0.5])
    assert mirrored_axes(places(left, right), names(4)) == (False,)
    nowhere = np.full(4, np.nan)
    assert mirrored_axes(places(nowhere, right), names(4)) == (True,)
    assert mirrored_axes([], []) == ()


def sided(folder: Path, shape: tuple[int, ...], count: int = 14) -> Path:
    """Images of two alike objects, told apart by the side of the last axis on which they lie."""
    generator = DRAW(0)
    grid = np.stack(np.meshgrid(*map(np.arange, shape), indexing="ij"), -1)
    for number in range(count):
        mask = np.zeros(shape, np.uint8)
        for value, share in ((1, 0.25), (2, 0.75)):
            # along the other axes on either side of the middle, alike for both classes
            middle = np.array([n / 2 for n in shape[:-1]] + [share * shape[-1]])
            middle += generator.uniform(-1, 1, len(shape)) * [2] * len(shape)
            mask[np.linalg.norm(grid - middle, axis=-1) < 4] = value
        write(folder / "images", f"c{number}", (60 + 120 * (mask > 0)).astype(np.uint8))
        write(folder / "masks", f"c{number}", mask)
    return folder


@pytest.mark.parametrize("shape", [(32, 48), (20, 18, 40)])
def test_traits_tell_along_which_axes_a_data_set_may_be_mirrored(shape: tuple[int, ...], tmp_path: Path) -> None:
    dataset = divide(open_dataset(sided(tmp_path, shape)), validation=0.0)
    traits = measure_traits(dataset)
    assert traits.mirrored == (True,) * (len(shape) - 1) + (False,)
    assert measure_traits(dataset, reads=("image",)).mirrored == ()
    assert ("left from right" if len(shape) == 2 else "feet from head") in sides_told_apart(traits)[0]


def test_a_sentence_names_the_sides_that_are_told_apart() -> None:
    traits = Traits(dimensions=3, channels=("ct",), spacing=(1,) * 3, shape=(9,) * 3, smallest=(9,) * 3, intensity=())
    assert sides_told_apart(traits.model_copy(update={"mirrored": (True, True, True)})) == []
    assert sides_told_apart(traits) == []
    barred = traits.model_copy(update={"mirrored": (False, True, False)})
    assert "axis 0 and the two ends of axis 2" in sides_told_apart(barred)[0]
    stored = Storage(affine=tuple(map(tuple, np.eye(4))))
    assert "left from right and feet from head" in sides_told_apart(barred.model_copy(update={"storage": stored}))[0]


ALL = Augmentation(rotation=20, zoom=0.2)


def drawn(augment: Augmentation, patch: tuple[int, ...], number: int) -> Placement:
    return Placement.draw(tuple(n + 5 for n in patch), patch, augment, DRAW(number))


@pytest.mark.parametrize("patch", [(16, 16), (12, 16), (8, 8, 8)])
def test_where_all_axes_are_free_what_is_drawn_stays_as_it_was(patch: tuple[int, ...]) -> None:
    assert ALL.within(()) == ALL.within((True,) * len(patch)) == ALL
    told = replace(ALL, flips=(True,) * len(patch))
    for number in range(40):
        one, other = drawn(ALL, patch, number), drawn(told, patch, number)
        assert (one.start, one.flipped, one.turned) == (other.start, other.flipped, other.turned)
        assert (one.matrix is None) == (other.matrix is None)


def test_no_patch_is_mirrored_or_turned_along_an_axis_with_sides() -> None:
    flat = [drawn(ALL.within((True, False)), (16, 16), number) for number in range(60)]
    assert {each.flipped for each in flat} == {(), (0,)}
    assert {each.turned for each in flat} == {None}
    deep = [drawn(ALL.within((True, False, True)), (8, 8, 8), number) for number in range(60)]
    assert {each.flipped for each in deep} == {(), (0,), (2,), (0, 2)}
    assert {each.turned[:2] for each in deep if each.turned} == {(0, 2)}


def test_turns_without_flips_stop_and_rotation_stays_small_where_an_axis_has_sides() -> None:
    turning = Augmentation(flips=False, turns=True, rotation=180)
    assert drawn(turning, (8, 8), 1).turned is not None
    assert all(drawn(turning.within((True, False)), (8, 8), number).turned is None for number in range(9))
    assert turning.within((True, False)).rotation == MOST_ROTATED
    assert turning.within((True, True)).rotation == 180
    anyway = replace(turning, ignore_sides=True)
    assert anyway.within((False, False)) == anyway
