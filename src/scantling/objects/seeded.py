"""Objects that grow from seeds inside a foreground, and the two plain maps that networks learn seeds from."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import ndimage
from skimage.segmentation import watershed

from scantling.core.errors import ArrayError
from scantling.metrics.instance_overlaps import renumbered

Floats = NDArray[np.floating[Any]]
Bool = NDArray[np.bool_]
Map = NDArray[np.int32]


def rim_map(instances: ArrayLike, *, width: int) -> Bool:
    """The pixels (H, W) of objects that are at most `width` steps along the axes away from what is not their object.

    The border of the picture is no rim: an object that it cuts goes on there.

    Raises:
        ArrayError: the instance map is not (H, W) of whole numbers.
    """
    inside = np.array(whole_numbers(instances), np.int64)
    plus, rim = ndimage.generate_binary_structure(2, 1), np.zeros(inside.shape, np.bool_)
    for _ in range(width):
        low, high = (
            edge(inside, footprint=plus, mode="nearest") for edge in (ndimage.minimum_filter, ndimage.maximum_filter)
        )
        new = (inside > 0) & (low != high)
        rim |= new
        inside[new] = -1
    return rim


def between_map(instances: ArrayLike, *, reach: int) -> Bool:
    """The pixels (H, W) within `reach` pixels, along both axes, of two objects or more: where objects touch or nearly.

    Raises:
        ArrayError: the instance map is not (H, W) of whole numbers.
    """
    numbers = np.array(whole_numbers(instances), np.int64)
    side, none = 2 * reach + 1, int(numbers.max(initial=0)) + 1
    least = ndimage.minimum_filter(np.where(numbers > 0, numbers, none), side, mode="nearest")
    return np.asarray((least < none) & (ndimage.maximum_filter(numbers, side, mode="nearest") != least))


def distance_map(instances: ArrayLike) -> NDArray[np.float32]:
    """How far inside its object a pixel lies, (H, W): the distance to its rim, over the largest of the object.

    1 is the middle of an object, 0 the background. The border of the picture is no rim.

    Raises:
        ArrayError: the instance map is not (H, W) of whole numbers.
    """
    numbers, _ = renumbered(whole_numbers(instances))
    if not numbers.any():
        return np.zeros(numbers.shape, np.float32)
    rim = rim_map(numbers, width=1)
    distance = ndimage.distance_transform_edt(~rim) + 1 if rim.any() else np.ones(numbers.shape)
    most = np.ones(int(numbers.max()) + 1)
    np.maximum.at(most, numbers.ravel(), distance.ravel())
    return np.where(numbers > 0, distance / most[numbers], 0).astype(np.float32)


def seeded_instances(
    inside: ArrayLike,
    seeds: ArrayLike,
    *,
    threshold: float = 0.5,
    level: float = 0.5,
    smallest: int = 10,
    smallest_seed: int = 3,
    keep_unmarked: bool = True,
) -> Map:
    """Objects from a foreground map and a map of seeds: the watershed inside the foreground, from where seeds are.

    Args:
        inside: (H, W) probability of an object.
        seeds: (H, W) how sure it is that a pixel is in the middle of an object, in [0, 1].
        threshold: above which a pixel is foreground.
        level: above which a pixel of the foreground is part of a marker.
        smallest, smallest_seed: pixels of a piece of the foreground, and of a marker.
        keep_unmarked: see `grown`.

    Returns:
        (H, W) int32, 0 background, objects from 1 without gaps.

    Raises:
        ArrayError: the maps differ in shape.
    """
    probability, middle = np.asarray(inside, np.float32), np.asarray(seeds, np.float32)
    if probability.ndim != 2 or middle.shape != probability.shape:
        raise ArrayError(
            f"found a foreground of shape {probability.shape} and seeds of shape {middle.shape}; expected (H, W) twice"
        )
    foreground = without_small(components(probability > threshold), smallest) > 0
    markers = without_small(components(foreground & (middle > level)), smallest_seed)
    return grown(foreground, markers, -middle, keep_unmarked=keep_unmarked)


def grown(foreground: Bool, markers: Map, landscape: Floats, *, keep_unmarked: bool) -> Map:
    """Objects (H, W) that grow from markers inside a foreground by a watershed, where the landscape is low first.

    Args:
        markers: numbers of them, 0 where there is none.
        keep_unmarked: whether a piece of the foreground without a marker is an object; else it is background.

    Returns:
        int32, 0 background, objects from 1 without gaps.
    """
    if keep_unmarked:
        pieces = components(foreground)
        unmarked = foreground & ~np.isin(pieces, pieces[markers > 0])
        markers = np.where(unmarked, pieces + markers.max(initial=0), markers)
    return renumbered(watershed(landscape, markers, mask=foreground))[0]


def without_small(pieces: Map, smallest: int) -> Map:
    """A map of pieces (*S) from which those of fewer pixels than `smallest` have gone to background."""
    few = np.bincount(pieces.ravel()) < smallest
    few[0] = False
    return np.where(few[pieces], 0, pieces).astype(np.int32)


def components(mask: Bool) -> Map:
    """The pieces (*S) of a mask, from 1; corners do not count."""
    return np.asarray(ndimage.label(mask)[0], np.int32)


def whole_numbers(instances: ArrayLike) -> NDArray[np.integer[Any]]:
    """An instance map as an array.

    Raises:
        ArrayError: it is not (H, W) of whole numbers.
    """
    numbers = np.asarray(instances)
    if numbers.ndim != 2 or numbers.dtype.kind not in "iub":
        raise ArrayError(
            f"found an instance map of shape {numbers.shape} and type {numbers.dtype}; expected (H, W) whole numbers"
        )
    return numbers
