"""No silent wrong answer: shapes with two readings, unknown names, and values of another meaning, room by room."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

from scantling import diffusion, fusion, mending, metrics, phantoms, warping
from scantling.core.errors import ArrayError, SettingsError


def squares() -> tuple[np.ndarray, np.ndarray]:
    """Two squares of which one lies two pixels lower: their borders are 2 apart."""
    true, found = np.zeros((2, 20, 20), bool)
    true[4:12, 4:12], found[6:14, 4:12] = True, True
    return found, true


READ_SHAPES: dict[str, Callable[..., Any]] = {
    "surface_distances": lambda mask, **k: metrics.surface_distances(mask, mask, **k).hd95,
    "topology": lambda mask, **k: metrics.topology(mask, mask, **k).cldice,
    "skeleton": lambda mask, **k: int(metrics.skeleton(mask, **k).sum()),
    "components": metrics.components,
    "betti_numbers": metrics.betti_numbers,
    "widths": lambda mask, **k: metrics.widths(mask, **k).tolist(),
    "branching_angles": lambda mask, **k: metrics.branching_angles(mask, **k).tolist(),
    "fractal_dimension": metrics.fractal_dimension,
}


def test_the_distance_of_an_image_with_its_channel_is_that_of_the_image_or_refused() -> None:
    found, true = squares()
    assert metrics.surface_distances(found, true).hd95 == 2
    assert metrics.surface_distances(found[None], true[None], spatial_dims=2).hd95 == 2
    with pytest.raises(ArrayError, match=r"a 2-D image with its one channel, or a volume of one slice"):
        metrics.surface_distances(found[None], true[None])


@pytest.mark.parametrize("name", READ_SHAPES)
def test_a_metric_of_shape_says_both_readings_and_takes_the_one_that_is_said(name: str) -> None:
    mask, of = squares()[0], READ_SHAPES[name]
    for shape in ((1, 20, 20), (20, 20, 1)):
        with pytest.raises(ArrayError, match="say spatial_dims=2 or spatial_dims=3"):
            of(mask.reshape(shape))
        assert of(mask.reshape(shape), spatial_dims=2) == of(mask)
        of(mask.reshape(shape), spatial_dims=3)
    for wrong, said in (((2, 2, 10, 10), {}), ((20, 20), {"spatial_dims": 3}), ((20, 20), {"spatial_dims": 4})):
        with pytest.raises(ArrayError, match="expected"):
            of(mask.reshape(wrong), **said)
    with pytest.raises(ArrayError, match="expected the mask of one class"):
        of(mask * np.uint8(255))


def test_sets_of_masks_are_no_rows_of_one() -> None:
    found, true = squares()
    with pytest.raises(ArrayError, match=r"one mask becomes a set by mask\[None\]"):
        metrics.several(found, true)
    assert metrics.several(found[None], true[None]).max_dice == metrics.confusion(found, true).dice


def test_samples_of_one_image_are_not_taken_for_a_batch() -> None:
    samples = torch.rand(4, 2, 8, 9, generator=torch.Generator().manual_seed(0))  # (N, K, H, W)
    for of in (fusion.uncertainties, fusion.staple, lambda s: fusion.fuse("mean", s)):
        with pytest.raises(ArrayError, match=r"found samples of shape \(4, 2, 8, 9\).*samples\[:, None\]"):
            of(samples)
        with pytest.raises(ArrayError, match=r"expected probabilities in \[0, 1\]"):
            of(255 * samples[:, None])
        with pytest.raises(ArrayError, match="found no sample"):
            of(samples[:0, None])
        with pytest.raises(ArrayError, match="sample 1 has the shape"):
            of([samples[:1], samples[:1, :1]])
    assert fusion.uncertainties(samples[:, None])["entropy"].shape == (1, 1, 8, 9)
    with pytest.raises(ArrayError, match="found a region"):
        fusion.total(torch.zeros(1, 1, 4, 4), torch.zeros(1, 4, 4))


def test_a_volume_is_not_mended_as_classes() -> None:
    volume = np.random.default_rng(0).random((5, 8, 9)).astype(np.float32)
    settings = mending.Mending(rule="threshold")
    with pytest.raises(ArrayError, match=r"5 classes of a 2-D image \(spatial_dims=2\), or a volume \(map\[None\]"):
        mending.mend(volume, settings)
    assert mending.mend(volume[None], settings, spatial_dims=3).mask.shape == (1, 5, 8, 9)
    assert mending.mend(volume, settings, spatial_dims=2).mask.shape == (5, 8, 9)
    with pytest.raises(ArrayError, match="a volume of one slice"):
        mending.mend(volume[:1, None], settings)
    with pytest.raises(ArrayError, match="a volume of one slice"):
        mending.vesselness(volume[:1])
    assert mending.vesselness(volume[:1], spatial_dims=2).shape == (1, 8, 9)


def test_unknown_names_are_no_defaults() -> None:
    x, t = torch.zeros(1, 1, 4, 4), torch.tensor([3])
    gaussian = diffusion.GaussianProcess(diffusion.betas("linear", 10))
    flips = diffusion.BernoulliProcess(diffusion.betas("linear", 10))
    shift = torch.zeros(1, 2, 4, 4)
    wrong: list[Callable[[], object]] = [
        lambda: diffusion.timesteps(10, 5, spacing="nonsense"),  # type: ignore[arg-type]
        lambda: diffusion.betas("nonsense", 10),  # type: ignore[arg-type]
        lambda: gaussian.target(x, t, x, kind="nonsense"),  # type: ignore[arg-type]
        lambda: gaussian.x0_from(x, x, t, kind="nonsense"),  # type: ignore[arg-type]
        lambda: flips.back(x, x, t, 2, rule="nonsense"),  # type: ignore[arg-type]
        lambda: warping.warp(x, shift, outside="nonsense"),  # type: ignore[arg-type]
        lambda: fusion.fuse("nonsense", x[None]),
    ]
    for call in wrong:
        with pytest.raises(SettingsError, match="found 'nonsense'; expected one of"):
            call()


def test_displacements_have_a_vector_for_the_axes_that_there_are() -> None:
    image = torch.zeros(1, 1, 4, 5)
    for shape in ((1, 4, 5, 2), (1, 3, 4, 5), (2, 4, 5)):
        for of in (lambda u: warping.warp(image, u), warping.jacobian_determinant):
            with pytest.raises(ArrayError, match=r"expected floats \(B, 2, H, W\) or \(B, 3, D, H, W\)"):
                of(torch.zeros(shape))
    with pytest.raises(ArrayError, match="expected"):
        warping.warp(image, torch.zeros(1, 3, 2, 4, 5))


def test_made_masks_go_into_losses_metrics_and_noise_as_they_are() -> None:
    _, mask = next(phantoms.vessel_images(1, 32, seed=0))
    assert mask.dtype == np.bool_
    assert metrics.confusion(mask, mask).dice == 1
    flips = diffusion.BernoulliProcess(diffusion.betas("linear", 10))
    y0 = torch.from_numpy(mask)[None, None].double()
    uniform = torch.rand(y0.shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    assert set(flips.noised(y0, 9, uniform).unique().tolist()) == {0, 1}
    with pytest.raises(ArrayError, match="values from 0 to 255"):
        flips.noised(255 * y0, 9, uniform)
