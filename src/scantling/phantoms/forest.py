"""Masks of branching trees, in 2-D and 3-D, from trunks that enter the frame."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from scantling.core.errors import SettingsError
from scantling.phantoms.phantom import check_generator
from scantling.phantoms.raster import Raster, draw
from scantling.phantoms.trees import Growth, Tree, grow_tree


@dataclass(frozen=True)
class Forest:
    """How the trees of one mask are chosen.

    Lengths are for a frame whose shortest side has 512 pixels in 2-D or 256 in 3-D, and scale with it.

    Attributes:
        trees: the least and the greatest number of trees.
        radius: bounds of the radius of a trunk.
        finest: the radius at which branches end.
        reach, shares: as in `Growth`.
        least: as in `Growth`.
        tortuosity, taper, room: bounds; each tree has its own.
    """

    trees: tuple[int, int] = (1, 2)
    radius: tuple[float, float] = (5.0, 11.0)
    finest: float = 1.0
    reach: float = 12.0
    least: float = 15.0
    shares: tuple[float, float] = (0.05, 0.5)
    tortuosity: tuple[float, float] = (0.3, 1.5)
    taper: tuple[float, float] = (0.0002, 0.0015)
    room: tuple[float, float] = (8.0, 24.0)

    def __post_init__(self) -> None:
        """Refuse trees that cannot grow."""
        if not 1 <= self.trees[0] <= self.trees[1]:
            raise SettingsError(f"trees are {self.trees}; expected 1 ≤ least ≤ greatest")
        if not 0 < self.finest <= self.radius[0] <= self.radius[1]:
            raise SettingsError(
                f"the finest radius is {self.finest:g} and trunks have {self.radius}; expected 0 < finest ≤ both"
            )


@dataclass(frozen=True)
class Vessels:
    """Trees and what they are on the grid.

    Attributes:
        trees: with exact centre lines and radii; each is one piece without loops, as a graph.
        raster: their union on the grid. What it has in pieces and loops, where branches touch or cross, is
            `metrics.topology.betti_numbers(raster.mask)`, exactly.
    """

    trees: tuple[Tree, ...]
    raster: Raster


def tree_vessels(shape: tuple[int, ...], *, generator: np.random.Generator, forest: Forest = Forest()) -> Vessels:
    """Grow trees in a frame (*S) of two or three dimensions and draw them.

    A trunk begins on one of the sides of the frame and grows inwards. Nothing is thinner than √n/2 in n dimensions,
    so that every tree is one piece.

    Raises:
        SettingsError: a side is shorter than 8 pixels, there are not two or three, or `generator` is none of NumPy.
    """
    check_generator(generator)
    if len(shape) not in (2, 3):
        raise SettingsError(f"shape: found {shape}; expected two or three sides in pixels")
    if min(shape) < 8:
        raise SettingsError(f"a frame of {' x '.join(map(str, shape))} pixels is too small; ask for 8 a side or more")
    trees = tuple(
        grow_in(shape, generator=generator, forest=forest)
        for _ in range(generator.integers(forest.trees[0], forest.trees[1] + 1))
    )
    return Vessels(trees, draw(trees, shape, thinnest=math.sqrt(len(shape)) / 2))


def grow_in(shape: tuple[int, ...], *, generator: np.random.Generator, forest: Forest) -> Tree:
    """One tree whose trunk enters the frame (*S) from a side."""
    scale = min(shape) / (512 if len(shape) == 2 else 256)
    sides = np.array(shape, np.float64) - 1
    root, aim = sides * generator.uniform(0.1, 0.9, len(shape)), sides * generator.uniform(0.25, 0.75, len(shape))
    axis = int(generator.integers(len(shape)))
    root[axis] = generator.choice([0.0, sides[axis]])
    return grow_tree(
        np.ones(shape, np.bool_),
        root,
        direction=aim - root,
        radius=max(scale * generator.uniform(*forest.radius), math.sqrt(len(shape)) / 2),
        generator=generator,
        bend=generator.normal(0.0, 0.002) / scale,
        growth=scaled(forest, scale, dimensions=len(shape), generator=generator),
    )


def scaled(forest: Forest, scale: float, *, dimensions: int, generator: np.random.Generator) -> Growth:
    """The growth of one tree at `scale` times the lengths of `forest`."""
    finest = max(forest.finest * scale, math.sqrt(dimensions) / 2)
    return Growth(
        finest=finest,
        reach=forest.reach,
        least=forest.least * scale,
        shares=forest.shares,
        tortuosity=generator.uniform(*forest.tortuosity),
        taper=generator.uniform(*forest.taper) / scale,
        room=generator.uniform(*forest.room) * scale,
    )
