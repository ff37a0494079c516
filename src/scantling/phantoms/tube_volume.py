"""Phantoms of tubes in volumes: bright or dark trees of uneven brightness over a soft background, in one channel."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from scantling.core.errors import SettingsError
from scantling.phantoms.forest import Forest, tree_vessels
from scantling.phantoms.phantom import Phantom, check_generator, exposed

ANY = Forest(trees=(4, 12), radius=(2.0, 10.0), finest=0.8, reach=8.0, room=(8.0, 30.0))
LEAST = 8
"""Voxels of a side of the cubic grid on which trees grow, at least."""


def tube_volume(
    shape: Sequence[int],
    *,
    generator: np.random.Generator,
    spacing: Sequence[float] = (1.0, 1.0, 1.0),
    dark: bool = False,
    forest: Forest = ANY,
) -> Phantom:
    """Make one volume of one channel: tubes that are brighter than what is around them, or darker, and what is no tube.

    Trees grow on a grid of cubes, so that they are round where voxels are not cubes, and are averaged over the voxels.
    Around them lie haze and spots. Then come blur and noise. All ranges are ours.

    Args:
        shape: (D, H, W) in voxels.
        generator: where all chance comes from; the same state gives the same phantom.
        spacing: of the axes, in any unit.
        dark: whether tubes are darker than what is around them.
        forest: how its trees are chosen, in cubes of a frame whose sides have a geometric mean of 256.

    Raises:
        SettingsError: there are not three sides, or `generator` is none of NumPy.
    """
    check_generator(generator)
    if len(shape) != 3 or len(spacing) != 3:
        raise SettingsError(f"shape: found {tuple(shape)} with the spacing {tuple(spacing)}; expected three axes")
    unit, uniform = min(spacing), generator.uniform
    frame = tuple(max(LEAST, round(side * mm / unit)) for side, mm in zip(shape, spacing, strict=True))
    longer = math.prod(frame) ** (1 / 3) / min(frame)
    own = replace(
        forest, radius=(forest.radius[0] * longer, forest.radius[1] * longer), least=forest.least * longer,
        room=(forest.room[0] * longer, forest.room[1] * longer),
    )  # fmt: skip
    vessels = tree_vessels(frame, generator=generator, forest=own)
    side = min(frame) * longer
    signal = np.clip(vessels.raster.depth + 0.5, 0, 1) * np.exp(uniform(0.0, 0.4) * haze(frame, side / 8, generator))
    around = uniform(0.02, 0.12) * (
        haze(frame, uniform(0.1, 0.4) * side, generator) + haze(frame, side / 30, generator)
    )
    around += uniform(0.0, 0.2) * np.maximum(0, haze(frame, uniform(3, 10), generator) - uniform(1.5, 3.0))
    strength = uniform(0.12, 0.6)
    light = uniform(0.05, 0.3) + around + strength * signal
    if dark:
        light = uniform(0.5, 0.85) + around - min(strength, 0.45) * signal
    light, filled, line = (
        averaged(each, shape) for each in (light.clip(0, 1), vessels.raster.mask, vessels.raster.centre_line)
    )
    image = exposed(
        light[None], blur=(uniform(0.3, 0.9),), shot=uniform(0.005, 0.06), read=uniform(0.002, 0.02),
        generator=generator,
    )  # fmt: skip
    mask = filled >= 0.5
    return Phantom(image, mask, (line > 0) & mask, np.ones(tuple(shape), np.bool_), vessels.trees)


def haze(shape: Sequence[int], length: float, generator: np.random.Generator) -> NDArray[np.float64]:
    """Noise (*S) of mean 0 and deviation 1 that varies over `length` voxels: white, coarse, interpolated linearly."""
    coarse = [max(2, math.ceil(side / max(1.0, length)) + 1) for side in shape]
    grid = generator.standard_normal(coarse)
    fine = ndimage.zoom(grid, [side / n for side, n in zip(shape, coarse, strict=True)], order=1, grid_mode=False)
    fine = fine - fine.mean()
    whole: NDArray[np.float64] = fine / max(float(fine.std()), 1e-6)
    return whole


def averaged(values: NDArray[np.generic], shape: Sequence[int]) -> NDArray[np.float64]:
    """Values (*S) on a grid of `shape` over the same space: the mean of what each voxel covers, axis by axis."""
    found = np.asarray(values, np.float64)
    for axis, count in enumerate(shape):
        edges = np.linspace(0, found.shape[axis], count + 1)
        sums = np.concatenate([np.zeros_like(found.take([0], axis)), found.cumsum(axis)], axis)
        whole = np.minimum(np.floor(edges).astype(int), found.shape[axis])
        rest = (edges - whole).reshape([-1 if each == axis else 1 for each in range(found.ndim)])
        after = np.minimum(whole + 1, found.shape[axis])
        at = sums.take(whole, axis) * (1 - rest) + sums.take(after, axis) * rest
        found = np.diff(at, axis=axis) * (count / found.shape[axis])
    return found
