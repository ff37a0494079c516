"""Branching trees in 2-D and 3-D: curves that wander, taper and fork like vessels, known exactly."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from scantling.core.compiled import compiled
from scantling.core.errors import SettingsError

STEP = 0.5
"""The distance between neighbouring points in pixels."""


@dataclass(frozen=True)
class Tree:
    """Centre lines and radii of a tree whose branches are polylines.

    Branch b has the points `starts[b]` to `starts[b + 1] - 1`, half a pixel apart. It begins at the last point of
    its parent, which stands in both with the radius of each.

    Attributes:
        points: (N, 2) rows and columns, or (N, 3) planes, rows and columns, in pixels; float64.
        radii: (N,) float64, in pixels.
        starts: (B + 1,) int64, the last of them N.
        parents: (B,) int64, the number of the parent; -1 for the trunk.
    """

    points: NDArray[np.float64]
    radii: NDArray[np.float64]
    starts: NDArray[np.int64]
    parents: NDArray[np.int64]


@dataclass(frozen=True)
class Growth:
    """How a tree grows; lengths and radii are in pixels.

    Attributes:
        finest: the radius at which a branch ends.
        reach: the mean length between forks in radii of the branch.
        least: what is added to that length.
        shares: the bounds of the share of the flow that the smaller branch of a fork takes, up to 0.5.
        tortuosity: the strength of the wandering; 0 gives arcs.
        taper: the part of its radius that a branch loses a pixel.
        forks: whether a branch forks at its end; a wire does not.
        room: the side of cells that branches keep to themselves: wide branches grow first, and one that enters the
            cell of another ends there, unless that is its parent or its sibling. 0 lets them grow through each other.
    """

    finest: float = 0.75
    reach: float = 17.0
    least: float = 0.0
    shares: tuple[float, float] = (0.08, 0.42)
    tortuosity: float = 1.0
    taper: float = 0.001
    forks: bool = True
    room: float = 0.0


def grow_tree(
    region: NDArray[np.bool_],
    root: ArrayLike,
    *,
    direction: ArrayLike,
    radius: float,
    generator: np.random.Generator,
    bend: float = 0.0,
    growth: Growth = Growth(),
) -> Tree:
    """Grow a tree from `root` until its branches leave the region or become too fine.

    At a fork the radii obey r³ = a³ + b³ and the angles are those of least work: Murray, "The physiological
    principle of minimum work applied to the angle of branching of arteries", 1926. Between forks a branch keeps
    its width but for a slight taper, and its direction wanders: its curvature is a random walk that is drawn
    back to `bend`.

    Args:
        region: (*S), two or three dimensions; a branch ends where it leaves the region.
        root: the first point, in pixels.
        direction: of the first step; any length but zero.
        radius: of the root in pixels.
        generator: where all chance comes from.
        bend: the curvature that the trunk is drawn to at first, within the last two axes and from columns towards
            rows, in radians a pixel; it fades from fork to fork.
        growth: how it grows.

    Returns:
        The tree; without points if the root lies outside the region.

    Raises:
        SettingsError: branches fork and have no finest radius at which they end.
    """
    if growth.forks and not growth.finest > 0:
        raise SettingsError(f"finest: found {growth.finest}; expected a radius above 0 where branches fork")
    dimensions = region.ndim
    room = growth.room or math.inf
    everywhere = region[(None,) * (3 - dimensions)]
    owners = np.full([math.ceil(side / room) + 1 for side in everywhere.shape], -1)
    elder: dict[int, int] = {}
    points: list[NDArray[np.float64]] = []
    radii: list[NDArray[np.float64]] = []
    parents: list[int] = []
    turned = np.zeros(dimensions - 1)
    turned[0] = bend
    waiting = [(np.array(root, np.float64), _frame(np.array(direction, np.float64)), radius, turned, -1)]
    while waiting:
        widest = max(range(len(waiting)), key=lambda place: waiting[place][2]) if growth.room else -1
        start, frame, width, curl, parent = waiting.pop(widest)
        mean = growth.least + growth.reach * width
        length = max(4.0, generator.gamma(3.0, mean / 3.0))
        wander = generator.standard_normal((int(length / STEP) + 1, dimensions - 1))
        wander *= growth.tortuosity * 0.02 / math.sqrt(width)
        kin = (-1, len(parents), parent, elder.get(parent, -1))
        keep = 1 - growth.taper * STEP
        line, widths = _walk(everywhere, owners, kin, room, start, frame, width, growth.finest, keep, curl, wander)
        if not len(line):
            continue
        elder.setdefault(parent, len(parents))
        points.append(line)
        radii.append(widths)
        parents.append(parent)
        if len(line) < len(wander) or not growth.forks:
            continue
        end, width = line[-1], float(widths[-1])
        larger, smaller = _fork(width, share=generator.uniform(*growth.shares))
        chance = generator.random()
        around = 2 * math.pi * chance if dimensions == 3 else math.pi * (chance >= 0.5)
        turns = _angles(width, larger, smaller)
        number = len(parents) - 1
        waiting.append((end, _turned(frame, turns[0], around), larger, 0.8 * curl, number))
        waiting.append((end, _turned(frame, -turns[1], around), smaller, np.zeros_like(curl), number))
    ends = np.cumsum([0, *(len(line) for line in points)], dtype=np.int64)
    lines = np.concatenate(points) if points else np.zeros((0, dimensions))
    return Tree(lines, np.concatenate(radii) if radii else np.zeros(0), ends, np.array(parents, dtype=np.int64))


def _fork(radius: float, *, share: float) -> tuple[float, float]:
    """The radii of the branches when the smaller one takes `share` of the flow (r³ is kept)."""
    return radius * (1.0 - share) ** (1 / 3), radius * share ** (1 / 3)


def _angles(radius: float, larger: float, smaller: float) -> tuple[float, float]:
    """How far each branch turns from its parent: cos a = (r⁴ + a⁴ - b⁴) / 2r²a², and with a and b exchanged."""
    r, a, b = radius**2, larger**2, smaller**2
    cosines = (r * r + a * a - b * b) / (2 * r * a), (r * r + b * b - a * a) / (2 * r * b)
    return math.acos(min(1.0, cosines[0])), math.acos(min(1.0, cosines[1]))


def _frame(direction: NDArray[np.float64]) -> NDArray[np.float64]:
    """Rows: the tangent, the normal within the last two axes (columns towards rows), and in 3-D the other normal."""
    tangent = direction / np.linalg.norm(direction)
    across = np.zeros_like(tangent)
    across[-2:] = (tangent[-1], -tangent[-2]) if np.any(tangent[-2:]) else (1.0, 0.0)
    across /= np.linalg.norm(across)
    rows = [tangent, across]
    if len(direction) == 3:
        rows.append(np.cross(tangent, across))
    return np.stack(rows)


def _turned(frame: NDArray[np.float64], angle: float, around: float) -> NDArray[np.float64]:
    """The frame with its tangent turned by `angle` towards the normal at `around` radians from the first one."""
    weights = np.array([math.cos(around), math.sin(around)])[: len(frame) - 1]
    turned = frame.copy()
    _turn(turned, weights / np.linalg.norm(weights), angle)
    return turned


@compiled()
def _turn(frame: Any, weights: Any, angle: float) -> None:
    """Turn the frame in the plane of the tangent and the unit normal with these `weights`; no twist about it."""
    cosine, sine = math.cos(angle), math.sin(angle)
    for axis in range(frame.shape[1]):
        tangent, normal = frame[0, axis], 0.0
        for k in range(len(weights)):
            normal += weights[k] * frame[k + 1, axis]
        frame[0, axis] = cosine * tangent + sine * normal
        for k in range(len(weights)):
            frame[k + 1, axis] += weights[k] * ((cosine - 1.0) * normal - sine * tangent)


@compiled()
def _walk(
    region: Any, owners: Any, kin: Any, room: float, start: Any, frame: Any, radius: float, finest: float, keep: float,
    curl: Any, wander: Any,
) -> tuple[Any, Any]:  # fmt: skip
    """The points and the radii of one branch; `frame` is left as it is at the end, `owners` get its number `kin[1]`."""
    dimensions = len(start)
    extra = 3 - dimensions
    points = np.empty((len(wander) + 1, dimensions))
    radii = np.empty(len(wander) + 1)
    at, curvature, last = start.copy(), curl.copy(), (-1, -1, -1)
    place = np.zeros(3, np.int64)
    for count in range(len(wander) + 1):
        inside = radius >= finest
        for axis in range(dimensions):
            place[extra + axis] = math.floor(at[axis] + 0.5)
            inside = inside and 0 <= place[extra + axis] < region.shape[extra + axis]
        if not inside or not region[place[0], place[1], place[2]]:
            return points[:count], radii[:count]
        cell = (int(place[0] / room), int(place[1] / room), int(place[2] / room))
        if count and cell != last and owners[cell] not in kin:
            return points[:count], radii[:count]
        if room < math.inf:
            owners[cell], last = kin[1], cell
        points[count], radii[count] = at, radius
        if count == len(wander):
            break
        strength = 0.0
        for k in range(len(curvature)):
            curvature[k] += 0.06 * (curl[k] - curvature[k]) + STEP * wander[count, k]
            strength += curvature[k] ** 2
        strength = math.sqrt(strength)
        if strength > 0.0:
            _turn(frame, curvature / strength, STEP * strength)
        for axis in range(dimensions):
            at[axis] += STEP * frame[0, axis]
        radius *= keep
    return points, radii
