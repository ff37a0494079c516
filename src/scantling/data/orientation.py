"""Volumes are turned when they are read, so that their axes are right, anterior, superior, however files store them.

Axes are permuted and flipped, nothing is resampled: of the 48 ways the one whose axes lie nearest to the body's is
taken. Writing turns back, and the affine of the file stays as it is, bit for bit. What has no affine is not turned.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import permutations, product
from typing import Literal

import numpy as np

from scantling.core.case import Geometry, Orientation
from scantling.data.formats.common import axis_order, kept_axes

THICK = 1.5
"""Slices are stacked along the axis with the coarsest spacing where it is this many times the next (our choice)."""
AXES: tuple[int, int, int] = (0, 1, 2)
WAYS = tuple(
    (axes, tuple(sign < 0 for sign in signs), np.eye(3)[:, axes] * signs)
    for axes in permutations(AXES)
    for signs in product((1, -1), repeat=3)
)
"""The 48 ways to turn three axes, with their matrices."""


def canonical(geometry: Geometry) -> Geometry:
    """The geometry of a volume, as its file stores it, after the turn; others stay as they are."""
    if geometry.container != "volume" or geometry.affine is None or geometry.orientation is not None:
        return geometry
    stored = geometry.stored or geometry.shape
    if len(stored) != 3:
        return geometry
    affine = np.empty((4, 4))
    affine[:, [*axis_order(stored), 3]] = geometry.affine
    axes, flips = nearest(affine)
    if axes == AXES and not any(flips):
        return replace(geometry, slice_axis=stacked(geometry.spacing)) if len(geometry.shape) == 3 else geometry
    turned, columns = affine.copy(), affine[:3, list(axes)]
    ends = np.array([stored[axis] - 1 for axis in axes])
    turned[:3, :3] = np.where(flips, -columns, columns)
    turned[:3, 3] += np.where(flips, columns * ends, 0).sum(axis=1)
    found = replace(geometry, stored=stored, orientation=Orientation(axes, flips, affine))
    order = [axis for axis, _ in _order(found)]
    kept = [place for place, axis in enumerate(axes) if axis in kept_axes(stored)]
    spacing = tuple(geometry.spacing[axis] for axis in order)
    return replace(
        found,
        shape=tuple(geometry.shape[axis] for axis in order),
        spacing=spacing,
        affine=turned[:, [*kept, *(place for place in AXES if place not in kept), 3]],
        slice_axis=stacked(spacing) if len(kept) == 3 else 0,
    )


def nearest(affine: np.ndarray) -> tuple[tuple[int, int, int], tuple[bool, bool, bool]]:
    """Which axis of the file lies nearest to right, anterior and superior, and whether it runs the other way.

    The sum of the three cosines is the greatest; of equal ones (a volume turned by 45 degrees) the same is taken
    however the volume is stored.
    """
    directions = affine[:3, :3] / np.linalg.norm(affine[:3, :3], axis=0)

    def merit(way: tuple[tuple[int, ...], tuple[bool, ...], np.ndarray]) -> list[float]:
        turned = (directions @ way[2]).round(3)
        return [round(float(np.trace(turned)), 2), *turned.ravel().tolist()]

    axes, flips, _ = max(WAYS, key=merit)
    return (axes[0], axes[1], axes[2]), (flips[0], flips[1], flips[2])


def stacked(spacing: Sequence[float]) -> int:
    """The axis that the slices of a turned volume are stacked along: the coarsest one, else the superior one."""
    *_, second, largest = sorted(AXES, key=lambda axis: spacing[axis])
    return largest if spacing[largest] >= THICK * spacing[second] else 2


def turned(array: np.ndarray, geometry: Geometry) -> np.ndarray:
    """(C, *S) in the order of `geometry` from (C, *S) in the order of its file."""
    order = _order(geometry)
    array = array.transpose(0, *(axis + 1 for axis, _ in order))
    return np.ascontiguousarray(array[(slice(None), *(slice(None, None, -1 if flip else 1) for _, flip in order))])


def as_stored(array: np.ndarray, geometry: Geometry) -> np.ndarray:
    """(C, *S) in the order of the file from (C, *S) in that of `geometry`."""
    order = _order(geometry)
    array = array[(slice(None), *(slice(None, None, -1 if flip else 1) for _, flip in order))]
    return np.ascontiguousarray(array.transpose(0, *(place + 1 for place in _inverse(order))))


def stored_geometry(geometry: Geometry) -> Geometry:
    """The geometry of the array that the file stores, axes of length 1 left out."""
    if geometry.orientation is None or geometry.stored is None:
        return geometry
    back, stored = _inverse(_order(geometry)), geometry.stored
    return replace(
        geometry,
        shape=tuple(geometry.shape[place] for place in back),
        spacing=tuple(geometry.spacing[place] for place in back),
        affine=geometry.orientation.affine[:, [*axis_order(stored), 3]],
        slice_axis=back.index(geometry.slice_axis),
        stored=None if len(back) == len(stored) else stored,
        orientation=None,
    )


def stored_as(geometry: Geometry, axes: tuple[int, int, int], flips: tuple[bool, bool, bool]) -> Geometry:
    """A turned volume that is to be written as a file with such an `Orientation` stores it."""
    if geometry.affine is None or len(geometry.shape) != 3 or (axes == AXES and not any(flips)):
        return geometry
    affine, columns = geometry.affine.copy(), geometry.affine[:3, :3]
    affine[:3, list(axes)] = np.where(flips, -columns, columns)
    affine[:3, 3] += np.where(flips, columns * (np.array(geometry.shape) - 1), 0).sum(axis=1)
    stored = tuple(geometry.shape[axes.index(axis)] for axis in AXES)
    return replace(geometry, stored=stored, orientation=Orientation(axes, flips, affine))


def turned_rows(
    rows: np.ndarray, geometry: Geometry, kind: Literal["boxes", "points"], *, back: bool = False
) -> np.ndarray:
    """Boxes (N, D, 2) or points (N, D) in the order of `geometry` from those in the order of its file.

    Args:
        back: the other way.
    """
    order = _order(geometry)
    if not back:
        rows = rows[:, [axis for axis, _ in order]]
    flips = [flip for _, flip in order]
    ends = np.array(geometry.shape, rows.dtype)
    if kind == "points":
        rows = np.where(flips, ends - 1 - rows, rows)
    else:
        rows = np.where(np.array(flips)[:, None], ends[:, None] - rows[..., ::-1], rows)
    return rows[:, _inverse(order)] if back else rows


def file_axis(geometry: Geometry, axis: int) -> tuple[int, bool]:
    """The axis of the file, of those longer than 1, that an axis is turned from, and whether it runs the other way."""
    return _order(geometry)[axis]


def _order(geometry: Geometry) -> list[tuple[int, bool]]:
    """`file_axis` of each axis."""
    found = geometry.orientation
    if found is None or geometry.stored is None:
        return [(axis, False) for axis in range(len(geometry.shape))]
    kept = kept_axes(geometry.stored)
    return [(kept.index(axis), flip) for axis, flip in zip(found.axes, found.flips, strict=True) if axis in kept]


def _inverse(order: Sequence[tuple[int, bool]]) -> list[int]:
    """For each axis of the file its place in the turned array."""
    axes = [axis for axis, _ in order]
    return [axes.index(axis) for axis in range(len(axes))]
