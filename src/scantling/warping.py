"""Displacements: warping by them, composing, inverting, their Jacobian; tensors in, tensors out.

A displacement u is (B, D, *S) in pixels, its components in the order of the axes: the value of a warped image at x is
that of the image at x + u(x). Pixels are counted at their centres, from 0.
"""

from __future__ import annotations

from typing import Literal, get_args

import torch
from torch import Tensor
from torch.nn import functional as F

from scantling.core.checks import check_choice, check_count
from scantling.core.errors import ArrayError

__all__ = [
    "affine_map",
    "compose",
    "exponential",
    "invert",
    "jacobian_determinant",
    "linear_map",
    "pixel_grid",
    "sample_at",
    "warp",
]

Outside = Literal["zero", "edge"]


def pixel_grid(shape: tuple[int, ...], *, like: Tensor) -> Tensor:
    """The indices of every pixel, (1, D, *shape), in the type and place of `like`."""
    axes = [torch.arange(length, dtype=like.dtype, device=like.device) for length in shape]
    return torch.stack(torch.meshgrid(*axes, indexing="ij"))[None]


def sample_at(image: Tensor, points: Tensor, *, linear: bool = True, outside: Outside = "zero") -> Tensor:
    """The values of an image between its pixels.

    Args:
        image: (B, C, *S).
        points: (B or 1, D, *T) in pixels of the image.
        linear: interpolate between neighbours; else take the nearest, which has no gradient with respect to `points`.
        outside: what lies more than half a pixel beyond the outermost centres: 0, or the value of the edge.

    Returns:
        (B, C, *T), in the type of the image.

    Raises:
        ArrayError: the points have another number of components than the image has axes.
        SettingsError: an unknown `outside`.
    """
    check_choice(outside, get_args(Outside), argument="outside")
    axes = image.ndim - 2
    if axes not in (2, 3) or points.ndim < 2 or points.shape[1] != axes or points.shape[0] not in (1, image.shape[0]):
        raise ArrayError(
            f"found points of shape {tuple(points.shape)} for an image of shape {tuple(image.shape)}; expected (B, "
            f"{axes}, *T) for (B, C, *S), components in the order of the axes"
        )
    lengths = image.shape[2:]
    scaled = [points[:, axis] * (2 / lengths[axis]) + (1 / lengths[axis] - 1) for axis in reversed(range(axes))]
    grid = torch.stack(scaled, -1).expand(len(image), *points.shape[2:], axes)  # [-1, 1] from edge to edge
    values = _sampled(image.to(grid.dtype), grid, mode="bilinear" if linear else "nearest")
    if outside == "zero":
        limits = points.new_tensor(lengths).view(1, -1, *[1] * (points.ndim - 2)) - 0.5
        inside = ((points >= -0.5) & (points < limits)).all(1, keepdim=True)
        values = values.where(inside, 0)
    return values.to(image.dtype)


def _sampled(image: Tensor, grid: Tensor, *, mode: str) -> Tensor:
    """The values (B, C, *T) of an image (B, C, *S) at a grid (B, *T, D) in [-1, 1], its edge continued.

    On a processor torch shares the samples of a batch among its threads and nothing else of it. So the rows of a single
    volume are made its batch, unless each would have a gradient of the whole volume.
    """
    one = image.is_cpu and image.ndim == 5 and len(image) == 1 and grid.ndim == 5 and grid.shape[1] > 1
    rows = one and not (image.requires_grad and torch.is_grad_enabled())
    if rows:
        image, grid = image.expand(grid.shape[1], *image.shape[1:]), grid[0, :, None]
    values = F.grid_sample(image, grid, mode=mode, padding_mode="border", align_corners=False)
    return values[:, :, 0].movedim(0, 1)[None] if rows else values  # (rows, C, 1, H, W) to (1, C, rows, H, W)


def warp(image: Tensor, displacement: Tensor, *, linear: bool = True, outside: Outside = "zero") -> Tensor:
    """The image (B, C, *S) at x + u(x), (B, C, *T) on the grid of the displacement u (B, D, *T); see `sample_at`.

    Raises:
        ArrayError: the displacement has no vector of D components for D axes.

    Example:
        >>> import torch
        >>> from scantling.warping import warp
        >>> image, shift = torch.arange(4.0).view(1, 1, 1, 4), torch.zeros(1, 2, 1, 4)
        >>> shift[:, 1] = 1  # one pixel to the right
        >>> warp(image, shift).flatten().tolist()
        [1.0, 2.0, 3.0, 0.0]
    """
    _check_displacement(displacement)
    axes = range(displacement.ndim - 2)
    places = [torch.arange(n, dtype=displacement.dtype, device=displacement.device) for n in displacement.shape[2:]]
    along = [place.view(-1, *[1] * (len(places) - 1 - axis)) for axis, place in enumerate(places)]
    points = torch.stack([displacement[:, axis] + along[axis] for axis in axes], 1)
    return sample_at(image, points, linear=linear, outside=outside)


def compose(first: Tensor, second: Tensor) -> Tensor:
    """The one displacement that warps as `first` and then `second` do: second(x) + first(x + second(x)).

    Both are (B, D, *S); beyond the grid, `first` goes on as at its edge.

    Raises:
        ArrayError: one of them has no vector of D components for D axes, or they have different numbers of axes.
    """
    _check_displacement(first)
    return second + warp(first, second, outside="edge")


def exponential(velocity: Tensor, *, squarings: int = 7) -> Tensor:
    """The displacement at time 1 of a flow along a velocity that does not change, by scaling and squaring.

    u = v / 2ⁿ, then n times u ← u ∘ u (Arsigny et al., 2006, A log-Euclidean framework for statistics on
    diffeomorphisms). It folds nowhere where v / 2ⁿ changes by less than a pixel from pixel to pixel, as far as linear
    interpolation can follow; that of -v is the inverse.

    Args:
        velocity: v, (B, D, *S) in pixels.
        squarings: n.

    Raises:
        SettingsError: `squarings` is below 0.
        ArrayError: the velocity has no vector of D components for D axes.
    """
    check_count(squarings, argument="squarings", least=0)
    _check_displacement(velocity)
    displacement = velocity / 2**squarings
    for _ in range(squarings):
        displacement = compose(displacement, displacement)
    return displacement


def invert(displacement: Tensor, *, iterations: int = 100, tolerance: float = 1e-3) -> Tensor:
    """The displacement v with x + v(x) + u(x + v(x)) = x, by the fixed-point iteration v ← -u(x + v(x)).

    It converges where u changes by less than a pixel from pixel to pixel (Chen et al., 2008, A simple fixed-point
    approach to invert a deformation field). A displacement that folds has no inverse; then this is where it stood.

    Args:
        displacement: u, (B, D, *S).
        iterations: at most so many.
        tolerance: in pixels; it ends where no component moves by more.
    """
    inverse = -displacement
    for _ in range(iterations):
        before, inverse = inverse, -warp(displacement, inverse, outside="edge")
        if bool((inverse - before).abs().max() <= tolerance):
            break
    return inverse


def jacobian_determinant(displacement: Tensor) -> Tensor:
    """How much the map x + u(x) enlarges at each pixel, (B, 1, *S) of u (B, D, *S): 1 keeps the volume, ≤ 0 folds.

    The determinant of I + ∂u_i/∂x_j, by central differences, one-sided at the border. It is the same in pixels and in
    mm.
    """
    _check_displacement(displacement)
    shape = displacement.shape[2:]
    rows = []
    for axis in range(len(shape)):
        component = displacement[:, axis]
        slopes = [
            torch.gradient(component, dim=1 + along)[0] if length > 1 else torch.zeros_like(component)
            for along, length in enumerate(shape)
        ]
        slopes[axis] = slopes[axis] + 1
        rows.append(torch.stack(slopes, -1))  # (B, *S, D)
    if len(shape) == 2:
        (a, b), (c, d) = rows[0].unbind(-1), rows[1].unbind(-1)
        return (a * d - b * c)[:, None]
    return (torch.linalg.cross(rows[0], rows[1]) * rows[2]).sum(-1)[:, None]


def _check_displacement(displacement: Tensor) -> None:
    axes = displacement.ndim - 2
    if axes not in (2, 3) or displacement.shape[1] != axes or not displacement.is_floating_point():
        raise ArrayError(
            f"found a displacement of shape {tuple(displacement.shape)}, {displacement.dtype}; expected floats "
            "(B, 2, H, W) or (B, 3, D, H, W) in pixels, components in the order of the axes"
        )


def linear_map(vectors: Tensor, matrix: Tensor) -> Tensor:
    """`matrix` (D, D) applied to each vector of (B, D, *S): from pixels to mm by the columns of an affine, or back.

    Raises:
        ArrayError: the matrix is not (D, D).
    """
    if matrix.shape != (vectors.shape[1],) * 2:
        axes = vectors.shape[1]
        raise ArrayError(
            f"found a matrix of shape {tuple(matrix.shape)}; expected ({axes}, {axes}), one for each component"
        )
    with torch.autocast(vectors.device.type, enabled=False):  # places need all their digits
        return torch.einsum("ij,bj...->bi...", matrix.to(vectors), vectors)


def affine_map(points: Tensor, matrix: Tensor) -> Tensor:
    """`matrix` (D, D + 1), the shift in its last column, applied to each point of (B, D, *S).

    Raises:
        ArrayError: the matrix is not (D, D + 1), as (4, 4) is not: leave out its last row.
    """
    if matrix.shape != (points.shape[1], points.shape[1] + 1):
        axes = points.shape[1]
        raise ArrayError(
            f"found a matrix of shape {tuple(matrix.shape)}; expected ({axes}, {axes + 1}): matrix[:{axes}]"
        )
    shift = matrix[:, -1].to(points).view(1, -1, *[1] * (points.ndim - 2))
    return linear_map(points, matrix[:, :-1]) + shift
