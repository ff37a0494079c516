"""How far the borders of two masks lie apart."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import ndimage
from scipy.spatial import cKDTree

from scantling.core.checks import numbers
from scantling.core.errors import ArrayError
from scantling.core.pieces import LARGE
from scantling.metrics.arrays import Mask, bounding_box, masks_inside, spatial

TOLERANCE = 2.0
"""How far borders may lie apart in the normalised surface Dice: mm, or pixels where their size is not known; ours."""


@dataclass(frozen=True)
class SurfaceDistances:
    """The distance from every border pixel of each mask to the nearest border pixel of the other.

    If the prediction alone is empty there is no such distance. Leaving the case out would reward whoever misses a
    structure altogether, and 0 would crown it; so both distances are then `worst`, the diagonal of the image, which no
    pair of masks can exceed. If the truth is empty there is no structure to be near to, and they are NaN.
    """

    from_prediction: NDArray[np.float64]
    from_truth: NDArray[np.float64]
    worst: float

    @cached_property
    def hd95(self) -> float:
        """The larger of the two directed 95th percentiles (Huttenlocher et al., 1993, ranked).

        Not the percentile of both sets pooled, in which a long border hides what a short one misses.
        """
        if not self._both:
            return self._without
        return float(max(np.percentile(self.from_prediction, 95), np.percentile(self.from_truth, 95)))

    @cached_property
    def assd(self) -> float:
        """The mean over the distances of both borders together (Heimann et al., 2009)."""
        if not self._both:
            return self._without
        total = self.from_prediction.sum() + self.from_truth.sum()
        return float(total / (self.from_prediction.size + self.from_truth.size))

    @cached_property
    def nsd(self) -> float:
        """The share of both borders that lies within `TOLERANCE` of the other: the normalised surface Dice.

        Nikolov et al. (2021), over border pixels as MONAI counts them. 0 if the prediction alone is empty, NaN if the
        truth is.
        """
        if not self._both:
            return 0.0 if self.from_truth.size else math.nan
        near = np.count_nonzero(self.from_prediction <= TOLERANCE) + np.count_nonzero(self.from_truth <= TOLERANCE)
        return float(near / (self.from_prediction.size + self.from_truth.size))

    @property
    def _both(self) -> bool:
        return bool(self.from_prediction.size and self.from_truth.size)

    @property
    def _without(self) -> float:
        return self.worst if self.from_truth.size else math.nan


def surface_distances(
    prediction: ArrayLike,
    truth: ArrayLike,
    *,
    spatial_dims: int | None = None,
    spacing: Sequence[float] | None = None,
    region: ArrayLike | None = None,
) -> SurfaceDistances:
    """How far the borders of two masks `(*S)`, bool or 0 and 1, lie apart; both are emptied outside `region` `(*S)`.

    A border pixel is a foreground pixel with a background neighbour across a side (4 in 2-D, 6 in 3-D); what lies
    beyond the image is background. Distances are between pixel centres.

    Args:
        spatial_dims: 2 or 3, for masks (1, H, W), which have two readings; it follows from other shapes.
        spacing: the distance between neighbours along each axis, whose unit the results have; 1 if not given.

    Raises:
        ArrayError: the shapes differ or have two readings, there is no pixel to compare, a mask holds other values, or
            the spacing is not one positive number per axis.

    Example:
        >>> import numpy as np
        >>> from scantling.metrics import surface_distances
        >>> true, found = np.zeros((8, 8), bool), np.zeros((8, 8), bool)
        >>> true[2:4], found[4:6] = True, True
        >>> surface_distances(found, true, spacing=(0.5, 0.5)).hd95
        1.0
    """
    predicted, true = (spatial(mask, spatial_dims) for mask in masks_inside(prediction, truth, region))
    steps = np.ones(predicted.ndim) if spacing is None else numbers(spacing, "the spacing").astype(np.float64)
    if steps.shape != (predicted.ndim,) or not np.isfinite(steps).all() or (steps <= 0).any():
        raise ArrayError(f"the spacing is {spacing}; expected {predicted.ndim} positive numbers")
    worst = float(np.linalg.norm((np.array(predicted.shape) - 1) * steps))
    box = bounding_box(predicted | true)
    if box is None:
        return SurfaceDistances(np.zeros(0), np.zeros(0), worst)
    borders = _border(predicted[box]), _border(true[box])
    return SurfaceDistances(_distances(*borders, steps), _distances(*borders[::-1], steps), worst)


def _border(mask: Mask) -> Mask:
    """The foreground pixels that an erosion across sides would remove."""
    inner = np.pad(mask, 1)
    kept = mask.copy()
    for axis in range(mask.ndim):
        for shift in (slice(None, -2), slice(2, None)):
            kept &= inner[tuple(shift if other == axis else slice(1, -1) for other in range(mask.ndim))]
    return mask & ~kept


def _distances(start: Mask, goal: Mask, steps: NDArray[np.float64]) -> NDArray[np.float64]:
    """From every pixel of `start` to the nearest of `goal`: only those pixels, though the transform covers the box."""
    if not start.any() or not goal.any():
        return np.zeros(int(np.count_nonzero(start)))
    pixels = np.nonzero(start)
    if goal.size > LARGE:  # the transform would take several times the image
        there = np.argwhere(goal)
        _, found = cKDTree(there * steps).query(np.stack(pixels, 1) * steps)
        return np.asarray(np.linalg.norm((there[found] - np.stack(pixels, 1)) * steps, axis=1))
    nearest = ndimage.distance_transform_edt(~goal, sampling=steps, return_distances=False, return_indices=True)
    squares = ((nearest[axis][pixels] - pixels[axis]) * steps[axis] for axis in range(start.ndim))
    return np.sqrt(sum(square**2 for square in squares))
