"""Structure maps against a plain per-pixel implementation, and against SciPy's separate filters.

    python benchmarks/structure.py [--repeats 7]

All in one process, on one thread and in turns; each time is the smallest of all turns. A 512 x 512 image with the rule
for fundus: the compiled passes must give what SciPy's filters give and be twice as fast; on 128 x 128 pixels 20 times
as fast as loops over pixels in Python. Exits with 1 if a result differs or a target is missed.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from scantling.core.randomness import numpy_generator
from scantling.phantoms.structure import RULES, structure_map

RULE = RULES["fundus"]
SIDE, SMALL = 512, 128
OVER_PIXELS, OVER_SCIPY = 20, 2
DIFFERENT = 1e-4
"""The share of pixels on which float32 and float64 may fall on other sides of a threshold."""
WEIGHTS = np.exp(-(np.mgrid[-1:2, -1:2] ** 2).sum(0) / (2 * RULE.smooth**2))
THICKEN = np.exp(-(np.mgrid[-1:2, -1:2] ** 2).sum(0) / (2 * RULE.thicken**2))
SOBEL = np.array([[-1, -2, -1], [0, 0, 0], [1, 2, 1]])


def image_of(side: int) -> NDArray[np.float32]:
    """A disc with a smooth texture on a dark ground."""
    rows, columns = np.mgrid[:side, :side] - side / 2
    texture = ndimage.gaussian_filter(numpy_generator("structure benchmark").normal(0, 1, (side, side)), 4)
    return np.where(np.hypot(rows, columns) < 0.4 * side, 0.6 + texture, 0.05).astype(np.float32)


def by_scipy(image: NDArray[np.float32]) -> NDArray[np.bool_]:
    """SciPy's filters, one call after the other."""
    x = (image - image.min()) / (image.max() - image.min())
    maps = np.stack([ndimage.sobel(x, axis, mode="mirror") for axis in (0, 1)])
    edges = np.zeros(x.shape, np.bool_)
    for values, sign in ((maps.min(0), -1), (maps.max(0), 1)):
        unit = (values - values.min()) / (values.max() - values.min())
        smooth = ndimage.gaussian_filter(unit, RULE.smooth, radius=1, mode="mirror")
        edges |= sign * (smooth - smooth.mean()) > RULE.alpha
    strokes = ndimage.gaussian_filter(edges.astype(np.float32), RULE.thicken, radius=1, mode="mirror") > RULE.beta
    return (ndimage.median_filter(strokes.view(np.uint8), RULE.median) > 0) & (x > RULE.gamma)


def by_pixels(image: NDArray[np.float32]) -> NDArray[np.bool_]:
    """Loops over pixels, as the algorithm stands on paper."""

    def window(values: NDArray[np.generic], i: int, j: int, weights: NDArray[np.generic]) -> float:
        return float((values[i : i + 3, j : j + 3] * weights).sum())

    def everywhere(values: NDArray[np.generic], weights: NDArray[np.generic]) -> NDArray[np.float64]:
        padded = np.pad(values, 1, mode="reflect")
        return np.array([[window(padded, i, j, weights) for j in range(side)] for i in range(side)])

    side = len(image)
    x = (image - image.min()) / (image.max() - image.min())
    maps = np.stack([everywhere(x, SOBEL), everywhere(x, SOBEL.T)])
    edges = np.zeros(x.shape, np.bool_)
    for values, sign in ((maps.min(0), -1), (maps.max(0), 1)):
        unit = (values - values.min()) / (values.max() - values.min())
        smooth = everywhere(unit, WEIGHTS / WEIGHTS.sum())
        edges |= sign * (smooth - smooth.mean()) > RULE.alpha
    strokes = everywhere(edges, THICKEN / THICKEN.sum()) > RULE.beta
    padded = np.pad(strokes, RULE.median // 2, mode="symmetric")
    median = [
        [np.median(padded[i : i + RULE.median, j : j + RULE.median]) > 0 for j in range(side)] for i in range(side)
    ]
    return np.array(median) & (x > RULE.gamma)


def fastest(
    ways: dict[str, Callable[[], NDArray[np.bool_]]], repeats: int
) -> dict[str, tuple[float, NDArray[np.bool_]]]:
    """The smallest time of each way in turns, and what it gives."""
    found: dict[str, tuple[float, NDArray[np.bool_]]] = {}
    for _ in range(repeats):
        for name, way in ways.items():
            begun = time.perf_counter()
            result = way()
            seconds = time.perf_counter() - begun
            found[name] = (min(seconds, found[name][0]) if name in found else seconds, result)
    return found


def main() -> int:
    """Compare and tell."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=7)
    repeats, good = parser.parse_args().repeats, True
    for other, name, side, target in (
        (by_scipy, "SciPy's filters", SIDE, OVER_SCIPY),
        (by_pixels, "loops over pixels", SMALL, OVER_PIXELS),
    ):
        image = image_of(side)
        structure_map(image, RULE)  # compiles
        times = fastest(
            {"ours": lambda x=image: structure_map(x, RULE), name: lambda x=image, f=other: f(x)},
            repeats if side == SIDE else min(repeats, 2),
        )
        (ours, found), (theirs, expected) = times["ours"], times[name]
        different, factor = float((found != expected).mean()), theirs / ours
        good &= different <= DIFFERENT and factor >= target
        print(
            f"{side} x {side}: {1e3 * ours:.2f} ms, {name} {1e3 * theirs:.2f} ms: {factor:.1f} times as fast "
            f"(target {target}); {different:.2%} of the pixels differ"
        )
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
