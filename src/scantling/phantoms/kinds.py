"""Phantoms by the kind of image that they stand for, and how many of them training images are given."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal

import numpy as np

from scantling.phantoms.angiogram import angiogram
from scantling.phantoms.curves import fractal_curves
from scantling.phantoms.phantom import Phantom
from scantling.phantoms.retina import retina
from scantling.phantoms.tubes import tubes

Kind = Literal["retina", "angiogram", "bright tubes", "dark tubes", "fractal curves"]
SMALLEST = 64
"""The side of a phantom in pixels, at least."""
MOST = 64
"""Phantoms for an image."""
PIXELS = 584 * 565
"""Of a phantom as large as they are counted: a photograph of DRIVE."""


def phantom_of(kind: Kind, shape: tuple[int, int], *, generator: np.random.Generator) -> Phantom:
    """A picture of the kind, at least as large as asked for, and 64 pixels a side."""
    sides = (max(SMALLEST, shape[0]), max(SMALLEST, shape[1]))
    if kind == "retina":
        return retina(sides, generator=generator)
    if kind == "angiogram":
        return angiogram(sides, generator=generator)
    if kind == "fractal curves":
        return fractal_curves(sides, generator=generator)
    return tubes(sides, generator=generator, dark=kind == "dark tubes")


def for_each(wanted: int, *, images: int, shape: Sequence[int]) -> int:
    """Phantoms for each of several images of a shape, 64 at most, where `wanted` are for all together if these are as
    large as photographs of DRIVE: of larger ones there are fewer, as many pixels in all."""
    return min(MOST, wanted, math.ceil(wanted * PIXELS / (max(1, images) * math.prod(shape))))
