"""How thick the objects of each class are: inscribed circles and balls of the components of masks."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from scantling.core.case import Geometry, Labels, Unit
from scantling.core.pieces import LARGE
from scantling.core.samples import Thickness

MOST_PIXELS = 1 << 20
"""A class whose bounding box has more pixels is measured on every second, third, ... pixel of it."""


@dataclass(frozen=True)
class ObjectSizes:
    """The objects of one case.

    Attributes:
        unit: of the lengths.
        longest: the length of the longest side of the image.
        classes: (n, 3) float64 of each class, a row for each of its objects: thickness, local thickness, and size in
            pixels (what `object_rows` returns).
    """

    unit: Unit
    longest: float
    classes: tuple[np.ndarray, ...]


def object_sizes(mask: np.ndarray, labels: Labels | None, geometry: Geometry) -> ObjectSizes:
    """The objects of each class in the mask of a case, each class by itself.

    Args:
        mask: (1, *S) class numbers or (K, *S) of 0 and 1, as `Sample` holds it; `IGNORE` is of no class.
        labels: of the mask.
        geometry: its grid; lengths are in the unit of its spacing.
    """
    spacing = np.array(geometry.spacing, np.float64)
    longest = float((spacing * geometry.shape).max())
    steps = _steps(mask.shape[1:], spacing, LARGE)
    mask, spacing = mask[(slice(None), *(slice(None, None, step) for step in steps))], spacing * steps
    number, weight = len(labels.names) if labels else 0, math.prod(steps)
    if len(mask) == 1:
        boxes = ndimage.find_objects(mask[0], max_label=number)
        layers = [(mask[0], box, value) for value, box in enumerate(boxes, start=1)]
    else:
        layers = [(layer, ndimage.find_objects(layer, max_label=1)[0], 1) for layer in mask]
    none = np.zeros((0, 3))
    rows = (none if box is None else object_rows(layer[box] == value, spacing) for layer, box, value in layers)
    return ObjectSizes(geometry.unit, longest, tuple(row * (1, 1, weight) for row in rows))


def object_rows(mask: np.ndarray, spacing: np.ndarray) -> np.ndarray:
    """(n, 3) float64: thickness, local thickness and size in pixels of each component of a mask (*S) of bool.

    Thickness is twice the greatest distance of a pixel of the object to the nearest pixel outside, local thickness
    four times the mean distance to the border: the width of a tube, two thirds of the diameter of a disc (ours).
    Pixels that touch at a corner are connected; beyond the border of the array nothing belongs to an object. An array
    of more than `MOST_PIXELS` pixels is measured on every n-th of them along the axes with the finest spacing.

    Args:
        mask: the bounding box of a class.
        spacing: (D,).
    """
    steps = _steps(mask.shape, spacing, MOST_PIXELS)
    inside = np.pad(mask[tuple(slice(None, None, step) for step in steps)], 1)
    spacing = spacing * steps
    numbers, count = ndimage.label(inside, np.ones((3,) * mask.ndim))
    distance = ndimage.distance_transform_edt(inside, sampling=spacing)[inside]
    numbers = numbers[inside]
    pixels = np.bincount(numbers, minlength=count + 1)[1:]
    greatest = np.zeros(count + 1)
    np.maximum.at(greatest, numbers, distance)
    mean = np.bincount(numbers, distance, minlength=count + 1)[1:] / pixels
    # the border runs half a pixel before the nearest pixel outside
    local = 4 * (mean - spacing.min() / 2)
    return np.stack([2 * greatest[1:], local, pixels * math.prod(steps)], 1)


def thickness_of(found: Sequence[ObjectSizes], unit: Unit) -> tuple[Thickness | None, ...]:
    """The thickness of each class over cases, of which those with lengths in `unit` count; empty if there is none."""
    found = [one for one in found if one.unit == unit]
    return tuple(
        _of_class([(one.classes[number], one.longest) for one in found if len(one.classes[number])], of=len(found))
        for number in range(len(found[0].classes) if found else 0)
    )


def _of_class(cases: Sequence[tuple[np.ndarray, float]], *, of: int) -> Thickness | None:
    """The thickness of the objects of a class, from their rows and the longest side of each case that has any.

    Args:
        of: how many cases there are.
    """
    if not cases:
        return None
    thickness, local, _ = np.concatenate([rows for rows, _ in cases]).T
    weights = np.concatenate([rows[:, 2] / rows[:, 2].sum() for rows, _ in cases])
    number = float(np.median([rows[:, 2].sum() ** 2 / np.square(rows[:, 2]).sum() for rows, _ in cases]))
    shares = np.concatenate([rows[:, 0] / longest for rows, longest in cases])

    def percentile(values: np.ndarray, percent: float) -> float:
        return float(np.percentile(values, percent, weights=weights, method="inverted_cdf"))

    def spread(values: np.ndarray) -> float:
        logs = np.log(values)
        return float(np.sqrt(np.average(np.square(logs - np.average(logs, weights=weights)), weights=weights)))

    return Thickness(
        low=percentile(thickness, 10),
        median=percentile(thickness, 50),
        high=percentile(thickness, 90),
        local=percentile(local, 50),
        spread=spread(thickness),
        relative_spread=spread(shares),
        number=number,
        present=len(cases) / of,
    )


def _steps(shape: Sequence[int], spacing: np.ndarray, most: int) -> np.ndarray:
    """(D,) int64: every how many-th pixel along each axis leaves at most `most`, as even a spacing as can be."""
    steps = np.ones(len(shape), np.int64)
    while math.prod(-(-n // int(step)) for n, step in zip(shape, steps, strict=True)) > most:
        steps[np.argmin(spacing * steps)] += 1
    return steps
