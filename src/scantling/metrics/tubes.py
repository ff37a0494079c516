"""What vessel masks are like: how much they cover, how wide, at what angles they branch, how they fill the plane."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import ndimage

from scantling.core.checks import check_number
from scantling.core.errors import ArrayError
from scantling.metrics.arrays import Mask, foreground, spatial
from scantling.metrics.topology import skeleton

Floats = NDArray[np.float64]


def coverage(mask: ArrayLike, *, region: ArrayLike | None = None) -> float:
    """The share of the pixels (of those in `region`) that are foreground, in [0, 1].

    Raises:
        ArrayError: there is no pixel, or the region has another shape.
    """
    whole = foreground(mask)
    where = np.ones_like(whole) if region is None else foreground(region)
    if where.shape != whole.shape:
        raise ArrayError(f"the region has shape {where.shape}; expected {whole.shape}")
    inside = whole[where]
    if not inside.size:
        raise ArrayError("there is no pixel to look at; expected at least one inside the region")
    return float(inside.mean())


def widths(mask: ArrayLike, *, spatial_dims: int | None = None) -> Floats:
    """The width in pixels at every point of the centre line, (n,) float64.

    It is the distance from the centre line to the background on a grid twice as fine, where every bar has an even
    width of 2w and the pixels in its middle are w from the nearest of the background: so it is exact for straight bars
    along the axes, odd and even. A mask (*S) in 2-D or 3-D; what lies beyond its border is not background.
    `spatial_dims` says which of them a mask (1, H, W) is.
    """
    fine = spatial(mask, spatial_dims)
    for axis in range(fine.ndim):
        fine = np.repeat(fine, 2, axis=axis)
    if fine.all():
        return np.zeros(0)
    return np.asarray(ndimage.distance_transform_edt(fine)[skeleton(fine, spatial_dims=fine.ndim)], np.float64)


def branching_angles(mask: ArrayLike, *, reach: float = 10.0, spatial_dims: int | None = None) -> Floats:
    """The angle between the two closest arms of every fork, in degrees, (n,) float64.

    A fork is a place of the centre line that exactly three arms leave, each at least `reach` pixels long without
    another fork. An arm's direction is that of the line fitted to its pixels within that reach. In 2-D and 3-D.
    `spatial_dims` says which of them a mask (1, H, W) is.

    Raises:
        SettingsError: `reach` is not above 0.
    """
    check_number(reach, argument="reach", above=0)
    lines = skeleton(mask, spatial_dims=spatial_dims)
    box = np.ones((3,) * lines.ndim, np.bool_)
    neighbours = ndimage.convolve(lines.astype(np.int16), box.astype(np.int16), mode="constant") - 1
    knots, number = ndimage.label(lines & (neighbours >= 3), structure=box)
    centres = ndimage.center_of_mass(knots > 0, knots, np.arange(1, number + 1))
    angles = []
    for name, centre in enumerate(centres, 1):
        corner = np.maximum(np.floor(np.array(centre) - reach - 2).astype(int), 0)
        window = tuple(slice(low, math.ceil(middle + reach + 3)) for low, middle in zip(corner, centre, strict=True))
        arms = _arms(lines[window], knots[window], name, np.array(centre) - corner, reach)
        if len(arms) == 3:
            cosines = [float(arms[i] @ arms[j]) for i, j in ((0, 1), (0, 2), (1, 2))]
            angles.append(math.degrees(math.acos(min(1.0, max(-1.0, max(cosines))))))
    return np.array(angles, dtype=np.float64)


def fractal_dimension(mask: ArrayLike, *, spatial_dims: int | None = None) -> float:
    """The box-counting dimension: the slope of ln N over ln 1/s, by least squares.

    N is the number of boxes with the side s = 1, 2, 4, … that hold foreground, on a grid that begins at the first
    pixel, up to half of the shortest side. A filled square whose side is a power of two has 2, a straight line 1. NaN
    if the mask is empty or its shortest side does not allow two sizes of boxes.
    """
    boxes = spatial(mask, spatial_dims)
    counts = []
    most = int(math.log2(max(1, min(boxes.shape)))) if boxes.size else 0
    for _ in range(most):
        counts.append(int(np.count_nonzero(boxes)))
        for axis in range(boxes.ndim):
            even = np.pad(boxes, [(0, side % 2 if place == axis else 0) for place, side in enumerate(boxes.shape)])
            boxes = np.logical_or.reduceat(even, np.arange(0, even.shape[axis], 2), axis=axis)
    if len(counts) < 2 or not counts[0]:
        return math.nan
    return float(-np.polynomial.polynomial.polyfit(np.arange(len(counts)), np.log2(counts), 1)[1])


def diversity(masks: Sequence[ArrayLike]) -> float:
    """The mean of 1 - Dice over all pairs of masks of one shape, in [0, 1]: 0 if all are equal, 1 if none overlap.

    Two empty masks are equal. NaN for fewer than two masks.

    Args:
        masks: (*S) each, or one array (N, *S), in two or three dimensions.

    Raises:
        ArrayError: the shapes differ, or they are rows of one mask.
    """
    if any(np.ndim(mask) < 2 for mask in masks):
        raise ArrayError(
            f"found masks of shape {np.shape(masks[0])}; expected (H, W) or (D, H, W) each: a list of masks"
        )
    if len(masks) < 2:
        return math.nan
    if len({np.shape(mask) for mask in masks}) > 1:
        raise ArrayError(f"the masks have the shapes {sorted({np.shape(mask) for mask in masks})}; expected one")
    packed = np.stack([np.packbits(foreground(mask)) for mask in masks])
    sizes = np.bitwise_count(packed).sum(axis=1, dtype=np.int64)
    total = 0.0
    for number in range(len(masks) - 1):
        common = np.bitwise_count(packed[number + 1 :] & packed[number]).sum(axis=1, dtype=np.int64)
        both = sizes[number + 1 :] + sizes[number]
        total += float(np.sum(1.0 - np.where(both > 0, 2 * common / np.maximum(both, 1), 1.0)))
    return total / (len(masks) * (len(masks) - 1) / 2)


def _arms(lines: Mask, knots: NDArray[np.int32], name: int, centre: Floats, reach: float) -> list[Floats]:
    """Unit vectors (D,) along the arms of one fork that reach far enough; none if one of them forks again."""
    grid = np.moveaxis(np.indices(lines.shape), 0, -1) - centre
    away = np.linalg.norm(grid, axis=-1)
    near = lines & (away <= reach)
    box = np.ones((3,) * lines.ndim, np.bool_)
    pieces, number = ndimage.label(near & (knots != name), structure=box)
    beside = ndimage.binary_dilation(knots == name, structure=box)
    arms = []
    for piece in range(1, number + 1):
        arm = pieces == piece
        if not (arm & beside).any() or away[arm].max() < reach - 1.5:
            continue
        if knots[arm].any():
            return []
        places = grid[arm]
        middle = places.mean(axis=0)
        direction = np.linalg.svd(places - middle, full_matrices=False)[2][0]
        arms.append(direction if direction @ middle > 0 else -direction)
    return arms
