"""Local correlation, bending energy and soft overlap, against loops, closed forms and MONAI."""

from __future__ import annotations

import itertools

import pytest
import torch
from torch import Tensor

from scantling.core.errors import ArrayError, SettingsError
from scantling.losses import bending_energy, dice_loss, local_correlation_loss, soft_overlap_loss
from scantling.losses.registration import box_counts, box_sums
from scantling.warping import affine_map, pixel_grid

SHAPES = [(7, 10), (5, 6, 7)]


def noise(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("window", [3, 5, 9])
def test_box_sums_are_the_sums_over_the_window_inside_the_image(shape: tuple[int, ...], window: int) -> None:
    image, radius = noise(2, 3, *shape), window // 2
    found, counts = box_sums(image, window), box_counts(shape, window)
    for place in itertools.product(*(range(n) for n in shape)):
        around = image[(..., *(slice(max(0, p - radius), p + radius + 1) for p in place))]
        torch.testing.assert_close(found[(..., *place)], around.flatten(2).sum(2))
        assert counts[place] == around[0, 0].numel()


@pytest.mark.parametrize("shape", SHAPES)
def test_the_local_correlation_is_that_of_the_windows(shape: tuple[int, ...]) -> None:
    one, other, radius = noise(1, 1, *shape), noise(1, 1, *shape, seed=1), 1
    squares = []
    for place in itertools.product(*(range(n) for n in shape)):
        around = tuple(slice(max(0, p - radius), p + radius + 1) for p in place)
        f, m = (image[(0, 0, *around)].flatten() for image in (one, other))
        squares.append(torch.corrcoef(torch.stack([f, m]))[0, 1].square())
    wanted = 1 - torch.stack(squares).mean()
    torch.testing.assert_close(local_correlation_loss(one, other, window=3, epsilon=1e-12), wanted)


def test_gradients_of_the_local_correlation_are_those_of_differences() -> None:
    one, other = noise(1, 1, 5, 6).requires_grad_(), noise(1, 1, 5, 6, seed=1)
    assert torch.autograd.gradcheck(lambda f: local_correlation_loss(f, other, window=3), (one,))


def test_an_image_correlates_with_its_linear_functions_and_not_with_a_constant() -> None:
    image = noise(1, 2, 12, 13).float()
    assert local_correlation_loss(image, image, window=3) < 1e-3
    assert local_correlation_loss(image, 5 - 0.5 * image, window=3) < 1e-2
    assert local_correlation_loss(image, torch.full_like(image, 7.0), window=3) == 1


def test_the_correlation_is_taken_in_float32_at_least() -> None:
    image = noise(1, 1, 12, 13)
    found = local_correlation_loss(image.half(), (image + 1000).float() - 1000, window=3)
    assert found.dtype == torch.float32
    assert found < 1e-2


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("spaced", [False, True])
def test_affine_displacements_bend_nothing(shape: tuple[int, ...], spaced: bool) -> None:
    matrix = noise(len(shape), len(shape) + 1)
    grid = pixel_grid(shape, like=matrix)
    shift = affine_map(grid, matrix) - grid
    assert bending_energy(shift, spacing=(2.0, 0.5, 1.0)[: len(shape)] if spaced else None) < 1e-20


def test_a_parabola_bends_by_its_second_derivatives_in_any_unit() -> None:
    x, y, z = pixel_grid((6, 7, 8), like=torch.zeros((), dtype=torch.float64)).unbind(1)
    shift = torch.stack([x**2 / 2, x * y, 3 * z], 1)
    torch.testing.assert_close(bending_energy(shift), torch.tensor((1 + 2) / 3, dtype=torch.float64))
    spacing = (2.0, 1.0, 0.5)  # of geometric mean 1: in it u_0 is 2 x² / 2, of which x is 2 a pixel
    wanted = torch.tensor(((2 / 4) ** 2 + 2 * (1 / 2) ** 2) / 3, dtype=torch.float64)
    torch.testing.assert_close(bending_energy(shift, spacing=spacing), wanted)
    torch.testing.assert_close(bending_energy(shift, spacing=[3 * each for each in spacing]), wanted)


@pytest.mark.filterwarnings("ignore:Using a non-tuple sequence")
def test_the_bending_energy_of_equal_spacings_is_monais() -> None:
    monai = pytest.importorskip("monai.losses")
    shift = noise(2, 3, 6, 7, 8).float()
    torch.testing.assert_close(bending_energy(shift), monai.BendingEnergyLoss()(shift))


def test_an_axis_without_inner_pixels_bends_nothing() -> None:
    assert bending_energy(noise(1, 3, 2, 6, 1)).isfinite()


def test_the_soft_overlap_with_a_mask_is_dice_and_pixels_that_are_not_known_do_not_count() -> None:
    likely, mask = noise(2, 2, 6, 7).sigmoid(), noise(2, 2, 6, 7, seed=1) > 0
    torch.testing.assert_close(soft_overlap_loss(likely, mask.double()), dice_loss(likely, mask))
    known = torch.ones(2, 1, 6, 7, dtype=torch.bool)
    known[..., 3:] = False
    part = soft_overlap_loss(likely[..., :3], mask[..., :3].double())
    torch.testing.assert_close(soft_overlap_loss(likely, mask.double(), known=known), part)


def test_what_is_no_pair_of_images_is_refused_with_its_shapes() -> None:
    with pytest.raises(ArrayError, match=r"\(1, 1, 4, 4\) and \(1, 1, 4, 5\); expected"):
        local_correlation_loss(torch.zeros(1, 1, 4, 4), torch.zeros(1, 1, 4, 5))
    with pytest.raises(SettingsError, match="window: found 4; expected an odd number"):
        local_correlation_loss(torch.zeros(1, 1, 4, 4), torch.zeros(1, 1, 4, 4), window=4)
    with pytest.raises(ArrayError, match=r"displacement of shape \(1, 3, 4, 4\)"):
        bending_energy(torch.zeros(1, 3, 4, 4))
    with pytest.raises(SettingsError, match="a number above 0 for each"):
        bending_energy(torch.zeros(1, 2, 4, 4), spacing=(1.0,))
