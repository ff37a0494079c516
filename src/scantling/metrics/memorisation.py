"""Whether made images are copies of training images: nearest neighbours after alignment, held against training's own.

A made image is *nearer* than training images are to each other if its distance to the nearest of them is below the 5th
percentile of the same distance of training images, each to the nearest of another subject. Blurred images are near to
all others, and that alone is no copy. It is *copied* if it is nearer, and near to that one in particular: its distance
over the distance to the nearest of other subjects than that one's is below the 5th percentile of the same ratio of
training images, and below 2/3. So at most about one in twenty images of new subjects is called copied by chance. The
ratio is that of Yoon et al., Diffusion probabilistic models generalize when they fail to memorize (2023), who call a
copy what is below 1/3 and know no subjects with several images; the percentiles and 2/3 are ours.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from scantling.core.checks import numbers
from scantling.core.errors import ArrayError

QUANTILE, MOST = 0.05, 2 / 3
"""The percentile of training images below which a made one is copied, and the greatest ratio of a copy."""
SHIFT = 1 / 8
"""Of a side: how far images are shifted to match."""
LEVEL = 0.05
"""More copies than chance gives at this level are memorisation."""
FEWEST = 3
"""Training subjects without which nothing can be told."""
AT_ONCE = 1 << 24
"""Numbers of the references that are compared at once."""

Floats = NDArray[np.float32]


@dataclass(frozen=True)
class Nearest:
    """The nearest training image of each of some images.

    Attributes:
        index: (M,) which one.
        distance: (M,) to it.
        ratio: (M,) of the distance to that of the nearest of other subjects than that one's; in [0, 1].
    """

    index: NDArray[np.int64]
    distance: NDArray[np.float64]
    ratio: NDArray[np.float64]


@dataclass(frozen=True)
class MemorisationLimits:
    """Below both, an image is called copied; learnt on training images."""

    distance: float
    ratio: float
    copied_training: int = 0
    """How many training images the same rule calls copied."""
    training: int = 0
    """Of how many."""

    @property
    def chance(self) -> float:
        """The share of images of new subjects that are called copied, as training images tell it: (k + 1) / (K + 1)."""
        return (self.copied_training + 1) / (self.training + 1)

    def nearer(self, found: Nearest) -> NDArray[np.bool_]:
        """(M,) which images are nearer to a training image than training images are to each other."""
        return found.distance < self.distance

    def copied(self, found: Nearest) -> NDArray[np.bool_]:
        """(M,) which images are copied."""
        return self.nearer(found) & (found.ratio < self.ratio)

    def p_value(self, found: Nearest) -> float:
        """How likely so many copies are if made images are as near to training images as these to each other.

        Fisher's exact test (1934), one-sided, of the made images against the training images and one more that is
        called copied, since the rule was fitted to them.
        """
        copied = self.copied(found)
        made, one_more = int(copied.sum()), self.copied_training + 1
        table = [[made, len(copied) - made], [one_more, self.training + 1 - one_more]]
        from scipy import stats  # takes half a second, in every command

        return float(stats.fisher_exact(table, alternative="greater").pvalue)


def standardised(images: Any) -> Floats:
    """Images (N, C, *S) with mean 0 and deviation 1 over all pixels of each; 0 of a constant one.

    Raises:
        ArrayError: another number of axes, or a value that is not finite.
    """
    array = numbers(images, "the images")
    if array.ndim not in (4, 5) or not array.size:
        raise ArrayError(f"the images have the shape {array.shape}; expected (N, C, *S)")
    if not np.isfinite(array).all():
        raise ArrayError("the images hold NaN or infinity; expected a number at every pixel")
    axes = tuple(range(1, array.ndim))
    centred = array.astype(np.float64) - array.mean(axes, keepdims=True, dtype=np.float64)
    deviation = np.sqrt(np.square(centred).mean(axes, keepdims=True))
    flat = deviation <= 1e-6 * np.abs(array).max(initial=0)
    return np.where(flat, 0, centred / np.where(flat, 1, deviation)).astype(np.float32)


def aligned_distances(images: Floats, references: Floats) -> NDArray[np.float64]:
    """(M, N) the root mean square of differences where two images overlap, of the flip and shift with the least.

    All flips along axes, and all shifts of whole pixels up to an eighth of each side.

    Args:
        images, references: (M, C, *S) and (N, C, *S), `standardised`; small, for the time grows with the square of
            their pixels.

    Raises:
        ArrayError: the shapes differ.
    """
    if images.shape[1:] != references.shape[1:]:
        raise ArrayError(f"the images have shapes {images.shape[1:]} and {references.shape[1:]}; expected one shape")
    if not len(images):
        return np.zeros((0, len(references)))
    many = max(1, AT_ONCE // max(references[0].size, 1))
    parts = [_aligned(images, references[first : first + many]) for first in range(0, len(references), many)]
    return np.concatenate(parts, axis=1)


def _aligned(images: Floats, references: Floats) -> NDArray[np.float64]:
    best = np.full((len(images), len(references)), np.inf, np.float32)
    flips = itertools.product((1, -1), repeat=images.ndim - 2)
    turned = [images[(slice(None), slice(None), *(slice(None, None, step) for step in steps))] for steps in flips]
    for here, there in _overlaps(images.shape[2:]):
        against = np.ascontiguousarray(references[there]).reshape(len(references), -1)
        energy = np.einsum("ij,ij->i", against, against)
        for flipped in turned:
            own = np.ascontiguousarray(flipped[here]).reshape(len(images), -1)
            squares = np.einsum("ij,ij->i", own, own)[:, None] + energy - 2 * own @ against.T
            np.minimum(best, squares / own.shape[1], out=best)
    return np.sqrt(np.maximum(best, 0)).astype(np.float64)


def _overlaps(shape: Sequence[int]) -> Iterator[tuple[tuple[slice, ...], tuple[slice, ...]]]:
    """The parts of two arrays (N, C, *S) that lie over each other, for each shift."""
    ranges = [range(-int(side * SHIFT), int(side * SHIFT) + 1) for side in shape]
    for shift in itertools.product(*ranges):
        here = tuple(slice(max(0, step), side + min(0, step)) for step, side in zip(shift, shape, strict=True))
        there = tuple(slice(max(0, -step), side + min(0, -step)) for step, side in zip(shift, shape, strict=True))
        yield (slice(None), slice(None), *here), (slice(None), slice(None), *there)


def nearest(distances: Any, subjects: Sequence[str], *, own: Sequence[str] | None = None) -> Nearest:
    """The nearest training image of each image.

    Args:
        distances: (M, N) to all training images.
        subjects: (N,) theirs.
        own: (M,) the subject of each image, whose training images do not count; None of made ones.

    Raises:
        ArrayError: too few subjects, or the numbers do not fit.
    """
    table, names = numbers(distances, "the distances").astype(np.float64), np.array(subjects, str)
    if table.ndim != 2 or table.shape[1] != len(names) or (own is not None and len(own) != len(table)):
        raise ArrayError(
            f"the distances have the shape {table.shape}; expected a row for each image and a column for each of "
            f"{len(names)} training images"
        )
    if len(np.unique(names)) < FEWEST:
        raise ArrayError(f"found {len(np.unique(names))} training subjects; expected {FEWEST} or more")
    if own is not None:
        table = np.where(names[None] == np.array(own, str)[:, None], np.inf, table)
    index = table.argmin(1) if len(table) else np.zeros(0, np.int64)
    distance = table[np.arange(len(table)), index]
    others = np.where(names[None] == names[index][:, None], np.inf, table).min(1, initial=np.inf)
    ratio = np.divide(distance, others, out=np.ones_like(distance), where=others > 0)
    return Nearest(index, distance, ratio)


def memorisation_limits(training: Nearest) -> MemorisationLimits:
    """What training images are to each other: the thresholds of a copy.

    Args:
        training: of training images, their own subjects left out.

    Raises:
        ArrayError: there are none.
    """
    if not len(training.distance):
        raise ArrayError("found no training image; expected some, to tell how near they are to each other")
    count = len(training.distance)
    rank = max(1, int(QUANTILE * (count + 1)))  # of new images a share of rank / (count + 1) lies below it
    distance, ratio = (float(np.sort(values)[rank - 1]) for values in (training.distance, training.ratio))
    ratio = min(ratio, MOST)
    copied = int(MemorisationLimits(distance, ratio).copied(training).sum())
    return MemorisationLimits(distance, ratio, copied, count)
