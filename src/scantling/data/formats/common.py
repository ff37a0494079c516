"""What every format has in common: limits, a source of bytes, a plan that is judged before it is carried out."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, BinaryIO, Literal

import numpy as np

from scantling.core.case import Address, Geometry
from scantling.core.errors import FileError

GREY = ("grey",)
COLOUR = ("red", "green", "blue")
SPACING = (1e-6, 1e4)
"""Plausible distances between neighbouring pixels, in mm."""
SHEAR = 1.0
"""Degrees by which two axes may miss a right angle, which shifts a length by less than 2 %; a bound of our own."""
LPS_TO_RAS = np.diag([-1.0, -1.0, 1.0, 1.0])
"""DICOM and ITK count left, posterior and superior; the affine of a geometry counts right, anterior and superior."""
MOST_CHANNELS = 1 << 16
"""A header that asks for more channels than this is damaged; naming them would take all memory."""
HARMLESS = 1 << 24
"""Decoded bytes below which the compression ratio is not asked: an empty mask may shrink to almost nothing."""

Array = np.ndarray[Any, np.dtype[Any]]


@dataclass(frozen=True, slots=True)
class Limits:
    """What a file may ask for, judged by its header before anything is decoded.

    Attributes:
        bytes: the most that a file may hold, and that its array may take.
        pixels: the most pixels or voxels, channels aside.
        ratio: decoded bytes for each byte in the file (arrays under 16 MiB are never refused for it; no deflate
            stream exceeds 1,032).
        seconds: the time that another process gets to decode an untrusted file.
        memory: the bytes of address space that this process gets (not enforced on Windows and macOS); 0: no bound.
    """

    bytes: int = 4 << 30
    pixels: int = 1 << 30
    ratio: float = 2000.0
    seconds: float = 30.0
    memory: int = 4 << 30


@dataclass(frozen=True)
class Header:
    """What a file says of itself, nothing decoded.

    Attributes:
        format: "PNG", "JPEG", "JPEG 2000", "GIF", "BMP", "WebP", "PNM", "TIFF", "NIfTI", "DICOM", "NPY" or "NPZ".
        shape: the spatial shape `(*S)`.
        channels: their names: ("red", "green", "blue"), ("grey",) or ("0", "1", ...).
        dtype: of the array that `read` returns.
        geometry: how the array lies in its file and in the world.
    """

    format: str
    shape: tuple[int, ...]
    channels: tuple[str, ...]
    dtype: np.dtype[Any]
    geometry: Geometry


@dataclass(frozen=True)
class Picture:
    """An image as an array `(C, *S)` in the number type of its file, with its geometry and channel names."""

    array: Array
    geometry: Geometry
    channels: tuple[str, ...]


@dataclass(frozen=True)
class Plan:
    """A judged header and the way to the array `(C, *S)`, not yet taken.

    Attributes:
        decode: reads and checks the pixels, as they are stored (not turned as EXIF says).
        decoded: bytes that the decoder produces, before any conversion.
        coded: bytes in the file that it produces them from.
    """

    header: Header
    decode: Callable[[], Array]
    decoded: int
    coded: int


@dataclass(frozen=True)
class Source:
    """An open file, its size, and what may be asked of it.

    Attributes:
        labels: the pixels are label numbers: a palette of colours is read as indices, and a channel "alpha" is kept.
    """

    address: Address
    file: BinaryIO = field(repr=False)
    size: int
    limits: Limits
    labels: bool = False

    def error(self, found: str, *, expected: str = "", remedy: str = "") -> FileError:
        """The one typed error, about this file."""
        return FileError(str(self.address), found, expected=expected, remedy=remedy)

    def at(self, offset: int, count: int) -> bytes:
        """Exactly `count` bytes from `offset`; an error if the file ends before."""
        if offset < 0 or count < 0 or offset + count > self.size:
            raise self.error(
                f"the file ends after {self.size:,} bytes but its header points to byte {offset + count:,}",
                remedy="it is truncated or damaged: copy it again from its source",
            )
        self.file.seek(offset)
        data = self.file.read(count)
        if len(data) != count:
            raise self.error("the file became shorter while it was read", remedy="try again")
        return data

    def whole(self) -> bytes:
        """The whole file."""
        return self.at(0, self.size)


def admit(source: Source, plan: Plan) -> None:
    """Compare what the header asks for with the limits; nothing has been decoded yet."""
    header, limits = plan.header, source.limits
    pixels = math.prod(header.shape)
    taken = max(plan.decoded, len(header.channels) * pixels * header.dtype.itemsize)
    size = f"{' x '.join(map(str, header.shape))} pixels of {len(header.channels)} channels"
    if pixels > limits.pixels:
        raise source.error(f"asks for {size}", expected=f"at most {limits.pixels:,} pixels", remedy="raise the limit")
    if taken > limits.bytes:
        raise source.error(
            f"asks for {taken:,} bytes ({size})", expected=f"at most {limits.bytes:,}", remedy="raise the limit"
        )
    if taken > HARMLESS and plan.decoded > limits.ratio * plan.coded:
        raise source.error(
            f"unpacks to {plan.decoded / plan.coded:,.0f} times its size ({size})",
            expected=f"at most {limits.ratio:,.0f} times",
            remedy="it may be a decompression bomb; if not, raise the limit",
        )


def numbered(count: int) -> tuple[str, ...]:
    """Names for channels of which nothing is known; one alone is grey.

    Raises:
        ValueError: there are more than `MOST_CHANNELS`.
    """
    if count > MOST_CHANNELS:
        raise ValueError(f"{count:,} channels, expected at most {MOST_CHANNELS:,}")
    return GREY if count == 1 else tuple(str(index) for index in range(count))


def raster(
    format: str,
    shape: Sequence[int],
    channels: tuple[str, ...],
    dtype: Any,
    *,
    spacing: Sequence[float] | None = None,
    exif: int = 1,
) -> Header:
    """The header of a flat image that is stored as `(H, W)`.

    Args:
        spacing: of rows and columns as stored, in mm; None: its file does not say how large its pixels are.
        exif: the EXIF orientation, by which `files` turns what the decoder gives.
    """
    size = (int(shape[0]), int(shape[1]))
    down, across = spacing or (1.0, 1.0)
    if exif > 4:
        size, down, across = size[::-1], across, down
    unit: Literal["mm", "pixel"] = "mm" if spacing else "pixel"
    geometry = Geometry(shape=size, spacing=(float(down), float(across)), unit=unit, exif=exif)
    return Header(format, size, channels, np.dtype(dtype), geometry)


def kept_axes(stored: Sequence[int]) -> tuple[int, ...]:
    """The axes of a stored volume that its array keeps: those longer than 1, but never fewer than two."""
    kept = {axis for axis, length in enumerate(stored) if length > 1}
    for axis in range(len(stored)):
        if len(kept) < 2:
            kept.add(axis)
    return tuple(sorted(kept))


def axis_order(stored: Sequence[int]) -> tuple[int, ...]:
    """The kept axes, then those left out: the order of the columns of a geometry's affine."""
    kept = kept_axes(stored)
    return kept + tuple(axis for axis in range(len(stored)) if axis not in kept)


def volume(
    stored: Sequence[int], spacing: Sequence[float] | None, *, affine: Array | None, slice_axis: int
) -> Geometry:
    """The geometry of a volume whose axes of length 1 are left out of the array (`stored` remembers them).

    Args:
        spacing: in mm; None: its file does not say.
    """
    stored = tuple(int(length) for length in stored)
    unit: Literal["mm", "pixel"] = "mm" if spacing else "pixel"
    spacing = spacing or (1.0,) * len(stored)
    kept = kept_axes(stored)
    if len(kept) == len(stored):
        return Geometry(stored, tuple(map(float, spacing)), affine, "volume", slice_axis, unit=unit)
    if affine is not None:
        affine = affine[:, [*axis_order(stored), 3]]
    shape = tuple(stored[axis] for axis in kept)
    return Geometry(shape, tuple(float(spacing[axis]) for axis in kept), affine, "volume", 0, stored, unit)


def plausible_spacing(source: Source, spacing: Sequence[float]) -> None:
    """Raise if a distance between neighbours cannot be one."""
    if not all(math.isfinite(step) and SPACING[0] < step < SPACING[1] for step in spacing):
        raise source.error(
            f"its pixels are {' x '.join(f'{step:g}' for step in spacing)} mm apart",
            expected=f"distances between {SPACING[0]:g} and {SPACING[1]:g} mm",
            remedy="repair its header",
        )


def plausible_affine(source: Source, affine: Array, spacing: Sequence[float]) -> None:
    """Raise if an affine is not finite, singular, or contradicts the spacing of the same header."""
    steps = np.linalg.norm(affine[:3, :3], axis=0)
    if not np.isfinite(affine).all() or abs(np.linalg.det(affine[:3, :3] / np.maximum(steps, 1e-300))) < 1e-3:
        raise source.error(
            "its affine is not finite or singular", expected="three independent axes", remedy="repair its header"
        )
    right_angles(source, affine)
    if np.abs(affine[:3, 3]).max() > 1e7:
        raise source.error("its affine puts the origin more than 10 km away", remedy="repair its header")
    if not np.allclose(steps, spacing, rtol=0.05):
        raise source.error(
            f"its header gives voxels of {_by(spacing)} mm but its affine {_by(steps)} mm",
            expected="both to agree",
            remedy="repair its header",
        )


def right_angles(source: Source, affine: Array) -> None:
    """Raise if two axes of an affine meet at more than `SHEAR` degrees from a right angle: distances would be wrong."""
    turns = affine[:3, :3] / np.linalg.norm(affine[:3, :3], axis=0)
    for one, other in ((0, 1), (0, 2), (1, 2)):
        angle = math.degrees(math.acos(float(np.clip(turns[:, one] @ turns[:, other], -1, 1))))
        if abs(angle - 90) > SHEAR:
            raise source.error(
                f"its axes {one + 1} and {other + 1} meet at {angle:.1f} degrees (a sheared affine, a tilted gantry)",
                expected=f"90 degrees, within {SHEAR:g}",
                remedy="resample it to axes at right angles",
            )


def _by(steps: Sequence[float] | Array) -> str:
    return " x ".join(f"{step:.4g}" for step in steps)


def palette_is_grey(source: Source, palette: Array, *, protected: bool) -> bool:
    """Whether a palette `(N, 3)` holds only greys; a palette without a checksum must make it plain.

    A flipped bit in a grey palette would turn one channel into three, so where no checksum protects it a palette
    must be grey throughout or coloured in more than half of its entries.
    """
    coloured = int((palette != palette[:, :1]).any(axis=1).sum())
    if protected or coloured == 0 or 2 * coloured > len(palette):
        return coloured == 0
    raise source.error(
        f"{coloured} of the {len(palette)} colours of its palette are not grey",
        expected="a palette of greys, or one of colours",
        remedy="it may be damaged; if not, save it as PNG",
    )


def channels_first(array: Array) -> Array:
    """`(*S)` to `(1, *S)`, or `(*S, C)` to `(C, *S)` where the last axis is one more than two."""
    return np.ascontiguousarray(array[None] if array.ndim == 2 else np.moveaxis(array, -1, 0))
