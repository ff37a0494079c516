"""Probability maps of any tool: read from every format alike, and told from masks, pictures and logits."""

from __future__ import annotations

import zipfile
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

import numpy as np

from scantling.core.case import Address, Geometry
from scantling.core.errors import DataError, FileError
from scantling.data.contents import some
from scantling.data.files import Limits, Picture, read
from scantling.data.labels import LOSSY
from scantling.data.mask_values import FULL_SCALE
from scantling.data.orientation import stored_geometry, turned
from scantling.data.outside import finite

NNUNET_MEMBERS = ("probabilities", "softmax")
"""What nnU-Net calls the maps in its .npz files: (background and classes, slices, rows, columns)."""
ROUNDED = 1e-4
"""How far below 0 or above 1 a number may lie that was rounded; it is cut."""
SUM = 0.01
"""How far from 1 the sum of all classes and the background may lie, for each of them."""
MOST_CLASSES = 32
"""An axis of more entries is none of classes."""
FEW = 8
"""So few whole numbers, none of them above half of full scale, are labels."""


def map_files(paths: Iterable[Path]) -> list[Path]:
    """Which of the image files of a folder are maps: its archives where it has any, since nnU-Net puts masks beside."""
    listed = list(paths)
    return [path for path in listed if path.suffix == ".npz"] or listed


def read_probabilities(
    where: Address,
    *,
    classes: int | None = None,
    shape: tuple[int, ...] | None = None,
    hard: bool = False,
    limits: Limits | None = None,
    untrusted: bool = False,
) -> tuple[np.ndarray, Geometry]:
    """Probabilities (K, *S) float32 in [0, 1], and where they lie.

    Numbers of 8 and 16 bits are divided by 255 and 65,535. Where all channels together add up to 1, the first is
    the background and left out. Maps of a picture may be stacked along the first or the last axis of an array. An .npz
    of nnU-Net takes the axes and the geometry of the mask beside it. Outside of an image (NaN), all are 0.

    Args:
        classes: K, where it is known.
        shape: the size (*S) of the image, where it is known.
        hard: whether it may hold nothing but 0.0 and 1.0: who wrote it says that it is a map.
        limits: bounds on what is decoded.
        untrusted: decode in a process with limits on time and memory.

    Raises:
        FileError: it cannot be read, or is a mask, a picture in colour, or of numbers that are no probabilities.
        DataError: it has another number of classes, or does not fit the mask of nnU-Net beside it.
    """
    member = where.member or _member(where.path)
    picture = read(Address(where.path, member), limits=limits or Limits(), untrusted=untrusted)
    picture, outside = finite(picture, where)
    array = _scaled(picture, where, hard=hard)
    geometry = picture.geometry
    if outside is not None:
        array[:, outside] = 0
    if member in NNUNET_MEMBERS:
        array, geometry = _of_nnunet(array, geometry, where.path)
    else:
        array, geometry = _unstacked(array, geometry, classes, shape)
    if picture.channels[:3] == ("red", "green", "blue"):
        array = _of_colour(array, where, classes, floats=picture.array.dtype.kind == "f")
    elif len(array) > 1 and classes in (None, len(array) - 1) and _add_up(array, 0):
        array = array[1:]
    if classes is not None and len(array) != classes:
        raise DataError(f"{where}: found {len(array)} channels; expected {classes}, one for each class")
    return array, geometry


def _member(path: Path) -> str:
    """The member of an archive of nnU-Net; empty for another file."""
    if path.suffix != ".npz":
        return ""
    try:
        with zipfile.ZipFile(path) as archive:
            return next((name for name in NNUNET_MEMBERS if f"{name}.npy" in archive.namelist()), "")
    except (zipfile.BadZipFile, NotImplementedError, OSError) as error:
        raise FileError(path, f"is no whole archive ({error})", remedy="save it again from its source") from None


def _scaled(picture: Picture, where: Address, *, hard: bool) -> np.ndarray:
    """The numbers of a file (C, *S) as float32 from 0 to 1.

    Raises:
        FileError: they are no probabilities.
    """
    array, expected = picture.array, "probabilities from 0 to 1, or 0 to full scale in 8 or 16 bits"
    low, high = array.min(), array.max()
    if array.dtype.kind == "f":
        if low < -ROUNDED or high > 1 + ROUNDED:
            remedy = "scale the maps"
            if low < 0:
                remedy = "apply the sigmoid or the softmax if these are logits"
            elif high in FULL_SCALE:
                remedy = f"divide them by {high:g}"
            raise FileError(str(where), f"found values from {low:g} to {high:g}", expected=expected, remedy=remedy)
        if not hard and low < high and (np.rint(array) == array).all():
            raise FileError(str(where), "is a mask of zeros and ones", expected=expected, remedy="name the maps")
        return array.astype(np.float32).clip(0, 1)
    values, full = np.unique(array), np.iinfo(array.dtype).max
    if len(values) == 2 or (1 < len(values) <= FEW and 2 * int(high) < full):
        listed = some(map(str, values.tolist()), most=FEW)
        raise FileError(str(where), f"is a mask of the values {listed}", expected=expected, remedy="name the maps")
    if array.dtype.name not in ("uint8", "uint16"):
        raise FileError(
            str(where), f"holds numbers of type {array.dtype}, from {low} to {high}", expected=expected,
            remedy="save the maps as float32",
        )  # fmt: skip
    return array.astype(np.float32) / full


def _of_colour(array: np.ndarray, where: Address, classes: int | None, *, floats: bool) -> np.ndarray:
    """Red, green and blue as one map where they are equal, else as three classes.

    In whole numbers, or where nobody says that there are three classes, they have to exclude each other.

    Raises:
        FileError: it is a picture in colour.
    """
    if (array == array[:1]).all():
        return array[:1]
    alone = (array.sum(0) <= 1 + 3 * SUM).all()
    if classes not in (None, 3) or where.path.suffix.lower() in LOSSY or not (alone or (floats and classes == 3)):
        raise FileError(
            str(where), "is a picture in colour", expected="probabilities, one number for each pixel and class",
            remedy="name the maps",
        )  # fmt: skip
    return array


def _unstacked(
    array: np.ndarray, geometry: Geometry, classes: int | None, shape: tuple[int, ...] | None
) -> tuple[np.ndarray, Geometry]:
    """Maps (K, H, W) of a picture that were stacked along the first or the last axis of an array without a place."""
    if len(array) > 1 or array.ndim != 4 or geometry.affine is not None or geometry.shape == shape:
        return array, geometry
    for axis in (1, 3):
        size, number = tuple(np.delete(array.shape[1:], axis - 1)), array.shape[axis]
        fits = size == shape if shape is not None else number in (1, classes) or _add_up(array, axis)
        if fits and number <= MOST_CLASSES:
            flat = Geometry(shape=size, spacing=tuple(np.delete(geometry.spacing, axis - 1)), unit=geometry.unit)
            return np.moveaxis(array[0], axis - 1, 0), replace(flat, container="raster")
    return array, geometry


def _add_up(array: np.ndarray, axis: int) -> bool:
    """Whether the entries along an axis, of classes and background, add up to 1 everywhere."""
    number = array.shape[axis]
    return 1 < number <= MOST_CLASSES and bool((np.abs(array.sum(axis) - 1) <= SUM * number).all())


def _of_nnunet(array: np.ndarray, geometry: Geometry, path: Path) -> tuple[np.ndarray, Geometry]:
    if len(array) > 1:
        array = array[1:]
    beside = next((p for e in (".nii.gz", ".nii", ".png", ".tif") if (p := path.with_suffix(e)).is_file()), None)
    if beside is None:
        return array, geometry
    shape, there = array.shape[1:], read(beside).geometry
    stored = stored_geometry(there).shape
    if len(shape) == 3 and shape[0] == 1 and shape[1:] == stored:
        return turned(array[:, 0], there), there
    if shape[::-1] == stored and there.container == "volume":
        return turned(array.transpose(0, *range(len(shape), 0, -1)), there), there
    if shape == stored:
        return turned(array, there), there
    raise DataError(f"{path}: found maps of {shape}; expected the size of the mask beside it, {stored}")
