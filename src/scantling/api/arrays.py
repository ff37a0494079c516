"""How an array in memory is read: which axis holds the channels, and how it lies in the world."""

from __future__ import annotations

import io
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np

from scantling.contract.method import Method
from scantling.core.case import Address, Geometry, Unit
from scantling.core.errors import DataError, FileError
from scantling.data.channels import owner_of
from scantling.data.contents import count, some
from scantling.data.formats.common import Limits, Source, plausible_affine, volume
from scantling.data.given import says_nothing

Order = Literal["first", "last"]


@dataclass(frozen=True)
class Wanted:
    """What a model takes.

    Attributes:
        dimensions: of its images.
        channels: their names.
        partial: whether some may be missing.
        pictures: whether its training images are pictures, and no slices with a place in the world.
        unit: of the spacing of its training images.
        located: whether its training images lie somewhere in the world.
    """

    dimensions: int
    channels: tuple[str, ...]
    partial: bool = False
    pictures: bool = True
    unit: Unit | None = None
    located: bool = True

    @classmethod
    def of(cls, method: Method) -> Wanted:
        """What a model takes."""
        traits = method.traits
        pictures = traits.dimensions == 2 and (traits.storage is None or traits.storage.container == "raster")
        located = traits.storage is None or traits.storage.affine is not None
        return cls(traits.dimensions, method.channels, method.partial, pictures, traits.unit, located)

    def parts(self, images: Mapping[str, Any]) -> dict[str, Wanted]:
        """What it takes of each of several images, those left out of which it takes nothing.

        Raises:
            DataError: a channel that it needs is not among them.
        """
        owners = {channel: owner_of(channel, images) for channel in self.channels}
        if not all(owners.values()) and not (self.partial and any(owners.values())):
            raise DataError(f"x: found the images {some(images)}; expected the channels {some(self.channels)}")
        return {
            name: replace(self, channels=own)
            for name in images
            if (own := tuple(channel for channel in self.channels if owners[channel] == name))
        }


def channels_first(array: np.ndarray, wanted: Wanted, where: str, order: Order | None) -> np.ndarray:
    """(C, *S) of an array (*S), (C, *S) or (*S, C), by the number of axes and channels of the model.

    One channel is repeated where three are wanted; three that stand last, or are said to stand first, become grey where
    one is wanted; a fourth one of 8 bits that stands last is transparency and left out.

    Raises:
        DataError: the shape has none or two of these readings, or is a batch.
    """
    if order not in (None, "first", "last"):
        raise DataError(f"channels: found {order!r}; expected 'first' or 'last'")
    shape, axes, number = array.shape, wanted.dimensions, len(wanted.channels)
    grid = "(H, W)" if axes == 2 else "(X, Y, Z)"
    if array.ndim == axes:
        return array[None]
    if array.ndim == axes + 2:
        raise DataError(f"{where}: found a batch {shape}; expected one image {grid}; pass a list: [*x]")
    if array.ndim != axes + 1:
        raise DataError(f"{where}: found an array {shape}; the model takes images {grid}, with or without channels")
    first = {number, *([1] if number == 3 else [])}
    last = {*first, *([3] if number == 1 else []), *([4] if array.dtype == np.uint8 and axes == 2 else [])}
    readings = [name for name, may in (("first", shape[0] in first), ("last", shape[-1] in last)) if may]
    if order is None and len(readings) == 2:
        raise DataError(
            f"{where}: the shape {shape} has two readings: {shape[0]} channels of {shape[1:]} pixels, or {shape[-1]} "
            f'channels of {shape[:-1]} pixels; pass channels="first" or channels="last"'
        )
    if order is None and not readings:
        raise DataError(
            f"{where}: found an array {shape}; expected {grid}, or {count(number, 'channel')} "
            f"({some(wanted.channels)}) in front of it or behind it; "
            'pass channels="first" or channels="last" where a colour image is to become grey'
        )
    if (order or readings[0]) == "first":
        return array
    moved = np.moveaxis(array, -1, 0)
    return moved[:3] if len(moved) == 4 and number in (1, 3) and array.dtype == np.uint8 else moved


def array_geometry(
    shape: tuple[int, ...], wanted: Wanted, affine: np.ndarray | None
) -> tuple[Geometry, tuple[str, ...]]:
    """How an array lies; the axes of a volume without an affine are right, anterior and superior, which a note says.

    To a model of volumes that lie nowhere, arrays as well, they are just those of its training images.
    """
    if affine is not None:
        return placed(shape, affine, wanted, "affine"), ()
    if len(shape) == 2:
        return Geometry(shape, (1.0, 1.0), container="raster" if wanted.pictures else "volume"), ()
    geometry = volume(shape, None, affine=None, slice_axis=2)
    if not wanted.located:
        return geometry, ()
    return geometry, (
        "x is an array without an affine: its axes are taken to point to the right, the front and the head of the "
        "patient; pass affine where they do not",
    )


def flat(shape: tuple[int, ...], spacing: np.ndarray, wanted: Wanted) -> Geometry:
    """How a picture of rows and columns lies; pixels of 1 mm say nothing, since that is what packages assume."""
    said = not np.allclose(spacing, 1)
    steps = (float(spacing[0]), float(spacing[1])) if said else (1.0, 1.0)
    return Geometry(shape, steps, unit="mm" if said else "pixel")


def placed(shape: tuple[int, ...], affine: np.ndarray, wanted: Wanted, where: str) -> Geometry:
    """How a volume, or a slice of one, lies; voxels of 1 mm say nothing to a model of images without a spacing.

    An identity, whatever its signs, says nothing to a model of images that lie nowhere (`data.given`).

    Raises:
        DataError: the affine is none.
    """
    if not wanted.located and says_nothing(affine):
        return volume((*shape, 1)[:3], None, affine=None, slice_axis=2)
    steps = np.linalg.norm(affine[:3, :3], axis=0)
    try:
        plausible_affine(source_of(where), affine, steps.tolist())
    except FileError as error:
        raise DataError(f"{where}: {error.found}; expected finite axes at right angles") from None
    unsaid = wanted.unit == "pixel" and np.allclose(steps, 1)
    return volume((*shape, 1)[:3], None if unsaid else steps.tolist(), affine=affine, slice_axis=2)


def affine_of(affine: Any, where: str) -> np.ndarray:
    """An affine (4, 4) float64.

    Raises:
        DataError: it has another shape.
    """
    try:
        found = np.asarray(affine.cpu() if hasattr(affine, "cpu") else affine, np.float64)
    except (TypeError, ValueError):
        raise DataError(f"{where}: found {affine!r}; expected an affine (4, 4)") from None
    if found.shape != (4, 4):
        raise DataError(
            f"{where}: found an affine of shape {found.shape}; expected (4, 4), from indices to millimetres to the "
            "right, to the front and to the head, as nibabel has it"
        )
    return found


def source_of(where: str) -> Source:
    """What the door calls an image in memory in its errors."""
    return Source(Address(Path(where)), io.BytesIO(), 0, Limits())
