"""Arrays on other grids: what shrinks is averaged, labels by their area, and nothing else changes."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from scantling.core.case import IGNORE, Case, Geometry, Sample
from scantling.core.errors import SettingsError
from scantling.core.samples import Intensity, Preprocessing, Traits
from scantling.data.interpolation import interpolate, most_frequent, resample
from scantling.data.preprocessing import preprocess, restore_grid


def noise(*shape: int) -> torch.Tensor:
    return torch.from_numpy(np.random.default_rng(0).normal(size=shape).astype(np.float32))


def test_a_picture_is_shrunk_as_torch_does_with_antialiasing() -> None:
    picture = noise(2, 77, 131)
    wanted = F.interpolate(picture[None], (40, 50), mode="bilinear", antialias=True)[0]
    assert torch.equal(resample(picture, (40, 50), linear=True), wanted)


def test_a_volume_is_averaged_along_each_axis_that_shrinks() -> None:
    volume = noise(1, 12, 20, 24)
    separate = volume
    for axis, length in ((1, 4), (2, 8), (3, 10)):
        moved = separate.movedim(axis, -1)  # torch's own filter, along one axis of pictures one pixel high
        rows = moved.reshape(-1, 1, 1, moved.shape[-1])
        shrunk = F.interpolate(rows, (1, length), mode="bilinear", antialias=True)
        separate = shrunk.reshape(*moved.shape[:-1], length).movedim(-1, axis)
    assert torch.allclose(resample(volume, (4, 8, 10), linear=True), separate, atol=1e-6)


def test_a_checkerboard_of_voxels_becomes_grey_and_not_one_of_its_colours() -> None:
    board = torch.from_numpy(np.indices((16, 16, 16)).sum(0) % 2).float()[None]
    assert torch.allclose(resample(board, (4, 4, 4), linear=True)[:, 1:-1, 1:-1, 1:-1], torch.tensor(0.5))


@pytest.mark.parametrize(("before", "after"), [((9, 10, 12), (9, 8, 9)), ((5, 6, 7), (10, 6, 14)), ((9, 10), (18, 10))])
def test_slight_shrinking_of_volumes_and_all_enlarging_are_plain_linear_interpolation(
    before: tuple[int, ...], after: tuple[int, ...]
) -> None:
    array = noise(2, *before)
    mode = {2: "bilinear", 3: "trilinear"}[len(before)]
    assert torch.equal(resample(array, after, linear=True), F.interpolate(array[None], after, mode=mode)[0])


def test_slices_of_a_volume_are_shrunk_as_pictures_are() -> None:
    volume = noise(1, 3, 40, 50)
    found = resample(volume, (3, 32, 40), linear=True, slices=True)
    for number in range(3):
        assert torch.equal(found[:, number], resample(volume[:, number], (32, 40), linear=True))


def test_slab_by_slab_is_the_same_as_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    picture, read = noise(1, 64, 64), []
    wanted = resample(picture, (16, 20), linear=True)
    monkeypatch.setattr("scantling.core.pieces.AT_ONCE", 64 * 10)

    def slab(part: slice) -> torch.Tensor:
        read.append(part.stop - part.start)
        return picture[:, part]

    assert torch.equal(interpolate(slab, (64, 64), (16, 20)), wanted)
    assert max(read) == 10


def test_a_label_is_the_one_with_most_of_the_area() -> None:
    mask = torch.zeros((1, 8, 8), dtype=torch.uint8)
    mask[0, :, 4:] = 3
    mask[0, ::4, ::4] = 1  # nearest would see these few pixels, or none, by where they happen to lie
    assert most_frequent(mask, (2, 2)).tolist() == [[[0, 3], [0, 3]]]
    mask[0, :4, :4] = IGNORE
    assert most_frequent(mask, (2, 2)).tolist() == [[[IGNORE, 3], [0, 3]]]


def test_the_area_of_a_disc_is_kept_however_far_its_mask_shrinks() -> None:
    rows, columns = np.indices((160, 160))
    disc = torch.from_numpy(((rows - 83) ** 2 + (columns - 71) ** 2 < 50**2).astype(np.uint8))
    layers = torch.stack([disc, 1 - disc])
    for side in (80, 53, 32, 20):
        shares = most_frequent(layers, (side, side)).float().mean((1, 2))
        assert torch.allclose(shares, layers.float().mean((1, 2)), atol=0.01)


def test_masks_on_nearly_their_own_grid_keep_the_nearest_value() -> None:
    mask = torch.from_numpy(np.random.default_rng(0).integers(0, 4, (1, 30, 30)).astype(np.uint8))
    assert torch.equal(most_frequent(mask, (24, 24)), resample(mask, (24, 24), linear=False))
    assert torch.equal(most_frequent(mask, (30, 30)), mask)


def sample(shape: tuple[int, ...], *, slice_axis: int = 0) -> tuple[Sample, Traits]:
    generator = np.random.default_rng(1)
    geometry = Geometry(shape, (1.0,) * len(shape), container="volume", slice_axis=slice_axis)
    image = generator.normal(size=(1, *shape)).astype(np.float32)
    mask = generator.integers(0, 2, (1, *shape)).astype(np.uint8)
    intensity = Intensity(mean=0, std=1, low=-2, high=2, minimum=-5, maximum=5)
    facts = Traits(
        dimensions=2 if len(shape) == 2 else 3, channels=("image",), spacing=(1.0,) * len(shape), shape=shape,
        smallest=shape, slice_axis=slice_axis, intensity=(intensity,),
    )  # fmt: skip
    return Sample(Case(id="a", subject="a"), image, geometry, (mask,)), facts


@pytest.mark.parametrize(
    ("shape", "dimensions", "grid"),
    [
        ((30, 60), 2, (10, 20)),
        ((10, 5), 2, (20, 10)),
        ((400, 2), 2, (20, 1)),
        ((40, 30, 7), 2, (7, 20, 15)),
        ((40, 30, 10), 3, (20, 15, 5)),
    ],
)
def test_the_longest_side_is_as_told_and_the_proportions_stay(
    shape: tuple[int, ...], dimensions: int, grid: tuple[int, ...]
) -> None:
    recipe = Preprocessing(dimensions=dimensions, normalise="none", longest=20)  # type: ignore[arg-type]
    case, facts = sample(shape, slice_axis=len(shape) - 1)
    done = preprocess(case, recipe, facts)
    assert done.shape == grid
    assert tuple(done.masks[0].shape[1:]) == grid
    assert restore_grid(done.image, case, recipe, facts).shape == case.image.shape


def test_boxes_points_and_displacements_follow_the_longest_side_and_come_back() -> None:
    case, facts = sample((30, 60))
    case = replace(case, boxes=np.array([[[3, 9], [6, 12]]], np.float32), points=np.array([[4.0, 7.0]], np.float32))
    recipe = Preprocessing(dimensions=2, normalise="none", longest=20)
    done = preprocess(case, recipe, facts)
    assert done.coordinates["boxes"].tolist() == [[[1, 3], [2, 4]]]
    for kind in ("boxes", "points"):
        back = restore_grid(done.coordinates[kind], case, recipe, facts, kind=kind)  # type: ignore[arg-type]
        assert np.allclose(back.numpy(), getattr(case, kind))
    shift = torch.ones((2, 10, 20))
    assert torch.allclose(restore_grid(shift, case, recipe, facts, kind="displacement"), torch.tensor(3.0))


@pytest.mark.parametrize("other", [{"size": (8, 8)}, {"spacing": (2.0, 2.0)}])
def test_two_grids_at_once_are_refused_with_a_sentence(other: dict[str, object]) -> None:
    with pytest.raises(SettingsError, match=r"longest 20 at once; expected one of spacing, size and longest"):
        Preprocessing(dimensions=2, longest=20, **other)  # type: ignore[arg-type]
