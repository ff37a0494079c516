"""What registration by networks optimises on a pair itself: an affine map before, the displacement after."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from scipy import ndimage
from torch import Tensor

from scantling.contract.method import build
from scantling.contract.step import Inference
from scantling.core.case import Case, Geometry, Sample
from scantling.core.errors import DataError
from scantling.core.samples import Batch, Intensity, Traits
from scantling.inference.resampling import brought_onto, index_map, through_world
from scantling.losses.registration import local_correlation_loss
from scantling.methods.registration.network import NetworkRegistration, RegistrationSettings
from scantling.methods.registration.on_pairs import (
    affine_between,
    after_affine,
    before_affine,
    correlation,
    displaced,
    refined,
)
from scantling.methods.registration.pairs import PairOptions
from scantling.warping import affine_map, compose, pixel_grid, warp


def smooth(*shape: int, seed: int = 0) -> Tensor:
    values = ndimage.gaussian_filter(np.random.default_rng(seed).standard_normal(shape), 3)
    return torch.from_numpy(values / values.std()).float()[None, None]


def moved_by(maps: Tensor, image: Tensor) -> Tensor:
    grid = pixel_grid(tuple(image.shape[2:]), like=image)
    return warp(image, displaced(maps, grid) - grid, outside="edge")


TURNED = torch.tensor([[[1.05, 0.1, -2.0], [-0.12, 0.95, 3.0]]])


@pytest.mark.parametrize("shape", [(40, 48), (60, 31), (18, 24, 20)])
def test_an_affine_map_is_found(shape: tuple[int, ...]) -> None:
    moving = smooth(*shape)
    true = TURNED if len(shape) == 2 else torch.tensor([[[1.0, 0.1, 0.0, -1.0], [-0.1, 1.05, 0, 1.5], [0, 0, 0.95, 1]]])
    fixed = moved_by(true, moving)
    found = affine_between(fixed, moving)
    inner = (..., *[slice(n // 6, -(n // 6)) for n in shape])
    before, after = correlation(moving[inner], fixed[inner]), correlation(moved_by(found, moving)[inner], fixed[inner])
    assert 1 - float(after) < 0.3 * (1 - float(before))
    corners = pixel_grid(shape, like=moving)
    assert float((displaced(found, corners) - displaced(true, corners)).abs().mean()) < 1


def test_affine_maps_of_a_batch_are_those_of_its_pairs_and_nothing_to_find_is_no_change() -> None:
    moving = torch.cat([smooth(32, 30), smooth(32, 30, seed=1), torch.zeros(1, 1, 32, 30)])
    fixed = moved_by(TURNED.expand(3, -1, -1), moving)
    together = affine_between(fixed, moving)
    alone = torch.cat([affine_between(f, m) for f, m in zip(fixed.split(1), moving.split(1), strict=True)])
    assert torch.allclose(together, alone, atol=1e-3)
    assert torch.allclose(together[2], torch.tensor([[1.0, 0, 0], [0, 1, 0]]), atol=1e-5)


def test_a_displacement_after_an_affine_map_and_its_inverse() -> None:
    grid = pixel_grid((30, 40), like=torch.zeros(()))
    shift = torch.tensor([1.5, -2.0]).view(1, 2, 1, 1).expand(1, 2, 30, 40)
    whole = after_affine(TURNED, shift)
    assert torch.allclose(grid + whole, affine_map(grid + shift, TURNED[0]), atol=1e-4)
    with torch.autocast("cpu", torch.bfloat16):  # as answers are computed on a GPU: places keep their digits
        assert torch.equal(after_affine(TURNED, shift), whole)
    back = compose(before_affine(TURNED, -shift), whole)
    assert float(back[..., 8:-8, 8:-8].abs().max()) < 1e-3


def test_refining_lowers_the_loss_of_each_pair_by_itself() -> None:
    fixed, moving = (
        torch.cat([smooth(24, 24, seed=s) for s in (0, 1)]),
        torch.cat([smooth(24, 24, seed=s) for s in (2, 3)]),
    )

    def loss_of(f: Tensor, m: Tensor, vectors: Tensor) -> Tensor:
        return len(f) * local_correlation_loss(warp(m, vectors, outside="edge"), f, window=5)

    start = torch.zeros(2, 2, 24, 24)
    together = refined(start, lambda vectors: loss_of(fixed, moving, vectors), steps=20)
    alone = [
        refined(s, lambda vectors, f=f, m=m: loss_of(f, m, vectors), steps=20)  # type: ignore[misc]
        for f, m, s in zip(fixed.split(1), moving.split(1), start.split(1), strict=True)
    ]
    assert torch.allclose(together, torch.cat(alone), atol=1e-3)
    assert float(loss_of(fixed, moving, together)) < 0.8 * float(loss_of(fixed, moving, start))
    assert not together.requires_grad


def registration(**changes: Any) -> NetworkRegistration:
    traits = Traits(
        dimensions=2,
        channels=("grey",),
        spacing=(1.0, 1.0),
        shape=(24, 24),
        smallest=(24, 24),
        intensity=(Intensity(mean=0, std=1, low=-2, high=2, minimum=-3, maximum=3),),
        unlabelled=3,
    )
    settings = RegistrationSettings.preset("tiny", changes).resolve(traits)
    built = build(NetworkRegistration, settings, traits, seed=0).eval()
    assert isinstance(built, NetworkRegistration)
    return built


def batch(image: Tensor) -> Batch:
    rows = torch.arange(len(image))
    return Batch(rows, rows, {"image": image})


@pytest.mark.parametrize("diffeomorphic", [False, True])
def test_settings_say_what_is_optimised_and_options_overrule_them(diffeomorphic: bool) -> None:
    model = registration(affine=True, refine=10, diffeomorphic=diffeomorphic)
    moving = smooth(24, 24)
    fixed = moved_by(TURNED, moving)

    def alike(**options: Any) -> float:
        moment = Inference(seed=0, options=PairOptions(**options))
        with torch.no_grad():
            found = model.register(batch(fixed), batch(moving), moment)
            assert (found.inverse is not None) == diffeomorphic
            return float(correlation(warp(moving, found.displacement, outside="edge"), fixed))

    plain, affine, both = alike(affine=False, refine=0), alike(refine=0), alike()
    assert plain + 0.05 < affine <= both + 1e-3
    assert alike(affine=True, refine=10) == both


def sample(image: np.ndarray, affine: np.ndarray | None) -> Sample:
    return Sample(
        Case(id="a", subject="a"), image[None].astype(np.float32), Geometry(image.shape, (1.0,) * 3, affine=affine)
    )


def placed(*origin: float) -> np.ndarray:
    affine = np.eye(4)
    affine[:3, 3] = origin
    return affine


def test_an_image_is_laid_by_shape_only_where_that_is_clearly_more_alike() -> None:
    image = smooth(20, 16, 18)[0, 0].numpy()
    fixed = sample(image, placed(0, 0, 0))
    astray = sample(image, placed(40, -7, 3))  # the affine of a crop that was written without its place
    brought, start = brought_onto(astray, fixed)
    assert start == "shape"
    np.testing.assert_allclose(brought.image, fixed.image, atol=1e-5)
    assert brought_onto(astray, fixed, start="world")[1] == "world"
    # a part of the fixed image, which says where it lies
    part = sample(image[5:15, 2:14, 3:15], placed(5, 2, 3))
    assert brought_onto(part, fixed)[1] == "world"
    assert brought_onto(part, fixed, start="shape")[1] == "shape"
    nowhere = replace(astray, geometry=replace(astray.geometry, affine=None))
    assert brought_onto(nowhere, fixed, start="world")[1] == "shape"  # there is one way alone


def test_images_that_lie_across_each_other_are_a_sentence() -> None:
    across = np.eye(4)[:, [2, 1, 0, 3]]
    axial, sagittal = (Geometry((8, 8), (1.0, 1.0), affine=affine) for affine in (np.eye(4), across))
    with pytest.raises(DataError, match="lie across each other"):
        through_world(np.zeros((2, 8, 8), np.float32), axial, sagittal)


def test_a_displacement_by_shape_leads_to_the_same_points_through_the_world() -> None:
    fixed = Geometry((10, 12, 8), (1.0,) * 3, affine=placed(1, 2, 3))
    moving = Geometry((20, 9, 8), (1.0,) * 3, affine=placed(-30, 5, 0))
    vectors = np.random.default_rng(0).normal(size=(3, 10, 12, 8)).astype(np.float32)
    found = through_world(vectors, fixed, moving)
    grid = pixel_grid(fixed.shape, like=torch.zeros((), dtype=torch.float64))
    by: Mapping[str, Tensor] = {
        start: affine_map(grid + torch.from_numpy(u)[None], torch.from_numpy(index_map(fixed, moving, start=start)))
        for start, u in (("shape", vectors), ("world", found))
    }
    torch.testing.assert_close(by["shape"], by["world"], atol=1e-3, rtol=1e-4)
