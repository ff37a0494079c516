"""Two thresholds: what is probable is kept, and what is possible is kept where it touches that."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from scantling.core.checks import binary, check_count, check_number, probabilities
from scantling.core.errors import ArrayError, SettingsError

Mask = NDArray[np.bool_]


def hysteresis(probability: NDArray[np.floating], *, high: float = 0.5, low: float = 0.3) -> Mask:
    """The dual-threshold iteration of FR-UNet (Liu et al., 2022) at its limit, in one pass and in any dimension.

    Published as: V = {u > high}, then V <- neighbours(V) ∩ {u > low} until nothing changes, neighbours at corners
    included (8 in 2-D, 26 in 3-D). What comes out are the connected pieces of {u > low} that hold a pixel of
    {u > high}, and so they are labelled once and chosen. scikit-image's `apply_hysteresis_threshold` is the same
    with neighbours at edges only. (The authors' fast version starts from the low threshold and so only thresholds.)

    Args:
        probability: (*S) in [0, 1].
        high: in [0, 1]; a pixel above it is foreground.
        low: in [0, `high`]; a pixel above it is foreground if it is joined to one above `high`.

    Raises:
        SettingsError: a threshold lies outside [0, 1], or `low` is above `high`.
        ArrayError: the map has neither two nor three axes, or holds other values than probabilities.
    """
    for value, argument in ((high, "high"), (low, "low")):
        check_number(value, argument=argument, least=0, most=1)
    return joined(probabilities(probability, "the map"), high=high, low=low)


def joined(values: NDArray[np.floating], *, high: float, low: float) -> Mask:
    """The same of values in any range, such as the response of a filter.

    Raises:
        SettingsError: `low` is above `high`.
        ArrayError: the map has neither two nor three axes.
    """
    if values.ndim not in (2, 3):
        raise ArrayError(f"found a map of shape {values.shape}; expected (H, W) or (D, H, W)")
    if not low <= high:
        raise SettingsError(f"the low threshold {low:g} is above the high one {high:g}")
    certain = values > high
    pieces, number = _pieces(values > low)
    chosen = np.zeros(number + 1, np.bool_)
    chosen[pieces[certain]] = True
    return chosen[pieces]


def drop_small(mask: Mask, size: int) -> Mask:
    """The mask without its pieces of fewer than `size` pixels, neighbours at corners included.

    Args:
        mask: (*S), bool or 0 and 1.
        size: whole number of pixels from 0.

    Returns:
        (*S) bool.

    Raises:
        SettingsError: `size` is no whole number from 0.
        ArrayError: the mask has neither two nor three axes, or holds other values than 0 and 1.
    """
    check_count(size, argument="size")
    mask = binary(mask, "the mask")
    if mask.ndim not in (2, 3):
        raise ArrayError(f"found a mask of shape {mask.shape}; expected (H, W) or (D, H, W)")
    if size <= 1:
        return mask.copy()
    pieces, number = _pieces(mask)
    kept = np.bincount(pieces.reshape(-1), minlength=number + 1) >= size
    kept[0] = False
    return kept[pieces]


def _pieces(mask: Mask) -> tuple[NDArray[np.int32], int]:
    pieces, number = ndimage.label(mask, structure=np.ones((3,) * mask.ndim, np.bool_))
    return pieces, int(number)
