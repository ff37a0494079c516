"""Scores of image classes with intervals over subjects: every number that all cases give together, without each."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from scantling.evaluation.intervals import Values, jackknife_interval, mean_interval, rate_interval
from scantling.evaluation.strata import Estimate
from scantling.metrics import classification as metrics
from scantling.metrics.arrays import Mask, mean_of_defined
from scantling.metrics.catalogue import CLASS_METRICS

Numbers = NDArray[np.int64]


class ClassEstimates:
    """The scores of some cases.

    Args:
        predicted, truth: (n,) class numbers in [0, K), n > 0.
        probabilities: (n, K).
        subjects: (n,) whom each case shows.

    Attributes:
        confusion: (K, K), rows are true classes.
        whole: the estimate of each of `CLASS_METRICS`, by name.
        by_class: for each class its sensitivity, F1 and AUC.
    """

    def __init__(self, predicted: Numbers, truth: Numbers, probabilities: Values, subjects: Sequence[str]) -> None:
        self._predicted, self._truth, self._probabilities = predicted, truth, probabilities
        members, which = np.unique(np.array(subjects, dtype=str), return_inverse=True)
        self._members, self._which = [str(member) for member in members], which.astype(np.int64)
        self._count = np.bincount(self._which).astype(np.float64)
        size = probabilities.shape[1]
        self.confusion = metrics.confusion_matrix(predicted, truth, classes=size)
        parts = np.split(np.argsort(self._which, kind="stable"), np.cumsum(np.bincount(self._which))[:-1])
        left = [self.confusion - metrics.confusion_matrix(predicted[part], truth[part], classes=size) for part in parts]
        sensitivities, areas = self._sensitivities(left), self._areas()
        f1s = self._each_f1(left)
        self.by_class = [
            {"sensitivity": one, "f1": two, "auc": three}
            for one, two, three in zip(sensitivities, f1s, areas, strict=True)
        ]
        right = (predicted == truth).astype(np.float64)
        squared = metrics.brier_by_case(probabilities, truth)
        found = {
            "accuracy": self._mean(right, rate_interval),
            "balanced_accuracy": self._average(sensitivities),
            "f1": self._average(f1s),
            "auc": self._average(areas),
            "ece": self._ece(parts),
            "brier": self._mean(squared, lambda sums, counts: mean_interval(sums, counts, low=0, high=2)),
        }
        self.whole = {name: found[name] for name in CLASS_METRICS}

    def _estimate(self, value: float, without: Values, interval: tuple[float, float], counted: Mask) -> Estimate:
        """An estimate of the cases that count, which (n,) are bool."""
        people = len(np.unique(self._which[counted]))
        named = dict(zip(self._members, without.tolist(), strict=True))
        return Estimate(value, interval, int(counted.sum()), people, named)

    def _mean(self, values: Values, interval: Callable[[Values, Values], tuple[float, float]]) -> Estimate:
        sums = np.bincount(self._which, weights=values).astype(np.float64)
        return self._estimate(
            float(values.mean()),
            _without(sums, self._count),
            interval(sums, self._count),
            np.ones(len(values), np.bool_),
        )

    def _sensitivities(self, left: Sequence[Numbers]) -> list[Estimate]:
        whole = metrics.sensitivity_by_class(self.confusion)
        without = np.array([metrics.sensitivity_by_class(each) for each in left])
        found = []
        for number in range(len(whole)):
            mine = self._truth == number
            right = mine & (self._predicted == number)
            sums, counts = (np.bincount(self._which, weights=each).astype(np.float64) for each in (right, mine))
            found.append(self._estimate(float(whole[number]), without[:, number], rate_interval(sums, counts), mine))
        return found

    def _each_f1(self, left: Sequence[Numbers]) -> list[Estimate]:
        whole, without = metrics.f1_by_class(self.confusion), np.array([metrics.f1_by_class(each) for each in left])
        return [
            self._jackknife(float(whole[number]), without[:, number], self._truth == number)
            for number in range(len(whole))
        ]

    def _areas(self) -> list[Estimate]:
        found = []
        for number, whole in enumerate(metrics.auc_by_class(self._probabilities, self._truth)):
            mine = self._truth == number
            without = metrics.auc_without_each(self._probabilities[:, number], mine, self._which)
            rarer = min(mine, ~mine, key=lambda side: len(np.unique(self._which[side])))
            found.append(self._jackknife(float(whole), without, mine, rarest=rarer))
        return found

    def _jackknife(self, value: float, without: Values, counted: Mask, *, rarest: Mask | None = None) -> Estimate:
        """Of one class; at a bound it is worth as many cases as its rarer side has subjects."""
        effective = len(np.unique(self._which[counted if rarest is None else rarest]))
        interval = jackknife_interval(value, without, low=0, high=1, effective=effective)
        return self._estimate(value, without, interval, counted)

    def _average(self, classes: Sequence[Estimate]) -> Estimate:
        """The mean over the classes in which a score is defined; no interval where a single subject has one of them."""
        defined = [one for one in classes if not math.isnan(one.value)]
        everyone = np.ones(len(self._truth), np.bool_)
        if not defined:
            return Estimate(math.nan)
        without = np.array([[one.without[name] for one in defined] for name in self._members]).mean(1)
        value = mean_of_defined(one.value for one in defined)
        effective = min(one.subjects for one in defined)
        interval = jackknife_interval(value, without, low=0, high=1, effective=effective)
        return self._estimate(value, without, interval, everyone)

    def _ece(self, parts: Sequence[Numbers]) -> Estimate:
        table = metrics.class_calibration(self._probabilities, self._predicted, self._truth)
        without = np.full(len(parts), np.nan)
        for number, part in enumerate(parts if len(parts) > 1 else ()):
            own = metrics.class_calibration(self._probabilities[part], self._predicted[part], self._truth[part])
            distance = np.abs((table.positive - own.positive) - (table.confidence_sum - own.confidence_sum)).sum()
            without[number] = distance / (table.count - own.count).sum()
        interval = jackknife_interval(table.ece, without, low=0, high=1, effective=len(parts))
        return self._estimate(table.ece, without, interval, np.ones(len(self._truth), np.bool_))


def _without(sums: Values, counts: Values) -> Values:
    """(J,) the mean without each subject; NaN where nobody is left."""
    left = counts.sum() - counts
    result = np.full(len(sums), np.nan)
    np.divide(sums.sum() - sums, left, out=result, where=left > 0)
    return result
