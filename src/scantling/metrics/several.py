"""How well a set of samples stands for a set of annotators: one spread of masks against another."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.optimize import linear_sum_assignment

from scantling.core.checks import probabilities
from scantling.core.errors import ArrayError
from scantling.metrics.arrays import Mask, foreground

THRESHOLDS = (0.1, 0.3, 0.5, 0.7, 0.9)
_CHUNK = 1 << 18
"""Pixels that are counted together; float32 counts them exactly."""


@dataclass(frozen=True)
class Several:
    """N sampled masks and M annotators' masks of one image, of the pixels that count.

    The distance of two masks is d = 1 - IoU, and 0 if both are empty; likewise their Dice is then 1. So every metric
    is defined for every image.

    Attributes:
        samples: (N, P).
        annotators: (M, P).
        mean: (P,) the mean of the samples, or what stands for it, in [0, 1].
    """

    samples: Mask
    annotators: Mask
    mean: NDArray[np.floating]

    @cached_property
    def ged(self) -> float:
        """2 mean d(sample, annotator) - mean d(sample, sample') - mean d(annotator, annotator').

        The squared generalised energy distance (Székely and Rizzo, 2013) with the distance of Kohl et al. (2018),
        over all ordered pairs, those of a mask with itself among them.
        """
        distance, number = 1 - self._iou, len(self.samples)
        across, within, among = distance[:number, number:], distance[:number, :number], distance[number:, number:]
        return max(0.0, float(2 * across.mean() - within.mean() - among.mean()))  # below 0 by rounding alone

    @cached_property
    def hm_iou(self) -> float:
        """The mean IoU of the best one-to-one matching (Kuhn, 1955) of samples and annotators.

        Both are repeated up to the least common multiple of their numbers, as Kohl et al. (2019) repeat the
        annotators, so that each counts equally.
        """
        number, others = len(self.samples), len(self.annotators)
        pairs = math.lcm(number, others)
        iou = self._iou[:number, number:].repeat(pairs // number, axis=0).repeat(pairs // others, axis=1)
        return float(iou[linear_sum_assignment(iou, maximize=True)].mean())

    @cached_property
    def max_dice(self) -> float:
        """For each annotator the Dice of the sample that is nearest; the mean over the annotators."""
        number = len(self.samples)
        both = self._intersections[:number, number:]
        sizes = np.diagonal(self._intersections)
        return float(_share(2 * both, sizes[:number, None] + sizes[None, number:]).max(axis=0).mean())

    @cached_property
    def soft_dice(self) -> float:
        """The mean over the thresholds .1, .3, .5, .7 and .9 of the Dice between both means, where they exceed them."""
        true = self.annotators.sum(axis=0) / len(self.annotators)  # float64: 3 of 10 is 0.3 and does not exceed it
        scores = []
        for threshold in THRESHOLDS:
            one, other = self.mean > self.mean.dtype.type(threshold), true > threshold
            both, sizes = np.count_nonzero(one & other), np.count_nonzero(one) + np.count_nonzero(other)
            scores.append(2 * both / sizes if sizes else 1.0)
        return float(np.mean(scores))

    @cached_property
    def _intersections(self) -> NDArray[np.float64]:
        """(N + M, N + M) pixels that each pair of masks shares; a mask's own size on the diagonal."""
        number, pixels = len(self.samples) + len(self.annotators), self.samples.shape[1]
        shared = np.zeros((number, number))
        for start in range(0, pixels, _CHUNK):
            part = slice(start, start + _CHUNK)
            masks = np.concatenate([self.samples[:, part], self.annotators[:, part]]).astype(np.float32)
            shared += masks @ masks.T
        return shared

    @cached_property
    def _iou(self) -> NDArray[np.float64]:
        sizes = np.diagonal(self._intersections)
        return _share(self._intersections, sizes[:, None] + sizes - self._intersections)


def several(
    samples: ArrayLike, annotators: ArrayLike, *, mean: ArrayLike | None = None, region: ArrayLike | None = None
) -> Several:
    """Compare N masks `(N, *S)` with those of M annotators `(M, *S)`, inside `region` `(*S)` where it is given.

    Args:
        mean: (*S) probabilities that stand for the mean of the samples in the soft Dice.

    Raises:
        ArrayError: there is no mask on one side, the shapes differ, there is no pixel to compare, or `mean` holds other
            values than probabilities.
    """
    drawn, true = foreground(samples), foreground(annotators)
    mean = None if mean is None else probabilities(mean, "mean")
    if min(drawn.ndim, true.ndim) < 3:
        raise ArrayError(
            f"found samples {drawn.shape} and masks of annotators {true.shape}; expected (N, *S) and (M, *S) with two "
            "or three spatial axes; one mask becomes a set by mask[None]"
        )
    inside = np.ones(true.shape[1:], dtype=np.bool_) if region is None else foreground(region)
    shapes = {drawn.shape[1:], true.shape[1:], inside.shape, *([] if mean is None else [np.shape(mean)])}
    if len(shapes) > 1:
        raise ArrayError(f"the arrays have the shapes {', '.join(map(str, sorted(shapes)))}; expected one shape")
    if not len(drawn) or not len(true):
        raise ArrayError(f"there are {len(drawn)} samples and {len(true)} annotators; expected one of each at least")
    if not inside.any():
        raise ArrayError("there is no pixel to compare; expected at least one inside the region")
    drawn, true = (each.reshape(len(each), -1) if region is None else each[:, inside] for each in (drawn, true))
    average = drawn.sum(axis=0) / len(drawn) if mean is None else mean[inside]
    return Several(drawn, true, average)


def _share(part: NDArray[np.float64], whole: NDArray[np.float64]) -> NDArray[np.float64]:
    """`part / whole`; 1 where both masks are empty."""
    return np.divide(part, whole, out=np.ones_like(part), where=whole > 0)
