"""The retina without its vessels: where field, optic disc and centre of sight lie, the tissue, and spots."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from scantling.phantoms.texture import Image, folds, grid_of, smooth_noise, step


@dataclass(frozen=True)
class Eye:
    """The places in one photograph, in pixels.

    Attributes:
        radius: of the field of view.
        scale: 1 where that is 270 pixels; finer things are sized by it.
        margin: (H, W), the distance to the edge of the field, positive inside.
        region: (H, W) bool, the field of view.
        growing: (H, W) bool, where vessels may grow: the field, a little of what is around it, and not the centre of
            sight, which has none.
        disc: row and column of the optic disc.
        disc_radius: of the optic disc.
        sight: row and column of the centre of sight.
        inwards: 1 if it lies at greater columns than the disc, -1 if at lesser.
    """

    radius: float
    scale: float
    margin: Image
    region: NDArray[np.bool_]
    growing: NDArray[np.bool_]
    disc: tuple[float, float]
    disc_radius: float
    sight: tuple[float, float]
    inwards: float


def place_eye(shape: tuple[int, int], generator: np.random.Generator) -> Eye:
    """Aim the camera: mostly at the centre of sight, sometimes at the disc; the field is round, often cut off."""
    uniform = generator.uniform
    rows, columns = grid_of(shape)
    radius = min(shape) * (uniform(0.44, 0.52) if generator.random() < 0.8 else uniform(0.52, 0.9))
    middle = shape[0] / 2 + uniform(-0.02, 0.02) * shape[0], shape[1] / 2 + uniform(-0.02, 0.02) * shape[1]
    margin = radius - np.hypot(rows - middle[0], columns - middle[1])
    if generator.random() < 0.4:
        margin = np.minimum(margin, radius * uniform(0.8, 1.0) - np.abs(rows - middle[0]) + 0.0 * columns)
    notch = middle[0] - 0.68 * radius, middle[1] + 0.74 * radius
    if generator.random() < 0.4:
        margin = np.maximum(margin, uniform(0.03, 0.06) * radius - np.hypot(rows - notch[0], columns - notch[1]))
    inwards = float(generator.choice((-1.0, 1.0)))
    aside = uniform(0.55, 0.95) if generator.random() < 0.7 else uniform(-0.3, 0.5)
    disc = middle[0] + uniform(-0.2, 0.2) * radius, middle[1] - inwards * aside * min(radius, 0.5 * shape[1])
    disc_radius = uniform(0.11, 0.18) * radius
    sight = disc[0] + uniform(-0.05, 0.25) * radius, disc[1] + inwards * uniform(0.75, 1.0) * radius
    blind = np.hypot(rows - sight[0], columns - sight[1]) < uniform(0.03, 0.08) * radius
    return Eye(radius, radius / 270, margin, margin >= 0, (margin > -3) & ~blind, disc, disc_radius, sight, inwards)


def tissue(eye: Eye, generator: np.random.Generator, *, roughness: float) -> Image:
    """The field without vessels and spots, (3, H, W); `roughness` in [0, 1] is the strength of textures."""
    uniform = generator.uniform
    shape, scale = eye.margin.shape, eye.scale
    rows, columns = grid_of(shape)
    red = uniform(0.5, 1.0)
    green = red * uniform(0.3, 0.75)
    colour = np.array([red, green, green * uniform(0.15, 0.85)])

    # Everything multiplies, so it adds up in the logarithm; a pattern has a strength in each channel.
    def tinted(pattern: Image, strength: float, spread: float) -> Image:
        weights = strength * np.clip(generator.normal(1.0, spread, 3), 0.0, 2.0)
        return weights[:, None, None] * pattern

    log = np.zeros((3, *shape))
    log += tinted(smooth_noise(shape, 0.9 * eye.radius, generator), uniform(0.0, 0.35), 0.2)
    for length, most in ((80.0, 0.112), (30.0, 0.07), (12.0, 0.056), (5.0, 0.042), (2.2, 0.042)):
        log += tinted(smooth_noise(shape, length * scale, generator), roughness * most * uniform(0.0, 1.0), 0.25)
    rim = np.clip(1.0 - eye.margin / eye.radius, 0.0, 1.2)
    log -= tinted(rim ** uniform(1.5, 6.0), uniform(0.0, 0.7), 0.2)
    if generator.random() < 0.6:
        where = step(smooth_noise(shape, 0.6 * eye.radius, generator) + uniform(-0.36, 0.5), 0.43)
        log += tinted(
            (folds(shape, uniform(9.0, 26.0) * scale, generator) - 0.5) * where, roughness * uniform(0.0, 0.25), 0.5
        )
    log += tinted(_fibres(eye, generator), roughness * uniform(0.0, 0.056), 0.3)
    to_sight = np.hypot(rows - eye.sight[0], columns - eye.sight[1]) / eye.radius
    log -= tinted(np.exp(-0.5 * (to_sight / uniform(0.06, 0.2)) ** 2), uniform(0.0, 0.5), 0.3)
    ring = np.exp(-(((to_sight - uniform(0.08, 0.2)) / uniform(0.01, 0.04)) ** 2))
    log += tinted(ring, uniform(0.0, 0.08) * (generator.random() < 0.4), 0.2)
    light = colour[:, None, None] * np.exp(log)

    haze = np.exp(-np.clip(eye.margin, 0.0, None) / (uniform(0.02, 0.2) * eye.radius))
    turn = np.arctan2(rows - shape[0] / 2, columns - shape[1] / 2) - uniform(0.0, 2 * math.pi)
    crescent = haze * np.clip(0.5 + 0.5 * np.cos(turn), 0.0, 1.0) ** uniform(0.5, 4.0)
    light += uniform(0.0, 0.3) * (generator.random() < 0.6) * crescent * uniform(0.4, 1.0, (3, 1, 1))
    return _with_disc(light, eye, generator)


def _fibres(eye: Eye, generator: np.random.Generator) -> Image:
    """Fine streaks that run from the disc, strongest near it, (H, W)."""
    rows, columns = grid_of(eye.margin.shape)
    down, right = rows - eye.disc[0], columns - eye.disc[1]
    far = np.hypot(down, right) / eye.radius
    angle = np.arctan2(down, right)
    bent = angle + generator.normal(0.0, 0.5) * far * np.sin(angle)
    fine = generator.uniform(1.5, 6.0)
    pattern = np.zeros_like(far)
    for turn in (0.0, 0.5):  # two sheets, each faded out where its first and its last streak meet
        streaks = smooth_noise((720, 48), (fine, 12.0), generator)
        share = (bent / (2 * math.pi) + turn) % 1.0
        found = ndimage.map_coordinates(streaks, np.stack((share * 719, np.minimum(far * 24, 47))), order=1)
        pattern += np.sin(math.pi * share) * found
    return pattern * np.exp(-((far / generator.uniform(0.3, 0.9)) ** 2))


def _with_disc(light: Image, eye: Eye, generator: np.random.Generator) -> Image:
    """The optic disc with its cup and, at times, a crescent of bare or pigmented tissue around it."""
    uniform = generator.uniform
    rows, columns = grid_of(eye.margin.shape)
    down, right = rows - eye.disc[0], (columns - eye.disc[1]) * uniform(1.0, 1.25)
    wobble = 1.0 + 0.07 * smooth_noise(eye.margin.shape, 1.2 * eye.disc_radius, generator)
    far = np.hypot(down, right) / eye.disc_radius * wobble
    shifted = np.hypot(down, right - eye.inwards * uniform(-0.1, 0.3) * eye.disc_radius) / eye.disc_radius
    around = step(uniform(1.05, 1.5) - shifted, uniform(0.03, 0.3)) * (generator.random() < 0.5)
    light = light * (1.0 + uniform(-0.2, 0.35) * around)
    base = light.mean(axis=(1, 2))
    bright = np.clip(base * uniform(1.1, 1.7) + uniform(0.05, 0.3, 3) * np.array([0.7, 1.2, 0.7]), 0.0, 1.1)
    cup = np.exp(-((far / uniform(0.3, 0.75)) ** 2)) * uniform(0.0, 0.4)
    inside = step(1.0 - far, uniform(0.04, 0.25)) * uniform(0.5, 1.0)
    texture = np.exp(uniform(0.0, 0.14) * smooth_noise(eye.margin.shape, 7 * eye.scale, generator))
    shown = (bright[:, None, None] + cup * np.array([0.3, 1.0, 0.8])[:, None, None]) * texture
    return light + inside * (shown - light)


def lesions(light: Image, eye: Eye, generator: np.random.Generator) -> Image:
    """Spots that are no vessels, in half of the eyes: deposits, drusen, bleedings, pigment, scars, dust; (3, H, W)."""
    if generator.random() < 0.5:
        return light
    spotted = light.copy()
    uniform, scale = generator.uniform, eye.scale
    kinds = (
        # colour to go to, opacity, radius, softness, how many in a cluster
        ((1.0, 0.9, 0.5), (0.3, 0.9), (0.8, 4.0), 0.25, 25),
        ((0.95, 0.75, 0.4), (0.1, 0.4), (2.0, 9.0), 0.6, 15),
        ((0.35, 0.06, 0.04), (0.2, 0.7), (1.0, 9.0), 0.3, 6),
        ((0.3, 0.08, 0.05), (0.2, 0.6), (0.7, 1.8), 0.5, 10),
        ((0.25, 0.2, 0.15), (0.1, 0.5), (3.0, 14.0), 0.4, 5),
    )
    for colour, opacity, sizes, softness, most in kinds:
        for _ in range(generator.poisson(0.8)):
            centre = uniform(0.1, 0.9, 2) * light.shape[1:]
            spread = uniform(0.05, 0.4) * eye.radius
            for _ in range(generator.integers(1, most + 1)):
                place = centre + generator.normal(0.0, spread, 2)
                radius = max(0.6, uniform(*sizes) * scale)
                strength = uniform(*opacity)
                _spot(spotted, place, radius, softness, np.array(colour) * uniform(0.8, 1.1), strength, generator)
    return spotted


def _spot(
    light: Image, place: Image, radius: float, softness: float, colour: Image, strength: float,
    generator: np.random.Generator,
) -> None:  # fmt: skip
    """One spot of irregular outline, painted into `light`."""
    reach = math.ceil(2 * radius) + 2
    top, left = (int(each) - reach for each in place)
    rows = slice(max(0, top), max(0, top + 2 * reach + 1))
    columns = slice(max(0, left), max(0, left + 2 * reach + 1))
    window = light[:, rows, columns]
    if not window.size:
        return
    down = np.arange(rows.start, rows.start + window.shape[1])[:, None] - place[0]
    right = np.arange(columns.start, columns.start + window.shape[2])[None] - place[1]
    turn = np.arctan2(down, right)
    waves = sum(generator.normal(0.0, 0.25 / k) * np.cos(k * turn + generator.uniform(0, 6.3)) for k in range(1, 5))
    shown = strength * step(1.0 + 0.6 * waves - np.hypot(down, right) / radius, softness)
    window += shown * (colour[:, None, None] - window)
