"""Mean, deviation, range and percentiles of many images, gathered one image at a time."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Self

import numpy as np

from scantling.core.pieces import LARGE, pieces
from scantling.core.samples import Intensity


@dataclass(frozen=True)
class Moments:
    """Count, mean and sum of squared deviations, range, and some of the values, of one channel of many images.

    Attributes:
        ranges: the least and the greatest value of each image.
    """

    count: int
    mean: float
    deviation: float
    low: float
    high: float
    values: tuple[np.ndarray, ...]
    ranges: tuple[tuple[float, float], ...] = ()

    @classmethod
    def of(cls, values: np.ndarray, stride: int) -> Self:
        """The moments of (N,) values, every `stride`-th of which is kept."""
        if not values.size:
            return cls(0, 0.0, 0.0, np.inf, -np.inf, ())
        if values.size > LARGE:
            mean, deviation = mean_and_deviation(values)
            low, high = float(values.min()), float(values.max())
            kept = (values[::stride].copy(),)
            return cls(values.size, mean, deviation**2 * values.size, low, high, kept, ((low, high),))
        exact = values.astype(np.float64)
        mean, low, high = float(exact.mean()), float(exact.min()), float(exact.max())
        return cls(
            values.size,
            mean,
            float(np.square(exact - mean).sum()),
            low,
            high,
            (values[::stride].copy(),),
            ((low, high),),
        )

    def __add__(self, other: Moments) -> Moments:
        """The moments of both (Chan, Golub and LeVeque, 1979)."""
        if not self.count or not other.count:
            return self if self.count else other
        count, apart = self.count + other.count, other.mean - self.mean
        return Moments(
            count,
            self.mean + apart * other.count / count,
            self.deviation + other.deviation + apart * apart * self.count * other.count / count,
            min(self.low, other.low),
            max(self.high, other.high),
            self.values + other.values,
            self.ranges + other.ranges,
        )

    def intensity(self) -> Intensity:
        """Mean, deviation, percentiles and range."""
        if not self.count:
            return Intensity(mean=0.0, std=0.0, low=0.0, high=0.0, minimum=0.0, maximum=0.0)
        low, high = np.percentile(np.concatenate(self.values).astype(np.float64), (0.5, 99.5))
        least, greatest = np.median(self.ranges, axis=0).tolist()
        return Intensity(
            mean=self.mean,
            std=float(np.sqrt(self.deviation / self.count)),
            low=float(low),
            high=float(high),
            minimum=self.low,
            maximum=self.high,
            usual=(least, greatest),
        )


def summed(parts: Iterable[Moments]) -> Moments:
    """The moments of all parts together."""
    whole = list(parts)
    total = Moments(0, 0.0, 0.0, np.inf, -np.inf, ())
    for part in whole:
        total = total + replace(part, values=(), ranges=())
    return replace(
        total,
        values=tuple(values for part in whole for values in part.values),
        ranges=tuple(each for part in whole for each in part.ranges),
    )


def mean_and_deviation(values: np.ndarray) -> tuple[float, float]:
    """Mean and standard deviation in float64; of many values piece by piece, so that no copy of all is made."""
    if values.size <= LARGE:
        return float(values.mean(dtype=np.float64)), float(values.std(dtype=np.float64))
    mean = sum(float(piece.sum(dtype=np.float64)) for piece in pieces(values)) / values.size
    apart = sum(float(np.square(piece - np.float64(mean)).sum()) for piece in pieces(values))
    return mean, math.sqrt(apart / values.size)
