"""Phantoms of tubes of any kind: bright or dark trees of uneven brightness over a soft background, in one channel."""

from __future__ import annotations

import numpy as np

from scantling.phantoms.forest import Forest, tree_vessels
from scantling.phantoms.phantom import THINNEST, Phantom, check_generator, check_size, exposed
from scantling.phantoms.raster import draw
from scantling.phantoms.texture import smooth_noise

ANY = Forest(trees=(2, 6), radius=(2.5, 11.0), finest=0.9, reach=8.0, room=(8.0, 30.0))


def tubes(
    shape: tuple[int, int], *, generator: np.random.Generator, dark: bool = False, forest: Forest = ANY
) -> Phantom:
    """Make one picture of one channel: tubes that stain (bright), or that absorb (dark), and what is no tube.

    The signal of a tube follows the chord of a ray through it, to a power, and varies along it; around it lie soft
    shadows, spots and haze. Then come blur and noise. All ranges are ours.

    Args:
        shape: height and width in pixels, 64 at least.
        generator: where all chance comes from; the same state gives the same phantom.
        dark: whether tubes are darker than what is around them.
        forest: how its trees are chosen, in pixels of a frame with a shortest side of 512.

    Raises:
        SettingsError: a side is shorter than 64 pixels, or `generator` is none of NumPy.
    """
    check_size(shape)
    check_generator(generator)
    uniform, scale = generator.uniform, min(shape) / 512
    trees = tree_vessels(shape, generator=generator, forest=forest).trees
    raster = draw(trees, shape, margin=2.0, thinnest=THINNEST)
    near = raster.depth > -np.inf
    radius = np.maximum(raster.radius, THINNEST).astype(np.float64)
    away = np.where(near, radius - raster.depth, np.inf)
    wide = np.sqrt(radius**2 + 0.3)  # a pixel is not a point
    chord = np.maximum(0.0, 1.0 - (away / wide) ** 2) ** (0.5 * uniform(0.6, 1.6))
    widest = max(float(tree.radii.max()) for tree in trees)
    signal = chord * (radius / widest) ** uniform(0.0, 0.6)
    signal *= np.exp(uniform(0.0, 0.5) * smooth_noise(shape, 60 * scale, generator))
    haze = smooth_noise(shape, uniform(40, 160) * scale, generator) + 0.5 * smooth_noise(shape, 12 * scale, generator)
    spots = np.maximum(0.0, smooth_noise(shape, uniform(3.0, 10.0) * scale, generator) - uniform(1.5, 3.0))
    around = uniform(0.02, 0.12) * haze + uniform(0.0, 0.2) * spots
    strength = uniform(0.12, 0.6)
    light = uniform(0.05, 0.3) + around + strength * signal
    if dark:
        light = uniform(0.5, 0.85) + around - min(strength, 0.45) * signal
    image = exposed(
        np.clip(light, 0.0, 1.0)[None], blur=(uniform(0.3, 1.2),), shot=uniform(0.005, 0.06),
        read=uniform(0.002, 0.02), generator=generator,
    )  # fmt: skip
    return Phantom(image, raster.mask, raster.centre_line, np.ones(shape, np.bool_), tuple(trees))
