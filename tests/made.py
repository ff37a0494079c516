"""Small data sets on disk, made by rule, that hold what a method's card needs."""

from __future__ import annotations

from pathlib import Path

import nibabel as nib
import numpy as np
from PIL import Image
from rich.console import Console

from scantling.contract.card import Card
from scantling.training import Options, train


def images_for(card: Card, folder: Path, *, dimensions: int, count: int = 6, classes: int = 1) -> Path:
    """A folder with what `card` needs, as `train` and `test`: blobs that are brighter than what surrounds them."""
    needed = {word for words in card.needs for word in words}
    unknown = needed - {"image", "mask"}
    if unknown:
        raise ValueError(f"this maker of data does not know {unknown}: teach it")
    generator = np.random.default_rng(0)
    for number in range(count):
        part = folder / ("train" if number < count - 2 else "test")
        # odd sizes, no two alike, a little below and above the tiny patch
        shape = tuple(int(n) for n in generator.integers(29, 45, 2)) if dimensions == 2 else (19, 22, 17 + number % 2)
        mask = blobs(shape, generator, classes)
        image = np.clip(60 + 60 * mask + generator.normal(0, 15, shape), 0, 255)
        write(part / "images", f"case{number}", image.astype(np.uint8))
        if "mask" in needed:
            write(part / "masks", f"case{number}", (mask if classes > 1 else mask * 255).astype(np.uint8))
    return folder


def runs_for(card: Card, data: Path, folder: Path) -> dict[str, Path]:
    """Runs that the method is built on, by role: a small U-Net after a moment's training where it has to segment."""
    for role, capability in card.uses.items():
        if capability != "segment":
            raise ValueError(f"this maker of models does not know what can {capability}: teach it")
        options = Options(preset="tiny", steps=200, validation=0.0)
        train("unet", [data], folder / role, options, console=Console(quiet=True))
    return {role: folder / role for role in card.uses}


def blobs(shape: tuple[int, ...], generator: np.random.Generator, classes: int) -> np.ndarray:
    """Class numbers (*S): two balls of each class."""
    mask = np.zeros(shape, np.uint8)
    grid = np.stack(np.meshgrid(*map(np.arange, shape), indexing="ij"), -1)
    for value in range(1, classes + 1):
        for _ in range(2):
            middle, radius = generator.uniform(4, np.array(shape) - 4), generator.uniform(3, 6)
            mask[np.linalg.norm(grid - middle, axis=-1) < radius] = value
    return mask


def write(folder: Path, name: str, array: np.ndarray) -> None:
    """A PNG of an image, a NIfTI of a volume."""
    folder.mkdir(parents=True, exist_ok=True)
    if array.ndim == 2:
        Image.fromarray(array).save(folder / f"{name}.png")
    else:
        nib.save(nib.Nifti1Image(array, np.diag([1.0, 1.0, 1.5, 1.0])), folder / f"{name}.nii.gz")
