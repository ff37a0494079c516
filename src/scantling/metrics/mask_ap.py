"""Average precision of ranked objects, as COCO defines it: which were found at which IoU, and the area under that."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from scantling.core.checks import numbers
from scantling.core.errors import ArrayError
from scantling.metrics.instance_overlaps import Overlaps

THRESHOLDS = tuple(percent / 100 for percent in range(50, 100, 5))
"""IoU .50, .55, ..., .95."""
_RECALLS = np.array([percent / 100 for percent in range(101)])


@dataclass(frozen=True)
class Ranked:
    """The predicted objects of one or many images in the order of their images.

    Attributes:
        scores: (N,).
        hits: (N, 10) bool: whether the object was matched at each of `THRESHOLDS`.
        true: the number of true objects.
    """

    scores: NDArray[np.float64]
    hits: NDArray[np.bool_]
    true: int

    def __add__(self, other: Ranked) -> Ranked:
        """The objects of both, as of one set of images."""
        return Ranked(
            np.concatenate([self.scores, other.scores]),
            np.concatenate([self.hits, other.hits]),
            self.true + other.true,
        )

    def average_precision(self, threshold: float) -> float:
        """AP at one of `THRESHOLDS`; NaN without a true object, 0 without a predicted one.

        Precision is made falling from the right and read at the recalls 0, .01, ..., 1, 0 beyond the greatest (Lin et
        al., 2014, COCO; equal scores keep the order of the images).
        """
        if not self.true:
            return math.nan
        right = self.hits[np.argsort(-self.scores, kind="stable"), THRESHOLDS.index(threshold)]
        found = np.cumsum(right)
        precision = np.maximum.accumulate((found / np.arange(1, found.size + 1))[::-1])[::-1]
        places = np.searchsorted(found / self.true, _RECALLS, side="left")
        return float(np.where(places < found.size, np.append(precision, 0.0)[places], 0.0).mean())

    @property
    def mean_average_precision(self) -> float:
        """The mean over IoU .50, .55, ..., .95; without COCO's limit of 100 objects for each image."""
        return float(np.mean([self.average_precision(threshold) for threshold in THRESHOLDS]))


def ranked(found: Overlaps, scores: ArrayLike) -> Ranked:
    """Match predicted objects, the best score first, each with the free true object of the greatest IoU >= threshold.

    Args:
        scores: (N,) of the predicted objects of `found`.

    Raises:
        ArrayError: there are not as many finite scores as objects.
    """
    values = numbers(scores, "the scores").astype(np.float64)
    if values.shape != found.predicted_sizes.shape or not np.isfinite(values).all():
        raise ArrayError(
            f"found scores of shape {values.shape} for {len(found.predicted_sizes)} objects; expected a finite number "
            "for each"
        )
    hits = np.zeros((values.size, len(THRESHOLDS)), np.bool_)
    taken = np.zeros((len(found.true_sizes), len(THRESHOLDS)), np.bool_)
    enough = found.iou[:, None] >= np.array(THRESHOLDS)
    pairs = np.flatnonzero(enough[:, 0])
    order = np.lexsort((found.true[pairs], -found.iou[pairs], found.predicted[pairs], -values[found.predicted[pairs]]))
    for pair in pairs[order].tolist():
        one, other = found.predicted[pair], found.true[pair]
        new = enough[pair] & ~hits[one] & ~taken[other]
        hits[one] |= new
        taken[other] |= new
    return Ranked(values, hits, len(found.true_sizes))
