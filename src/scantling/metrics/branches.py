"""Vessels as numbers: the branches of a mask with their lengths and radii, its forks and its ends."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import ndimage

from scantling.core.errors import ArrayError, SettingsError
from scantling.metrics.arrays import Mask, bounding_box, foreground, spatial
from scantling.metrics.topology import skeleton

Floats = NDArray[np.float64]
SMOOTH = 2
"""Points on either side over which a centre line is averaged before it is measured; pixels alone make it a staircase
that is up to 8 % too long."""
MOST = 2**27
"""Pixels of the finer grid that distances are measured on at once."""


@dataclass(frozen=True)
class Branch:
    """A piece of the centre line between two forks or ends; lengths are in the unit of the spacing.

    Attributes:
        kind: "between" two forks, "end" where it ends freely, "whole" where both ends are free, "loop".
        length: along the centre line, smoothed.
        distance: between its two ends, in a straight line.
        tortuosity: length / distance, 1 or more; NaN for a loop.
        radius, least_radius: the mean and the smallest distance from the centre line to the border.
        at: its first and its last point, in pixels of the mask.
    """

    kind: str
    length: float
    distance: float
    tortuosity: float
    radius: float
    least_radius: float
    at: tuple[tuple[int, ...], tuple[int, ...]]


@dataclass(frozen=True)
class Branches:
    """What the centre line of a mask is made of.

    Attributes:
        branches: all of them.
        forks: places where three or more of them meet.
        ends: free ends.
        pieces: of the mask, neighbours at corners included.
        area: of the mask, in the square or cube of the unit.
        region: the same of the region of interest, or of the whole image.
    """

    branches: tuple[Branch, ...]
    forks: int
    ends: int
    pieces: int
    area: float
    region: float

    @property
    def length(self) -> float:
        """Of all branches."""
        return math.fsum(branch.length for branch in self.branches)

    @property
    def density(self) -> float:
        """Length of the centre line in a unit of the region: 1/unit in 2-D, 1/unit² in 3-D."""
        return self.length / self.region if self.region else math.nan

    @property
    def radius(self) -> float:
        """The mean along all of the centre line; NaN without one."""
        return math.fsum(b.radius * b.length for b in self.branches) / self.length if self.length else math.nan

    @property
    def tortuosity(self) -> float:
        """The mean of the branches that are no loops, each by its length; NaN without any."""
        known = [b for b in self.branches if not math.isnan(b.tortuosity)]
        long = math.fsum(b.length for b in known)
        return math.fsum(b.tortuosity * b.length for b in known) / long if long else math.nan


def branches(
    mask: ArrayLike,
    *,
    spacing: Sequence[float] | None = None,
    region: ArrayLike | None = None,
    spatial_dims: int | None = None,
) -> Branches:
    """Measure the branches of a mask, in 2-D or 3-D.

    The centre line is that of `skeleton`, divided at its forks by skan (Nunez-Iglesias et al., 2018). A free end
    that lies within the vessel at its fork is a spur of a rough border, and is left out (ours). Radii are exact for
    straight bars along the axes, as those of `widths`.

    Args:
        mask: (*S), bool or 0 and 1.
        spacing: the size of a pixel along each axis; None: 1.
        region: (*S), the pixels that count; None: all.
        spatial_dims: 2 or 3, for a mask (1, H, W), which has two readings.

    Raises:
        ArrayError: the mask holds other values, or the region or the spacing does not fit it.
        SettingsError: skan is not installed.
    """
    whole = spatial(mask, spatial_dims)
    where = np.ones_like(whole) if region is None else spatial(foreground(region), spatial_dims)
    if where.shape != whole.shape:
        raise ArrayError(f"the region has shape {where.shape}; expected {whole.shape}")
    steps = np.ones(whole.ndim) if spacing is None else np.array(spacing, np.float64)
    if steps.shape != (whole.ndim,) or not (np.isfinite(steps) & (steps > 0)).all():
        raise ArrayError(f"found the spacing {list(steps)}; expected {whole.ndim} numbers above 0")
    pixel = float(np.prod(steps))
    inside = whole & where
    pieces = int(ndimage.label(inside, structure=np.ones((3,) * whole.ndim))[1])
    area, extent = float(inside.sum()) * pixel, float(where.sum()) * pixel
    box = bounding_box(inside)
    if box is None:
        return Branches((), 0, 0, 0, 0.0, extent)
    box = tuple(slice(max(0, side.start - 1), side.stop + 1) for side in box)  # with what lies around it
    cropped, corner = inside[box], np.array([side.start for side in box])
    found, forks, ends = _divided(skeleton(cropped, spatial_dims=whole.ndim), _radii(cropped, steps), steps, corner)
    return Branches(tuple(found), forks, ends, pieces, area, extent)


def _radii(mask: Mask, steps: Floats) -> Floats:
    """The distance (*S) from each pixel to the border of the mask, in units; see `tubes.widths` for the finer grid.

    What lies beyond the image is not background.
    """
    fine_steps = steps / 2
    deepest = float(ndimage.distance_transform_edt(mask, sampling=steps).max()) if not mask.all() else 0.0
    if not deepest:
        return np.zeros(mask.shape)
    halo = math.ceil(deepest / steps[0]) + 2
    rows = max(1, MOST // (8 * max(1, mask[0].size)))
    radii = np.zeros(mask.shape)
    for first in range(0, len(mask), rows):
        low, last = max(0, first - halo), min(len(mask), first + rows)
        fine = mask[low : last + halo]
        for axis in range(mask.ndim):
            fine = np.repeat(fine, 2, axis=axis)
        if fine.all():
            radii[first:last] = deepest
            continue
        far = ndimage.distance_transform_edt(fine, sampling=fine_steps)
        for axis in range(mask.ndim):  # the larger of each two
            far = np.maximum(far.take(range(0, far.shape[axis], 2), axis), far.take(range(1, far.shape[axis], 2), axis))
        radii[first:last] = far[first - low : last - low]
    return radii


def _divided(lines: Mask, radii: Floats, steps: Floats, corner: NDArray[Any]) -> tuple[list[Branch], int, int]:
    """The branches of a centre line, and how many forks and free ends it has."""
    lines = lines.copy()
    while True:
        paths, forks, degrees = _paths(lines)
        spurs = [path for path in paths if _spur(path, degrees, radii, steps)]
        if not spurs:
            break
        for path in spurs:
            ends = degrees[tuple(path[0])], degrees[tuple(path[-1])]
            lines[tuple(path[1:].T if ends[0] > 1 else path[:-1].T)] = False
    found, ends_free = [], 0
    for path in paths:
        degree = [int(degrees[tuple(path[end])]) for end in (0, -1)]
        closed = bool((path[0] == path[-1]).all())
        within = all(forks[tuple(path[end])] for end in (0, -1)) and len(path) <= 3 and not closed
        if within and forks[tuple(path[0])] == forks[tuple(path[-1])]:
            continue  # within one fork of several pixels
        free = 0 if closed else degree.count(1)
        ends_free += free
        along = radii[tuple(path.T)]
        smooth = _smoothed(path * steps, closed=closed)
        length = float(np.linalg.norm(np.diff(smooth, axis=0), axis=1).sum())
        distance = float(np.linalg.norm((path[0] - path[-1]) * steps))
        found.append(
            Branch(
                kind="loop" if closed else ("between", "end", "whole")[free],
                length=length,
                distance=distance,
                tortuosity=math.nan if closed or not distance else max(1.0, length / distance),
                radius=float(along.mean()),
                least_radius=float(along.min()),
                at=(_point(path[0] + corner), _point(path[-1] + corner)),
            )
        )
    return found, int(forks.max(initial=0)), ends_free


def _paths(lines: Mask) -> tuple[list[NDArray[np.int64]], NDArray[np.int32], NDArray[np.int64]]:
    """The paths (n, D) between forks and ends, the forks numbered from 1 (*S), and neighbours of each pixel (*S)."""
    try:
        from skan import Skeleton
    except ImportError:
        raise SettingsError(
            "vessels are divided at their forks by skan; install it: pip install 'scantling[vessels]'"
        ) from None
    degrees = np.zeros(lines.shape, np.int64)
    box = np.ones((3,) * lines.ndim)
    alone = lines & (ndimage.convolve(lines.astype(np.int16), box.astype(np.int16), mode="constant") == 1)
    if not (lines & ~alone).any():
        return [], np.zeros(lines.shape, np.int32), degrees
    graph = Skeleton((lines & ~alone).astype(np.uint8), keep_images=False)
    places = np.asarray(graph.coordinates, np.int64)
    degrees[tuple(places.T)] = graph.degrees
    forks = ndimage.label(degrees > 2, structure=box)[0]
    paths = [np.asarray(graph.path_coordinates(n), np.int64) for n in range(graph.n_paths)]
    return paths, forks, degrees


def _spur(path: NDArray[np.int64], degrees: NDArray[np.int64], radii: Floats, steps: Floats) -> bool:
    """Whether a path leads from a fork to a free end that lies within the vessel at the fork."""
    first, last = tuple(path[0]), tuple(path[-1])
    if sorted((degrees[first] > 2, degrees[last] > 2)) != [False, True] or 1 not in (degrees[first], degrees[last]):
        return False
    fork = first if degrees[first] > 2 else last
    return bool(np.linalg.norm((path[0] - path[-1]) * steps) <= radii[fork])


def _smoothed(points: Floats, *, closed: bool) -> Floats:
    """Points (n, D) averaged over their neighbours; the ends of what is open stay."""
    if len(points) < 3:
        return points
    if closed:
        round_ = ndimage.uniform_filter1d(points[:-1], 2 * SMOOTH + 1, axis=0, mode="wrap")
        return np.concatenate([round_, round_[:1]])
    places = np.arange(len(points))
    reach = np.minimum(SMOOTH, np.minimum(places, places[::-1]))
    sums = np.concatenate([np.zeros((1, points.shape[1])), np.cumsum(points, axis=0)])
    return np.asarray((sums[places + reach + 1] - sums[places - reach]) / (2 * reach + 1)[:, None])


def _point(place: NDArray[Any]) -> tuple[int, ...]:
    return tuple(int(each) for each in place)
