"""Phantoms of retinal photographs: arteries and veins from the optic disc, over tissue that varies widely."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from scantling.phantoms.eye import Eye, lesions, place_eye, tissue
from scantling.phantoms.phantom import THINNEST, Phantom, check_generator, check_size, exposed
from scantling.phantoms.raster import Raster, draw
from scantling.phantoms.texture import Image, grid_of, smooth_noise, step
from scantling.phantoms.trees import Growth, Tree, grow_tree


@dataclass(frozen=True)
class Trunk:
    """A kind of vessel that leaves the optic disc.

    Attributes:
        degrees: bounds of the angle to the horizontal.
        towards: 1 towards the centre of sight, -1 away from it.
        size: bounds of the radius as a part of that of the widest vein.
        around: how far it is bent around the centre of sight, in radians over the radius of the field.
        count: bounds of how many there are, above and below each.
    """

    degrees: tuple[float, float]
    towards: int
    size: tuple[float, float]
    around: tuple[float, float]
    count: tuple[int, int]


ARCADE = Trunk((45.0, 88.0), 1, (0.7, 1.0), (0.3, 1.2), (1, 1))
NASAL = Trunk((15.0, 75.0), -1, (0.4, 0.8), (-0.3, 0.5), (1, 1))
SMALL = Trunk((3.0, 80.0), 1, (0.15, 0.4), (-0.3, 0.5), (2, 5))
SMALL_NASAL = Trunk((0.0, 85.0), -1, (0.15, 0.4), (-0.3, 0.3), (0, 3))


def retina(shape: tuple[int, int], *, generator: np.random.Generator) -> Phantom:
    """Make one retinal photograph in red, green and blue: vessels are darker than what is around them.

    Arteries and veins grow from the optic disc as trees of their own, so that they cross; arteries are thinner, paler
    and have a brighter reflex along their middle. A vessel of radius r absorbs in proportion to r^p times the chord of
    the ray, to a power, over its width. Around them lie what is no vessel: the disc's and the field's edge, streaks of
    nerve fibres, vessels of the choroid, textures, spots. All ranges are ours and wide, so that a network learns what
    all photographs have in common.

    Args:
        shape: height and width in pixels, 64 at least.
        generator: where all chance comes from; the same state gives the same phantom.

    Raises:
        SettingsError: a side is shorter than 64 pixels, or `generator` is none of NumPy.
    """
    check_size(shape)
    check_generator(generator)
    uniform = generator.uniform
    eye = place_eye(shape, generator)
    widest = uniform(2.8, 4.8) * eye.scale
    habit = Growth(
        finest=max(uniform(0.45, 0.9) * eye.scale, 0.3),
        reach=uniform(7.0, 16.0),
        least=uniform(6.0, 20.0) * eye.scale,
        shares=(uniform(0.01, 0.05), uniform(0.2, 0.5)),
        tortuosity=uniform(0.3, 1.3),
        taper=uniform(0.0, 0.0007) / eye.scale,
        room=uniform(7.0, 16.0) * eye.scale,
    )
    kinds = []
    for thinner in (1.0, uniform(0.65, 0.9)):
        kinds.append(_trees(eye, widest * thinner, habit, generator))
    veins, arteries = (draw(trees, shape, margin=4.0 * eye.scale + 1.0, thinnest=0.0) for trees in kinds)
    truth = draw([*kinds[0], *kinds[1]], shape, thinnest=THINNEST)

    dark = uniform(0.28, 0.8)
    fading = uniform(0.25, 0.65)
    patchy = np.exp(uniform(0.0, 0.49) * smooth_noise(shape, 40 * eye.scale, generator))
    absorption = np.zeros(shape)
    for raster, strength, reflex in (
        (veins, dark, uniform(0.0, 0.25)),
        (arteries, dark * uniform(0.55, 1.0), uniform(0.0, 0.55)),
    ):
        absorption += strength * patchy * _absorbed(raster, widest, fading, reflex, eye.scale, generator)
    blood = np.array([uniform(0.1, 0.55), 1.0, uniform(0.4, 1.0)])
    light = tissue(eye, generator, roughness=min(1.0, 2.0 * dark * (0.3 / fading) * uniform(0.2, 1.0)))
    light *= _sheen(np.maximum(veins.depth, arteries.depth), eye.scale, generator)
    light = lesions(light, eye, generator)
    light *= np.exp(-absorption * blood[:, None, None])
    return _photograph(light, eye, truth, (*kinds[0], *kinds[1]), generator)


def _trees(eye: Eye, widest: float, habit: Growth, generator: np.random.Generator) -> tuple[Tree, ...]:
    """The arteries, or the veins, of one eye."""
    uniform = generator.uniform
    trees: list[Tree] = []
    rows, columns = grid_of(eye.region.shape)
    by_disc = np.hypot(rows - eye.disc[0], columns - eye.disc[1]) < 1.5 * eye.disc_radius
    free = eye.growing
    for trunk in (ARCADE, NASAL, SMALL, SMALL_NASAL):
        for vertical in (-1.0, 1.0):
            for _ in range(generator.integers(trunk.count[0], trunk.count[1] + 1)):
                tilt = math.radians(uniform(*trunk.degrees))
                inwards = eye.inwards * trunk.towards
                direction = np.array([vertical * math.sin(tilt), inwards * math.cos(tilt)])
                offset = uniform(0.0, 0.4) * direction + generator.normal(0, 0.1, 2)
                tree = grow_tree(
                    free,
                    np.array(eye.disc) + eye.disc_radius * offset,
                    direction=direction,
                    radius=max(widest * uniform(*trunk.size), 1.2 * habit.finest),
                    generator=generator,
                    bend=-vertical * inwards * uniform(*trunk.around) / eye.radius,
                    growth=habit,
                )
                if len(tree.points):
                    trees.append(tree)
                    # Arteries cross veins, but not arteries.
                    near = draw([tree], eye.region.shape, margin=0.4 * habit.room).depth > -np.inf
                    free = free & (by_disc | ~near)
    return tuple(trees)


def _absorbed(
    raster: Raster, widest: float, fading: float, reflex: float, scale: float, generator: np.random.Generator
) -> Image:
    """What vessels absorb, (H, W): 1 in the middle of the widest without a reflex."""
    near = raster.depth > -np.inf
    radius = raster.radius[near].astype(np.float64)
    away = radius - raster.depth[near]
    # A pixel is not a point: the tube is widened by about half a pixel and thinned in proportion.
    wide = np.sqrt(radius**2 + 0.3)
    chord = np.maximum(0.0, 1.0 - (away / wide) ** 2) ** (0.5 * generator.uniform(0.5, 1.4))
    bright = np.exp(-((away / (generator.uniform(0.2, 0.4) * radius)) ** 2))
    broad = np.clip((radius - 1.5 * scale) / (1.5 * scale), 0.0, 1.0)
    absorbed = np.zeros(raster.depth.shape)
    absorbed[near] = (radius / widest) ** fading * (radius / wide) * chord * (1.0 - reflex * broad * bright)
    return absorbed


def _sheen(depth: NDArray[np.float32], scale: float, generator: np.random.Generator) -> Image:
    """Bright lines beside vessels, as young eyes have them: what the light is multiplied by, (H, W)."""
    if generator.random() < 0.6:
        return np.ones(depth.shape)
    beside = np.exp(-(((depth + generator.uniform(1.2, 2.5) * scale) / scale) ** 2))
    return 1.0 + generator.uniform(0.0, 0.1) * beside * step(smooth_noise(depth.shape, 50 * scale, generator), 0.36)


def _photograph(
    light: Image, eye: Eye, truth: Raster, trees: tuple[Tree, ...], generator: np.random.Generator
) -> Phantom:
    """The camera: exposure, gamma, the edge of the field, blur and noise."""
    uniform = generator.uniform
    exposure = uniform(0.8, 1.15) * uniform(0.93, 1.07, size=3)
    light = np.maximum(light * exposure[:, None, None], 0.0) ** uniform(0.8, 1.25)
    light = light / (1.0 + np.maximum(light - 0.85, 0.0))
    shown = step(eye.margin, uniform(0.3, 2.0))
    outside = uniform(0.0, 0.06, size=3) * (generator.random() < 0.6)
    light = outside[:, None, None] + shown * (light - outside[:, None, None])
    blur = uniform(0.3, 1.0) * math.sqrt(max(eye.scale, 0.3)) + uniform(0.0, 0.35, size=3)
    shot, read = uniform(0.003, 0.025), uniform(0.001, 0.007)
    image = exposed(light, blur=list(blur), shot=shot, read=read, generator=generator)
    return Phantom(image, truth.mask & eye.region, truth.centre_line & eye.region, eye.region, trees)
