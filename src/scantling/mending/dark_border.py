"""Where an image begins: the dark frame that a camera's round field or a shutter leaves, found without a label."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import ndimage

from scantling.core.checks import check_number, numbers
from scantling.core.errors import ArrayError

Mask = NDArray[np.bool_]
DARK = 0.1
"""A pixel is dark below this part of the way from the 1st to the 99th percentile; ours."""
LEAST = 0.25
"""Where a smaller part than this would be left, what is dark is no frame but the picture itself; ours."""


def inside_dark_border(image: ArrayLike, *, thin: float) -> Mask:
    """The region of interest of an image: all but what is dark, thick and joined to the border of the picture.

    Args:
        image: (*S), one channel in any units.
        thin: pixels; what is dark and no wider is no frame but a vessel that runs out of the picture.

    Returns:
        (*S) bool: the largest piece of the rest; everything where there is no frame.

    Raises:
        SettingsError: `thin` is not positive.
        ArrayError: the image has neither two nor three axes, or is not finite.
    """
    check_number(thin, argument="thin", above=0)
    values = numbers(image, "the image").astype(np.float64)
    if values.ndim not in (2, 3) or not values.size or not np.isfinite(values).all():
        raise ArrayError(f"found an image of shape {values.shape}; expected finite numbers (H, W) or (D, H, W)")
    low, high = (float(value) for value in np.percentile(values, (1, 99)))  # one odd pixel is neither
    dark = values < low + DARK * (high - low)
    margin = math.ceil(thin) + 1
    thick = _opened(np.pad(dark, margin, mode="edge"), thin / 2)  # a frame goes on beyond the picture
    thick = thick[(slice(margin, -margin),) * dark.ndim]
    pieces, _ = ndimage.label(thick)
    frame = np.isin(pieces, np.setdiff1d(_on_border(pieces), [0]))
    rest, number = ndimage.label(~frame)
    if number == 0:
        return np.ones(dark.shape, np.bool_)
    sizes = np.bincount(rest.ravel())[1:]
    region = rest == 1 + int(sizes.argmax())
    return np.asarray(region if region.mean() >= LEAST else np.ones_like(region))


def _opened(mask: Mask, radius: float) -> Mask:
    """What a ball that stays inside the mask can reach."""
    if mask.all() or not mask.any():
        return mask
    centres = ndimage.distance_transform_edt(mask) > radius
    if not centres.any():
        return centres
    return np.asarray(ndimage.distance_transform_edt(~centres) <= radius)


def _on_border(pieces: NDArray[np.int32]) -> NDArray[np.int32]:
    """The numbers of the pieces that reach the first or the last of any axis."""
    ends = [np.take(pieces, place, axis=axis).ravel() for axis in range(pieces.ndim) for place in (0, -1)]
    return np.unique(np.concatenate(ends))
