"""How much was marked beside how much there is: volumes of volumes, areas of pictures, whatever their place."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from scantling.core.case import Unit
from scantling.metrics.arrays import masks_inside


@dataclass(frozen=True)
class Volumes:
    """The volumes of two masks: mL of three axes in mm, mm² of two, else pixels.

    Volumes that agree do not mean that the masks do: what is added in one place may be missed in another.
    """

    predicted: float
    true: float

    @property
    def volume_difference(self) -> float:
        """Predicted minus true volume: positive where too much was marked; always defined."""
        return self.predicted - self.true

    @property
    def relative_volume_difference(self) -> float:
        """(predicted - true) / true, signed (Heimann et al., 2009, there in percent); NaN where the truth is empty."""
        return (self.predicted - self.true) / self.true if self.true else math.nan

    @property
    def absolute_volume_difference(self) -> float:
        """|predicted - true|, as in ISLES 2022 (Hernandez Petzsche et al., 2022); always defined."""
        return abs(self.predicted - self.true)


def volumes(
    prediction: ArrayLike,
    truth: ArrayLike,
    *,
    spacing: Sequence[float] | None = None,
    unit: Unit = "pixel",
    region: ArrayLike | None = None,
) -> Volumes:
    """The volumes of two masks `(*S)`, bool or 0 and 1; both are emptied outside `region` `(*S)`.

    Args:
        spacing: the distance between neighbours along each axis; 1 if not given.
        unit: of the spacing; in "pixel" pixels are counted.

    Raises:
        ArrayError: the shapes differ, there is no pixel to compare, or a mask holds other values.

    Example:
        >>> import numpy as np
        >>> from scantling.metrics import volumes
        >>> true, found = np.zeros((10, 10, 10), bool), np.zeros((10, 10, 10), bool)
        >>> true[:4], found[:5] = True, True
        >>> round(volumes(found, true, spacing=(2.0, 1.0, 1.0), unit="mm").volume_difference, 3)
        0.2
    """
    predicted, true = masks_inside(prediction, truth, region)
    one = volume_of_a_pixel(spacing if spacing is not None else (1.0,) * true.ndim, unit)
    return Volumes(int(np.count_nonzero(predicted)) * one, int(np.count_nonzero(true)) * one)


def volume_of_a_pixel(spacing: Sequence[float], unit: Unit | None) -> float:
    """mL of three axes in mm, mm² of two, else 1."""
    if unit != "mm":
        return 1.0
    return math.prod(spacing) / (1000.0 if len(spacing) == 3 else 1.0)
