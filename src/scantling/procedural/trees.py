"""Branching trees: curves that wander, taper and fork like vessels."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Tree:
    """Points along the branches of a tree, dense enough that neighbouring discs overlap.

    Attributes:
        points: (N, 2) float64, row and column in pixels; every point lies inside the frame.
        radii: (N,) float64, in pixels.
    """

    points: np.ndarray
    radii: np.ndarray


def grow_tree(
    shape: tuple[int, int],
    root: tuple[float, float],
    *,
    direction: float,
    radius: float,
    generator: np.random.Generator,
    bend: float = 0.0,
    finest: float = 0.75,
    reach: float = 17.0,
) -> Tree:
    """Grow a tree from `root` until its branches leave the frame or become too fine.

    At a fork the radii obey r³ = a³ + b³ and the angles are those of least work: Murray, "The physiological
    principle of minimum work applied to the angle of branching of arteries", 1926. Between forks a branch keeps
    its width but for a slight taper, and its direction wanders: its curvature is a random walk that is drawn
    back to `bend`.

    Args:
        shape: height and width of the frame in pixels.
        root: row and column of the first point.
        direction: radians, 0 towards greater columns, π/2 towards greater rows.
        radius: of the root in pixels.
        generator: where all chance comes from.
        bend: the curvature that the trunk is drawn to at first, in radians a pixel; it fades from fork to fork.
        finest: the radius in pixels at which a branch ends. From √½ up a tree is one 8-connected component.
        reach: the mean length between forks, in radii.

    Returns:
        The tree; without points if the root lies outside the frame.
    """
    height, width = shape
    points: list[tuple[float, float]] = []
    radii: list[float] = []
    waiting = [(*root, direction, radius, bend)]
    while waiting:
        row, column, angle, here, curl = waiting.pop()
        length = max(4.0, generator.gamma(3.0, reach * here / 3.0))
        wander = generator.standard_normal(int(length / 0.5) + 1) * (0.02 / math.sqrt(here))
        curvature, inside = curl, True
        for change in wander:
            inside = -0.5 <= row <= height - 0.5 and -0.5 <= column <= width - 0.5
            if not inside or here < finest:
                break
            points.append((row, column))
            radii.append(here)
            curvature += 0.06 * (curl - curvature) + float(change) * 0.5
            angle += 0.5 * curvature
            row += 0.5 * math.sin(angle)
            column += 0.5 * math.cos(angle)
            here *= 0.9995
        if not inside or here < finest:
            continue
        larger, smaller = _fork(here, share=generator.uniform(0.08, 0.42))
        side = 1.0 if generator.random() < 0.5 else -1.0
        turns = _angles(here, larger, smaller)
        waiting.append((row, column, angle + side * turns[0], larger, 0.8 * curl))
        waiting.append((row, column, angle - side * turns[1], smaller, 0.0))
    return Tree(np.array(points, dtype=np.float64).reshape(-1, 2), np.array(radii, dtype=np.float64))


def _fork(radius: float, *, share: float) -> tuple[float, float]:
    """The radii of the branches when the smaller one takes `share` of the flow (r³ is kept)."""
    return radius * (1.0 - share) ** (1 / 3), radius * share ** (1 / 3)


def _angles(radius: float, larger: float, smaller: float) -> tuple[float, float]:
    """How far each branch turns from its parent: cos a = (r⁴ + a⁴ - b⁴) / 2r²a², and with a and b exchanged."""
    r, a, b = radius**2, larger**2, smaller**2
    cosines = (r * r + a * a - b * b) / (2 * r * a), (r * r + b * b - a * a) / (2 * r * b)
    return math.acos(min(1.0, cosines[0])), math.acos(min(1.0, cosines[1]))
