"""What the values of masks that nobody declared may be: numbers of objects, or greys between the values of classes."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from math import ceil
from typing import TypeVar

import numpy as np
from scipy import ndimage
from skimage import measure

from scantling.core.pieces import slabs, value_counts

MOST_VALUES = 64
"""More distinct values than this in undeclared masks are no label map."""
SAMPLED = 48
"""Of so many masks, spread evenly, the pixels are looked at a second time."""
MANY_OBJECTS = 20
"""A mask with more values than this may number objects, whatever the numbers are."""
FEW_MASKS, FEW_OBJECTS = 6, 4
"""From so many masks and values on, numbers may be those of objects though all masks have as many; ours."""
SAME_OBJECT = 0.5
"""From this intraclass correlation of the sizes on, a value is the same structure in every mask."""
BROKEN = 0.05
"""Share of the objects of a mask that may be in several pieces."""
MOSTLY = 0.9
SPECK = 5
"""The median of the objects has at least so many pixels."""
BACKGROUND = 0.02
"""At least this share of the pixels is no object."""
FINE = 16
"""No mask whose greatest value is below this is grey."""
LEVELS = 3
"""A grey mask has at least so many values beside its peaks."""
FLAT, THIN, EXPLAINED, STRAY = 0.2, 0.25, 0.6, 0.002
"""See `grey_peaks`."""
_WIDEST = 1 << 20
_LARGEST = 65535
FULL_SCALE = (255, 65535)

T = TypeVar("T")


@dataclass(frozen=True)
class ValueCounts:
    """The values that occur in a label map, ascending, and how many pixels have each; both (V,)."""

    values: np.ndarray
    counts: np.ndarray

    @classmethod
    def of(cls, array: np.ndarray) -> ValueCounts:
        """Those of an array of whole numbers."""
        low, high = (int(array.min()), int(array.max())) if array.size else (0, -1)
        if high - low > max(_WIDEST, array.size // 8):
            return cls(*np.unique(array, return_counts=True))
        counts = value_counts(array, low=low, high=high)
        values = np.flatnonzero(counts)
        return cls(values + low, counts[values])


@dataclass(frozen=True)
class GreyPeaks:
    """The values of the classes in grey masks, the background first, and the share of the pixels that is between."""

    peaks: tuple[int, ...]
    between: float

    def far(self, mask: ValueCounts) -> float:
        """The share of the pixels of a mask that is close to no peak."""
        apart = np.abs(mask.values[:, None] - np.array(self.peaks)).min(axis=1) > _close(self.peaks[-1])
        return float(mask.counts[apart].sum() / mask.counts.sum())


def spread(masks: Sequence[T], most: int = SAMPLED) -> Sequence[T]:
    """Up to `most` of the masks, evenly."""
    return masks[:: max(1, ceil(len(masks) / most))]


def may_number_objects(masks: Iterable[ValueCounts]) -> bool:
    """Whether values and sizes look like those of objects that are numbered anew in each mask.

    Either a mask has more than `MANY_OBJECTS` values, or nearly all masks have exactly the values 1..N with at least
    three different N, the largest of them 3 or more; or, of `FEW_MASKS` or more, with one or two different N, the
    largest `FEW_OBJECTS` or more, and sizes that differ more than those of organs do (ours). And there is a background,
    most objects are no specks, and the sizes do not tell the values apart, as those of organs do. Whether each value is
    in one piece is left to `in_one_piece`.
    """
    every = list(masks)
    found = [(mask.values[mask.values > 0], mask.counts[mask.values > 0]) for mask in every]
    found = [(values, counts) for values, counts in found if len(values)]
    pixels = sum(int(mask.counts.sum()) for mask in every)
    objects = np.concatenate([counts for _, counts in found]) if found else np.zeros(1)
    if np.median(objects) < SPECK or pixels - objects.sum() < BACKGROUND * pixels:
        return False
    numbers = [len(values) for values, _ in found]
    counting = np.mean([values[-1] == len(values) for values, _ in found]) >= MOSTLY
    varied = counting and len(set(numbers)) >= 3 and max(numbers) >= 3
    alike = counting and not varied and len(found) >= FEW_MASKS and max(numbers) >= FEW_OBJECTS
    if not (varied or alike) and max(numbers) <= MANY_OBJECTS:
        return False
    if len(found) == 1:
        return numbers[0] > MOST_VALUES
    return _size_agreement(found) < (SAME_OBJECT / 2 if alike and max(numbers) <= MANY_OBJECTS else SAME_OBJECT)


def may_count(masks: Iterable[ValueCounts]) -> bool:
    """Whether values may be numbers of objects or classes, and nothing tells which.

    Nearly all masks, two or more, have exactly the values 1..N, with an N that varies or is 3 or more, and the sizes do
    not tell these apart.
    """
    found = [(mask.values[mask.values > 0], mask.counts[mask.values > 0]) for mask in masks]
    found = [(values, counts) for values, counts in found if len(values)]
    numbers = [len(values) for values, _ in found]
    if sum(number > 1 for number in numbers) < 2:
        return False
    varied = max(map(numbers.count, numbers)) < MOSTLY * len(numbers) or min(numbers) >= 3
    counting = [values[-1] == len(values) for values, _ in found]
    return varied and float(np.mean(counting)) >= MOSTLY and _size_agreement(found) < SAME_OBJECT


def _size_agreement(masks: Sequence[tuple[np.ndarray, np.ndarray]]) -> float:
    """The intraclass correlation ICC(1) of the log sizes of each value over the masks (Shrout and Fleiss, 1979).

    Sizes are relative to the mean of their mask. 0 where all are alike, 1 where no value is in two masks.
    """
    several = [(values, np.log(counts)) for values, counts in masks if len(values) > 1]
    if not several:
        return 1.0
    sizes = np.concatenate([logs - logs.mean() for _, logs in several])
    _, group, repeats = np.unique(
        np.concatenate([values for values, _ in several]), return_inverse=True, return_counts=True
    )
    known = repeats[group] > 1
    if not known.any():
        return 1.0
    _, group, repeats = np.unique(group[known], return_inverse=True, return_counts=True)
    sizes, groups, total = sizes[known], len(repeats), int(known.sum())
    means = np.bincount(group, sizes) / repeats
    between = float((repeats * (means - sizes.mean()) ** 2).sum()) / max(groups - 1, 1)
    within = float(((sizes - means[group]) ** 2).sum()) / (total - groups)
    if between + within < 1e-6:
        return 0.0
    average = (total - float((repeats**2).sum()) / total) / max(groups - 1, 1) if groups > 1 else float(total)
    return (between - within) / (between + (average - 1) * within)


def in_one_piece(array: np.ndarray) -> bool:
    """Whether each value of a label map (*S) but 0 is one connected component; a share of `BROKEN` may be in several.

    Pixels that touch at a corner are connected.
    """
    number = int((ValueCounts.of(array).values != 0).sum())
    return int(measure.label(array, background=0, connectivity=array.ndim).max()) <= number * (1 + BROKEN)


def may_be_grey(mask: ValueCounts) -> bool:
    """Whether a mask has enough values, from a wide enough range, to be grey."""
    return len(mask.values) >= 2 + LEVELS and FINE <= mask.values[-1] <= _LARGEST


def _close(greatest: int) -> float:
    """How far from a peak its noise reaches."""
    return min(greatest / 16, 16)


def grey_peaks(arrays: Iterable[np.ndarray]) -> GreyPeaks | None:
    """The peaks of masks that were blurred, resampled or saved as JPEG; None where they are no such masks.

    A peak is a value of which a share of `FLAT` lies in the middle of 3 x 3 (x 3) equal pixels. Where only the
    background has one, as in masks of thin vessels, full scale (255 or 65,535) is the other if the upper quarter of
    the range holds a share of `THIN` of the pixels above the background. Of two that are closer
    than 1/16 of the greatest value, or 16, the rarer is noise if it has less than a share `STRAY` of all pixels; else
    the masks are no grey ones. A share of `EXPLAINED` of the other pixels must be close to a peak, or between a smaller
    and a greater neighbour, as pixels of a blurred edge are. They are
    no more than those of the upper peaks, and no more than half of all.

    Args:
        arrays: (*S) each, whole numbers from 0 to 65,535.
    """
    total, flat, edge = (np.zeros(_LARGEST + 1, np.int64) for _ in range(3))
    for array in arrays:
        for slab in slabs(array.shape):
            first = max(0, slab.start - 1)  # the filters see a neighbour more
            seen, kept = array[first : slab.stop + 1], slice(slab.start - first, slab.stop - first)
            low, high = ndimage.minimum_filter(seen, 3)[kept], ndimage.maximum_filter(seen, 3)[kept]
            part = seen[kept]
            total += np.bincount(part.ravel(), minlength=len(total))
            flat += np.bincount(part[low == high], minlength=len(total))
            edge += np.bincount(part[(low < part) & (part < high)], minlength=len(total))
    used = np.flatnonzero(total)
    if not len(used):
        return None
    close, pixels = _close(int(used[-1])), int(total.sum())
    peaks: list[int] = []
    for value in sorted(used[flat[used] > FLAT * total[used]].tolist(), key=lambda value: -int(total[value])):
        if all(abs(value - peak) > close for peak in peaks):
            peaks.append(value)
        elif total[value] > STRAY * pixels:
            return None
    upper = total[used[used > used[-1] * 3 / 4]].sum()
    if peaks == [used[0]] and used[-1] in FULL_SCALE and upper > THIN * total[used[used > used[0] + close]].sum():
        peaks.append(int(used[-1]))
    rest = np.setdiff1d(used, peaks)
    if len(peaks) < 2 or len(rest) < LEVELS:
        return None
    peaks.sort()
    far = np.abs(rest[:, None] - np.array(peaks)).min(axis=1) > close
    explained = int(np.where(far, edge[rest], total[rest]).sum())
    foreground = max(total[[value for value in used if value >= peaks[1] - close]].sum(), upper / THIN)
    between = int(total[rest].sum())
    if explained < EXPLAINED * between or total[rest[far]].sum() > foreground or between > pixels / 2:
        return None
    return GreyPeaks(tuple(peaks), between / pixels)
