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
