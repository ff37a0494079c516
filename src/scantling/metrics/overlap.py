"""How many pixels agree: everything that four counts can say."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from scantling.metrics.arrays import foreground, masks_inside


@dataclass(frozen=True)
class Confusion:
    """The four counts of a binary comparison.

    Where the truth is empty there is no structure to find, and all that is about it is NaN: `dice`, `iou`, `precision`
    and `sensitivity`. A prediction there is a `false_alarm`. Where the truth has something and the prediction nothing,
    all four are 0.
    """

    true_positives: int
    false_positives: int
    false_negatives: int
    true_negatives: int

    @property
    def dice(self) -> float:
        """2 TP / (2 TP + FP + FN) (Dice, 1945)."""
        return self._of_structure(2 * self.true_positives, self.false_positives + self.false_negatives)

    @property
    def iou(self) -> float:
        """TP / (TP + FP + FN) (Jaccard, 1912)."""
        return self._of_structure(self.true_positives, self.false_positives + self.false_negatives)

    @property
    def precision(self) -> float:
        """TP / (TP + FP); 0 where nothing was predicted though there is something."""
        return self._of_structure(self.true_positives, self.false_positives)

    @property
    def sensitivity(self) -> float:
        """TP / (TP + FN)."""
        return self._of_structure(self.true_positives, self.false_negatives)

    @property
    def specificity(self) -> float:
        """TN / (TN + FP); where the truth fills everything, 1 if the prediction does too, otherwise 0."""
        return self._share(self.true_negatives, self.false_positives)

    @property
    def accuracy(self) -> float:
        """(TP + TN) / all pixels."""
        return self._share(self.true_positives + self.true_negatives, self.false_positives + self.false_negatives)

    @property
    def found(self) -> float:
        """1 where prediction and truth share a pixel, 0 where the truth has something and they do not, else NaN."""
        return float(self.true_positives > 0) if self._has_truth else math.nan

    @property
    def false_alarm(self) -> float:
        """1 where the truth is empty and the prediction is not, 0 where both are empty, NaN where there is a truth."""
        return math.nan if self._has_truth else float(self.false_positives > 0)

    @property
    def dice_or_empty(self) -> float:
        """Dice, with 1 where both masks are empty and 0 where only the truth is: a convention of some tables."""
        return self._share(2 * self.true_positives, self.false_positives + self.false_negatives)

    @property
    def _has_truth(self) -> bool:
        return self.true_positives + self.false_negatives > 0

    def _of_structure(self, right: int, wrong: int) -> float:
        if not self._has_truth:
            return math.nan
        return right / (right + wrong) if right + wrong else 0.0

    def _share(self, right: int, wrong: int) -> float:
        if right + wrong == 0:
            return float(self.false_positives + self.false_negatives == 0)
        return right / (right + wrong)


def confusion(prediction: ArrayLike, truth: ArrayLike, *, region: ArrayLike | None = None) -> Confusion:
    """Count the pixels of two masks `(*S)` that agree and disagree, inside `region` `(*S)` where it is given.

    Raises:
        ArrayError: the shapes differ, or there is no pixel to compare.
    """
    predicted, true = masks_inside(prediction, truth, region)
    both = int(np.count_nonzero(predicted & true))
    only_predicted = int(np.count_nonzero(predicted)) - both
    only_true = int(np.count_nonzero(true)) - both
    pixels = predicted.size if region is None else int(np.count_nonzero(foreground(region)))
    return Confusion(both, only_predicted, only_true, pixels - both - only_predicted - only_true)
