"""What every metric asks of its arrays: equal shapes, foreground as booleans, and only what lies in the region.

A mask in memory is bool, or 0 and 1. One of 0 and 255, of class numbers or of probabilities is refused with a sentence
instead of being read as "whatever is not zero".
"""

from __future__ import annotations

import math
from collections.abc import Iterable

import numpy as np
from numpy.typing import ArrayLike, NDArray

from scantling.core.checks import binary, numbers, spatial_axis
from scantling.core.errors import ArrayError

Mask = NDArray[np.bool_]
Scores = NDArray[np.floating]


def foreground(mask: ArrayLike) -> Mask:
    """`mask`, bool or 0 and 1, as contiguous booleans.

    Raises:
        ArrayError: other values: 255, several class numbers, probabilities, NaN.
    """
    return np.ascontiguousarray(binary(mask, "a mask"))


def spatial(mask: ArrayLike, spatial_dims: int | None) -> Mask:
    """`foreground` as (H, W) or (D, H, W), without the axis of its one channel.

    Raises:
        ArrayError: the shape has two readings and `spatial_dims` is not said, or it does not fit; see `foreground`.
    """
    whole = foreground(mask)
    axis = spatial_axis(whole.shape, spatial_dims)
    return whole if axis is None else whole.squeeze(axis)


def masks_inside(prediction: ArrayLike, truth: ArrayLike, region: ArrayLike | None) -> tuple[Mask, Mask]:
    """Both masks as booleans of one shape, emptied outside `region`.

    Raises:
        ArrayError: the shapes differ, there is no pixel to compare, or a mask holds other values than 0 and 1.
    """
    first, second = foreground(prediction), foreground(truth)
    inside = _checked_region(first, second, region)
    return (first, second) if inside is None else (first & inside, second & inside)


def pixels_inside(probability: ArrayLike, truth: ArrayLike, region: ArrayLike | None) -> tuple[Scores, Mask]:
    """Probabilities and truth of the pixels in `region` as flat arrays `(N,)`.

    Raises:
        ArrayError: the shapes differ, there is no pixel to compare, or a probability is not a number.
    """
    scores, positive = np.ascontiguousarray(numbers(probability, "the probabilities")), foreground(truth)
    inside = _checked_region(scores, positive, region)
    if not np.issubdtype(scores.dtype, np.floating):
        scores = scores.astype(np.float64)
    scores, positive = (scores.ravel(), positive.ravel()) if inside is None else (scores[inside], positive[inside])
    if np.isnan(scores).any():
        raise ArrayError("the probabilities hold NaN; expected a number at every pixel")
    return scores, positive


def bounding_box(mask: Mask) -> tuple[slice, ...] | None:
    """The smallest box of slices that holds all foreground; None if there is none."""
    box = []
    for axis in range(mask.ndim):
        others = tuple(other for other in range(mask.ndim) if other != axis)
        filled = np.flatnonzero(mask.any(axis=others))
        if not filled.size:
            return None
        box.append(slice(int(filled[0]), int(filled[-1]) + 1))
    return tuple(box)


def _checked_region(first: NDArray[np.generic], second: Mask, region: ArrayLike | None) -> Mask | None:
    if first.shape != second.shape:
        raise ArrayError(f"the arrays have shapes {first.shape} and {second.shape}; expected one shape")
    inside = None if region is None else foreground(region)
    if inside is not None and inside.shape != first.shape:
        raise ArrayError(f"the region has shape {inside.shape}; expected {first.shape}")
    if not first.size or (inside is not None and not inside.any()):
        raise ArrayError("there is no pixel to compare; expected at least one inside the region")
    return inside


def mean_of_defined(values: Iterable[float]) -> float:
    """The mean of the values that are not NaN; NaN if there is none."""
    defined = [value for value in values if not math.isnan(value)]
    return math.fsum(defined) / len(defined) if defined else math.nan
