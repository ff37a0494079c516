"""How many pixels agree: everything that four counts can say."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from scantling.measures.arrays import masks_inside


@dataclass(frozen=True)
class Confusion:
    """The four counts of a binary comparison.

    A quotient without a denominator follows one rule: 1 where prediction and truth agree entirely (both empty, or
    for the specificity both full), 0 where only one of them is. So Dice is always the harmonic mean of precision
    and sensitivity.
    """

    true_positives: int
    false_positives: int
    false_negatives: int
    true_negatives: int

    @property
    def dice(self) -> float:
        """2 TP / (2 TP + FP + FN) (Dice, 1945)."""
        return self._share(2 * self.true_positives, self.false_positives + self.false_negatives)

    @property
    def iou(self) -> float:
        """TP / (TP + FP + FN) (Jaccard, 1912)."""
        return self._share(self.true_positives, self.false_positives + self.false_negatives)

    @property
    def precision(self) -> float:
        """TP / (TP + FP)."""
        return self._share(self.true_positives, self.false_positives)

    @property
    def sensitivity(self) -> float:
        """TP / (TP + FN)."""
        return self._share(self.true_positives, self.false_negatives)

    @property
    def specificity(self) -> float:
        """TN / (TN + FP)."""
        return self._share(self.true_negatives, self.false_positives)

    @property
    def accuracy(self) -> float:
        """(TP + TN) / all pixels."""
        return self._share(self.true_positives + self.true_negatives, self.false_positives + self.false_negatives)

    def _share(self, right: int, wrong: int) -> float:
        if right + wrong == 0:
            return float(self.false_positives + self.false_negatives == 0)
        return right / (right + wrong)


def confusion(prediction: ArrayLike, truth: ArrayLike, *, region: ArrayLike | None = None) -> Confusion:
    """Count the pixels of two masks `(*S)` that agree and disagree, inside `region` `(*S)` where it is given.

    Raises:
        ValueError: the shapes differ, or there is no pixel to compare.
    """
    predicted, true = masks_inside(prediction, truth, region)
    both = int(np.count_nonzero(predicted & true))
    only_predicted = int(np.count_nonzero(predicted)) - both
    only_true = int(np.count_nonzero(true)) - both
    pixels = predicted.size if region is None else int(np.count_nonzero(np.asarray(region)))
    return Confusion(both, only_predicted, only_true, pixels - both - only_predicted - only_true)
