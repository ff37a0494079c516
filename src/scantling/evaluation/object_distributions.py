"""The objects of a made data set beside those of the real one: their number, areas and distances to neighbours."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from scantling.core.case import Case
from scantling.core.randomness import seed_of
from scantling.data.loading import load
from scantling.data.opening import Opening
from scantling.evaluation.made_and_real import Places, halves
from scantling.metrics.object_statistics import ks_distance, object_statistics

Floats = NDArray[np.float64]
COUNT, AREA, NEIGHBOUR = "objects in a window", "area of an object", "distance to the nearest object"


@dataclass(frozen=True)
class ObjectDistribution:
    """A quantity of the objects of both sets.

    Attributes:
        real, made: (N,) and (M,), one value an object, or a window.
        distance: of Kolmogorov and Smirnov, 0 to 1.
        scale: the same of one half of the real subjects and the other, the mean over several halves.
    """

    quantity: str
    real: Floats
    made: Floats
    distance: float
    scale: float


def object_distributions(
    made: Sequence[Case], real: Sequence[Case], *, most: int, opening: Opening
) -> tuple[ObjectDistribution, ...]:
    """Number of objects in a window, area and distance to the nearest one, in both sets; empty where one has no
    instance maps.

    Real images are cut into windows of the median shape of the made ones, which do not overlap, so that numbers and
    objects that a border cuts compare.

    Args:
        most: cases of each set that are read, drawn by hash.

    Raises:
        FileError: an instance map cannot be read.
    """
    drawn = [
        sorted((case for case in cases if case.has("instances")), key=lambda case: seed_of("objects", case.id))[:most]
        for cases in (made, real)
    ]
    if not all(drawn):
        return ()
    maps = [[_instances(case, opening) for case in cases] for cases in drawn]
    window = np.median([each.shape for each in maps[0]], axis=0).astype(int).tolist()
    new, old = ([_values(each, window) for each in part] for part in maps)
    divided = halves([case.subject for case in drawn[1]])
    found = []
    for quantity in (COUNT, AREA, NEIGHBOUR):
        apart = [ks_distance(*(_joined(old, quantity, places) for places in pair)) for pair in divided]
        defined = [each for each in apart if not np.isnan(each)]
        scale = float(np.mean(defined)) if defined else float("nan")
        one, other = _joined(old, quantity), _joined(new, quantity)
        found.append(ObjectDistribution(quantity, one, other, ks_distance(one, other), scale))
    return tuple(found)


def _instances(case: Case, opening: Opening) -> NDArray[np.integer]:
    sample = load(case, reads=("instances",), limits=opening.limits, untrusted=opening.untrusted)
    return np.zeros((1, 1), np.int32) if sample.instances is None else sample.instances


def _values(instances: NDArray[np.integer], window: Sequence[int]) -> Mapping[str, Floats]:
    """The quantities of the windows of one map; of a smaller map there is one window."""
    found: dict[str, list[Floats]] = {COUNT: [], AREA: [], NEIGHBOUR: []}
    steps = [range(0, max(side - length, 0) + 1, length) for side, length in zip(instances.shape, window, strict=True)]
    for corner in np.array(np.meshgrid(*steps, indexing="ij")).reshape(len(steps), -1).T:
        part = instances[tuple(slice(c, c + length) for c, length in zip(corner, window, strict=True))]
        one = object_statistics(part)
        for name, values in ((COUNT, np.array([one.count], float)), (AREA, one.areas), (NEIGHBOUR, one.neighbours)):
            found[name].append(values)
    return {name: np.concatenate(values) for name, values in found.items()}


def _joined(rows: Sequence[Mapping[str, Floats]], quantity: str, places: Places | None = None) -> Floats:
    chosen = rows if places is None else [rows[place] for place in places]
    return np.concatenate([row[quantity] for row in chosen]) if len(chosen) else np.zeros(0)
