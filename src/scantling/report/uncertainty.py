"""How large an uncertainty map can be, so that all maps of one name are drawn on one scale."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import NamedTuple

import numpy as np

from scantling.contract.results import DISPUTED


class Scale(NamedTuple):
    """The value at which a map is brightest; `known` where no map of its name can exceed it."""

    highest: float
    unit: str
    known: bool

    def sentence(self, name: str) -> str:
        """For people."""
        unit = f" {self.unit}" if self.unit else ""
        if self.known:
            return f"{name.capitalize()}: from 0 to {self.highest:.3g}{unit}, the largest possible value."
        return f"{name.capitalize()}: from 0 to {self.highest:.3g}{unit}, the largest value in this case."


def entropy_of(probabilities: np.ndarray, *, exclusive: bool) -> np.ndarray:
    """(*S) in bits of probabilities (K, *S), as `fusion.uncertainties` defines it."""
    p = np.asarray(probabilities, np.float32)
    if exclusive:
        return np.asarray(_bits(p).sum(axis=0) + _bits(np.clip(1 - p.sum(axis=0), 0, 1)))
    return np.asarray((_bits(p) + _bits(1 - p)).mean(axis=0))


def _bits(p: np.ndarray) -> np.ndarray:
    """-p log2 p, 0 at 0."""
    return np.asarray(-p * np.log2(np.where(p > 0, p, 1)))


def scale_of(name: str, *, classes: int, exclusive: bool, values: Iterable[float] = ()) -> Scale:
    """The scale of the maps called `name` (see `fusion.uncertainties` and the methods that name their own).

    Args:
        classes: of the model.
        exclusive: whether a pixel has one class or the background; else each class is decided for itself.
        values: the largest value of each map, for names of which no bound is known.
    """
    bits = math.log2(classes + 1) if exclusive else 1.0
    bound = {
        "entropy": Scale(bits, "bits", True),
        "deviation": Scale(0.5, "", True),
        DISPUTED: Scale(1.0, "", True),
        "disagreement": Scale(bits * math.log(2), "nats", True),  # a Jensen-Shannon divergence of many heads
        "filling": Scale(1.0, "", True),
    }.get(name)
    if bound is not None:
        return bound
    highest = max((value for value in values if math.isfinite(value)), default=0.0)
    return Scale(highest if highest > 0 else 1.0, "", False)
