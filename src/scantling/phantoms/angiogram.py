"""Phantoms of X-ray angiograms: a tree in 3-D filled with contrast medium, over a chest made of soft shadows."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
from scipy import ndimage

from scantling.phantoms.forest import Forest, scaled
from scantling.phantoms.phantom import THINNEST, Phantom, check_generator, check_size, exposed
from scantling.phantoms.raster import draw, path_lengths
from scantling.phantoms.texture import Image, folds, grid_of, smooth_noise, step
from scantling.phantoms.trees import Growth, Tree, grow_tree

CORONARY = Forest(
    radius=(4.0, 11.0), finest=0.9, reach=8.0, least=22.0, shares=(0.03, 0.45), tortuosity=(0.8, 2.2), room=(14.0, 40.0)
)


def angiogram(shape: tuple[int, int], *, generator: np.random.Generator, forest: Forest = CORONARY) -> Phantom:
    """Make one angiogram of one channel: vessels are darker than what is around them.

    Light follows Lambert and Beer, I = exp(-∫ μ): the paths of the rays through the vessels times the strength of the
    contrast medium, which varies along them, and the chest (organs with edges, ribs, spine, texture). Then come
    the catheter, shutters, blur and noise. The catheter and the wires are not in the mask. All ranges are ours.

    Args:
        shape: height and width in pixels, 64 at least.
        generator: where all chance comes from; the same state gives the same phantom.
        forest: how its trees are chosen, in pixels of a frame with a shortest side of 512.

    Raises:
        SettingsError: a side is shorter than 64 pixels, or `generator` is none of NumPy.
    """
    check_size(shape)
    check_generator(generator)
    uniform, scale = generator.uniform, min(shape) / 512
    trees, catheter = _grow(shape, scale, generator, forest)
    flat = tuple(replace(tree, points=tree.points[:, 1:]) for tree in trees)
    raster = draw(flat, shape, thinnest=THINNEST)

    widest = max(float(tree.radii.max()) for tree in trees)
    paths = sum(path_lengths(tree, shape) for tree in trees) / (2 * widest)
    # Thin vessels are seen better than in proportion, as film and display lift weak shadows.
    medium = (
        uniform(0.25, 0.9) * paths ** uniform(0.55, 0.9) * np.exp(0.28 * smooth_noise(shape, 70 * scale, generator))
    )
    shadow = _chest(shape, scale, generator) + medium
    wide = 2 * uniform(2.0, 3.6) * scale
    if generator.random() < 0.75:
        shadow += uniform(0.1, 0.7) * (path_lengths(catheter, shape) / wide) ** 0.5
    shadow += _wires(shape, scale, generator)
    exposure = uniform(0.3, 0.62) / float(np.mean(np.exp(-shadow)))
    light = (exposure * np.exp(-shadow)) ** uniform(0.8, 1.25)
    # A display is made to show the bright parts too: above three quarters the scale bends instead of ending.
    light = np.where(light > 0.75, 0.75 + 0.25 * np.tanh(4 * (light - 0.75) * uniform(0.3, 0.8)), light)
    region = _open(shape, scale, generator)
    light *= np.where(region, 1.0, uniform(0.0, 0.5))
    light = ndimage.gaussian_filter(light, uniform(0.3, 1.0))
    image = exposed(
        light[None],
        blur=(uniform(0.4, 1.1),),
        shot=uniform(0.01, 0.05),
        read=uniform(0.002, 0.015),
        generator=generator,
    )
    return Phantom(image, raster.mask & region, raster.centre_line & region, region, flat)


def _grow(
    shape: tuple[int, int], scale: float, generator: np.random.Generator, forest: Forest
) -> tuple[tuple[Tree, ...], Tree]:
    """Trees in a slab behind the image that spring from one place, and the catheter that ends there."""
    uniform = generator.uniform
    slab = (2 * min(shape), *shape)
    region = np.broadcast_to(np.ones((), np.bool_), slab)
    centre = np.array(slab) / 2
    # Mostly in the upper left, as arteries are seen from the usual angles; sometimes anywhere.
    place = (uniform(0.08, 0.4), uniform(0.05, 0.5)) if generator.random() < 0.8 else uniform(0.1, 0.9, 2)
    root = np.array([centre[0], place[0] * shape[0], place[1] * shape[1]])
    aim = centre + uniform(-0.3, 0.3, 3) * np.array((0, *shape)) - root
    trees = []
    for _ in range(generator.integers(forest.trees[0], forest.trees[1] + 1)):
        spread = aim + np.linalg.norm(aim) * generator.normal(0.0, (0.15, 0.35, 0.35))
        growth = scaled(forest, scale, dimensions=2, generator=generator)
        radius = max(uniform(*forest.radius) * scale, 2 * growth.finest)
        bend = generator.normal(0.0, 0.004) / scale
        trees.append(
            grow_tree(region, root, direction=spread, radius=radius, generator=generator, bend=bend, growth=growth)
        )
    away = np.array([0.0, -1.0, generator.normal(0.0, 0.4)])
    straight = Growth(finest=0.0, reach=0.0, least=4.0 * max(shape), tortuosity=0.6, taper=0.0, forks=False)
    catheter = grow_tree(
        region, root, direction=away, radius=uniform(2.0, 3.6) * scale, generator=generator,
        bend=generator.normal(0.0, 0.004) / scale, growth=straight,
    )  # fmt: skip
    return tuple(trees), catheter


def _chest(shape: tuple[int, int], scale: float, generator: np.random.Generator) -> Image:
    """The shadow of everything but vessels, (H, W)."""
    uniform = generator.uniform
    rows, columns = grid_of(shape)
    shadow = uniform(0.0, 0.5) * rows / shape[0] + generator.normal(0.0, 0.25) * columns / shape[1]
    for length, most in ((220.0, 0.35), (70.0, 0.098), (22.0, 0.063), (7.0, 0.042), (3.0, 0.0168)):
        shadow = shadow + uniform(0.1, 1.0) * most * smooth_noise(shape, length * scale, generator)
    # Lung is mottled and lucent, heart and diaphragm are dark with edges that may be sharp.
    for _ in range(generator.integers(1, 4)):
        centre = uniform(0.0, 1.0) * shape[1], uniform(0.7, 1.5) * shape[0]
        axes = uniform(0.35, 0.9) * shape[1], uniform(0.3, 0.8) * shape[0]
        radial = np.hypot((columns - centre[0]) / axes[0], (rows - centre[1]) / axes[1])
        inside = step(1.0 - radial + 0.028 * smooth_noise(shape, 60 * scale, generator), uniform(0.004, 0.08))
        shadow += uniform(-0.1, 0.45) * inside * (1.0 + uniform(-0.5, 0.5) * radial)
    lung = step(smooth_noise(shape, 200 * scale, generator) - uniform(0.14, 0.86), uniform(0.036, 0.29))
    shadow -= lung * (uniform(0.0, 0.5) + uniform(0.0, 0.12) * folds(shape, 16 * scale, generator))
    if generator.random() < 0.7:
        shadow += _ribs(rows, columns, scale, generator)
    if generator.random() < 0.4:
        middle = uniform(0.0, 1.0) * shape[1] + 0.1 * (rows - shape[0] / 2) * generator.normal()
        wide = uniform(30.0, 60.0) * scale
        bodies = 1.0 + 0.3 * np.tanh(
            4.0 * np.sin(2 * math.pi * (rows / (uniform(60.0, 110.0) * scale) + uniform(0, 1)))
        )
        shadow += uniform(0.05, 0.3) * step(wide - np.abs(columns - middle), 8 * scale) * bodies
    return shadow


def _ribs(rows: Image, columns: Image, scale: float, generator: np.random.Generator) -> Image:
    """Parallel curved bands with denser edges."""
    uniform = generator.uniform
    tilt, spacing = uniform(-1.2, 1.2), uniform(50.0, 120.0) * scale
    across = math.cos(tilt) * rows - math.sin(tilt) * columns
    along = math.sin(tilt) * rows + math.cos(tilt) * columns - uniform(0.0, 1.0) * columns.max()
    phase = (across + generator.normal(0.0, 0.8) * along**2 / (1000.0 * scale)) / spacing + uniform(0.0, 1.0)
    inside = np.cos(2 * math.pi * phase) - uniform(-0.3, 0.5)
    band = step(inside, uniform(0.05, 0.4)) + uniform(0.0, 1.0) * np.exp(-((inside / 0.12) ** 2))
    return uniform(0.01, 0.12) * band


def _wires(shape: tuple[int, int], scale: float, generator: np.random.Generator) -> Image:
    """Leads, guide wires and clips: thin, even and dark."""
    uniform = generator.uniform
    shadow = np.zeros(shape)
    region = np.broadcast_to(np.ones((), np.bool_), (8, *shape))
    for _ in range(generator.poisson(0.5)):
        root = np.array([4.0, uniform(0, shape[0] - 1), uniform(0, shape[1] - 1)])
        radius = uniform(0.5, 1.6) * scale
        even = Growth(
            finest=0.0, reach=0.0, least=uniform(0.05, 1.5) * max(shape), tortuosity=0.3, taper=0.0, forks=False
        )
        wire = grow_tree(
            region, root, direction=(0.0, *generator.normal(size=2)), radius=radius, generator=generator, growth=even,
        )  # fmt: skip
        shadow += uniform(0.1, 0.5) * np.minimum(1.0, path_lengths(wire, shape) / (2 * radius))
    return shadow


def _open(shape: tuple[int, int], scale: float, generator: np.random.Generator) -> np.ndarray:
    """What the shutters leave, (H, W) bool; half the time everything."""
    region = np.ones(shape, np.bool_)
    if generator.random() < 0.5:
        top, bottom, left, right = (int(each) for each in generator.uniform(0.0, 28.0, 4) * scale)
        region[:top] = region[shape[0] - bottom :] = False
        region[:, :left] = region[:, shape[1] - right :] = False
    return region
