"""Horizontal and vertical maps of objects, and the energy watershed that finds the objects again (HoVer-Net).

Graham et al., "HoVer-Net: simultaneous segmentation and classification of nuclei in multi-tissue histology images",
Medical Image Analysis 58, 2019, sections 3.1 and 3.2; sizes of kernels as in the authors' code, which the paper does
not name.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import ndimage
from skimage.morphology import disk
from skimage.segmentation import watershed

from scantling.core.errors import ArrayError

Floats = NDArray[np.floating[Any]]
Map = NDArray[np.int32]


def hover_maps(instances: ArrayLike) -> NDArray[np.float32]:
    """The horizontal and the vertical map of an instance map: how far right of, and below, its object's centre of mass
    a pixel lies.

    Of each object the positive distances are divided by the largest of them, the negative ones by the least, so that
    both sides end at 1 and -1; background and pixels straight above, below or beside the centre are 0. The centre is
    not rounded, as it is in the authors' code: so the maps of a turned picture are the turned maps (`signed_turn`).

    Args:
        instances: (H, W) whole numbers, 0 background.

    Returns:
        (2, H, W) in [-1, 1], horizontal and vertical.

    Raises:
        ArrayError: another shape, or numbers that are not whole.
    """
    numbers = _whole_numbers(instances)
    found = np.zeros((2, *numbers.shape), np.float32)
    places = np.nonzero(numbers)
    if not len(places[0]):
        return found
    values, which = np.unique(numbers[places], return_inverse=True)
    sizes = np.bincount(which)
    for map_, axis in zip(found, (1, 0), strict=True):
        along = places[axis].astype(np.int64)
        sums = np.zeros(len(values), np.int64)
        np.add.at(sums, which, along)
        offset = along * sizes[which] - sums[which]  # exact: the distance to the centre, times the pixels of the object
        furthest = np.zeros((2, len(values)), np.int64)  # to the left, to the right
        np.maximum.at(furthest[0], which, -offset)
        np.maximum.at(furthest[1], which, offset)
        map_[places] = offset / np.where(offset < 0, furthest[0][which], furthest[1][which]).clip(min=1)
    return found


def signed_turn(maps: ArrayLike, *, quarters: int = 0, mirror: bool = False) -> Floats:
    """Horizontal and vertical maps of a picture that is turned, from those of the picture as it was.

    A mirror negates the horizontal map; a quarter turn exchanges the two, and the sign of one.

    Args:
        maps: (..., 2, H, W), horizontal and vertical.
        quarters: turns by 90 degrees, as `numpy.rot90` turns the last two axes: counter-clockwise.
        mirror: whether left and right are exchanged before the turns.

    Returns:
        (..., 2, H, W), or (..., 2, W, H) after an odd number of turns.
    """
    maps = np.asarray(maps)
    horizontal, vertical = maps[..., 0, :, :], maps[..., 1, :, :]
    if mirror:
        horizontal, vertical = -horizontal[..., ::-1], vertical[..., ::-1]
    for _ in range(quarters % 4):  # what pointed right points up, what pointed down points right
        horizontal, vertical = (np.rot90(each, axes=(-2, -1)) for each in (vertical, -horizontal))
    return np.stack([horizontal, vertical], axis=-3)


def hover_instances(
    inside: ArrayLike,
    maps: ArrayLike,
    *,
    threshold: float = 0.5,
    edge: float = 0.4,
    kernel: int = 21,
    opening: int = 2,
    smallest: int = 10,
    keep_unmarked: bool = True,
) -> Map:
    """Objects from a foreground map and horizontal and vertical maps: S_m = max(H_x(h), H_y(v)), markers
    σ(τ(q) - τ(S_m)), energy [1 - τ(S_m)] τ(q), and the watershed of it from the markers.

    Gradients and their edges are scaled to [0, 1] over the picture, as in the authors' code. Steps: pieces of the
    foreground of fewer than `smallest` pixels go; markers are what remains of it without edges, filled, opened, and not
    smaller than that; the watershed runs on the negative distance, smoothed, inside the foreground. The opening takes a
    disc, which looks the same after a quarter turn; the authors' ellipse does not.

    Args:
        inside: (H, W) probability of an object, or bool.
        maps: (2, H, W), horizontal and vertical.
        threshold: above which a pixel is foreground.
        edge: from which on, in [0, 1], the energy is an edge between objects.
        kernel: odd side of the Sobel kernel.
        opening: radius of the disc that opens the markers.
        smallest: pixels of a piece of the foreground, and of a marker.
        keep_unmarked: whether a piece of the foreground in which no marker is left, because it is small, is an object
            (ours); else it is background, as in the authors' code.

    Returns:
        (H, W) int32, 0 background, objects from 1 without gaps.

    Raises:
        ArrayError: shapes that do not fit each other, or an even kernel.
    """
    probability, maps = np.asarray(inside, np.float32), np.asarray(maps, np.float64)
    if probability.ndim != 2 or maps.shape != (2, *probability.shape):
        raise ArrayError(
            f"found a foreground of shape {probability.shape} and maps of shape {maps.shape}; expected (H, W) and "
            "(2, H, W)"
        )
    if kernel < 3 or kernel % 2 == 0:
        raise ArrayError(f"found a Sobel kernel of {kernel}; expected an odd number of 3 or more")
    foreground = without_small(_components(probability > threshold), smallest) > 0
    if not foreground.any():
        return np.zeros(foreground.shape, np.int32)
    edges = [1 - _unit(_sobel(_unit(map_), axis, kernel)) for map_, axis in zip(maps, (1, 0), strict=True)]
    energy = np.where(foreground, np.maximum(*edges), 0)
    distance = np.where(foreground, 1 - energy, 0)
    for axis in (0, 1):
        distance = ndimage.correlate1d(distance, np.array([0.25, 0.5, 0.25]), axis, mode="mirror")
    inner = ndimage.binary_fill_holes(foreground & (energy < edge))
    markers = without_small(_components(ndimage.binary_opening(inner, disk(opening))), smallest)
    if keep_unmarked:
        pieces = _components(foreground)
        marked = np.isin(pieces, np.unique(pieces[markers > 0]))
        markers = np.where(marked, markers, np.where(foreground, pieces + markers.max(), 0))
    return consecutive(watershed(-distance, markers, mask=foreground))


def without_small(pieces: Map, smallest: int) -> Map:
    """A map of pieces (*S) from which those of fewer pixels than `smallest` have gone to background."""
    few = np.bincount(pieces.ravel()) < smallest
    few[0] = False
    return np.where(few[pieces], 0, pieces).astype(np.int32)


def consecutive(instances: NDArray[np.integer[Any]]) -> Map:
    """An instance map (*S) whose objects are numbered from 1 without gaps, in their order; 0 stays background."""
    values, which = np.unique(instances, return_inverse=True)
    numbers = which.reshape(instances.shape)
    return (numbers if values[0] == 0 else numbers + 1).astype(np.int32)


def _whole_numbers(instances: ArrayLike) -> NDArray[np.integer[Any]]:
    numbers = np.asarray(instances)
    if numbers.ndim != 2 or numbers.dtype.kind not in "iub":
        raise ArrayError(
            f"found an instance map of shape {numbers.shape} and type {numbers.dtype}; expected (H, W) whole numbers"
        )
    return numbers


def _components(mask: NDArray[np.bool_]) -> Map:
    return np.asarray(ndimage.label(mask)[0], np.int32)


def _unit(values: Floats) -> Floats:
    """Values scaled to [0, 1]; zeros where all are the same."""
    low, high = values.min(), values.max()
    return np.zeros_like(values) if high <= low else (values - low) / (high - low)


def _sobel(values: Floats, axis: int, size: int) -> Floats:
    """The derivative along an axis by a Sobel kernel of a size: binomials, of which one factor is a difference."""
    smooth, rise = np.ones(1), np.array([-1.0, 1.0])
    for _ in range(size - 2):
        smooth = np.convolve(smooth, [0.5, 0.5])
    along = ndimage.correlate1d(values, np.convolve(smooth, rise), axis, mode="mirror")
    return ndimage.correlate1d(along, np.convolve(smooth, [0.5, 0.5]), 1 - axis, mode="mirror")
