"""Gaps made on purpose: a map with its vessels broken, whose truth is the mask that it had before (ours)."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from scantling.metrics.topology import skeleton

APART = 60
"""Pixels of centre line for each gap."""
LENGTHS, DEPTHS = (3.0, 10.0), (0.5, 0.9)
"""How long a gap is at half of its depth, in pixels, and how much of the map is lost in its middle."""


def with_gaps(map_: NDArray[np.floating], *, seed: int, threshold: float = 0.5) -> NDArray[np.float32]:
    """A map (*S) in [0, 1] whose vessels are dimmed at random places of their centre lines.

    A gap is a Gaussian dip as wide as it is long, and no narrower than the vessel there.

    Args:
        seed: what the places, lengths and depths are a function of.
        threshold: above which a pixel is vessel.
    """
    found = np.array(map_, np.float32)
    vessel = found > threshold
    places = np.argwhere(skeleton(vessel)) if vessel.any() else np.zeros((0, found.ndim), np.int64)
    if not len(places):
        return found
    random = np.random.default_rng(seed)
    widths = ndimage.distance_transform_edt(vessel)
    for place in places[random.permutation(len(places))[: max(1, round(len(places) / APART))]]:
        length, depth = random.uniform(*LENGTHS), random.uniform(*DEPTHS)
        sigma = max(length / 2.355, float(widths[tuple(place)]))
        reach = math.ceil(3 * sigma)
        window = tuple(slice(max(0, p - reach), p + reach + 1) for p in place)
        axes = np.ogrid[tuple(slice(w.start, min(w.stop, n)) for w, n in zip(window, found.shape, strict=True))]
        squares = sum((axis - p) ** 2 for axis, p in zip(axes, place, strict=True))
        found[window] *= (1 - depth * np.exp(-squares / (2 * sigma**2))).astype(np.float32)
    return found
