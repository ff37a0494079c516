"""Closing a mask by the level sets of its distance function, which knows no direction: a rival of diffusion."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from scantling.core.checks import binary, check_number
from scantling.core.errors import ArrayError

Mask = NDArray[np.bool_]
LONGEST = 64
"""A radius that any image may have; else it is at most as long as the image, around which so much is looked at."""


def closed(mask: Mask, radius: float) -> Mask:
    """The mask grown by `radius`, {d <= r} for the distance d to it, and shrunk by as much.

    A closing by a ball of any radius (Serra, 1982), through two distance transforms: what no ball reaches that stays
    clear of the mask is filled. So gaps of up to 2 r close between thick parts. Into that of a tube of width w < 2 r
    the ball comes from the sides: gaps below sqrt(4 r w - w²) close, and in lines of one or two pixels hardly any.
    Beyond the border of the image all is background.

    Args:
        mask: (*S), bool or 0 and 1.
        radius: in pixels, at least 0.

    Returns:
        (*S) bool, which holds all of the mask.

    Raises:
        SettingsError: the radius is below 0, no number, or longer than 64 pixels and the longest side of the image.
        ArrayError: the mask has neither two nor three axes, or holds other values than 0 and 1.

    Example:
        >>> import numpy as np
        >>> from scantling.mending.closing import closed
        >>> broken = np.zeros((15, 30), bool)
        >>> broken[5:10, :12] = broken[5:10, 16:] = True
        >>> bool(closed(broken, 2)[7].all()), int(closed(broken, 2)[:, 13].sum())
        (True, 1)
    """
    mask = binary(mask, "the mask")
    if mask.ndim not in (2, 3):
        raise ArrayError(f"found a mask of shape {mask.shape}; expected (H, W) or (D, H, W)")
    check_number(radius, argument="radius", least=0, most=max(LONGEST, *mask.shape))
    if not mask.any():
        return mask.copy()
    margin = math.ceil(radius) + 1
    grown = ndimage.distance_transform_edt(~np.pad(mask, margin)) <= radius
    shrunk: Mask = ndimage.distance_transform_edt(grown) > radius
    return shrunk[(slice(margin, -margin),) * mask.ndim]
