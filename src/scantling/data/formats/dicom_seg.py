"""A DICOM segmentation as a label map: its frames are placed on the grid of the series that it refers to.

Segment numbers are the values. Fractional segments count from half of their greatest value on. The series is looked
for in the folder of the file and in the folder above; without it the grid is that of the frames themselves, which
may lack slices that hold no segment at either end.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import lru_cache
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.pixels.utils import pixel_array

from scantling.core.case import Address, Geometry
from scantling.data.formats.common import GREY, LPS_TO_RAS, Array, Header, Limits, Plan, Source, axis_order
from scantling.data.formats.dicom import DAMAGED, DECODERS, PLAIN, SEGMENTATIONS, quiet, read_header
from scantling.data.formats.dicom import inspect as inspect_file
from scantling.data.formats.dicom_geometry import (
    Place,
    anywhere,
    flat_geometry,
    read_place,
    stacked_geometry,
)
from scantling.data.formats.dicom_index import opened, series_files
from scantling.data.formats.dicom_series import inspect as inspect_series

OFF = 0.2
"""The share of a voxel by which a frame may lie beside the grid of its series; a bound of our own."""

NEAR = 2
"""How many levels below the folder above a segmentation its series may lie."""


@dataclass(frozen=True)
class _Grid:
    """Where the frames go: the geometry, how many slices it has, and the slice of each frame."""

    geometry: Geometry
    depth: int
    slices: tuple[int, ...]


def inspect(source: Source) -> Plan:
    """Judge the segments and the places of the frames (call within `quiet`)."""
    found = read_header(source)
    count = int(found.get("NumberOfFrames") or 1)
    size = (int(found.get("Rows") or 0), int(found.get("Columns") or 0))
    kind = str(found.get("SegmentationType", "")).upper()
    bits = int(found.get("BitsAllocated") or 0)
    known = _segments(found)
    if kind not in ("BINARY", "FRACTIONAL", "LABELMAP") or min(*size, count) < 1 or bits not in (1, 8, 16) or not known:
        raise source.error(f"is a segmentation of kind {kind or 'nothing said'} with {bits} bits", remedy=DAMAGED)
    if count * prod(size) > source.limits.pixels or count > 8 * source.size:
        raise source.error(f"asks for {count:,} frames of {size[1]} x {size[0]} pixels", remedy="raise the limit")
    member = source.address.member
    wanted = {number for number, label in known.items() if member in ("", label, str(number))}
    if not wanted:
        raise source.error(f"has the segments {', '.join(known.values())}", expected="one of them after '#'")
    place = read_place(source, found, count)
    grid = _grid(source, found, size, place)
    numbers = [0] * count if kind == "LABELMAP" else [_number(source, found, frame, known) for frame in range(count)]
    dtype = np.dtype(np.uint8 if max(known) < 256 else np.uint16)
    header = Header("DICOM", grid.geometry.shape, GREY, dtype, grid.geometry)

    def decode() -> Array:
        with quiet():
            frames = _frames(source, (count, *size), bits)
        least = max(1, -(-int(found.get("MaximumFractionalValue") or 1) // 2)) if kind == "FRACTIONAL" else 1
        out = np.zeros((*size, grid.depth), dtype)
        for frame, number, at in zip(frames, numbers, grid.slices, strict=True):
            plane = out[:, :, at]
            if kind == "LABELMAP":
                plane[...] = np.where(np.isin(frame, list(wanted)), frame, 0)
            elif number in wanted:
                drawn = frame >= least
                if (other := int(plane[drawn].max(initial=0))) not in (0, number):
                    raise source.error(
                        f"the segments {known[other]} and {known[number]} overlap",
                        expected="one segment at each place",
                        remedy=f"name each: {source.address.path.name}#{known[number]}",
                    )
                plane[drawn] = number
        if grid.geometry.container == "raster":
            return out[None, :, :, 0]
        return np.ascontiguousarray(out.transpose(1, 0, 2)).reshape(1, *header.shape)

    return Plan(header, decode, count * prod(size) + prod(header.shape) * dtype.itemsize, source.size)


@lru_cache(maxsize=512)
def segment_names(path: Path) -> dict[int, str]:
    """The label of each segment by its number; empty if the file is no DICOM segmentation."""
    try:
        with quiet(), opened(path, Limits()) as source:
            found = read_header(source, ["SOPClassUID", "SegmentSequence"])
            return _segments(found) if str(found.get("SOPClassUID", "")) in SEGMENTATIONS else {}
    except Exception:  # pydicom raises many kinds on damaged headers; reading the file says what is wrong
        return {}


def _segments(found: Dataset) -> dict[int, str]:
    listed = {int(item.SegmentNumber): str(item.get("SegmentLabel") or "") for item in found.get("SegmentSequence", ())}
    listed.pop(0, None)  # the background of a label map
    labels = list(listed.values())
    return {
        number: label if label and labels.count(label) == 1 else f"{label or 'segment'}-{number}"
        for number, label in listed.items()
        if 0 < number < 65536
    }


def _number(source: Source, found: Dataset, frame: int, known: dict[int, str]) -> int:
    number = anywhere(found, frame, "SegmentIdentificationSequence", "ReferencedSegmentNumber")
    if number is None and len(known) == 1:
        return next(iter(known))
    if number is None or int(number) not in known:
        raise source.error(f"frame {frame + 1} is of the segment {number}", expected="one that it lists")
    return int(number)


def _grid(source: Source, found: Dataset, size: tuple[int, int], place: Place) -> _Grid:
    """The grid of the series that the segmentation refers to, or of its own frames."""
    count = int(found.get("NumberOfFrames") or 1)
    geometry = _referred(source, found)
    if geometry is None:
        if count > 1 and not place.origins:
            raise source.error("its frames say no place", expected="positions, or the series that it is of beside it")
        if place.across is None or place.step is None:
            return _Grid(flat_geometry(source, size, Place(place.step)), 1, (0,) * count)
        heights = place.heights()
        firsts = [int(np.abs(heights - height).argmin()) for height in np.unique(heights.round(3))]
        return _between(source, replace(place, origins=tuple(place.origins[frame] for frame in firsts)), place, size)
    if geometry.container == "raster":
        _same_size(source, size, geometry.shape)
        return _Grid(geometry, 1, (0,) * count)
    stored = geometry.stored or geometry.shape
    _same_size(source, size, (stored[1], stored[0]))
    if geometry.affine is None or not place.origins:
        raise source.error("its frames or its series say no place", expected="positions in the patient")
    return _Grid(geometry, stored[2], _slices(source, place, geometry, stored))


def _same_size(source: Source, size: tuple[int, int], expected: tuple[int, ...]) -> None:
    if size != tuple(expected):
        raise source.error(
            f"its frames are {size[1]} x {size[0]} pixels",
            expected=f"{expected[1]} x {expected[0]} as the series that it refers to",
            remedy="export it on the grid of its images",
        )


def _between(source: Source, distinct: Place, place: Place, size: tuple[int, int]) -> _Grid:
    """The grid of frames whose positions are multiples of the smallest distance apart, with the slices between."""
    heights = np.sort(distinct.heights())
    if len(heights) == 1:
        return _Grid(flat_geometry(source, size, distinct), 1, (0,) * len(place.origins))
    lowest = distinct.origins[distinct.order()[0]]
    step = float(np.diff(heights).min())
    along = (distinct.origins[distinct.order()[-1]] - lowest) / (heights[-1] - heights[0]) * step
    number = round((heights[-1] - heights[0]) / step) + 1
    full = replace(distinct, origins=tuple(lowest + index * along for index in range(number)))
    if size[0] * size[1] * number > source.limits.pixels:
        raise source.error(f"its frames reach over {number:,} slices", remedy="raise the limit")
    geometry = stacked_geometry(source, size, full, number)
    return _Grid(geometry, number, _slices(source, place, geometry, (size[1], size[0], number)))


def _slices(source: Source, place: Place, geometry: Geometry, stored: tuple[int, ...]) -> tuple[int, ...]:
    """The slice of each frame; an error if one lies beside the grid, turned or outside."""
    affine = np.empty((4, 4))
    affine[:, [*axis_order(stored), 3]] = geometry.affine
    back = np.linalg.inv(affine)
    found = []
    for frame, origin in enumerate(place.origins, start=1):
        corners = [origin]
        if place.across is not None and place.down is not None and place.step is not None:
            corners.append(
                origin + place.across * place.step[1] * (stored[0] - 1) + place.down * place.step[0] * (stored[1] - 1)
            )
        first, *last = ((back @ LPS_TO_RAS @ [*corner, 1])[:3] for corner in corners)
        at = round(float(first[2]))
        ends = [np.array([0, 0, at]), np.array([stored[0] - 1, stored[1] - 1, at])]
        off = max(float(np.abs(one - end).max()) for one, end in zip([first, *last], ends, strict=False))
        if off > OFF or not 0 <= at < stored[2]:
            raise source.error(
                f"frame {frame} lies {off:.2g} voxels beside the grid of its series (slice {at + 1} of {stored[2]})",
                expected=f"at most {OFF:g}",
                remedy="export it on the grid of its images",
            )
        found.append(at)
    return tuple(found)


def _referred(source: Source, found: Dataset) -> Geometry | None:
    """The geometry of the series that it refers to, if that lies in the folder of the file or in the one above."""
    for item in found.get("ReferencedSeriesSequence") or ():
        series = str(item.get("SeriesInstanceUID", ""))
        instances = {
            str(one.get("ReferencedSOPInstanceUID", "")) for one in item.get("ReferencedInstanceSequence") or ()
        }
        here = source.address.path.resolve().parent
        for folder in (here, here.parent):
            if not series or not (images := series_files(folder, series, levels=NEAR)):
                continue
            single = [entry for entry in images if entry.instance in instances]
            if len(single) == 1 and (len(images) == 1 or not single[0].placed or single[0].frames > 1):
                with opened(single[0].path, source.limits) as image:
                    return inspect_file(image).header.geometry
            whole = replace(source, address=Address(folder, series))
            return inspect_series(whole).header.geometry
    return None


def _frames(source: Source, shape: tuple[int, int, int], bits: int) -> Array:
    """The stored values of the frames."""
    source.file.seek(0)
    found: Any = dcmread(source.file, force=True)
    if "PixelData" not in found:
        raise source.error("holds no pixel data", remedy=DAMAGED)
    syntax = str(found.file_meta.get("TransferSyntaxUID", ""))
    if syntax in PLAIN:
        length = -(-prod(shape) * bits // 8)
        if len(found.PixelData) != length + length % 2:
            raise source.error(
                f"holds {len(found.PixelData):,} bytes of pixels", expected=f"{length:,} for {shape}", remedy=DAMAGED
            )
        if bits == 1:
            flat = np.unpackbits(np.frombuffer(found.PixelData, np.uint8), bitorder="little")
            return flat[: prod(shape)].reshape(shape)
    frames: Array = pixel_array(found, decoding_plugin=DECODERS.get(syntax, "")).reshape(shape)
    return frames
