"""Demo images: branching vessels over an uneven background, with exactly known masks.

They look like crops of retinal photographs and are easy enough to learn in minutes. Nothing in them was measured
on patients.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from scantling.core.errors import ArrayError
from scantling.core.randomness import numpy_generator
from scantling.phantoms.phantom import check_generator, check_size
from scantling.phantoms.texture import smooth_noise
from scantling.phantoms.trees import Tree, grow_tree

# Upwards or downwards, degrees from the horizontal towards the middle of the image, size: an artery and a vein
# for each of the two arcades, and two short trees to the near edge.
_TRUNKS = (
    (-1.0, 55.0, 1.0),
    (-1.0, 80.0, 0.9),
    (1.0, 55.0, 1.0),
    (1.0, 80.0, 0.9),
    (-1.0, 140.0, 0.6),
    (1.0, 150.0, 0.55),
)


@dataclass(frozen=True)
class Scene:
    """What a perfect camera would see, and where the vessels are.

    Attributes:
        background: (H, W, 3) float64 in [0, 1], without vessels.
        light: (H, W, 3) float64 in [0, 1], with vessels and spots.
        mask: (H, W) bool, the pixels whose centre lies in a vessel.
        trees: what was painted.
    """

    background: np.ndarray
    light: np.ndarray
    mask: np.ndarray
    trees: tuple[Tree, ...]


def vessel_image(shape: tuple[int, int], *, generator: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Make one image of vessels and its mask.

    Args:
        shape: height and width in pixels, 32 at least.
        generator: where all chance comes from; the same state gives the same image.

    Returns:
        The image (H, W, 3) uint8 and the mask (H, W) bool.

    Raises:
        SettingsError: if a side is shorter than 32 pixels.
    """
    scene = vessel_scene(shape, generator=generator)
    return photograph(scene.light, generator=generator), scene.mask


def vessel_images(count: int, size: int, *, seed: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Make `count` square images of `size` pixels with their masks; image n does not depend on `count`.

    Yields:
        The image (H, W, 3) uint8 and the mask (H, W) bool.

    Raises:
        SettingsError: a side is shorter than 32 pixels.

    Example:
        >>> from scantling.phantoms import vessel_images
        >>> image, mask = next(vessel_images(1, 64, seed=0))
        >>> image.shape, mask.dtype, 0 < mask.mean() < 0.5
        ((64, 64, 3), dtype('bool'), np.True_)
    """
    for number in range(count):
        yield vessel_image((size, size), generator=numpy_generator(seed, "vessel image", number))


def vessel_scene(shape: tuple[int, int], *, generator: np.random.Generator) -> Scene:
    """Grow the vessels of one image and light them, without blur or noise.

    Raises:
        SettingsError: if a side is shorter than 32 pixels.
    """
    check_size(shape, least=32)
    check_generator(generator)
    scale = min(shape) / 256
    disc, disc_radius = _place_disc(shape, generator), 17.0 * scale
    trees = _grow(shape, disc, disc_radius, scale, generator)
    background = _background(shape, disc, disc_radius, scale, generator)
    depth = np.full(shape, -np.inf)
    absorption = np.zeros(shape)
    for number, tree in enumerate(trees):
        strength = generator.uniform(0.34, 0.48) * (1.0 if number % 2 else 0.72)  # arteries are paler than veins
        _paint(tree, depth, absorption, strength=strength, widest=4.0 * scale)
    # Blood absorbs blue and green light and lets red pass.
    absorbed = absorption[..., None] * np.array([0.55, 1.0, 0.8])
    light = _spots(background, scale, generator) * np.exp(-absorbed)
    return Scene(background, np.clip(light, 0.0, 1.0), depth >= 0.0, trees)


def photograph(light: np.ndarray, *, generator: np.random.Generator) -> np.ndarray:
    """Take a photograph of a scene (H, W, 3) in [0, 1]: blur, exposure, colour cast, shot and read noise; uint8.

    Raises:
        ArrayError: the scene has other axes, or other values.
        SettingsError: `generator` is none of NumPy.
    """
    check_generator(generator)
    if np.ndim(light) != 3 or light.shape[-1] != 3 or not (light.min() >= 0 and light.max() <= 1):
        raise ArrayError(f"found a scene of shape {np.shape(light)}; expected (H, W, 3) in [0, 1]")
    blurred = ndimage.gaussian_filter(light, (generator.uniform(0.35, 0.75),) * 2 + (0,))
    exposure = generator.uniform(0.85, 1.12) * generator.uniform(0.95, 1.05, size=3)
    seen = (blurred * exposure) ** generator.uniform(0.88, 1.15)
    grain = generator.standard_normal(light.shape)
    noise = generator.uniform(0.012, 0.03) * np.sqrt(seen + 0.1) * grain
    # Neighbouring pixels share some of the noise, as they do after a camera's demosaicing.
    noise = 0.6 * noise + 0.8 * ndimage.gaussian_filter(noise, (0.7, 0.7, 0.0))
    return np.rint(np.clip(seen + noise, 0.0, 1.0) * 255).astype(np.uint8)


def _place_disc(shape: tuple[int, int], generator: np.random.Generator) -> tuple[float, float]:
    """Row and column of the optic disc: near the left or the right edge, at about half height."""
    side = generator.uniform(0.08, 0.24)
    column = side if generator.random() < 0.5 else 1.0 - side
    return shape[0] * generator.uniform(0.38, 0.62), shape[1] * column


def _grow(
    shape: tuple[int, int], disc: tuple[float, float], disc_radius: float, scale: float, generator: np.random.Generator
) -> tuple[Tree, ...]:
    """The trees of one image; arteries and veins take turns."""
    inwards = 1.0 if disc[1] < shape[1] / 2 else -1.0
    frame, trees = np.ones(shape, np.bool_), []
    for number, (vertical, degrees, size) in enumerate(_TRUNKS):
        tilt = math.radians(degrees + generator.uniform(-14.0, 14.0))
        direction = (vertical * math.sin(tilt), inwards * math.cos(tilt))
        offset = disc_radius * generator.uniform(0.1, 0.5)
        root = (disc[0] + offset * direction[0], disc[1] + offset * direction[1])
        # Arcades turn back to the horizontal, around the centre of sight.
        bend = -vertical * inwards * generator.uniform(0.003, 0.008) / scale if degrees < 90 else 0.0
        vein = number % 2 == 1
        radius = max(1.3, generator.uniform(3.0, 3.8) * scale * size * (1.0 if vein else 0.85))
        trees.append(grow_tree(frame, root, direction=direction, radius=radius, generator=generator, bend=bend))
    return tuple(trees)


def _paint(tree: Tree, depth: np.ndarray, absorption: np.ndarray, *, strength: float, widest: float) -> None:
    """Draw a tree into `depth` (radius minus distance, in pixels) and `absorption`, keeping the greater value."""
    height, width = depth.shape
    for low, high in ((0.0, 1.5), (1.5, 3.0), (3.0, 6.0), (6.0, np.inf)):
        chosen = (tree.radii >= low) & (tree.radii < high)
        if not chosen.any():
            continue
        points, radii = tree.points[chosen], tree.radii[chosen, None, None]
        reach = math.ceil(float(radii.max())) + 1
        steps = np.arange(-reach, reach + 1)
        corner = np.rint(points).astype(np.int64)
        rows = corner[:, 0, None, None] + steps[:, None]
        columns = corner[:, 1, None, None] + steps
        distance = np.hypot(rows - points[:, 0, None, None], columns - points[:, 1, None, None])
        inside = (rows >= 0) & (rows < height) & (columns >= 0) & (columns < width)
        index = (rows * width + columns)[inside]
        np.maximum.at(depth.reshape(-1), index, (radii - distance)[inside])
        fill = np.clip(radii - distance + 0.5, 0.0, 1.0)
        reflex = 1.0 - 0.3 * np.clip(radii - 1.5, 0.0, 1.0) * np.exp(-((3.0 * distance / radii) ** 2))
        faint = np.clip((radii / widest), 0.0, 1.0) ** 0.45
        np.maximum.at(absorption.reshape(-1), index, (strength * faint * fill * reflex)[inside])


def _background(
    shape: tuple[int, int], disc: tuple[float, float], disc_radius: float, scale: float, generator: np.random.Generator
) -> np.ndarray:
    """Uneven orange tissue with a bright disc, a dark centre of sight and darker borders; (H, W, 3) in [0, 1]."""
    height, width = shape
    rows, columns = np.mgrid[:height, :width].astype(np.float64)
    colour = np.array([0.78, 0.42, 0.2]) * generator.uniform(0.88, 1.12, size=3)
    shade = np.ones(shape)
    for strength, length in ((0.098, 80.0), (0.035, 12.0), (0.028, 3.0)):
        shade += strength * smooth_noise(shape, length * scale, generator)
    from_centre = np.hypot((rows - height / 2) / height, (columns - width / 2) / width)
    shade *= 1.0 - generator.uniform(0.35, 0.8) * from_centre**2
    inwards = 1.0 if disc[1] < width / 2 else -1.0
    sight = (disc[0] + 0.06 * height, disc[1] + inwards * 5.0 * disc_radius)
    from_sight = np.hypot(rows - sight[0], columns - sight[1]) / disc_radius
    shade *= 1.0 - 0.22 * np.exp(-0.3 * from_sight**2)
    tint = 1.0 + 0.028 * np.stack([smooth_noise(shape, 40 * scale, generator) for _ in range(3)], axis=-1)
    tissue = colour * shade[..., None] * tint
    distance = np.hypot(rows - disc[0], 1.08 * (columns - disc[1]))
    rim = 1.0 / (1.0 + np.exp((distance - disc_radius) / (0.09 * disc_radius)))
    cup = np.exp(-((distance / (0.55 * disc_radius)) ** 2))
    bright = np.array([0.93, 0.74, 0.45]) + cup[..., None] * np.array([0.05, 0.12, 0.18])
    return np.clip(tissue + 0.75 * rim[..., None] * (bright - tissue), 0.0, 1.0)


def _spots(light: np.ndarray, scale: float, generator: np.random.Generator) -> np.ndarray:
    """A few small bright deposits and dark bleedings, which are no vessels."""
    height, width = light.shape[:2]
    spotted = light.copy()
    for _ in range(generator.poisson(7)):
        row, column = generator.uniform(0, height), generator.uniform(0, width)
        radius = max(0.8, generator.gamma(4.0, 0.6) * scale)
        stretch = generator.uniform(0.7, 1.4)
        reach = math.ceil(4 * radius)
        top, left = max(0, int(row) - reach), max(0, int(column) - reach)
        window = spotted[top : int(row) + reach + 1, left : int(column) + reach + 1]
        rows, columns = np.mgrid[top : top + window.shape[0], left : left + window.shape[1]]
        blob = np.exp(-(((rows - row) * stretch) ** 2 + ((columns - column) / stretch) ** 2) / radius**2)[..., None]
        if generator.random() < 0.5:
            window += 0.5 * blob * (np.array([0.95, 0.8, 0.45]) - window)
        else:
            window *= 1.0 - blob * np.array([0.15, 0.35, 0.3])
    return spotted
