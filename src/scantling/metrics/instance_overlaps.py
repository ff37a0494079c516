"""Which objects of two instance maps share pixels, and how many: one joint histogram, from which all else follows."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.optimize import linear_sum_assignment
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from skimage.measure import label

from scantling.core.checks import numbers, spatial_axis
from scantling.core.errors import ArrayError
from scantling.metrics.arrays import Mask, foreground

Ints = NDArray[np.int64]
Map = NDArray[np.int32]
_SPARE = 4
"""A table may have so many cells for each pixel; a larger one is made by sorting."""


@dataclass(frozen=True)
class Overlaps:
    """The objects of two maps and what they share. Objects are numbered from 0, in the order of their first pixel.

    So nothing that is worked out of them depends on the numbers that they had.

    Attributes:
        prediction, truth: (*S) the maps, 0 background and n + 1 for object n.
        predicted_sizes, true_sizes: (N,), (M,) pixels.
        predicted, true, shared: (K,) the pairs of objects that share pixels, and how many, by true and then by
            predicted object.
        predicted_values: (N,) the numbers that the predicted objects had in the map that was given.
    """

    prediction: Map
    truth: Map
    predicted_sizes: Ints
    true_sizes: Ints
    predicted: Ints
    true: Ints
    shared: Ints
    predicted_values: Ints

    @cached_property
    def united(self) -> Ints:
        """(K,) the pixels that belong to either object of each pair."""
        return self.predicted_sizes[self.predicted] + self.true_sizes[self.true] - self.shared

    @cached_property
    def iou(self) -> NDArray[np.float64]:
        """(K,) the intersection over union of each pair."""
        return np.asarray(self.shared / self.united, np.float64)

    @cached_property
    def partner_of_true(self) -> Ints:
        """(M,) the predicted object that shares most pixels with each true one, the first of equals; -1: none does."""
        return _partners(self.true, self.predicted, self.shared, len(self.true_sizes))[0]

    @cached_property
    def partner_of_predicted(self) -> Ints:
        """(N,) the true object that shares most pixels with each predicted one, the first of equals; -1: none does."""
        return _partners(self.predicted, self.true, self.shared, len(self.predicted_sizes))[0]

    @cached_property
    def nearest_by_iou(self) -> Ints:
        """(M,) the pair with the greatest IoU of each true object, the first of equals; -1: it has none."""
        return _partners(self.true, self.predicted, self.iou, len(self.true_sizes))[1]

    @cached_property
    def assigned(self) -> Ints:
        """(L,) the pairs of the one-to-one assignment with the greatest sum of IoU (Kuhn, 1955).

        It is solved by groups of objects that hang together by shared pixels.
        """
        predicted, true = len(self.predicted_sizes), len(self.true_sizes)
        if not self.shared.size:
            return np.zeros(0, np.int64)
        links = coo_array((np.ones(self.shared.size), (self.true, true + self.predicted)), (true + predicted,) * 2)
        _, groups = connected_components(links, directed=False)
        group = groups[self.true]
        order = np.argsort(group, kind="stable")
        starts = np.flatnonzero(np.diff(group[order], prepend=-1))
        chosen = [order[starts[np.diff(starts, append=order.size) == 1]]]
        for start, stop in pairwise([*starts, order.size]):
            if stop - start > 1:
                chosen.append(self._assigned_among(order[start:stop]))
        return np.sort(np.concatenate(chosen))

    def _assigned_among(self, pairs: Ints) -> Ints:
        rows, row = np.unique(self.true[pairs], return_inverse=True)
        columns, column = np.unique(self.predicted[pairs], return_inverse=True)
        gain, place = np.zeros((rows.size, columns.size)), np.full((rows.size, columns.size), -1, np.int64)
        gain[row, column], place[row, column] = self.iou[pairs], pairs
        found = place[linear_sum_assignment(gain, maximize=True)]
        return found[found >= 0]

    @cached_property
    def merges(self) -> tuple[tuple[int, tuple[int, ...]], ...]:
        """Predicted objects with the true objects, two or more, that lie with more than half of their pixels in each.

        Those of which most true objects lie in one come first.
        """
        inside = 2 * self.shared > self.true_sizes[self.true]
        return _several(self.predicted[inside], self.true[inside])

    @cached_property
    def splits(self) -> tuple[tuple[int, tuple[int, ...]], ...]:
        """True objects with the predicted objects, two or more, that lie with more than half of their pixels in each.

        Those with most parts come first.
        """
        inside = 2 * self.shared > self.predicted_sizes[self.predicted]
        return _several(self.true[inside], self.predicted[inside])


def overlaps(
    prediction: ArrayLike, truth: ArrayLike, *, region: ArrayLike | None = None, unknown: ArrayLike | None = None
) -> Overlaps:
    """Count the pixels that the objects of two instance maps share.

    Args:
        prediction, truth: (*S) whole numbers, 0 background and one number for each object, in any order and with gaps.
        region: (*S) the pixels that count: outside, both maps are taken as empty.
        unknown: (*S) the pixels of which the truth knows nothing: they belong to no object, and a predicted object of
            which more than half lies there, and whose rest touches no true object, is neither right nor wrong and does
            not count (after "void" in Kirillov et al., 2019; the rule about what remains is ours).

    Raises:
        ArrayError: the shapes differ, there is no pixel to compare, or a map holds other values.
    """
    found, true = instance_map(prediction, "the predicted instance map"), instance_map(truth, "the true instance map")
    for name, other in (("true instance map", true), ("region", region), ("map of unknown pixels", unknown)):
        if other is not None and np.shape(other) != found.shape:
            raise ArrayError(f"the {name} has the shape {np.shape(other)}; expected {found.shape}, as the prediction")
    inside = None if region is None else foreground(region)
    if not found.size or (inside is not None and not inside.any()):
        raise ArrayError("there is no pixel to compare; expected at least one inside the region")
    if inside is not None:
        found, true = np.where(inside, found, 0), np.where(inside, true, 0)
    if unknown is not None and (beyond := foreground(unknown)).any():
        true = np.where(beyond, 0, true)
        found = _known(found, true, beyond)
    found, values = renumbered(found)
    true, _ = renumbered(true)
    return _histogram(found, true, values)


def _histogram(found: Map, true: Map, values: Ints) -> Overlaps:
    predicted_sizes, true_sizes = (np.bincount(each.ravel())[1:].astype(np.int64) for each in (found, true))
    both = (found > 0) & (true > 0)
    code = (true[both].astype(np.int64) - 1) * max(1, len(predicted_sizes)) + (found[both] - 1)
    if len(predicted_sizes) * len(true_sizes) <= _SPARE * found.size:
        counts = np.bincount(code)
        pairs = np.flatnonzero(counts)
        shared = counts[pairs]
    else:
        pairs, shared = np.unique(code, return_counts=True)
    true_objects, predicted_objects = np.divmod(pairs, max(1, len(predicted_sizes)))
    return Overlaps(
        found, true, predicted_sizes, true_sizes, predicted_objects, true_objects, shared.astype(np.int64), values
    )


def instance_map(values: ArrayLike, what: str, *, spatial_dims: int | None = None) -> NDArray[np.integer]:
    """An instance map as an array of whole numbers from 0, without the axis of its one channel.

    Args:
        what: it is, for errors.
        spatial_dims: 2 or 3, of a map (1, H, W), which has two readings; None: its axes are what they are.

    Raises:
        ArrayError: it holds negative numbers or fractions, or its shape does not fit.
    """
    array = numbers(values, what)
    if spatial_dims is not None and (axis := spatial_axis(array.shape, spatial_dims)) is not None:
        array = array.squeeze(axis)
    if array.dtype.kind == "f":
        if not np.isfinite(array).all() or (array != np.floor(array)).any():
            raise ArrayError(f"{what} holds fractions or what is not finite; expected one whole number for each object")
        array = array.astype(np.int64)
    if array.dtype.kind == "b":
        array = array.astype(np.uint8)
    if array.size and array.min() < 0:
        raise ArrayError(f"{what} holds the number {array.min()}; expected 0 for background and 1 or more for objects")
    return array


def renumbered(labels: NDArray[np.integer]) -> tuple[Map, Ints]:
    """The same objects as 1..N in the order of their first pixel, and (N,) the numbers that they had."""
    flat = labels.ravel()
    names: Ints | None = None
    if int(flat.max(initial=0)) > _SPARE * flat.size + np.iinfo(np.uint16).max:
        names, flat = np.unique(flat, return_inverse=True)
        if names[0] != 0:
            names, flat = np.concatenate([[0], names]), flat + 1
    first = np.full(int(flat.max(initial=0)) + 1, flat.size, np.int64)
    filled = np.flatnonzero(flat)[::-1]
    first[flat[filled]] = filled  # of equal indices the last one stays, which is the first pixel
    used = np.flatnonzero(first < flat.size)
    used = used[np.argsort(first[used])]
    table = np.zeros(first.size, np.int32)
    table[used] = np.arange(1, used.size + 1)
    values = used if names is None else names[used]
    return table[flat].reshape(labels.shape), values.astype(np.int64)


def separated(labels: ArrayLike) -> tuple[Map, Ints]:
    """Objects whose pixels do not hang together, corners counting, as objects of their own.

    A binary mask becomes its components, an instance map stays what it is unless one number marks several objects.

    Returns:
        (*S) 1..N, and (N,) the number that each has in `labels`.
    """
    array = instance_map(labels, "the instance map")
    if not array.any():
        return np.zeros(array.shape, np.int32), np.zeros(0, np.int64)
    compact, values = renumbered(array)
    pieces = np.asarray(label(compact, background=0, connectivity=array.ndim), np.int32)
    of = np.zeros(int(pieces.max()) + 1, np.int64)
    of[pieces.ravel()] = compact.ravel()
    return pieces, values[of[1:] - 1]


def _known(found: NDArray[np.integer], true: NDArray[np.integer], unknown: Mask) -> NDArray[np.integer]:
    """`found` outside of what is unknown, without the objects of which nearly all lies there."""
    compact, _ = renumbered(found)
    sizes = np.bincount(compact.ravel())
    beyond = np.bincount(compact[unknown], minlength=sizes.size)
    touching = np.zeros(sizes.size, np.bool_)
    touching[compact[true > 0]] = True
    dropped = (2 * beyond > sizes) & ~touching
    return np.where(unknown | dropped[compact], 0, found)


def _partners(of: Ints, other: Ints, gain: NDArray[np.generic], count: int) -> tuple[Ints, Ints]:
    """For each of `count` objects the partner with the greatest gain, the first of equals, and the pair's place."""
    partner, place = np.full(count, -1, np.int64), np.full(count, -1, np.int64)
    order = np.lexsort((-other, gain))  # the best is written last, the first of equals after the others
    place[of[order]] = order
    partner[of[order]] = other[order]
    return partner, place


def _several(holder: Ints, held: Ints) -> tuple[tuple[int, tuple[int, ...]], ...]:
    order = np.lexsort((held, holder))
    holder, held = holder[order], held[order]
    starts = np.flatnonzero(np.diff(holder, prepend=-1))
    groups = [
        (int(holder[start]), tuple(held[start:stop].tolist()))
        for start, stop in pairwise([*starts, holder.size])
        if stop - start > 1
    ]
    return tuple(sorted(groups, key=lambda group: (-len(group[1]), group[0])))
