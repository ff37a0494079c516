"""Trees on a grid: how deep every pixel lies in a vessel, how wide that vessel is, and where the centre lines run."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from scantling.core.compiled import compiled
from scantling.phantoms.trees import Tree


@dataclass(frozen=True)
class Raster:
    """Trees on a grid, as a union of capsules whose radius changes linearly from point to point.

    Attributes:
        depth: (*S) float32, max(r - d) over the capsules in pixels, with d the distance of the centre of the pixel to
            the centre line; -inf farther than the margin outside.
        radius: (*S) float32, the r of the capsule that gave the depth; 0 where there is none.
        centre_line: (*S) bool, the pixels that the centre lines pass through, sampled twice a pixel; every branch is
            a connected chain.
    """

    depth: NDArray[np.float32]
    radius: NDArray[np.float32]
    centre_line: NDArray[np.bool_]

    @property
    def mask(self) -> NDArray[np.bool_]:
        """The pixels whose centre lies in a vessel, (*S)."""
        return self.depth >= 0


def draw(trees: Sequence[Tree], shape: tuple[int, ...], *, margin: float = 0.0, thinnest: float = 0.0) -> Raster:
    """Draw trees of as many dimensions as the grid has, two or three.

    Args:
        trees: what to draw.
        shape: of the grid, *S.
        margin: how far outside the vessels the depth is still told, in pixels.
        thinnest: radii below it are drawn as this. From √n/2 in n dimensions the mask holds the centre line and is
            as connected as the tree, because no point is farther from a pixel's centre.
    """
    grid = (1,) * (3 - len(shape)) + shape
    depth = np.full(grid, -np.inf, np.float32)
    radius = np.zeros(grid, np.float32)
    line = np.zeros(grid, np.bool_)
    for tree in trees:
        points = np.zeros((len(tree.points), 3))
        points[:, 3 - len(shape) :] = tree.points
        _draw(depth, radius, line, points, np.maximum(tree.radii, thinnest), tree.starts, margin)
    return Raster(depth.reshape(shape), radius.reshape(shape), line.reshape(shape))


@compiled()
def _span(at: float, way: float, reach: float, side: int) -> Any:
    """The pixels of one axis within `reach` of a line from `at` to `at + way`."""
    return range(max(0, math.ceil(at + min(0.0, way) - reach)), min(side, math.floor(at + max(0.0, way) + reach) + 1))


@compiled()
def _draw(depth: Any, radius: Any, line: Any, points: Any, radii: Any, starts: Any, margin: float) -> None:
    planes, rows, columns = depth.shape
    for branch in range(len(starts) - 1):
        for number in range(starts[branch], starts[branch + 1]):
            z, y, x = points[number]
            plane, row, column = math.floor(z + 0.5), math.floor(y + 0.5), math.floor(x + 0.5)
            if 0 <= plane < planes and 0 <= row < rows and 0 <= column < columns:
                line[plane, row, column] = True
            other = max(number - 1, starts[branch])
            dz, dy, dx = points[other] - points[number]
            length = dz * dz + dy * dy + dx * dx
            here, change = radii[number], radii[other] - radii[number]
            reach = max(here, here + change) + margin
            for p in _span(z, dz, reach, planes):
                for r in _span(y, dy, reach, rows):
                    for c in _span(x, dx, reach, columns):
                        ez, ey, ex = p - z, r - y, c - x
                        along = (ez * dz + ey * dy + ex * dx) / length if length > 0.0 else 0.0
                        along = min(1.0, max(0.0, along))
                        away = math.sqrt((ez - along * dz) ** 2 + (ey - along * dy) ** 2 + (ex - along * dx) ** 2)
                        found = here + along * change
                        if found - away >= -margin and found - away > depth[p, r, c]:
                            depth[p, r, c] = found - away
                            radius[p, r, c] = found


def path_lengths(tree: Tree, shape: tuple[int, int]) -> NDArray[np.float32]:
    """How long a ray along the first axis is inside a tree in 3-D, (H, W) in pixels.

    A ray meets each capsule in an interval. Intervals that meet are one, those of branches that pass each other at
    different depths add up. (Branches are met in the order of the tree, so that three that overlap one another where
    the first and the last do not touch may count a little twice.) An interval is that of a tube with a radius of
    √(r² + ¼), shortened so that the tube's cross-section stays π r²: a pixel is not a point.
    """
    paths = np.zeros(shape, np.float32)
    low, high = np.full(shape, np.nan, np.float32), np.full(shape, np.nan, np.float32)
    _project(paths, low, high, tree.points, tree.radii)
    return paths + np.nan_to_num(high - low)


@compiled()
def _project(paths: Any, low: Any, high: Any, points: Any, radii: Any) -> None:
    rows, columns = paths.shape
    for number in range(len(points)):
        z, y, x = points[number]
        wide = math.sqrt(radii[number] ** 2 + 0.25)
        share = (radii[number] / wide) ** 2
        for r in _span(y, 0.0, wide, rows):
            for c in _span(x, 0.0, wide, columns):
                left = wide * wide - (r - y) ** 2 - (c - x) ** 2
                if left <= 0.0:
                    continue
                half = share * math.sqrt(left)
                # The half pixel bridges the steps between points.
                if low[r, c] <= z + half + 0.5 and high[r, c] >= z - half - 0.5:
                    low[r, c], high[r, c] = min(low[r, c], z - half), max(high[r, c], z + half)
                    continue
                if low[r, c] == low[r, c]:
                    paths[r, c] += high[r, c] - low[r, c]
                low[r, c], high[r, c] = z - half, z + half
