"""Volumes of one depth by whole slices, and answers brought back to the slices of the file."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from scantling.core.case import Case, Geometry, Orientation, Sample
from scantling.core.errors import SettingsError
from scantling.core.samples import Intensity, Preprocessing, Traits
from scantling.data.preprocessing import preprocess, restore_grid
from scantling.data.slice_rule import by_slice_rule, kept_slices, nearest_kept

FACTS = Intensity(mean=0, std=1, low=0, high=1, minimum=0, maximum=1)


def sample_of(depth: int) -> Sample:
    """Every slice holds its number, in the image and in the mask."""
    values = np.broadcast_to(np.arange(depth, dtype=np.float32), (2, 3, depth)).copy()
    geometry = Geometry((2, 3, depth), (1.0, 1.0, 5.0), slice_axis=2)
    return Sample(Case(id="case", subject="case"), values[None], geometry, masks=(values.astype(np.uint8)[None],))


@pytest.mark.parametrize("count", [1, 20, 24, 30, 60])
def test_a_volume_of_any_depth_has_24_slices_alike_in_image_and_mask(count: int) -> None:
    kept = kept_slices(count, 24)
    found = by_slice_rule(sample_of(count), 2, 24)
    assert found.image[0, 0, 0].tolist() == found.masks[0][0, 1, 2].tolist() == kept.tolist()
    assert found.geometry.shape == (2, 3, 24)
    if count <= 24:  # the last one is repeated
        assert kept.tolist() == [*range(count), *[count - 1] * (24 - count)]
    else:
        assert (kept[0], kept[-1]) == (0, count - 1)
        assert bool((np.diff(kept) > 0).all())
        assert kept.tolist() == (count - 1 - kept[::-1]).tolist()  # alike on both sides of the middle
        gaps = np.diff(np.setdiff1d(np.arange(count), kept))
        assert gaps.max() - gaps.min() <= 1  # evenly


def test_any_two_depths_give_as_many_slices_as_are_wanted() -> None:
    for count in range(1, 50):
        for wanted in range(1, 40):
            kept = kept_slices(count, wanted)
            assert len(kept) == wanted
            assert bool((np.diff(kept) >= (count > wanted)).all())


@pytest.mark.parametrize("count", [1, 20, 24, 30, 60])
def test_answers_come_back_to_the_slices_of_the_file_a_deleted_one_from_the_nearest_kept(count: int) -> None:
    kept, nearest = kept_slices(count, 24), nearest_kept(count, 24)
    assert np.abs(kept[nearest] - np.arange(count)).max() <= (0 if count <= 24 else 1)
    assert all(kept[nearest[slice]] == slice for slice in kept)
    recipe = Preprocessing(dimensions=3, normalise="none", size=(2, 3, 24), slice_rule=2)
    traits = Traits(
        dimensions=3, channels=("image",), spacing=(1.0, 1.0, 5.0), shape=(2, 3, 24), smallest=(2, 3, 24),
        slice_axis=2, intensity=(FACTS,),
    )  # fmt: skip
    taken = preprocess(sample_of(count), recipe, traits)
    assert taken.image is not None
    assert taken.image[0, 0, 0].tolist() == kept.tolist()
    back = restore_grid(taken.image, sample_of(count), recipe, traits)
    assert back.shape == (1, 2, 3, count)
    assert back[0, 1, 1].tolist() == torch.from_numpy(kept[nearest]).tolist()


def test_a_file_that_counts_its_slices_from_the_other_end_repeats_its_own_last_one() -> None:
    sample = sample_of(3)
    turned = Orientation(axes=(0, 1, 2), flips=(False, False, True), affine=np.eye(4))
    found = by_slice_rule(replace(sample, geometry=replace(sample.geometry, orientation=turned)), 2, 5)
    assert found.image[0, 0, 0].tolist() == [0, 0, 0, 1, 2]


def test_pictures_and_points_are_refused_in_a_sentence() -> None:
    with pytest.raises(SettingsError, match="without boxes and points"):
        by_slice_rule(replace(sample_of(3), points=np.zeros((1, 3))), 2, 24)
    with pytest.raises(SettingsError, match="slice_rule"):
        Preprocessing(dimensions=3, slice_rule=0)
