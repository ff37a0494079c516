"""Mending in 3-D where the truth is exactly known: a made tree of tubes whose probability map has gaps.

Not a timing. The map is a soft copy of the tree with noise, dimmed to .1 to .4 in balls along the tubes, as wide as
the tube or a little more. Exit code 1 if diffusion with carried directions does not lower the number of pieces and
raise clDice.
"""

from __future__ import annotations

import sys

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import distance_transform_edt, gaussian_filter

from scantling.core.randomness import numpy_generator
from scantling.mending.mend import Mending, mend, spelled
from scantling.metrics.overlap import confusion
from scantling.metrics.topology import topology

SIZE, GAPS, SEEDS = 80, 14, (0, 1, 2)


def tree(generator: np.random.Generator) -> tuple[NDArray[np.bool_], NDArray[np.float64], NDArray[np.float64]]:
    """A mask (S, S, S), the points of its centre lines (n, 3) and their radii: a trunk that forks four times."""
    points: list[NDArray[np.float64]] = []
    radii: list[float] = []

    def grow(start: NDArray[np.float64], way: NDArray[np.float64], radius: float, forks: int) -> None:
        at = start
        for _ in range(24):
            points.append(at)
            radii.append(radius)
            way = way + generator.normal(0, 0.08, 3)
            way /= np.linalg.norm(way)
            at = at + 0.8 * way
            if not ((at > 3) & (at < SIZE - 4)).all():
                return
        if forks:
            side = np.cross(way, generator.normal(size=3))
            side /= np.linalg.norm(side)
            for sign in (1, -1):
                fork = way + sign * generator.uniform(0.5, 0.9) * side
                grow(at, fork / np.linalg.norm(fork), radius * 2 ** (-1 / 3), forks - 1)  # Murray's law, two equal arms

    grow(np.array([4.0, SIZE / 2, SIZE / 2]), np.array([1.0, 0.0, 0.0]), 3.2, 4)
    mask = np.zeros((SIZE,) * 3, bool)
    centres, widths = np.array(points), np.array(radii)
    for radius in np.unique(widths):
        seeds = np.ones(mask.shape, bool)
        seeds[tuple(np.rint(centres[widths == radius]).astype(int).T)] = False
        mask |= distance_transform_edt(seeds) <= radius
    return mask, centres, widths


def broken(
    mask: NDArray[np.bool_], centres: NDArray[np.float64], radii: NDArray[np.float64], generator: np.random.Generator
) -> NDArray[np.float32]:
    """A probability map of the tree with dim balls on its centre lines."""
    soft = gaussian_filter(mask.astype(float), 0.7) * 0.9 + 0.03
    grid = np.stack(np.meshgrid(*[np.arange(SIZE)] * 3, indexing="ij"), -1)
    for chosen in generator.choice(np.arange(24, len(centres)), GAPS, replace=False):
        away = np.linalg.norm(grid - centres[chosen], axis=-1)
        ball = away < radii[chosen] + generator.uniform(0.5, 2.0)
        soft[ball] = np.minimum(soft[ball], generator.uniform(0.1, 0.4))
    soft += gaussian_filter(generator.normal(0, 0.25, soft.shape), 1.0)
    return soft.clip(0, 1).astype(np.float32)


def main() -> int:
    """Print a table of the means over the seeds."""
    ways = [
        Mending(rule="threshold"),
        Mending(rule="threshold", smallest=50),
        Mending(rule="hysteresis"),
        *(Mending(iterations=n) for n in (10, 30, 100)),
        *(Mending(iterations=n, carry=2.0) for n in (30, 100)),
        Mending(rule="both", iterations=30, carry=2.0, smallest=50),
    ]
    rows: dict[str, list[tuple[float, ...]]] = {spelled(way): [] for way in ways}
    for seed in SEEDS:
        generator = numpy_generator("mending tree", seed)
        truth, centres, radii = tree(generator)
        maps = broken(truth, centres, radii, generator)[None]
        for way, found in zip(ways, rows.values(), strict=True):
            mask = mend(maps, way).mask[0]
            shape = topology(mask, truth)
            found.append((confusion(mask, truth).dice, shape.cldice, shape.vca, float(shape.betti0_error)))
    title, width = f"made tree in 3-D, mean of {len(SEEDS)}", max(map(len, rows))
    sys.stdout.write(f"{title:<{width}} {'Dice':>6} {'clDice':>7} {'VCA':>6} {'Betti-0':>8}\n")
    means = {name: np.mean(found, axis=0) for name, found in rows.items()}
    for name, (dice, cldice, vca, betti) in means.items():
        sys.stdout.write(f"{name:<{width}} {dice:6.4f} {cldice:7.4f} {vca:6.2f} {betti:8.2f}\n")
    plain, *_ = means.values()
    carried = next(mean for name, mean in means.items() if "carried" in name)
    return int(not (carried[2] < plain[2] and carried[1] > plain[1]))


if __name__ == "__main__":
    sys.exit(main())
