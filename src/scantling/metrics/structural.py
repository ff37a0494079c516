"""How alike two images look: SSIM and its several scales, also of small images, and of the slices of one volume."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from scantling.core.checks import check_number, numbers
from scantling.core.errors import ArrayError

WEIGHTS = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)
"""Of the scales, from the finest (Wang, Simoncelli and Bovik, 2003)."""
K1, K2 = 0.01, 0.03
WINDOWS = (11, 9, 7, 5, 3)
"""Sides of the Gaussian window; the first is the published one, with a deviation of 1.5 pixels."""
FEWEST = 3
"""Scales that a smaller window is taken for; ours."""

Floats = NDArray[np.floating[Any]]


@dataclass(frozen=True)
class Scales:
    """How images of one shape are compared.

    Attributes:
        window: side of the Gaussian window, whose deviation is 1.5 / 11 of it.
        weights: of the scales from the finest, each half as large as the one before; they sum to 1.
    """

    window: int
    weights: tuple[float, ...]


def scales_of(shape: Sequence[int]) -> Scales:
    """The window and the scales that images of a shape (*S) allow.

    The coarsest scale is no smaller than the window. The published window of 11 and five scales need sides of 176; of
    smaller images fewer scales are compared, whose weights are divided by their sum, and where these would be fewer
    than three, the window shrinks to 9, 7, 5 or 3 (ours).

    Raises:
        ArrayError: a side is below 3.
    """
    shortest = min(shape, default=0)
    if shortest < WINDOWS[-1]:
        raise ArrayError(f"an image of shape {tuple(shape)} has a side below {WINDOWS[-1]}; SSIM has no window for it")
    counts = {window: sum(shortest >> scale >= window for scale in range(len(WEIGHTS))) for window in WINDOWS}
    enough = [window for window, count in counts.items() if count >= FEWEST]
    window = enough[0] if enough else max(counts, key=lambda each: (counts[each], each))
    some = WEIGHTS[: counts[window]]
    return Scales(window, tuple(weight / sum(some) for weight in some))


def ms_ssim(one: Any, other: Any, *, data_range: float = 1.0) -> float:
    """Multi-scale structural similarity of two images: Π cs_j^w_j · ssim_M^w_M over the scales; 1 if they are equal.

    Means over windows and channels; a negative mean counts as 0. Between scales 2 × 2 pixels are averaged. See
    `scales_of` for windows and scales.

    Args:
        one, other: (C, *S), two or three spatial axes.
        data_range: the greatest value less the least that images can have.

    Raises:
        ArrayError: the shapes differ or are too small, or a value is not finite.

    Reference: Wang, Simoncelli and Bovik, Multiscale structural similarity (2003), equation 7.
    """
    first, second = _images(one, other)
    check_number(data_range, argument="data_range", above=0)
    scales, product = scales_of(first.shape[1:]), 1.0
    for number, weight in enumerate(scales.weights):
        if number:
            first, second = _halved(first), _halved(second)
        ssim, contrast = _compared(first, second, scales.window, data_range)
        last = number == len(scales.weights) - 1
        product *= max(float(ssim if last else contrast), 0.0) ** weight
    return product


def ssim(one: Any, other: Any, *, data_range: float = 1.0) -> float:
    """Structural similarity of two images, the mean over windows that lie inside; 1 if they are equal.

    Args, raises: as of `ms_ssim`. The window is 11 pixels wide, of smaller images as wide as they allow.

    Reference: Wang, Bovik, Sheikh and Simoncelli, Image quality assessment (2004), equation 13.
    """
    first, second = _images(one, other)
    check_number(data_range, argument="data_range", above=0)
    scales_of(first.shape[1:])
    window = next(each for each in WINDOWS if each <= min(first.shape[1:]))
    return float(_compared(first, second, window, data_range)[0])


def slice_consistency(volume: Any, *, axis: int = 0, data_range: float = 1.0) -> float:
    """The mean SSIM of neighbouring slices of a volume; NaN of a single slice.

    Args:
        volume: (C, D, H, W).
        axis: of the spatial axes, the one that slices are stacked along.
        data_range: as of `ms_ssim`.

    Raises:
        ArrayError: it is no volume, or a slice is too small.
    """
    array = numbers(volume, "the volume")
    if array.ndim != 4:
        raise ArrayError(f"the volume has the shape {array.shape}; expected (C, D, H, W)")
    slices = np.moveaxis(array, 1 + axis, 0)
    found = [ssim(one, other, data_range=data_range) for one, other in itertools.pairwise(slices)]
    return float(np.mean(found)) if found else float("nan")


def _images(one: Any, other: Any) -> tuple[Floats, Floats]:
    first, second = numbers(one, "the first image"), numbers(other, "the second image")
    if first.shape != second.shape or first.ndim not in (3, 4):
        raise ArrayError(
            f"the images have shapes {first.shape} and {second.shape}; expected one shape (C, H, W) or (C, D, H, W)"
        )
    if not (np.isfinite(first).all() and np.isfinite(second).all()):
        raise ArrayError("an image holds NaN or infinity; expected a number at every pixel")
    return first.astype(np.float64), second.astype(np.float64)


def _compared(one: Floats, other: Floats, window: int, data_range: float) -> tuple[Floats, Floats]:
    """The mean structural similarity and the mean of its contrast and structure alone."""
    c1, c2 = (K1 * data_range) ** 2, (K2 * data_range) ** 2
    mean_one, mean_other = _smooth(one, window), _smooth(other, window)
    squares, product = mean_one**2 + mean_other**2, mean_one * mean_other
    variances = _smooth(one**2 + other**2, window) - squares
    covariance = _smooth(one * other, window) - product
    contrast = (2 * covariance + c2) / (variances + c2)
    return ((2 * product + c1) / (squares + c1) * contrast).mean(), contrast.mean()


def _smooth(image: Floats, window: int) -> Floats:
    """Means under a Gaussian window, where it lies inside the image (C, *S)."""
    half, sigma = window // 2, 1.5 * window / WINDOWS[0]
    kernel = np.exp(-0.5 * (np.arange(-half, half + 1) / sigma) ** 2)
    for axis in range(1, image.ndim):
        inside = (slice(None),) * axis + (slice(half, image.shape[axis] - half),)
        image = ndimage.correlate1d(image, kernel / kernel.sum(), axis=axis)[inside]
    return image


def _halved(image: Floats) -> Floats:
    """Means of 2 × 2 (× 2) pixels (C, *S); a last odd one is left out."""
    for axis in range(1, image.ndim):
        even = image.shape[axis] // 2 * 2
        before = (slice(None),) * axis
        image = (image[(*before, slice(0, even, 2))] + image[(*before, slice(1, even, 2))]) / 2
    return image
