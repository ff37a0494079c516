"""Displacements, against closed forms and against SimpleITK where it is installed."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from scantling.warping import (
    affine_map,
    compose,
    exponential,
    invert,
    jacobian_determinant,
    linear_map,
    pixel_grid,
    sample_at,
    warp,
)

SHAPES = [(9, 12), (6, 7, 8)]


def noise(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def smooth(shape: tuple[int, ...], *, size: float = 1.0, seed: int = 0) -> Tensor:
    """A displacement (1, D, *shape) of slow waves, up to `size` pixels, that vanishes at the border."""
    grid = pixel_grid(shape, like=torch.zeros((), dtype=torch.float64))[0]
    bump = torch.ones(shape, dtype=torch.float64)
    for axis, length in enumerate(shape):
        bump = bump * torch.sin(torch.pi * grid[axis] / (length - 1))
    signs = torch.linspace(1.0, -0.7, len(shape), dtype=torch.float64) * (1 if seed == 0 else -0.6)
    return torch.stack([size * sign * bump for sign in signs])[None]


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("linear", [True, False])
def test_no_displacement_changes_nothing(shape: tuple[int, ...], linear: bool) -> None:
    image = noise(2, 3, *shape)
    still = torch.zeros(2, len(shape), *shape, dtype=torch.float64)
    torch.testing.assert_close(warp(image, still, linear=linear), image)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("linear", [True, False])
def test_a_whole_pixel_along_an_axis_is_a_shift_along_that_axis(shape: tuple[int, ...], linear: bool) -> None:
    image = noise(1, 1, *shape)
    for axis, length in enumerate(shape):
        step = torch.zeros(1, len(shape), *shape, dtype=torch.float64)
        step[:, axis] = 1
        wanted = torch.roll(image, -1, 2 + axis)
        wanted.select(2 + axis, length - 1).zero_()
        torch.testing.assert_close(warp(image, step, linear=linear), wanted)


def test_an_image_that_is_linear_is_read_exactly_between_pixels_and_its_edge_reaches_half_a_pixel() -> None:
    grid = pixel_grid((5, 6), like=torch.zeros((), dtype=torch.float64))
    image = (3 * grid[:, :1] - 2 * grid[:, 1:]) + 1
    points = torch.tensor([[0.25, 3.5, 4.4, 4.6], [4.75, 0.5, 5.0, 2.0]], dtype=torch.float64)[None, :, :, None]
    at = sample_at(image, points)[0, 0, :, 0]
    clamped = points.clamp(max=4)[0, 0, :, 0]
    wanted = 3 * clamped - 2 * points[0, 1, :, 0] + 1
    wanted[3] = 0  # beyond the edge
    torch.testing.assert_close(at, wanted)
    torch.testing.assert_close(sample_at(image, points, outside="edge")[0, 0, 3, 0], image[0, 0, 4, 2])


def test_one_hot_classes_still_sum_to_one_inside_and_numbers_stay_numbers_with_the_nearest() -> None:
    numbers = torch.randint(0, 4, (1, 1, 12, 12), generator=torch.Generator().manual_seed(0))
    shift = smooth((12, 12), size=1.3)
    hot = torch.nn.functional.one_hot(numbers[:, 0], 4).movedim(-1, 1).double()
    torch.testing.assert_close(warp(hot, shift).sum(1), torch.ones(1, 12, 12, dtype=torch.float64))
    nearest = warp(numbers.to(torch.uint8), shift, linear=False)
    assert nearest.dtype == torch.uint8
    assert torch.equal(nearest[:, 0].long(), warp(hot, shift, linear=False).argmax(1))


def test_gradients_reach_the_displacement_and_are_those_of_differences() -> None:
    image = noise(1, 1, 6, 7)
    shift = (0.3 * noise(1, 2, 6, 7, seed=1)).requires_grad_()
    assert torch.autograd.gradcheck(lambda u: warp(image, u, outside="edge"), (shift,))
    assert torch.autograd.gradcheck(jacobian_determinant, (shift,))


@pytest.mark.parametrize("shape", [(24, 30), (14, 15, 16)])
def test_composing_is_warping_twice(shape: tuple[int, ...]) -> None:
    grid = pixel_grid(shape, like=torch.zeros((), dtype=torch.float64))
    image = torch.cos(grid.sum(1, keepdim=True) / 9)
    one, other = smooth(shape, size=1.5), smooth(shape, size=1.5, seed=1)
    twice = warp(warp(image, one, outside="edge"), other, outside="edge")
    # interpolating twice a wave of length 57 pixels loses up to 2 (1/8) (1/9)² D² of its height
    torch.testing.assert_close(warp(image, compose(one, other), outside="edge"), twice, atol=0.03, rtol=0)


@pytest.mark.parametrize("shape", [(24, 30), (14, 15, 16)])
def test_a_displacement_and_its_inverse_leave_every_pixel_where_it_was(shape: tuple[int, ...]) -> None:
    there = smooth(shape, size=1.5)
    back = invert(there, tolerance=1e-9)
    assert compose(there, back).abs().max() < 1e-6
    # exact in the continuum; between pixels the inverse is interpolated
    assert compose(back, there).abs().max() < 0.05


def test_a_displacement_that_folds_ends_the_search_for_its_inverse() -> None:
    assert torch.isfinite(invert(smooth((12, 12), size=20.0), iterations=20)).all()


@pytest.mark.parametrize("shape", SHAPES)
def test_the_determinant_of_an_affine_displacement_is_that_of_its_matrix(shape: tuple[int, ...]) -> None:
    matrix = torch.eye(len(shape), dtype=torch.float64) + 0.2 * noise(len(shape), len(shape), seed=3)
    grid = pixel_grid(shape, like=matrix)
    shift = affine_map(grid, torch.cat([matrix, noise(len(shape), 1)], 1)) - grid
    found = jacobian_determinant(shift)
    torch.testing.assert_close(found, torch.linalg.det(matrix).expand_as(found))


def test_a_mirrored_map_is_folded_everywhere_and_an_axis_of_one_pixel_is_no_obstacle() -> None:
    grid = pixel_grid((5, 1, 6), like=torch.zeros(()))
    shift = torch.zeros_like(grid)
    shift[:, 2] = -2 * grid[:, 2]
    torch.testing.assert_close(jacobian_determinant(shift), torch.full((1, 1, 5, 1, 6), -1.0))


def test_the_determinant_is_the_same_in_pixels_and_in_millimetres_by_simpleitk() -> None:
    sitk = pytest.importorskip("SimpleITK", reason="SimpleITK is not installed")
    shift, spacing = smooth((9, 10, 11), size=2.0), (0.5, 2.0, 1.5)  # axes z, y, x
    mm = linear_map(shift, torch.diag(torch.tensor(spacing, dtype=torch.float64)))
    field = sitk.GetImageFromArray(mm[0].flip(0).movedim(0, -1).numpy(), isVector=True)
    field.SetSpacing(spacing[::-1])
    wanted = sitk.GetArrayFromImage(sitk.DisplacementFieldJacobianDeterminant(field))
    inner = (slice(1, -1),) * 3
    np.testing.assert_allclose(jacobian_determinant(shift)[0, 0].numpy()[inner], wanted[inner], atol=1e-5)


@pytest.mark.parametrize("shape", SHAPES)
def test_a_velocity_that_is_the_same_everywhere_displaces_by_itself(shape: tuple[int, ...]) -> None:
    velocity = torch.ones(1, len(shape), *shape, dtype=torch.float64) * 0.7
    torch.testing.assert_close(exponential(velocity), velocity)
    torch.testing.assert_close(exponential(velocity, squarings=0), velocity)


def test_a_linear_velocity_displaces_by_the_exponential_of_its_matrix() -> None:
    matrix = torch.tensor(
        [[-0.3, 0.2], [-0.2, -0.1]], dtype=torch.float64
    )  # towards the middle, so that no edge counts
    grid = pixel_grid((21, 21), like=matrix) - 10
    wanted = linear_map(grid, torch.linalg.matrix_exp(matrix)) - grid
    found = exponential(linear_map(grid, matrix), squarings=10)
    torch.testing.assert_close(found[..., 5:16, 5:16], wanted[..., 5:16, 5:16], atol=2e-3, rtol=0)


@pytest.mark.parametrize("shape", [(24, 30), (14, 15, 16)])
def test_a_flow_folds_nowhere_and_backwards_it_is_its_inverse(shape: tuple[int, ...]) -> None:
    velocity = smooth(shape, size=0.4 * min(shape))
    there, back = exponential(velocity), exponential(-velocity)
    assert jacobian_determinant(velocity).min() < 0  # as a displacement it folds
    assert jacobian_determinant(there).min() > 0
    assert compose(there, back).abs().max() < 0.5  # of 6 to 10 pixels, by interpolation between pixels


def test_volumes_warped_with_other_spacings_have_simpleitks_values() -> None:
    sitk = pytest.importorskip("SimpleITK", reason="SimpleITK is not installed")
    image, shift, spacing = noise(1, 1, 9, 10, 11).float(), smooth((9, 10, 11), size=2.0).float(), (2.0, 0.5, 1.5)
    moving = sitk.GetImageFromArray(image[0, 0].numpy())
    moving.SetSpacing(spacing[::-1])
    mm = linear_map(shift, torch.diag(torch.tensor(spacing))).double()
    field = sitk.GetImageFromArray(mm[0].flip(0).movedim(0, -1).contiguous().numpy(), isVector=True)
    field.CopyInformation(moving)
    transform = sitk.DisplacementFieldTransform(sitk.Image(field))
    for linear, kind in ((True, sitk.sitkLinear), (False, sitk.sitkNearestNeighbor)):
        wanted = sitk.GetArrayFromImage(sitk.Resample(moving, moving, transform, kind, 0.0))
        np.testing.assert_allclose(warp(image, shift, linear=linear)[0, 0].numpy(), wanted, atol=1e-4)
