"""What was drawn on an image: areas, boxes and points in pixels, and the areas as pixels.

Coordinates are (x, y) in pixels; the first pixel reaches from 0 to 1, as in COCO, and belongs to an area where its
centre (0.5, 0.5) lies inside.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

FARTHEST = 1e7
"""The greatest coordinate that is taken for one, in pixels."""
MOST_CROSSINGS = 1 << 24
"""How often the border of one area may cross the rows of a band of pixels."""
BAND = 1 << 22
"""Pixels of which it is found out at a time whether they lie inside."""
MOST_PIXELS = 1 << 28
"""Of the window of run lengths."""
MOST_SIDES = 1000
"""Of a ring that is looked at for sides that cross."""
CORNERS = 180
"""Of the polygon that stands for an ellipse; its area is 0.02 % less."""

Array = np.ndarray[Any, np.dtype[Any]]


@dataclass(frozen=True, eq=False)
class Polygon:
    """An area within closed rings (N, 2) of (x, y); inside is what an odd number of them surround (holes are not)."""

    rings: tuple[Array, ...]

    def meets(self, shape: tuple[int, int]) -> bool:
        """Whether its bounding box reaches into an image of (H, W) pixels."""
        points = np.concatenate(self.rings)
        return bool((points.min(axis=0) < shape[::-1]).all() and (points.max(axis=0) > 0).all())

    def leaves(self, shape: tuple[int, int]) -> bool:
        """Whether it meets an image of (H, W) pixels and reaches more than a pixel beyond its border."""
        points = np.concatenate(self.rings)
        beyond = (points.min(axis=0) < -1).any() or (points.max(axis=0) > np.array(shape[::-1]) + 1).any()
        return bool(beyond) and self.meets(shape)

    @property
    def crosses_itself(self) -> bool:
        """Whether two sides of a ring cross; of a ring with more than `MOST_SIDES` nobody looks."""
        return any(len(corners) <= MOST_SIDES and _crosses(corners) for corners in self.rings)


@dataclass(frozen=True, eq=False)
class Runs:
    """An area as run lengths: pixels outside, inside, outside, ... of a window.

    Attributes:
        lengths: (N,) int64.
        shape: (H, W) of the window.
        corner: the row and the column of its first pixel.
        by_columns: whether the pixels follow each other down the columns (COCO) or along the rows (CVAT).
    """

    lengths: Array
    shape: tuple[int, int]
    corner: tuple[int, int] = (0, 0)
    by_columns: bool = True


@dataclass(frozen=True, eq=False)
class Object:
    """One object: areas, or where none was drawn a box or a point.

    Attributes:
        label: the name of its class.
        areas: their union is the object.
        box: (left, top, right, bottom).
        point: (x, y).
        unknown: whether its area is not to count.
    """

    label: str
    areas: tuple[Polygon | Runs, ...] = ()
    box: tuple[float, float, float, float] | None = None
    point: tuple[float, float] | None = None
    unknown: bool = False


@dataclass(frozen=True, eq=False)
class AnnotatedImage:
    """An image that a file of annotations lists.

    Attributes:
        name: of its file, as the annotations say.
        shape: (H, W) where they say it.
        objects: the last lies on top.
    """

    name: str
    shape: tuple[int, int] | None
    objects: tuple[Object, ...]


@dataclass(frozen=True, eq=False)
class Annotations:
    """What one file of annotations holds.

    Attributes:
        format: "COCO", "LabelMe", "CVAT", "ImageScope", "QuPath" or "VIA".
        classes: the names in the order of the file.
        images: those that it lists, with or without objects.
        left_out: how many things were left out, by what they are ("line").
    """

    format: str
    classes: tuple[str, ...]
    images: tuple[AnnotatedImage, ...]
    left_out: Counter[str] = field(default_factory=Counter)


def _crosses(corners: Array) -> bool:
    """Whether two sides of a closed line (N, 2) have a point in common that is an end of neither."""
    start, stop = corners, np.roll(corners, -1, axis=0)

    def side(a: Array, b: Array, c: Array) -> Array:
        return np.asarray(np.sign((b - a)[..., 0] * (c - a)[..., 1] - (b - a)[..., 1] * (c - a)[..., 0]))

    a, b, c, d = start[:, None], stop[:, None], start[None], stop[None]
    return bool(((side(a, b, c) * side(a, b, d) < 0) & (side(c, d, a) * side(c, d, b) < 0)).any())


def ring(points: Any) -> Array | None:
    """A closed line (N, 2) from its corners; None where they enclose nothing.

    Raises:
        ValueError: they are no pairs of plausible coordinates.
    """
    found = numbers(points).reshape(-1, 2)
    return found if len({*map(tuple, found.tolist())}) > 2 else None


def numbers(values: Any) -> Array:
    """Coordinates as float64.

    Raises:
        ValueError: one is no number, not finite, or too great.
    """
    found = np.asarray(values, np.float64)
    if not (np.abs(found) <= FARTHEST).all():
        raise ValueError(f"a coordinate is not finite or beyond {FARTHEST:g} pixels")
    return found


def ellipse(centre: Sequence[float], radii: Sequence[float], *, turned: float = 0.0) -> Polygon:
    """An ellipse as a polygon; `turned` is clockwise, in degrees, as images are shown."""
    angle, turn = np.linspace(0, 2 * np.pi, CORNERS, endpoint=False), np.deg2rad(turned)
    along, across = numbers(radii)
    if not (along > 0 and across > 0):
        raise ValueError("the radius of an ellipse is not above 0")
    x, y = along * np.cos(angle), across * np.sin(angle)
    turned_points = np.stack([x * np.cos(turn) - y * np.sin(turn), x * np.sin(turn) + y * np.cos(turn)], axis=1)
    return Polygon((numbers(turned_points + numbers(centre)),))


def runs(
    lengths: Sequence[int] | Array, shape: Sequence[int], *, corner: tuple[int, int] = (0, 0), by_columns: bool
) -> Runs:
    """Run lengths that fill a window exactly.

    Raises:
        ValueError: they are negative, or more or less than the pixels of the window, or these are too many.
    """
    height, width = (int(length) for length in shape)
    counts = np.asarray(lengths, np.int64)
    pixels = height * width
    if height < 1 or width < 1 or pixels > MOST_PIXELS:
        raise ValueError(f"run lengths have a window of {height} x {width}; at most {MOST_PIXELS:,} pixels are read")
    if not ((counts >= 0) & (counts <= pixels)).all() or counts.sum() != pixels:
        raise ValueError(f"run lengths make {counts.sum():,} pixels for a window of {height} x {width}")
    return Runs(counts, (height, width), corner, by_columns)


def covered(area: Polygon | Runs, shape: tuple[int, int]) -> tuple[tuple[slice, slice], Array]:
    """The window of an image of (H, W) pixels that an area reaches into, and which of its pixels (bool) it covers.

    Raises:
        ValueError: its border is too long.
    """
    if isinstance(area, Runs):
        return _covered_by_runs(area, shape)
    points = np.concatenate(area.rings)
    left, top = np.clip(np.floor(points.min(axis=0)), 0, shape[::-1]).astype(int)
    right, bottom = np.clip(np.ceil(points.max(axis=0)), 0, shape[::-1]).astype(int)
    inside = np.empty((bottom - top, right - left), bool)
    rows = max(1, BAND // (right - left + 1))
    for begin in range(top, bottom, rows):
        end = min(begin + rows, bottom)
        inside[begin - top : end - top] = _inside(area.rings, (begin, end), (left, right))
    return (slice(top, bottom), slice(left, right)), inside


def _inside(rings: Iterable[Array], rows: tuple[int, int], columns: tuple[int, int]) -> Array:
    """Which centres of the pixels of a window lie inside, by the even-odd rule, row by row.

    Libraries that test each pixel against each edge (skimage.draw.polygon) need minutes for outlines of a thousand
    corners around a million pixels; tests hold this against them.
    """
    height, width = rows[1] - rows[0], columns[1] - columns[0]
    parity = np.zeros(height * (width + 1), np.int64)
    for x0, y0 in (corners.T for corners in rings):
        x1, y1 = np.roll(x0, -1), np.roll(y0, -1)
        first = np.clip(np.ceil(np.minimum(y0, y1) - 0.5), *rows).astype(np.int64)
        times = np.clip(np.ceil(np.maximum(y0, y1) - 0.5), *rows).astype(np.int64) - first
        if times.sum() > MOST_CROSSINGS:
            raise ValueError(f"the border of an area crosses {times.sum():,} rows; at most {MOST_CROSSINGS:,} are read")
        edge = np.repeat(np.arange(len(x0)), times)
        row = np.arange(len(edge)) - np.repeat(np.cumsum(times) - times, times) + first[edge]
        slope = np.divide(x1 - x0, y1 - y0, out=np.zeros_like(x0), where=y1 != y0)
        crossing = np.ceil(x0[edge] + (row + 0.5 - y0[edge]) * slope[edge] - 0.5)
        column = np.clip(crossing, *columns).astype(np.int64) - columns[0]
        parity += np.bincount((row - rows[0]) * (width + 1) + column, minlength=len(parity))
    return (np.cumsum(parity.reshape(height, width + 1), axis=1)[:, :-1] % 2).astype(bool)


def _covered_by_runs(area: Runs, shape: tuple[int, int]) -> tuple[tuple[slice, slice], Array]:
    line, lengths = area.shape[0 if area.by_columns else 1], area.lengths.copy()
    after = int(lengths[-1]) // line if len(lengths) % 2 else 0  # whole lines after the last pixel inside
    before = int(lengths[0]) // line if len(lengths) > 1 else 0
    lengths[0] -= before * line
    lengths[-1] -= after * line
    lines = np.repeat(np.arange(len(lengths)) % 2 == 1, lengths).reshape(-1, line)
    top, left = area.corner
    top, left, window = (top, left + before, lines.T) if area.by_columns else (top + before, left, lines)
    height, width = window.shape
    bottom, right = top + height, left + width
    inside = window[max(-top, 0) : max(shape[0] - top, 0), max(-left, 0) : max(shape[1] - left, 0)]
    place = slice(max(top, 0), max(min(bottom, shape[0]), 0)), slice(max(left, 0), max(min(right, shape[1]), 0))
    return place, inside[: max(place[0].stop - place[0].start, 0), : max(place[1].stop - place[1].start, 0)]
