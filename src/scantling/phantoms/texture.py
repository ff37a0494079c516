"""Textures that backgrounds are made of: smooth noise of any scale, folds, and blobs."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

Image = NDArray[np.float64]
UNIT = 1 / 0.87423
"""Brings what is interpolated to a deviation of 1: cubic splines between independent values of variance 1 have, on
average over the places between them, a variance of 0.87423 along each axis."""


def smooth_noise(shape: tuple[int, int], length: float | tuple[float, float], generator: np.random.Generator) -> Image:
    """Gaussian noise (H, W) of mean about 0 and deviation 1, on average over draws, that varies over `length` pixels.

    White noise on a coarse grid, interpolated by cubic splines: two products with the weights of the rows and of the
    columns. A pair of lengths, for rows and columns, gives streaks.
    """
    lengths = length if isinstance(length, tuple) else (length, length)
    spans = [max(1.0, each) for each in lengths]
    grid = generator.standard_normal([math.ceil(side / span) + 4 for side, span in zip(shape, spans, strict=True)])
    shifts = generator.uniform(0.0, 1.0, size=2)
    # The spline's coefficients; the padding keeps what happens at its border away from the image.
    coefficients = ndimage.spline_filter(np.pad(grid, 12, mode="edge"), order=3, mode="mirror")
    across, along = (
        _weights(np.arange(side) / span + 13.0 + shift, size)
        for side, span, shift, size in zip(shape, spans, shifts, coefficients.shape, strict=True)
    )
    return UNIT * (across @ coefficients @ along.T)


def folds(shape: tuple[int, int], length: float, generator: np.random.Generator) -> Image:
    """Winding bands (H, W) in [0, 1] about `length` pixels wide: exp(-3.92 n²) of smooth noise n."""
    return np.exp(-3.92 * smooth_noise(shape, length, generator) ** 2)


def grid_of(shape: tuple[int, int]) -> tuple[Image, Image]:
    """Rows (H, 1) and columns (1, W) of the pixels."""
    return np.arange(shape[0], dtype=np.float64)[:, None], np.arange(shape[1], dtype=np.float64)[None]


def step(distance: Image, softness: float) -> Image:
    """From 0 where `distance` is far below zero to 1 where it is far above, over about `softness`."""
    return 0.5 + 0.5 * np.tanh(distance / max(softness, 1e-6))


def _weights(places: Image, size: int) -> Image:
    """What each of `size` coefficients of a cubic B-spline contributes at each of the places, (N, size)."""
    whole = np.floor(places).astype(np.int64)
    t = places - whole
    weights = np.zeros((len(places), size))
    parts = ((1 - t) ** 3, 3 * t**3 - 6 * t**2 + 4, -3 * t**3 + 3 * t**2 + 3 * t + 1, t**3)
    for offset, part in enumerate(parts, -1):
        weights[np.arange(len(places)), whole + offset] = part / 6
    return weights
