"""The loss of directions that cross a mask: closed forms and invariances."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter
from torch import Tensor

from scantling.losses.orientation import crossing, mask_structure, smoothed, trace


def bar(angle: float, size: int = 65) -> Tensor:
    """A bar (1, 1, size, size) of class 1 through the middle, at `angle` to the rows' axis."""
    y, x = np.mgrid[:size, :size] - size // 2
    return torch.from_numpy((np.abs(x * math.cos(angle) - y * math.sin(angle)) < 3).astype(np.uint8))[None, None]


def at(angle: float, size: int = 65) -> Tensor:
    """One direction everywhere, (1, 1, 2, size, size)."""
    vector = torch.tensor([math.cos(angle), math.sin(angle)], dtype=torch.float64)
    return vector.view(1, 1, 2, 1, 1).expand(1, 1, 2, size, size)


def crossing_loss(*, direction: Tensor, mask: Tensor) -> Tensor:
    """The share of the mask's change that is met."""
    structure = mask_structure(mask, direction.shape[1], dtype=direction.dtype)
    return crossing(direction, structure) / trace(structure).clamp(min=1e-6)


@pytest.mark.parametrize("angle", [0.0, 0.4, math.pi / 4, 2.0])
@pytest.mark.parametrize("off", [0.0, 0.3, math.pi / 2])
def test_it_is_the_squared_sine_of_the_angle_to_a_straight_bar(angle: float, off: float) -> None:
    found = float(crossing_loss(direction=at(angle + off), mask=bar(angle)))
    assert found == pytest.approx(math.sin(off) ** 2, abs=0.03)


def test_the_sign_of_a_direction_does_not_matter() -> None:
    mask = bar(0.7)
    assert torch.equal(crossing_loss(direction=at(0.2), mask=mask), crossing_loss(direction=-at(0.2), mask=mask))


def test_an_empty_mask_costs_nothing_and_has_a_gradient_of_zero() -> None:
    direction = at(0.3).clone().requires_grad_()
    loss = crossing_loss(direction=direction, mask=torch.zeros(1, 1, 65, 65, dtype=torch.uint8))
    loss.backward()
    assert loss.item() == 0
    assert direction.grad is not None
    assert not direction.grad.any()


def test_a_tube_in_3d_costs_only_what_crosses_it() -> None:
    y, x = np.mgrid[:31, :31] - 15
    tube = torch.from_numpy(np.repeat((y**2 + x**2 < 20)[None], 31, 0).astype(np.uint8))[None, None]
    along, across = (torch.eye(3)[axis].view(1, 1, 3, 1, 1, 1).expand(1, 1, 3, 31, 31, 31) for axis in (0, 1))
    assert float(crossing_loss(direction=along, mask=tube)) == pytest.approx(0, abs=1e-6)
    assert float(crossing_loss(direction=across, mask=tube)) == pytest.approx(0.5, abs=0.02)


def test_smoothing_is_scipys() -> None:
    maps = np.random.default_rng(0).random((2, 3, 20, 31))
    expected = np.stack([[gaussian_filter(map_, 1.7, mode="nearest") for map_ in row] for row in maps])
    np.testing.assert_allclose(smoothed(torch.from_numpy(maps), 1.7).numpy(), expected, atol=1e-12)


@pytest.mark.parametrize("shape", [(1, 1, 40, 40), (1, 1, 24, 24, 30)])
def test_the_structure_of_what_is_known_does_not_depend_on_what_is_unknown(shape: tuple[int, ...]) -> None:
    mask = torch.zeros(shape, dtype=torch.uint8)
    mask[..., 8:12] = 1
    half = torch.zeros(shape, dtype=torch.bool)
    half[:, :, shape[2] // 2 :] = True
    whole = mask_structure(mask, 1, dtype=torch.float64)
    part = mask_structure(mask.masked_fill(half, 255), 1, dtype=torch.float64, ignore_index=255)
    assert not any(entry[half].any() for row in part for entry in row)
    across = part[-1][-1]
    assert torch.equal(across[:, :, :1] > 0, whole[-1][-1][:, :, :1] > 0)
    # a border between the known and the unknown is no border of a vessel
    assert not part[0][0].any()
