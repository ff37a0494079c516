"""Small data sets that the gallery makes for itself: nothing in them was measured on a patient."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import nibabel as nib
import numpy as np
from PIL import Image
from scipy import ndimage

import scantling
from scantling.phantoms import fractal_vessels, vessel_images

SIDE = 64
TRAIN, TEST = 12, 3


@dataclass(frozen=True)
class Made:
    """One image (C, H, W) or volume (1, *S) uint8 by the names of its channels, and what is known of it."""

    images: dict[str, np.ndarray]
    mask: np.ndarray | None = None
    instances: np.ndarray | None = None
    image_class: str = ""


@dataclass(frozen=True)
class Kind:
    """A data set: how a case is made, and the classes of its masks."""

    make: Callable[[np.random.Generator, int], Made]
    classes: dict[str, int] = field(default_factory=dict)


def _grid(*shape: int) -> np.ndarray:
    return np.stack(np.meshgrid(*map(np.arange, shape), indexing="ij"), -1).astype(np.float64)


def _noise(draw: np.random.Generator, shape: tuple[int, ...], *, smooth: float, size: float) -> np.ndarray:
    """Noise of the standard deviation `size`, smoothed over `smooth` pixels."""
    values = ndimage.gaussian_filter(draw.normal(size=shape), smooth, mode="wrap")
    return size * values / values.std()


def _shaded(light: np.ndarray, draw: np.random.Generator) -> np.ndarray:
    light = ndimage.gaussian_filter(light, 0.7) + _noise(draw, light.shape, smooth=8, size=8)
    return np.clip(light + draw.normal(0, 5, light.shape), 0, 255).astype(np.uint8)


def _wobbly(draw: np.random.Generator, middle: np.ndarray, radius: float, *, rough: float = 0.15) -> np.ndarray:
    """The pixels (H, W) of a disc whose outline is bent."""
    away = _grid(SIDE, SIDE) - middle
    angle, far = np.arctan2(away[..., 0], away[..., 1]), np.linalg.norm(away, axis=-1)
    bend = sum(draw.normal() / n * np.cos(n * angle + draw.uniform(0, 6.3)) for n in range(2, 6))
    return np.asarray(far < radius * (1 + rough * bend))


def cell_image(draw: np.random.Generator, number: int) -> Made:
    """Round cells on tissue, each known by itself; in images of the class "dense" there are more of them."""
    dense = bool(number % 2)
    instances, light = np.zeros((SIDE, SIDE), np.int32), 170 + _noise(draw, (SIDE, SIDE), smooth=2, size=12)
    for place in range(1, (15 if dense else 7) + 1):
        cell = _wobbly(draw, draw.uniform(4, SIDE - 4, 2), draw.uniform(4, 7))
        cell &= ~ndimage.binary_dilation((instances > 0) & ~cell, iterations=1) | (instances == 0)
        cell &= instances == 0
        if cell.sum() > 20:
            instances[cell] = place
            light[cell] = draw.uniform(50, 95) + _noise(draw, (SIDE, SIDE), smooth=1, size=10)[cell]
    _, instances = np.unique(instances, return_inverse=True)
    instances = instances.reshape(SIDE, SIDE).astype(np.uint8)
    mask = (instances > 0).astype(np.uint8) * np.uint8(255)
    return Made({"image": _shaded(light, draw)}, mask, instances, "dense" if dense else "sparse")


def _organ(draw: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """The light of a body with a ring of muscle around a cavity, and its mask: 1 the cavity, 2 the wall."""
    middle = SIDE / 2 + draw.uniform(-6, 6, 2)
    wall = _wobbly(draw, middle, draw.uniform(15, 20), rough=0.06)
    cavity = ndimage.binary_erosion(wall, iterations=int(draw.integers(5, 8)))
    body = _wobbly(draw, np.array([SIDE / 2, SIDE / 2]), 29, rough=0.03)
    light = 15 + 70.0 * body + _noise(draw, (SIDE, SIDE), smooth=3, size=7)
    light[wall], light[cavity] = 125, 215
    return light, np.where(cavity, 1, np.where(wall, 2, 0)).astype(np.uint8)


def organ_image(draw: np.random.Generator, number: int) -> Made:
    """A cavity in a wall, as in a slice through a heart."""
    light, mask = _organ(draw)
    return Made({"image": _shaded(light, draw)}, mask)


def lesion_image(draw: np.random.Generator, number: int) -> Made:
    """One dark spot on skin."""
    spot = _wobbly(draw, draw.uniform(22, SIDE - 22, 2), draw.uniform(9, 16), rough=0.2)
    light = 190 + _noise(draw, (SIDE, SIDE), smooth=4, size=10)
    light[spot] = 95 + _noise(draw, (SIDE, SIDE), smooth=1.5, size=16)[spot]
    return Made({"image": _shaded(light, draw)}, spot.astype(np.uint8) * np.uint8(255))


def frame_images(draw: np.random.Generator, number: int) -> Made:
    """A breast before and after a contrast agent: what lights up is the lesion."""
    body = _wobbly(draw, np.array([SIDE / 2, SIDE / 2]), 27, rough=0.05)
    lesion = _wobbly(draw, draw.uniform(22, SIDE - 22, 2), draw.uniform(6, 10)) & body
    light = 15 + body * (80 + _noise(draw, (SIDE, SIDE), smooth=3, size=16)) + 14.0 * lesion
    after = light + 90.0 * lesion + 12 * body
    return Made(
        {"before": _shaded(light, draw), "after": _shaded(after, draw)}, lesion.astype(np.uint8) * np.uint8(255)
    )


def vessel_picture(draw: np.random.Generator, number: int) -> Made:
    """A retinal photograph by rule."""
    image, mask = next(vessel_images(1, 96, seed=int(draw.integers(1 << 30))))
    return Made({"image": np.moveaxis(image, -1, 0)}, mask.astype(np.uint8) * np.uint8(255))


def angiogram_image(draw: np.random.Generator, number: int) -> Made:
    """Dark fractal vessels on grey tissue."""
    mask = fractal_vessels((SIDE, SIDE), generator=draw) > 0
    light = 165 + _noise(draw, (SIDE, SIDE), smooth=7, size=18) - 75.0 * ndimage.gaussian_filter(mask * 1.0, 0.7)
    return Made({"image": _shaded(light, draw)}, mask.astype(np.uint8) * np.uint8(255))


def volume(draw: np.random.Generator, number: int) -> Made:
    """Two bright balls in a dim body, 32 x 32 x 16."""
    shape = (32, 32, 16)
    grid, mask = _grid(*shape) * (1, 1, 2), np.zeros(shape, np.uint8)
    for _ in range(2):
        mask[np.linalg.norm(grid - draw.uniform(8, 24, 3), axis=-1) < draw.uniform(4.5, 7)] = 255
    light = 50 + 110.0 * (mask > 0) + _noise(draw, shape, smooth=2, size=10)
    light = ndimage.gaussian_filter(light, 0.6) + draw.normal(0, 6, shape)
    return Made({"image": np.clip(light, 0, 255).astype(np.uint8)}, mask)


KINDS = {
    "cells": Kind(cell_image, {"cell": 255}),
    "organs": Kind(organ_image, {"cavity": 1, "wall": 2}),
    "lesions": Kind(lesion_image, {"lesion": 255}),
    "frames": Kind(frame_images, {"lesion": 255}),
    "vessels": Kind(vessel_picture, {"vessel": 255}),
    "angiograms": Kind(angiogram_image, {"vessel": 255}),
    "volumes": Kind(volume, {"ball": 255}),
}


def data_set(name: str, folder: Path) -> Path:
    """The folder of a data set, made unless it is there; "organs+boxes" is "organs" with the labels that `boxes` draws.

    The labels are those of the annotators of the catalogue: `scribbles`, `boxes`, `points`, `slices`.
    """
    place, (base, plus, rule) = folder / name, name.rpartition("+")
    if (place / "scantling.json").is_file():
        return place
    if plus:
        scantling.synthesize(rule, given=data_set(base, folder), out=place, split="all")
        return place
    kind, cases = KINDS[name], []
    for number in range(TRAIN + TEST):
        draw = np.random.default_rng((sorted(KINDS).index(name), number))
        made, id = kind.make(draw, number), f"case{number:02d}"
        case: dict[str, object] = {"id": id, "subject": id, "split": "train" if number < TRAIN else "test"}
        case["images"] = {key: _write(place, key, id, array) for key, array in made.images.items()}
        if made.mask is not None:
            case["masks"] = [_write(place, "masks", id, made.mask)]
        if made.instances is not None:
            case["instances"] = _write(place, "instances", id, made.instances)
        if made.image_class:
            case["image_class"] = made.image_class
        cases.append(case)
    facts = {"name": name, "classes": kind.classes, "case": cases}
    (place / "scantling.json").write_text(json.dumps(facts, indent=1))
    return place


def _write(place: Path, part: str, id: str, array: np.ndarray) -> str:
    """A PNG of a picture (H, W) or (3, H, W), a NIfTI of a volume; the path below the data set."""
    raster = array.ndim == 2 or array.shape[0] == 3
    path = place / part / f"{id}.{'png' if raster else 'nii.gz'}"
    path.parent.mkdir(parents=True, exist_ok=True)
    if raster:
        Image.fromarray(array if array.ndim == 2 else np.moveaxis(array, 0, -1)).save(path)
    else:
        nib.save(nib.Nifti1Image(array, np.diag([1.0, 1.0, 2.0, 1.0])), path)
    return path.relative_to(place).as_posix()
