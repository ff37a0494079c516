"""NIfTI, plain, gzipped or a pair of files: every byte must be accounted for, and the header must be plausible.

Axes are those of the file (X, Y, Z), axes of length 1 are left out of the array, a fourth axis holds channels, and
values are scaled as the header says. A gzipped file is protected by its checksum. A plain one has none: a wrong size
contradicts its length, a wrong voxel size its affine, but a damaged voxel cannot be seen.
"""

from __future__ import annotations

import gzip
import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
from nibabel.nifti1 import Nifti1Header, Nifti1Pair
from nibabel.nifti2 import Nifti2Header, Nifti2Pair

from scantling.core.case import Geometry
from scantling.data.formats.common import (
    COLOUR,
    Array,
    Header,
    Plan,
    Source,
    axis_order,
    numbered,
    plausible_affine,
    plausible_spacing,
    volume,
)
from scantling.data.formats.gzipped import GZIP, unpacked
from scantling.data.orientation import as_stored, stored_geometry

DTYPES = {2: "u1", 4: "i2", 8: "i4", 16: "f4", 64: "f8", 256: "i1", 512: "u2", 768: "u4", 1024: "i8", 1280: "u8"}
COLOURS = {128: 3, 2304: 4}
SAME = 0.1
"""Qform and sform are one where no corner lies further apart than this share of the smallest voxel."""
UNITS = {0: 1.0, 1: 1000.0, 2: 1.0, 3: 0.001}


def inspect(source: Source) -> Plan:
    """Judge sizes, number type, scaling and geometry."""
    packed = source.at(0, 2) == GZIP
    start = unpacked(source, 544, whole=False) if packed else source.at(0, min(544, source.size))
    head = _parsed(source, start)
    data = None if head["magic"].item().startswith(b"n+") else _voxels_of(source)
    if data is not None:
        packed = data.suffix.lower() == ".gz"
    size = source.size if data is None else data.stat().st_size
    dims = [int(length) for length in head["dim"][1 : 1 + int(head["dim"][0])]]
    code, items = int(head["datatype"]), int(head["bitpix"]) // 8
    if not 2 <= int(head["dim"][0]) <= 7 or min(dims) < 1:
        raise source.error(f"its dimensions are {dims}", expected="two to seven axes of at least 1")
    if code not in DTYPES and code not in COLOURS:
        raise source.error(
            f"holds numbers of NIfTI type {code}", expected="whole or real numbers of 8 to 64 bits, or colours"
        )
    colours = COLOURS.get(code, 1)
    dtype = np.dtype(DTYPES.get(code, "u1"))
    if items != dtype.itemsize * colours or int(head["bitpix"]) % 8:
        raise source.error(f"its header gives {int(head['bitpix'])} bits to numbers of type {code}", remedy="repair it")
    offset = float(head["vox_offset"])
    if not offset.is_integer() or not (0 if data else len(head.binaryblock) + 4) <= offset < 1 << 40:
        raise source.error(f"its voxels begin at byte {offset:g}", expected="a place after the header")
    length = int(offset) + prod(dims) * items
    if not packed and length != size:
        raise source.error(
            f"holds {size:,} bytes{f' in {data.name}' if data else ''}",
            expected=f"{length:,} for {' x '.join(map(str, dims))} voxels",
            remedy="it is truncated or damaged: copy it again from its source",
        )
    stored, channels = _axes(source, dims, colours)
    slope, intercept = _scaling(source, head, colours)
    scaled = (slope, intercept) != (1.0, 0.0)
    header = Header(
        "NIfTI",
        (geometry := geometry_of(source, head, stored)).shape,
        channels,
        np.dtype(np.float32) if scaled else dtype,
        geometry,
    )

    def decode() -> Array:
        with _opened(source, data) as voxel_source:
            read = unpacked(voxel_source, length, whole=True) if packed else voxel_source.whole()
        voxels = np.frombuffer(read, dtype.newbyteorder(head.endianness), offset=int(offset))
        array = voxels.reshape((colours, *dims) if colours > 1 else dims, order="F")
        if colours > 1:
            array = array[: len(channels)]
        else:
            array = np.moveaxis(array.reshape((*stored, len(channels)), order="F"), -1, 0)
        array = array.reshape((len(channels), *header.shape), order="F")
        if scaled:
            array = array * np.float64(slope) + np.float64(intercept)
        return np.ascontiguousarray(array, header.dtype)

    return Plan(header, decode, length, size)


def encode(maps: Array, geometry: Geometry, *, vectors: bool = False) -> bytes:
    """A gzipped NIfTI of maps `(K, *S)`, X, Y, Z and, where there are several, K last in the file.

    Axes that reading turned or left out are put back, and so is the affine; without one only the spacing is written,
    and its unit where that is mm.

    Args:
        vectors: the maps are the components of vectors: K becomes the fifth axis, and the intent is VECTOR (1007).
    """
    maps, geometry = as_stored(maps, geometry), stored_geometry(geometry)
    stored = geometry.stored or (geometry.shape if len(geometry.shape) == 3 else (*geometry.shape, 1))
    order = axis_order(stored)
    spacing = np.ones(3)
    spacing[list(order[: len(geometry.spacing)])] = geometry.spacing
    voxels = np.moveaxis(maps.reshape(len(maps), *stored), 0, -1)
    shape = (*stored, 1, len(maps)) if vectors else voxels.shape if len(maps) > 1 else stored
    head = Nifti1Header()
    head.set_data_dtype(maps.dtype)
    head.set_data_shape(shape)
    if geometry.affine is not None:
        affine = np.empty((4, 4))
        affine[:, [*order, 3]] = geometry.affine
        spacing = np.linalg.norm(affine[:3, :3], axis=0)
        turns = affine[:3, :3] / spacing
        head.set_sform(affine, 1)
        if np.allclose(turns.T @ turns, np.eye(3), atol=1e-4):
            head.set_qform(affine, 1)
    head.set_zooms([*spacing, 1.0, 1.0][: len(shape)])
    if geometry.unit == "mm" or geometry.affine is not None:
        head.set_xyzt_units("mm")
    if vectors:
        head.set_intent("vector")
    head.set_slope_inter(1.0, 0.0)
    head["vox_offset"], head["magic"] = 352, b"n+1"
    data = head.binaryblock + bytes(4) + voxels.astype(voxels.dtype.newbyteorder("=")).tobytes(order="F")
    return gzip.compress(data, 6, mtime=0)


def _voxels_of(source: Source) -> Path:
    """The file of the voxels beside a header of a pair."""
    place = source.address.path
    suffix = (".IMG", ".IMG.GZ") if place.suffix.isupper() else (".img", ".img.gz")
    found = next((path for end in suffix if (path := place.with_suffix(end)).is_file()), None)
    if found is None:
        raise source.error(
            f"is the header of a pair, and {place.stem}{suffix[0]} does not lie beside it", remedy="copy it there"
        )
    if found.stat().st_size > source.limits.bytes:
        raise source.error(f"{found.name} holds {found.stat().st_size:,} bytes", remedy="raise the limit")
    return found


@contextmanager
def _opened(source: Source, data: Path | None) -> Iterator[Source]:
    """The source of the voxels: the file itself, or the one beside it."""
    if data is None:
        yield source
        return
    with data.open("rb") as file:
        yield replace(source, file=file, size=data.stat().st_size)


def _parsed(source: Source, start: bytes | bytearray) -> Any:
    """The header as nibabel understands it, without its repairs."""
    if len(start) < 348:
        raise source.error(f"holds only {len(start)} bytes of a header", expected="348", remedy="it is truncated")
    for order, name in (("<", "little"), (">", "big")):
        size = int.from_bytes(start[:4], name)  # type: ignore[arg-type]
        if size == 348 and start[344:348] == b"n+1\0":
            return Nifti1Header(bytes(start[:348]), order, check=False)
        if size == 540 and start[4:8] == b"n+2\0" and len(start) >= 540:
            return Nifti2Header(bytes(start[:540]), order, check=False)
        if size == 348 and start[344:348] == b"ni1\0":
            return Nifti1Pair.header_class(bytes(start[:348]), order, check=False)
        if size == 540 and start[4:8] == b"ni2\0" and len(start) >= 540:
            return Nifti2Pair.header_class(bytes(start[:540]), order, check=False)
        if size == 348:
            raise source.error(
                "is ANALYZE 7.5, which does not say where left and right are",
                expected="NIfTI",
                remedy="convert it with the program that wrote it",
            )
    raise source.error("does not begin with a NIfTI header", expected="a .nii or .nii.gz file", remedy="it is damaged")


def _axes(source: Source, dims: list[int], colours: int) -> tuple[tuple[int, ...], tuple[str, ...]]:
    """The three stored axes and the channel names: whichever later axis is longer than 1 holds channels."""
    stored = (*dims, 1, 1)[:3]
    later = [length for length in dims[3:] if length > 1]
    if len(later) > 1 or (later and colours > 1):
        raise source.error(
            f"its dimensions are {' x '.join(map(str, dims))}",
            expected="three axes, and at most one of channels",
            remedy="split it into files",
        )
    if colours > 1:
        return stored, COLOUR
    return stored, numbered(later[0] if later else 1)


def _scaling(source: Source, head: Any, colours: int) -> tuple[float, float]:
    slope, intercept = float(head["scl_slope"]), float(head["scl_inter"])
    if slope == 0 or math.isnan(slope) or colours > 1:  # the standard: no scaling
        return 1.0, 0.0
    intercept = 0.0 if math.isnan(intercept) else intercept
    if not (1e-30 < abs(slope) < 1e30 and abs(intercept) < 1e30):
        raise source.error(f"scales its values by {slope:g} and adds {intercept:g}", remedy="repair its header")
    return slope, intercept


def geometry_of(source: Source, head: Any, stored: tuple[int, ...]) -> Geometry:
    """Where the voxels lie: by the sform, else the qform; a voxel size of 0 is taken from these, or unknown."""
    unit = UNITS.get(int(head["xyzt_units"]) & 7)
    if unit is None:
        raise source.error("its unit of length is unknown", expected="metres, millimetres or micrometres")
    thin = np.array(stored) == 1
    steps = np.abs(np.asarray(head["pixdim"][1:4], np.float64)) * unit
    unknown = (steps == 0) & ~thin
    steps = np.where(thin & ~(steps > 0), 1.0, steps)
    plausible_spacing(source, np.where(unknown, 1.0, steps).tolist())
    affine: Array | None = None
    remark = ""
    if int(head["qform_code"]) > 0 and not unknown.any():
        if float(head["pixdim"][0]) not in (-1.0, 0.0, 1.0):
            raise source.error(f"its handedness is {float(head['pixdim'][0]):g}", expected="1 or -1")
        affine = np.asarray(head.get_qform(), np.float64)
    if int(head["sform_code"]) > 0:
        turned, affine = affine, np.asarray(head.get_sform(), np.float64)
        if turned is not None and np.isfinite(affine).all():
            corners = np.array(np.meshgrid(*((0, n - 1) for n in stored))).reshape(3, -1)
            apart = float(np.linalg.norm((affine - turned)[:3] @ [*corners, np.ones(8)], axis=0).max()) * unit
            if apart > SAME * float(steps.min()):
                remark = "qform"
    if affine is None and (unknown.any() or (not int(head["xyzt_units"]) & 7 and (steps == 1).all())):
        return volume(stored, None, affine=None, slice_axis=2)  # nothing is said, or 1 for want of anything
    if affine is not None:
        affine = np.diag([unit, unit, unit, 1.0]) @ affine
        thick = np.linalg.norm(affine[:3, :3], axis=0)
        steps = np.where(thin | unknown, thick, steps)
        plausible_spacing(source, steps.tolist())
        plausible_affine(source, affine, steps.tolist())
    return replace(volume(stored, steps.tolist(), affine=affine, slice_axis=2), remark=remark)
