"""Betti numbers by labelling and counting, against gudhi's cubical complex: the same numbers, and how much sooner.

    python benchmarks/betti.py [--repeats 5]

Both run in one process and in turn on the same masks: smooth random textures of which a tenth is foreground (about
what vessels cover on a retina), with components of many sizes, and the same with one pixel in a hundred flipped:
specks, holes and cavities. Each time is the smallest of all calls (five of ours for each of gudhi's, whose time
includes building its complex from the mask). Exits with 1 if any number differs or a ratio is under the target of 100.
"""

from __future__ import annotations

import argparse
import sys
import timeit
from collections.abc import Callable

import gudhi
import numpy as np
from scipy import ndimage

from scantling.core.randomness import numpy_generator
from scantling.metrics.topology import betti_numbers

TARGET = 100
CALLS = 5
SHAPES = ((256, 256), (512, 512), (32, 32, 32), (64, 64, 64))


def texture(shape: tuple[int, ...], *, noise: float) -> np.ndarray:
    """A mask `(*S)` of smooth random shapes, a share `noise` of its pixels flipped."""
    draw = numpy_generator("betti", *shape)
    field = ndimage.gaussian_filter(draw.standard_normal(shape), 2.0)
    return (field > np.percentile(field, 90)) ^ (draw.random(shape) < noise)


def by_gudhi(mask: np.ndarray) -> tuple[int, ...]:
    """The Betti numbers of the union of closed pixels, by persistent homology."""
    complex_ = gudhi.CubicalComplex(top_dimensional_cells=1.0 - mask)
    complex_.compute_persistence()
    return tuple(complex_.persistent_betti_numbers(0.0, 0.5)[: mask.ndim])


def timed(function: Callable[[np.ndarray], tuple[int, ...]], mask: np.ndarray, *, calls: int) -> float:
    """The fewest seconds that one of several calls took."""
    return min(timeit.repeat(lambda: function(mask), number=1, repeat=calls))


def main() -> int:
    """Print the table; 1 if a number differs or the target is missed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=5, help="turns for each mask (default 5)")
    repeats = parser.parse_args().repeats
    print(f"{'mask':<20}{'Betti numbers':<22}{'gudhi ms':>10}{'scantling ms':>14}{'ratio':>8}  equal")
    reached = True
    for shape in SHAPES:
        for noise in (0.0, 0.01):
            mask = texture(shape, noise=noise)
            expected, found = by_gudhi(mask), betti_numbers(mask)
            turns = [(timed(by_gudhi, mask, calls=1), timed(betti_numbers, mask, calls=CALLS)) for _ in range(repeats)]
            theirs, ours = map(min, zip(*turns, strict=True))
            reached &= expected == found and theirs / ours >= TARGET
            name = " x ".join(str(n) for n in shape) + (" noisy" if noise else "")
            numbers = ", ".join(str(n) for n in found)
            verdict = "yes" if expected == found else f"NO: gudhi has {expected}"
            row = f"{name:<20}{numbers:<22}{theirs * 1e3:>10.2f}{ours * 1e3:>14.3f}{theirs / ours:>8.0f}  {verdict}"
            print(row, flush=True)
    return 0 if reached else 1


if __name__ == "__main__":
    sys.exit(main())
