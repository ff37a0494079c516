"""Changes to the values of images do what their names say."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor

from scantling.core.randomness import numpy_generator
from scantling.core.streams import Augmentation
from scantling.data.augmentation import change_values


@pytest.mark.parametrize("shape", [(2, 1, 32, 36), (2, 1, 12, 14, 10)])
def test_strong_changes_do_what_their_names_say(shape: tuple[int, ...]) -> None:
    image = torch.randn(shape, generator=torch.Generator().manual_seed(0))
    still = Augmentation(flips=False, turns=False)

    def changed(**changes: object) -> Tensor:
        generators = [numpy_generator("v", row) for row in range(2)]
        return change_values(image, replace(still, **changes), generators)  # type: ignore[arg-type]

    roughness = image.diff(dim=-1).abs().mean()
    assert changed(blur=3.0).diff(dim=-1).abs().mean() < 0.8 * roughness
    flat = torch.full_like(image, 4.0)
    generators = [numpy_generator("v", row) for row in range(2)]
    assert torch.allclose(change_values(flat, replace(still, blur=3.0, low_resolution=3.0), generators), flat)
    assert changed(low_resolution=4.0).diff(dim=-1).abs().mean() < 0.9 * roughness
    cut = changed(cutout=0.5)
    holes = (cut != image).flatten(1).sum(1).tolist()
    assert holes == [int(np.prod([round(n / 2) for n in shape[2:]]))] * 2
    assert torch.allclose(cut[0][cut[0] != image[0]], image[0].mean())


def test_jpeg_keeps_the_range_and_blurs_edges_more_the_lower_its_quality() -> None:
    image = torch.rand(1, 3, 40, 48, generator=torch.Generator().manual_seed(0)) * 7 - 2
    errors = []
    for quality in (95, 50, 10):
        augment = Augmentation(flips=False, turns=False, jpeg=quality)
        changed = change_values(image, augment, [np.random.default_rng(0)])
        assert changed.shape == image.shape
        assert changed.min() >= image.min() - 1e-5
        assert changed.max() <= image.max() + 1e-5
        errors.append(float((changed - image).abs().mean()))
    assert 0 < errors[0] < errors[1] < errors[2]


def test_jpeg_leaves_flat_images_and_volumes_alone() -> None:
    augment = Augmentation(flips=False, turns=False, jpeg=10)
    for image in (torch.full((1, 1, 20, 20), 3.5), torch.rand(1, 1, 8, 8, 8)):
        assert torch.allclose(change_values(image, augment, [np.random.default_rng(0)]), image)


def test_only_the_share_that_is_degraded_gets_worse() -> None:
    image = torch.rand(40, 1, 24, 24, generator=torch.Generator().manual_seed(1))
    worse = {"blur": 3.0, "low_resolution": 3.0, "noise": 0.5, "jpeg": 20}
    augment = Augmentation(flips=False, turns=False, degraded=0.3, **worse)  # type: ignore[arg-type]
    generators = [np.random.default_rng(row) for row in range(40)]
    changed = change_values(image, augment, generators)
    share = float((changed != image).flatten(1).any(1).float().mean())
    assert 0.1 < share < 0.55
    nobody = change_values(image, replace(augment, degraded=0.0), [np.random.default_rng(row) for row in range(40)])
    assert torch.equal(nobody, image)
