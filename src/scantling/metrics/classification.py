"""How well image classes are told: from the confusion matrix, from the ranks of probabilities, from their calibration.

Classes are numbers from 0 to K - 1. A class that the truth lacks is undefined (NaN) and left out of means over classes.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike, NDArray

from scantling.core import checks
from scantling.core.checks import check_count, class_numbers, numbers
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
        SettingsError: `classes` is no number of classes.
    """
    check_count(classes, argument="classes", least=1)
    columns = class_numbers(predicted, classes=classes, what="predicted")
    rows = class_numbers(truth, classes=classes, what="truth")
    if columns.shape != rows.shape:
        raise ArrayError(f"the arrays have shapes {columns.shape} and {rows.shape}; expected (n,) twice")
    return np.bincount(rows * classes + columns, minlength=classes**2).reshape(classes, classes).astype(np.int64)


def accuracy(confusion: ArrayLike) -> float:
    """The share of cases that are right; NaN without a case."""
    confusion = _counts(confusion)
    total = int(confusion.sum())
    return float(np.trace(confusion)) / total if total else math.nan


def sensitivity_by_class(confusion: ArrayLike) -> Values:
    """(K,) the share of the cases of each class that are right; NaN for a class that the truth lacks."""
    confusion = _counts(confusion)
    return _quotient(np.diag(confusion), confusion.sum(1), confusion.sum(1) > 0)


def balanced_accuracy(confusion: ArrayLike) -> float:
    """The mean of the sensitivities of the classes that the truth has (Brodersen et al., 2010)."""
    return mean_of_defined(sensitivity_by_class(confusion).tolist())


def f1_by_class(confusion: ArrayLike) -> Values:
    """(K,) 2 TP / (2 TP + FP + FN) of each class against the rest; NaN for a class that the truth lacks."""
    confusion = _counts(confusion)
    return _quotient(2 * np.diag(confusion), confusion.sum(0) + confusion.sum(1), confusion.sum(1) > 0)


def f1(confusion: ArrayLike) -> float:
    """The mean of F1 over the classes that the truth has (macro average)."""
    return mean_of_defined(f1_by_class(confusion).tolist())


def auc_by_class(probabilities: ArrayLike, truth: ArrayLike) -> Values:
    """(K,) the area under the ROC curve of each class against the rest; equal probabilities count one half.

    NaN for a class that the truth lacks, or that all cases have.

    Args:
        probabilities: (n, K), any finite scores.
        truth: (n,) whole numbers in [0, K).

    Raises:
        ArrayError: the shapes do not fit each other, a number is no class, or a score is NaN.
    """
    scores, classes = _of_cases(numbers(probabilities, "probabilities"), truth)
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

    Raises:
        ArrayError: the shapes do not fit each other, a number is no class, or a probability lies outside [0, 1].
    """
    given, classes = _of_cases(checks.probabilities(probabilities, "probabilities"), truth)
    return np.asarray(np.square(given - np.eye(given.shape[1])[classes]).sum(1))


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
        ArrayError: there is no case, the shapes do not fit each other, a number is no class, or a probability lies
            outside [0, 1].
    """
    given, true = _of_cases(checks.probabilities(probabilities, "probabilities"), truth)
    _, named = _of_cases(given, predicted, what="predicted")
    return calibration(given[np.arange(len(named)), named], named == true, bins=bins)


def _of_cases(scores: NDArray[np.generic], truth: ArrayLike, *, what: str = "truth") -> tuple[Values, Counts]:
    """Scores (n, K) and class numbers (n,) of the same cases.

    Raises:
        ArrayError: they are none, or of different cases.
    """
    if scores.ndim != 2:
        raise ArrayError(f"probabilities have the shape {scores.shape}; expected (n, K), a row for each case")
    classes = class_numbers(truth, classes=scores.shape[1], what=what)
    if len(classes) != len(scores):
        raise ArrayError(f"{what} has {len(classes)} cases, probabilities {len(scores)}; expected one number for each")
    return scores.astype(np.float64), classes


def _counts(confusion: ArrayLike) -> Counts:
    """A confusion matrix (K, K).

    Raises:
        ArrayError: it is none.
    """
    counts = numbers(confusion, "the confusion matrix")
    if counts.ndim != 2 or counts.shape[0] != counts.shape[1] or (counts.size and not counts.min() >= 0):
        raise ArrayError(f"found the shape {counts.shape}; expected a confusion matrix (K, K) of counts")
    return counts


def _above(scores: Values, others: Values) -> Values:
    """For each score how many of the others lie below it, equal ones counted half."""
    ordered = np.sort(others)
    return np.asarray((np.searchsorted(ordered, scores, "left") + np.searchsorted(ordered, scores, "right")) / 2)


def _quotient(above: NDArray[np.generic], below: NDArray[np.generic], defined: NDArray[np.bool_]) -> Values:
    result = np.full(below.shape, np.nan)
    np.divide(above, below, out=result, where=defined)
    return result
