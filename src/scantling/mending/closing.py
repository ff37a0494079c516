"""Closing a mask by the level sets of its distance function, which knows no direction: a rival of diffusion."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from scantling.core.checks import binary, check_number
from scantling.core.errors import ArrayError

Mask = NDArray[np.bool_]


def closed(mask: Mask, radius: float) -> Mask:
    """The mask grown by `radius`, {d <= r} for the distance d to it, and shrunk by as much: gaps of up to 2 r close.

    A closing by a ball of any radius (Serra, 1982), through two distance transforms. Beyond the border of the image
    all is background.

    Args:
        mask: (*S), bool or 0 and 1.
        radius: in pixels, at least 0.

    Returns:
        (*S) bool, which holds all of the mask.

    Raises:
        SettingsError: the radius is below 0 or no number.
        ArrayError: the mask has neither two nor three axes, or holds other values than 0 and 1.

    Example:
        >>> import numpy as np
        >>> from scantling.mending.closing import closed
        >>> line = np.zeros((9, 30), bool)
        >>> line[4, :12] = line[4, 15:] = True
        >>> bool(closed(line, 2)[4].all()), int(closed(line, 2).sum())
        (True, 30)
    """
    check_number(radius, argument="radius", least=0)
    mask = binary(mask, "the mask")
    if mask.ndim not in (2, 3):
        raise ArrayError(f"found a mask of shape {mask.shape}; expected (H, W) or (D, H, W)")
    if not mask.any():
        return mask.copy()
    margin = math.ceil(radius) + 1
    grown = ndimage.distance_transform_edt(~np.pad(mask, margin)) <= radius
    shrunk: Mask = ndimage.distance_transform_edt(grown) > radius
    return shrunk[(slice(margin, -margin),) * mask.ndim]
