"""Small data sets on disk, made by rule, that hold what a card needs: two bright balls of each class in an image."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np

from scantling.contract.card import Card
from scantling.core.atomic import write_json
from scantling.core.case import Address, Geometry
from scantling.data.files import read, write_labels

KNOWN = ("image", "mask", "masks", "scribbles", "boxes", "points", "image_class", "instances", "region")
CLASSES = ("bright", "dark")
"""The image classes; what is dark is so by 30 grey values of 255."""
COUNT, TEST = 6, 2
"""Cases in all, and those of them that are for testing."""


def make_data(card: Card, folder: Path, *, dimensions: int, classes: int = 1) -> Path:
    """A data set of `COUNT` cases with what `card` needs, by a manifest; pictures are PNG, volumes NIfTI.

    The sizes are odd and no two alike, a little below and above a patch of 32 pixels, or of 16 voxels. Where the card
    needs images beside those with something more, every second case is only an image. Each further channel that the
    card needs is a file of its own.

    Raises:
        ValueError: the card needs something that is not made here.
    """
    words = {word for alternative in card.needs for word in alternative} or {"image", *card.asks}
    pools = sorted(word.partition(":")[2] for word in words if word.startswith("pool:")) or [""]
    roles = sorted(word.partition(":")[2] for word in words if word.startswith("link:"))
    unknown = {word for word in words if word not in KNOWN and not word.startswith(("pool:", "link:"))}
    if unknown:
        raise ValueError(f"{card.name}: there are no toy data with {', '.join(sorted(unknown))}")
    generator, cases = np.random.default_rng(0), list[dict[str, Any]]()
    for pool in pools:
        for number in range(COUNT):
            name = f"{pool}{'-' if pool else ''}case{number}"
            facts = {"id": name, "subject": name, "split": "train" if number < COUNT - TEST else "test"}
            facts |= {"pool": pool} if pool else {}
            own = {"image"} if ("image",) in card.needs[1:] and number % 2 else words
            cases.append(facts | _case(folder, name, number, own, generator, dimensions=dimensions, classes=classes))
            for place in range(1, card.channels):
                cases[-1]["images"][f"later {place}"] = later(folder, cases[-1]["images"]["image"], name, place)
            for role in roles:
                other = facts | {"id": f"{name}-{role}"}
                made = _case(folder, other["id"], number, {"image"}, generator, dimensions=dimensions, classes=classes)
                cases[-1]["links"] = {**cases[-1].get("links", {}), role: other["id"]}
                cases.append(other | made)
    names = {f"class-{number}": number for number in range(1, classes + 1)} if classes > 1 else {"ball": 255}
    write_json(folder / "scantling.json", {"name": "toy", "classes": names, "ignore": 254, "case": cases})
    return folder


def _case(
    folder: Path,
    name: str,
    number: int,
    words: set[str],
    generator: np.random.Generator,
    *,
    dimensions: int,
    classes: int,
) -> dict[str, Any]:
    """Write the files of a case; returns its entry in the manifest."""
    shape = tuple(int(n) for n in generator.integers(29, 45, 2)) if dimensions == 2 else (19, 22, 17 + number % 2)
    objects = balls(shape, generator, classes)
    mask = np.zeros(shape, np.uint8)
    for value, ball in objects:
        mask[ball] = value
    dark = 30 * (number % 2) if "image_class" in words else 0
    image = np.clip(60 - dark + 60 * mask + generator.normal(0, 15, shape), 0, 255).astype(np.uint8)
    labels = mask if classes > 1 else mask * np.uint8(255)
    found: dict[str, Any] = {}
    if "image" in words:
        found["images"] = {"image": write(folder, "images", name, image)}
    if {"mask", "masks"} & words:
        found["masks"] = [write(folder, "masks", name, labels)]
    if "masks" in words:
        found["masks"].append(write(folder, "masks-2nd", name, np.roll(labels, 1, axis=-1)))
    if "scribbles" in words:
        drawn = generator.random(shape) < 0.3
        found["scribbles"] = write(folder, "scribbles", name, np.where(drawn, labels, 254).astype(np.uint8))
    if "instances" in words:
        instances = np.zeros(shape, np.uint8)
        for place, (_, ball) in enumerate(objects, start=1):
            instances[ball] = place
        found["instances"] = write(folder, "instances", name, instances)
    if "region" in words:
        region = np.ones(shape, np.uint8)
        region[..., :2] = 0
        found["region"] = write(folder, "fov", name, region * np.uint8(255))
    places = [np.argwhere(ball) for _, ball in objects]
    if "boxes" in words:
        found["boxes"] = [[[int(a), int(b)] for a, b in zip(p.min(0), p.max(0) + 1, strict=True)] for p in places]
    if "points" in words:
        found["points"] = [[float(c) for c in p.mean(0)] for p in places]
    if "image_class" in words:
        found["image_class"] = CLASSES[number % 2]
    return found


def later(folder: Path, image: str, name: str, place: int) -> str:
    """One more channel of an image: its square, darker with every place; returns its path below `folder`."""
    array = read(Address(folder / image)).array[0].astype(np.float64)
    return write(folder, f"later-{place}", name, (array**2 / (255 * place)).astype(np.uint8))


def balls(shape: tuple[int, ...], generator: np.random.Generator, classes: int) -> list[tuple[int, np.ndarray]]:
    """The class number and the pixels (*S) of two balls of each class; later ones lie over earlier ones."""
    grid = np.stack(np.meshgrid(*map(np.arange, shape), indexing="ij"), -1)
    found = []
    for value in range(1, classes + 1):
        for _ in range(2):
            middle, radius = generator.uniform(4, np.array(shape) - 4), generator.uniform(3, 6)
            found.append((value, np.linalg.norm(grid - middle, axis=-1) < radius))
    return found


def write(folder: Path, part: str, name: str, array: np.ndarray) -> str:
    """A PNG of a picture (H, W), a NIfTI of a volume; returns its path below `folder`."""
    if array.ndim == 2:
        return (
            write_labels(folder / part, name, array, Geometry(array.shape, (1.0, 1.0))).relative_to(folder).as_posix()
        )
    path = folder / part / f"{name}.nii.gz"
    path.parent.mkdir(parents=True, exist_ok=True)
    nib.save(nib.Nifti1Image(array, np.diag([1.0, 1.0, 2.0, 1.0])), path)
    return path.relative_to(folder).as_posix()
