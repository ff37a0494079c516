"""Fractal vessels: rectangles that carry smaller rectangles, warped and turned, as SSVS makes its masks."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from scantling.core.checks import check_count
from scantling.core.compiled import compiled
from scantling.core.errors import SettingsError
from scantling.phantoms.phantom import check_generator, check_size

CANVAS = 512
"""The side of the canvas that all lengths below refer to."""


@dataclass(frozen=True)
class Fractal:
    """How fractal vessels are made: Ma et al., "Self-supervised vessel segmentation via adversarial learning", 2021.

    A pair is the bounds of a uniform draw, of whole numbers with the upper one excluded where a length is drawn. The
    defaults are those of the authors' code.

    Attributes:
        top: the row that the trunk begins at.
        left: the column that it begins at.
        thickness: of the trunk; the authors' online variant has (10, 20).
        length: of the trunk.
        levels: numbers of levels to choose from; 3 are 7 rectangles, 4 are 15.
        share: how long and how thick a rectangle is as a part of its parent.
        jitter: deviation by which the points of the warp's 4 x 4 grid are moved, as a part of the canvas; (0, 0)
            leaves the rectangles straight.
        turned: probability that a mask is turned.
        degrees: how far at most, either way.
    """

    top: tuple[int, int] = (10, 250)
    left: tuple[int, int] = (2, 80)
    thickness: tuple[int, int] = (15, 20)
    length: tuple[int, int] = (350, 450)
    levels: tuple[int, ...] = (3, 4)
    share: tuple[float, float] = (0.25, 0.75)
    jitter: tuple[float, float] = (0.09, 0.13)
    turned: float = 0.5
    degrees: float = 30.0

    def __post_init__(self) -> None:
        """Refuse bounds that leave nothing to draw."""
        for name in ("top", "left", "thickness", "length"):
            low, high = getattr(self, name)
            if not 0 <= low < high:
                raise SettingsError(f"{name} is ({low}, {high}); expected 0 ≤ low < high")
        if not self.levels or min(self.levels) < 1:
            raise SettingsError(f"levels are {self.levels}; expected one or more numbers from 1 up")


@dataclass(frozen=True)
class Rectangle:
    """Rows `top` to `bottom - 1` and columns `left` to `right - 1` of the canvas."""

    top: int
    left: int
    bottom: int
    right: int


def fractal_crossing(
    shape: tuple[int, int], *, side: int, count: int, generator: np.random.Generator
) -> NDArray[np.bool_]:
    """A window of `shape` on a square canvas of `side` with `count` fractals, turned and mirrored at random.

    Raises:
        SettingsError: `side` is shorter than the window, or there is no fractal.
    """
    check_size(shape, least=1)
    check_count(side, argument="side", least=max(shape))
    check_count(count, argument="count", least=1)
    laid = [fractal_vessels((side, side), generator=generator) for _ in range(count)]
    turns, mirrored = int(generator.integers(4)), bool(generator.integers(2))
    top, left = (int(generator.integers(side - n + 1)) for n in shape)
    whole = np.rot90(np.stack(laid).any(0), turns)
    return (whole[:, ::-1] if mirrored else whole)[top : top + shape[0], left : left + shape[1]]


def fractal_rectangles(fractal: Fractal, *, generator: np.random.Generator) -> tuple[Rectangle, ...]:
    """Draw the rectangles of one mask, the trunk first: 2^levels - 1 of them.

    The trunk lies along a row; each rectangle has two children across it. Of a horizontal one, the first child grows
    upwards from a third of the length and the second downwards from a place within the first five sixths; of a
    vertical one, both (to the left and to the right) begin at such places. Lengths and thicknesses are whole numbers.
    A child that would begin outside the canvas is moved to its edge, not shortened. A thickness of 0, which the
    authors' code can reach, becomes 1 here.
    """
    levels = int(generator.choice(fractal.levels))
    thickness, length = int(generator.integers(*fractal.thickness)), int(generator.integers(*fractal.length))
    top, left = int(generator.integers(*fractal.top)), int(generator.integers(*fractal.left))
    found = [Rectangle(top, left, top + thickness, left + length)]
    row = list(found)
    for level in range(1, levels):
        row = [child for parent in row for child in _children(parent, level % 2 == 1, fractal, generator)]
        found += row
    return tuple(found)


def fractal_vessels(
    shape: tuple[int, int], *, generator: np.random.Generator, fractal: Fractal = Fractal()
) -> NDArray[np.bool_]:  # fmt: skip
    """Make one mask (H, W) of fractal vessels.

    The canvas is fitted to the shape. The rectangles are warped by a displacement that is bilinear between the points
    of a 4 x 4 grid (the authors' triangles come from a library's transform that is gone) and, perhaps, turned about
    the middle. What comes from outside the canvas is empty. The mask is where bilinear interpolation gives half or
    more, so that no soft edge is left.

    Raises:
        SettingsError: the shape is not two sides of a pixel or more, or `generator` is none of NumPy.
    """
    check_size(shape, least=1)
    check_generator(generator)
    canvas = np.zeros((CANVAS, CANVAS), np.float32)
    for each in fractal_rectangles(fractal, generator=generator):
        canvas[each.top : min(each.bottom, CANVAS - 1), each.left : min(each.right, CANVAS - 1)] = 1.0
    spread = generator.uniform(*fractal.jitter) * CANVAS
    nodes = spread * generator.standard_normal((4, 4, 2))
    angle = 0.0
    if generator.random() < fractal.turned:
        angle = math.radians(generator.uniform(-fractal.degrees, fractal.degrees))
    warped = np.zeros(shape, np.bool_)
    _warp(canvas, nodes, math.cos(angle), math.sin(angle), warped)
    return warped


def _children(
    parent: Rectangle, horizontal: bool, fractal: Fractal, generator: np.random.Generator
) -> tuple[Rectangle, Rectangle]:
    """The two rectangles across `parent`; mirrored at the diagonal where it is vertical."""
    top, left, bottom, right = parent.top, parent.left, parent.bottom, parent.right
    if not horizontal:
        top, left, bottom, right = left, top, right, bottom
    length, thickness = right - left, bottom - top
    children = []
    for number in range(2):
        longer, wider = (_part(whole, fractal.share, generator) for whole in (length, thickness))
        place = length // 3 if horizontal and number == 0 else int(generator.integers(1, max(2, 5 * length // 6)))
        first = max(0, top - longer) if number == 0 else bottom
        corners = (first, left + place, first + longer, left + place + wider)
        children.append(Rectangle(*(corners if horizontal else (corners[1], corners[0], corners[3], corners[2]))))
    return children[0], children[1]


def _part(whole: int, share: tuple[float, float], generator: np.random.Generator) -> int:
    low, high = int(share[0] * whole), int(share[1] * whole)
    return max(1, int(generator.integers(low, max(low + 1, high))))


@compiled()
def _warp(canvas: Any, nodes: Any, cosine: float, sine: float, warped: Any) -> None:
    """For each pixel: turn back, displace, and read the canvas there."""
    side = canvas.shape[0]
    rows, columns = warped.shape
    for i in range(rows):
        for j in range(columns):
            y, x = (i + 0.5) / rows * side - 0.5, (j + 0.5) / columns * side - 0.5
            y, x = y - 0.5 * (side - 1), x - 0.5 * (side - 1)
            y, x = cosine * y - sine * x + 0.5 * (side - 1), sine * y + cosine * x + 0.5 * (side - 1)
            p, q = 3.0 * max(0.0, min(1.0, y / (side - 1))), 3.0 * max(0.0, min(1.0, x / (side - 1)))
            a, b = min(2, int(p)), min(2, int(q))
            s, t = p - a, q - b
            for axis in range(2):
                shift = (1 - s) * ((1 - t) * nodes[a, b, axis] + t * nodes[a, b + 1, axis])
                shift += s * ((1 - t) * nodes[a + 1, b, axis] + t * nodes[a + 1, b + 1, axis])
                if axis == 0:
                    y += shift
                else:
                    x += shift
            if y < 0 or x < 0 or y > side - 1 or x > side - 1:
                continue
            a, b = min(side - 2, int(y)), min(side - 2, int(x))
            s, t = y - a, x - b
            value = (1 - s) * ((1 - t) * canvas[a, b] + t * canvas[a, b + 1])
            value += s * ((1 - t) * canvas[a + 1, b] + t * canvas[a + 1, b + 1])
            warped[i, j] = value >= 0.5
