"""Along which axes images may be mirrored: those along which the labels do not tell one side from the other.

Measured on where the classes of the labelled training cases lie; ours. For each class there is its place in the image
and for each pair of classes the place of one from the other. Let x be such a place along an axis, one for each subject:
mirroring turns it into -x, and P(x > -x') over two subjects is the chance to tell an image from a mirrored one by it,
1/2 where there is no telling. An axis is barred where the place of one class from another is told apart clearly
(`TOLD_APART`), or a class alone lies on one side far beyond its spread (`ONE_SIDE`); by more than a small distance
(`NEAR`) and not by chance (`CHANCE`).
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from itertools import combinations

import numpy as np
from scipy.special import stdtr

from scantling.core.case import IGNORE
from scantling.core.pieces import slabs
from scantling.core.samples import Traits

TOLD_APART = 0.9
"""The chance to tell an image from a mirrored one, from which on an axis is barred."""
ONE_SIDE = 3.0
"""A class alone bars an axis where its mean distance is so many times its standard deviation: a kidney that is always
the left one does, a lesion that mostly lies in the upper half does not, because mirroring renames neither."""
NEAR = 0.05
"""A mean distance below this share of half the length of the image bars nothing."""
CHANCE = 0.05
"""The level of the t-test that the mean distance is 0. It is not divided by the number of classes: to mirror what has
sides is the worse mistake."""
FEW = 6
"""With fewer subjects a class alone bars nothing: they are on one side by chance with probability 2^(1 - subjects)."""
FAR = 1.0
"""With fewer subjects two classes, which half of the subjects have, bar an axis where they always lie in one order and
their mean distance is so many times its standard deviation."""


def class_places(mask: np.ndarray, classes: int) -> np.ndarray:
    """(K, D): where the centre of mass of each class lies, from -1 to 1 between the ends of what is known of an image.

    NaN for a class without a pixel, and along an axis of which one row is known.

    Args:
        mask: (1 or K, *S) uint8, see `Sample`.
    """
    shape = mask.shape[1:]
    found = np.full((classes, len(shape)), np.nan)
    for number, layer in enumerate(mask):
        rows = [(number, 1)] if len(mask) > 1 else [(value - 1, value) for value in range(1, classes + 1)]
        known = [np.zeros(length, bool) for length in shape]
        sums, sizes = np.zeros((len(shape), 256)), np.zeros(256)
        for slab in slabs(shape):
            part = layer[slab]
            places = np.nonzero(part)
            values = part[places]
            sizes += np.bincount(values, minlength=256)
            for axis, place in enumerate(places):
                start = (slab.start or 0) if axis == 0 else 0
                sums[axis] += np.bincount(values, weights=place + start, minlength=256)
                others = tuple(other for other in range(len(shape)) if other != axis)
                span = slab if axis == 0 else slice(None)
                known[axis][span] |= (part != IGNORE).any(others) if IGNORE in values else True
        for axis, rows_known in enumerate(known):
            ends = np.flatnonzero(rows_known)
            if len(ends) < 2:
                continue
            middle, half = (ends[0] + ends[-1]) / 2, (ends[-1] - ends[0] + 1) / 2
            for row, value in rows:
                if sizes[value]:
                    found[row, axis] = (sums[axis, value] / sizes[value] - middle) / half
    return found


def mirrored_axes(places: Sequence[np.ndarray], subjects: Sequence[str]) -> tuple[bool, ...]:
    """For each axis, whether images may be mirrored along it; empty without a labelled case.

    Args:
        places: (K, D) of each labelled case, see `class_places`.
        subjects: whose case each is; a subject counts once, by the mean of its cases.
    """
    if not places:
        return ()
    groups: dict[str, list[np.ndarray]] = {}
    for subject, place in zip(subjects, places, strict=True):
        groups.setdefault(subject, []).append(place)
    rows = np.stack([_mean(group) for group in groups.values()])  # (subjects, K, D)
    return tuple(
        not any(_tells_sides(x, alone=alone, subjects=len(rows)) for x, alone in _distances(rows[:, :, axis]))
        for axis in range(rows.shape[2])
    )


def sides_told_apart(traits: Traits) -> list[str]:
    """A sentence on the axes along which images are not mirrored; none where there is no such axis."""
    if traits.dimensions == 2:
        words = ["top from bottom", "left from right"]
    elif traits.storage is not None and traits.storage.affine is not None:
        words = ["left from right", "back from front", "feet from head"]
    else:
        words = [f"the two ends of axis {axis}" for axis in range(traits.dimensions)]
    barred = [word for word, free in zip(words, traits.mirrored, strict=False) if not free]
    if not barred:
        return []
    axes = "this axis" if len(barred) == 1 else "these axes"
    return [f"the places of the training labels tell {' and '.join(barred)}: images are not mirrored along {axes}"]


def _mean(cases: Sequence[np.ndarray]) -> np.ndarray:
    """The mean (K, D) over the cases that know a place; NaN where none does."""
    stack = np.stack(cases)
    known = np.isfinite(stack)
    with np.errstate(invalid="ignore"):
        return np.asarray(np.where(known, stack, 0).sum(0) / known.sum(0))


def _distances(rows: np.ndarray) -> Iterator[tuple[np.ndarray, bool]]:
    """Of (subjects, K) for each class and each pair: (n,) of the subjects that have it, and whether it is one class."""
    for one in rows.T:
        yield one[np.isfinite(one)], True
    for one, other in combinations(rows.T, 2):
        difference = one - other
        yield difference[np.isfinite(difference)], False


def _tells_sides(x: np.ndarray, *, alone: bool, subjects: int) -> bool:
    """Whether the distances (n,), one for each subject that has them, tell an image from a mirrored one."""
    count = len(x)
    if count == 0 or abs(mean := float(x.mean())) < NEAR or (alone and count < FEW):
        return False
    deviation = float(x.std(ddof=1)) if count > 1 else 0.0
    if count < FEW:
        ordered = bool((np.sign(x) == np.sign(mean)).all())
        return ordered and 2 * count >= subjects and abs(mean) >= FAR * deviation
    if alone and abs(mean) < ONE_SIDE * deviation:
        return False
    towards = np.sort(x * np.sign(mean))
    pairs = int((count - np.searchsorted(towards, -towards, side="right")).sum() - np.count_nonzero(towards > 0))
    if pairs < TOLD_APART * count * (count - 1):
        return False
    p = 2 * stdtr(count - 1, -abs(mean) * math.sqrt(count) / max(deviation, 1e-12))
    return bool(p < CHANCE)
