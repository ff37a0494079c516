"""How far the objects of two instance maps lie from their partners: the Hausdorff distance of pairs of objects."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree
from scipy.spatial.distance import cdist

from scantling.metrics.instance_overlaps import Ints, Map, Overlaps

Floats = NDArray[np.float64]
_TOGETHER = 1 << 16
"""Pairs of pixels that are compared at once; of more a tree is asked."""


@dataclass(frozen=True)
class _Pixels:
    """The pixels of the objects of a map, object by object.

    Attributes:
        places: (P, D) times the spacing.
        starts: (N + 1,) where each object begins.
        elsewhere: (P,) the object of the other map, from 0, that is there; -1 none.
        borders, border_starts: the same of the pixels with a neighbour across a side that belongs to another object, to
            the background or to no image.
        low, high: (N, D) of the objects.
    """

    places: Floats
    starts: Ints
    elsewhere: Ints
    borders: Floats
    border_starts: Ints

    @classmethod
    def of(cls, numbers: Map, other: Map, spacing: Floats) -> _Pixels:
        count = int(numbers.max(initial=0))
        inside = np.flatnonzero(numbers)
        inside = inside[np.argsort(numbers.ravel()[inside], kind="stable")]
        owner = numbers.ravel()[inside]
        places = np.stack(np.unravel_index(inside, numbers.shape), axis=1) * spacing
        edge = _border(numbers).ravel()[inside]
        limits = np.arange(1, count + 2)
        return cls(
            places,
            np.searchsorted(owner, limits),
            other.ravel()[inside].astype(np.int64) - 1,
            places[edge],
            np.searchsorted(owner[edge], limits),
        )

    @cached_property
    def low(self) -> Floats:
        return np.minimum.reduceat(self.places, self.starts[:-1], axis=0)

    @cached_property
    def high(self) -> Floats:
        return np.maximum.reduceat(self.places, self.starts[:-1], axis=0)

    def outside(self, number: int, other: int) -> Floats:
        """(n, D) the pixels of an object that do not belong to object `other` of the other map."""
        span = slice(self.starts[number], self.starts[number + 1])
        return self.places[span][self.elsewhere[span] != other]

    def border(self, number: int) -> Floats:
        return self.borders[self.border_starts[number] : self.border_starts[number + 1]]


def partner_distances(found: Overlaps, spacing: Sequence[float] | None = None) -> tuple[Floats, Floats]:
    """The Hausdorff distance of each true and each predicted object to its partner in the other map.

    The partner is the object that shares most pixels; where none shares any, the one whose Hausdorff distance is the
    smallest (Sirinukunwattana et al., 2017). The distance of two sets of pixels is the larger of the two directed
    maxima, over all their pixels. If the other map has no object, the distance is the diagonal of the image (ours).

    Returns:
        (M,) of the true and (N,) of the predicted objects, in the unit of `spacing`, pixels if it is not given.
    """
    steps = np.ones(found.truth.ndim) if spacing is None else np.asarray(spacing, np.float64)
    true = _Pixels.of(found.truth, found.prediction, steps)
    predicted = _Pixels.of(found.prediction, found.truth, steps)
    known: dict[tuple[int, int], float] = {}

    def distance(one: int, other: int) -> float:
        if (one, other) not in known:
            known[one, other] = max(
                _directed(true.outside(one, other), predicted.border(other)),
                _directed(predicted.outside(other, one), true.border(one)),
            )
        return known[one, other]

    worst = float(np.linalg.norm((np.array(found.truth.shape) - 1) * steps))
    sizes = len(found.true_sizes), len(found.predicted_sizes)
    results = tuple(np.full(size, worst) for size in sizes)
    if not all(sizes):
        return results[0], results[1]
    sides = ((true, predicted, found.partner_of_true), (predicted, true, found.partner_of_predicted))
    for side, (own, others, partners) in enumerate(sides):
        for number, partner in enumerate(partners.tolist()):

            def apart(other: int, number: int = number, side: int = side) -> float:
                return distance(number, other) if side == 0 else distance(other, number)

            if partner >= 0:
                results[side][number] = apart(partner)
                continue
            # no distance of two sets is smaller than that of the sides of their boxes
            bounds = np.maximum(np.abs(others.low - own.low[number]), np.abs(others.high - own.high[number])).max(1)
            least = math.inf
            for other in np.argsort(bounds, kind="stable").tolist():
                if bounds[other] >= least:
                    break
                least = min(least, apart(other))
            results[side][number] = least
    return results[0], results[1]


def _directed(start: Floats, goal: Floats) -> float:
    """The greatest distance of a pixel of `start` to the nearest of `goal`; 0 if there is none."""
    if not len(start):
        return 0.0
    if len(start) * len(goal) <= _TOGETHER:
        return math.sqrt(float(cdist(start, goal, "sqeuclidean").min(1).max()))
    return float(cKDTree(goal).query(start)[0].max())


def _border(numbers: Map) -> NDArray[np.bool_]:
    """(*S) the pixels of objects with a neighbour across a side that is not of the same object."""
    edge = np.zeros(numbers.shape, np.bool_)
    for axis in range(numbers.ndim):
        turned, marked = numbers.swapaxes(0, axis), edge.swapaxes(0, axis)
        differs = turned[1:] != turned[:-1]
        marked[1:] |= differs
        marked[:-1] |= differs
        marked[0], marked[-1] = True, True
    return edge & (numbers > 0)
