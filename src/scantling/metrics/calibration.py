"""Whether a probability of 0.8 is right eight times in ten."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import ArrayLike, NDArray

from scantling.core.checks import check_count
from scantling.core.errors import ArrayError
from scantling.metrics.arrays import pixels_inside

BINS = 15


@dataclass(frozen=True)
class Calibration:
    """The reliability table of foreground probabilities: sums in bins, so that tables of several images add up.

    Bin b of B holds the pixels with b/B ≤ p < (b+1)/B; the last one holds p = 1 as well.

    Attributes:
        count: (B,) pixels.
        confidence_sum: (B,) the sum of their probabilities.
        positive: (B,) how many of them are foreground.
        squared_error: the sum of (p - y)² over all pixels.
    """

    count: NDArray[np.int64]
    confidence_sum: NDArray[np.float64]
    positive: NDArray[np.int64]
    squared_error: float

    @cached_property
    def ece(self) -> float:
        """Σ over the bins of (pixels in the bin / all pixels) · |share of foreground - mean probability|.

        The expected calibration error of Naeini et al. (2015) with equal bins of the foreground probability.
        """
        return float(np.abs(self.positive - self.confidence_sum).sum() / self.count.sum())

    @cached_property
    def brier(self) -> float:
        """The mean of (p - y)² (Brier, 1950)."""
        return self.squared_error / int(self.count.sum())

    @property
    def edges(self) -> NDArray[np.float64]:
        """(B + 1,) the limits of the bins."""
        return np.linspace(0.0, 1.0, self.count.size + 1)

    @property
    def confidence(self) -> NDArray[np.float64]:
        """(B,) the mean probability of each bin; NaN where it is empty."""
        return _quotient(self.confidence_sum, self.count)

    @property
    def accuracy(self) -> NDArray[np.float64]:
        """(B,) the share of foreground in each bin; NaN where it is empty."""
        return _quotient(self.positive, self.count)

    def __add__(self, other: Calibration) -> Calibration:
        """The table of both sets of pixels together."""
        return Calibration(
            self.count + other.count,
            self.confidence_sum + other.confidence_sum,
            self.positive + other.positive,
            self.squared_error + other.squared_error,
        )


def calibration(
    probability: ArrayLike, truth: ArrayLike, *, region: ArrayLike | None = None, bins: int = BINS
) -> Calibration:
    """Tabulate foreground probabilities `(*S)` in [0, 1] against a mask `(*S)`, inside `region` `(*S)`.

    Raises:
        ArrayError: the shapes differ, there is no pixel to compare, or a probability lies outside [0, 1].
        SettingsError: there is no bin.
    """
    check_count(bins, argument="bins", least=1)
    scores, positive = pixels_inside(probability, truth, region)
    if scores.min() < 0 or scores.max() > 1:
        raise ArrayError(f"the probabilities reach from {scores.min():g} to {scores.max():g}; expected 0 to 1")
    scores = scores.astype(np.float64)
    numbers = np.minimum((scores * bins).astype(np.intp), bins - 1)
    return Calibration(
        np.bincount(numbers, minlength=bins).astype(np.int64),
        np.bincount(numbers, weights=scores, minlength=bins).astype(np.float64),
        np.bincount(numbers[positive], minlength=bins).astype(np.int64),
        float(np.square(scores - positive).sum()),
    )


def _quotient(above: NDArray[np.generic], below: NDArray[np.int64]) -> NDArray[np.float64]:
    result = np.full(below.shape, np.nan)
    np.divide(above, below, out=result, where=below > 0)
    return result
