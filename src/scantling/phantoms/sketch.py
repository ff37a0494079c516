"""A sketch of a vessel mask: its centre line as a hand would draw it, with branches left out and places missed."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from scantling.core.checks import check_number
from scantling.mending.hysteresis import drop_small
from scantling.metrics.topology import skeleton
from scantling.phantoms.phantom import check_generator

GRID = 16
"""Pixels between two places whose displacements are drawn independently."""
EIGHT = np.ones((3, 3), np.int8)


def sketch_of(
    mask: NDArray[np.bool_], *, generator: np.random.Generator, deleted: float, jitter: float
) -> NDArray[np.bool_]:  # fmt: skip
    """The centre line (H, W) of a mask (H, W), one pixel wide, unfaithful on purpose.

    Args:
        mask: of vessels; their thickness is forgotten.
        generator: where all chance comes from.
        deleted: the probability that a branch is left out; a branch lies between two forks, or a fork and an end.
        jitter: deviation in pixels by which places are displaced, smoothly: independent every `GRID` pixels and
            bilinear between. A line may break where that stretches it.

    Raises:
        SettingsError: `deleted` is not in [0, 1], `jitter` is below 0, or `generator` is none of NumPy.
        ArrayError: the mask is not (H, W), or holds other values than 0 and 1.
    """
    check_number(deleted, argument="deleted", least=0, most=1)
    check_number(jitter, argument="jitter", least=0)
    check_generator(generator)
    line = skeleton(mask, spatial_dims=2)
    if deleted:
        line = _pruned(line, deleted, generator)
    return _displaced(line, jitter, generator) if jitter else line


def _pruned(line: NDArray[np.bool_], deleted: float, generator: np.random.Generator) -> NDArray[np.bool_]:
    neighbours = ndimage.convolve(line.astype(np.int8), EIGHT, mode="constant") - 1
    branches, number = ndimage.label(line & (neighbours < 3), structure=EIGHT)
    kept = generator.random(number + 1) >= deleted
    kept[0] = True  # forks, which belong to no branch
    return drop_small(line & kept[branches], 3)


def _displaced(line: NDArray[np.bool_], jitter: float, generator: np.random.Generator) -> NDArray[np.bool_]:
    places = np.argwhere(line)  # (N, 2)
    nodes = jitter * generator.standard_normal((2, *(n // GRID + 2 for n in line.shape)))
    moves = [ndimage.map_coordinates(axis, places.T / GRID, order=1) for axis in nodes]
    moved = np.rint(places + np.stack(moves, -1)).astype(np.int64)
    moved = moved[((moved >= 0) & (moved < line.shape)).all(1)]
    sketch = np.zeros_like(line)
    sketch[tuple(moved.T)] = True
    return sketch
