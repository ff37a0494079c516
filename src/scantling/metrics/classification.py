"""How well image classes are told: from the confusion matrix, from the ranks of probabilities, from their calibration.

Classes are numbers from 0 to K - 1. A class that the truth lacks is undefined (NaN) and left out of means over classes.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike, NDArray

from scantling.core.errors import ArrayError
from scantling.metrics.arrays import mean_of_defined
from scantling.metrics.calibration import BINS, Calibration, calibration
from scantling.metrics.ranking import ranking

Values = NDArray[np.float64]
Counts = NDArray[np.int64]


def confusion_matrix(predicted: ArrayLike, truth: ArrayLike, *, classes: int) -> Counts:
    """(K, K) int64: how many cases of the true class (row) were given the predicted class (column).

    Args:
        predicted, truth: (n,) whole numbers in [0, K).
        classes: K.

    Raises:
        ArrayError: the shapes differ, or a number is no class.
    """
    columns, rows = np.asarray(predicted, np.int64), np.asarray(truth, np.int64)
    if columns.shape != rows.shape or columns.ndim != 1:
        raise ArrayError(f"the arrays have shapes {columns.shape} and {rows.shape}; expected (n,) twice")
    if rows.size and not (min(rows.min(), columns.min()) >= 0 and max(rows.max(), columns.max()) < classes):
        raise ArrayError(f"found a class outside 0 to {classes - 1}")
    return np.bincount(rows * classes + columns, minlength=classes**2).reshape(classes, classes).astype(np.int64)


def accuracy(confusion: Counts) -> float:
    """The share of cases that are right; NaN without a case."""
    total = int(confusion.sum())
    return float(np.trace(confusion)) / total if total else math.nan


def sensitivity_by_class(confusion: Counts) -> Values:
    """(K,) the share of the cases of each class that are right; NaN for a class that the truth lacks."""
    return _quotient(np.diag(confusion), confusion.sum(1), confusion.sum(1) > 0)


def balanced_accuracy(confusion: Counts) -> float:
    """The mean of the sensitivities of the classes that the truth has (Brodersen et al., 2010)."""
    return mean_of_defined(sensitivity_by_class(confusion).tolist())


def f1_by_class(confusion: Counts) -> Values:
    """(K,) 2 TP / (2 TP + FP + FN) of each class against the rest; NaN for a class that the truth lacks."""
    return _quotient(2 * np.diag(confusion), confusion.sum(0) + confusion.sum(1), confusion.sum(1) > 0)


def f1(confusion: Counts) -> float:
    """The mean of F1 over the classes that the truth has (macro average)."""
    return mean_of_defined(f1_by_class(confusion).tolist())


def auc_by_class(probabilities: ArrayLike, truth: ArrayLike) -> Values:
    """(K,) the area under the ROC curve of each class against the rest; equal probabilities count one half.

    NaN for a class that the truth lacks, or that all cases have.

    Args:
        probabilities: (n, K), any finite scores.
        truth: (n,) whole numbers in [0, K).
    """
    scores, classes = np.asarray(probabilities, np.float64), np.asarray(truth)
    return np.array([ranking(scores[:, k], classes == k).auc for k in range(scores.shape[1])])


def auc(probabilities: ArrayLike, truth: ArrayLike) -> float:
    """The mean over classes of the area of each against the rest (macro average); see `auc_by_class`."""
    return mean_of_defined(auc_by_class(probabilities, truth).tolist())


def auc_without_each(scores: ArrayLike, positive: ArrayLike, groups: ArrayLike) -> Values:
    """(J,) the area under the ROC curve without the cases of each group; NaN where one side is then empty.

    Pairs of a positive and a negative case are counted once for all, and those that a group is part of taken away.

    Args:
        scores: (n,) any finite range.
        positive: (n,) bool.
        groups: (n,) whole numbers in [0, J), each at least once.
    """
    values, yes, which = np.asarray(scores, np.float64), np.asarray(positive, np.bool_), np.asarray(groups, np.int64)
    most = int(which.max()) + 1
    won = np.zeros(len(values))  # pairs of each case that are in order, equal ones half
    won[yes], won[~yes] = _above(values[yes], values[~yes]), _above(-values[~yes], -values[yes])
    parts = np.split(np.argsort(which, kind="stable"), np.cumsum(np.bincount(which))[:-1])
    own = np.array([_above(values[part][yes[part]], values[part][~yes[part]]).sum() for part in parts])
    left = won[yes].sum() - np.bincount(which, weights=won, minlength=most) + own
    pairs = np.prod([side.sum() - np.bincount(which[side], minlength=most) for side in (yes, ~yes)], axis=0)
    return _quotient(left, pairs, pairs > 0)


def brier_by_case(probabilities: ArrayLike, truth: ArrayLike) -> Values:
    """(n,) the sum over classes of (p - y)², 0 to 2 (Brier, 1950).

    Args:
        probabilities: (n, K) in [0, 1].
        truth: (n,) whole numbers in [0, K).
    """
    given = np.asarray(probabilities, np.float64)
    return np.asarray(np.square(given - np.eye(given.shape[1])[np.asarray(truth, np.int64)]).sum(1))


def brier(probabilities: ArrayLike, truth: ArrayLike) -> float:
    """The mean of `brier_by_case`; NaN without a case."""
    return mean_of_defined(brier_by_case(probabilities, truth).tolist())


def class_calibration(
    probabilities: ArrayLike, predicted: ArrayLike, truth: ArrayLike, *, bins: int = BINS
) -> Calibration:
    """The reliability table of the probability of the predicted class against whether it is right (Guo et al., 2017).

    Args:
        probabilities: (n, K) in [0, 1], n > 0.
        predicted, truth: (n,) whole numbers in [0, K).

    Raises:
        ArrayError: there is no case, or a probability lies outside [0, 1].
    """
    given, named = np.asarray(probabilities, np.float64), np.asarray(predicted, np.int64)
    return calibration(given[np.arange(len(named)), named], named == np.asarray(truth), bins=bins)


def _above(scores: Values, others: Values) -> Values:
    """For each score how many of the others lie below it, equal ones counted half."""
    ordered = np.sort(others)
    return np.asarray((np.searchsorted(ordered, scores, "left") + np.searchsorted(ordered, scores, "right")) / 2)


def _quotient(above: NDArray[np.generic], below: NDArray[np.generic], defined: NDArray[np.bool_]) -> Values:
    result = np.full(below.shape, np.nan)
    np.divide(above, below, out=result, where=defined)
    return result
