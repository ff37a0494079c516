"""What objects are like in number, size and distance, and how far two sets of such values lie apart."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import ndimage, spatial, stats

from scantling.metrics.instance_overlaps import instance_map, renumbered

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class ObjectStatistics:
    """The objects of one instance map.

    Attributes:
        count: how many there are.
        areas: (count,) pixels of each.
        neighbours: (count,) from the centre of each to the nearest other one, in pixels; none of fewer than two.
    """

    count: int
    areas: Floats
    neighbours: Floats


def object_statistics(instances: ArrayLike) -> ObjectStatistics:
    """Number, areas and distances between neighbours of the objects of an instance map (*S), 0 background.

    Raises:
        ArrayError: the map holds values that are no numbers of objects.

    Example:
        >>> import numpy as np
        >>> from scantling.metrics import object_statistics
        >>> found = object_statistics(np.array([[1, 1, 0, 2]]))
        >>> found.count, found.areas.tolist(), found.neighbours.tolist()
        (2, [2.0, 1.0], [2.5, 2.5])
    """
    numbers, values = renumbered(instance_map(instances, "the instance map"))
    count = len(values)
    areas = np.bincount(numbers.ravel(), minlength=count + 1)[1:].astype(np.float64)
    if count < 2:
        return ObjectStatistics(count, areas, np.zeros(0))
    ones = np.ones(numbers.shape, np.uint8)
    centres = np.array(ndimage.center_of_mass(ones, numbers, range(1, count + 1)))
    distances, _ = spatial.KDTree(centres).query(centres, k=2)
    return ObjectStatistics(count, areas, np.asarray(distances[:, 1], np.float64))


def ks_distance(one: ArrayLike, other: ArrayLike) -> float:
    """The Kolmogorov-Smirnov distance of two samples: the greatest difference of their distribution functions, 0 to 1.

    NaN where one of them is empty.

    Example:
        >>> from scantling.metrics import ks_distance
        >>> ks_distance([1, 2, 3, 4], [3, 4, 5, 6])
        0.5
    """
    first, second = np.ravel(one), np.ravel(other)
    if not first.size or not second.size:
        return float("nan")
    return float(stats.ks_2samp(first, second, method="asymp").statistic)
