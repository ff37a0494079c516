"""Schedules and ramps: plain functions of progress, the share of a stage that is done, in [0, 1]."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

RISE = 0.3
"""The share of a one-cycle schedule in which the rate rises."""


def constant(progress: float, peak: float = 1.0) -> float:
    """The peak all the time."""
    del progress
    return peak


def cosine(progress: float, peak: float = 1.0) -> float:
    """A half cosine from the peak to 0."""
    return peak * (1 + math.cos(math.pi * progress)) / 2


def polynomial(progress: float, peak: float = 1.0, *, power: float = 0.9) -> float:
    """(1 - progress)^power of the peak."""
    return float(peak * (1 - progress) ** power)


def one_cycle(progress: float, peak: float = 1.0) -> float:
    """A cosine up from a 25th of the peak over the first 30 %, and down to 0 (Smith and Topin, 2018)."""
    if progress < RISE:
        return peak * (1 + 24 * (1 - math.cos(math.pi * progress / RISE)) / 2) / 25
    return peak * (1 + math.cos(math.pi * (progress - RISE) / (1 - RISE))) / 2


def linear_rise(progress: float, peak: float = 1.0, *, until: float = 1.0) -> float:
    """From 0 to the peak, which is reached when the share `until` of the stage is done."""
    return peak * min(progress / until, 1.0)


def sigmoid_rise(progress: float, peak: float = 1.0, *, until: float = 1.0) -> float:
    """exp(-5 (1 - t)²) of the peak, where t goes from 0 to 1 until the share `until` is done (Laine and Aila, 2017)."""
    return peak * math.exp(-5 * (1 - min(progress / until, 1.0)) ** 2)


def steps_down(progress: float, peak: float = 1.0, *, at: tuple[float, ...] = (), factor: float = 0.1) -> float:
    """The peak, times `factor` at each of the shares `at` that has been passed."""
    return float(peak * factor ** sum(progress >= share for share in at))


SCHEDULES: Mapping[str, Callable[[float, float], float]] = {
    "constant": constant,
    "cosine": cosine,
    "polynomial": polynomial,
    "one-cycle": one_cycle,
}
"""Those that settings name."""
