"""One DICOM file: the pixel data must be exactly as long as its rows, columns and frames ask for.

A flat image keeps its rows and columns `(H, W)`; several frames become a volume `(X, Y, frames)`. Values are those
of the modality (rescaled; MONOCHROME1 inverted), colours become red, green, blue. DICOM holds no checksum: a wrong
size contradicts the length of the pixel data, a damaged value cannot be seen.
"""

from __future__ import annotations

import logging
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import pairwise
from math import prod
from typing import Any

import imagecodecs
import numpy as np
from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.encaps import generate_frames
from pydicom.pixels.processing import apply_color_lut
from pydicom.pixels.utils import get_expected_length, pixel_array
from pydicom.uid import UID

from scantling.data.formats.common import COLOUR, GREY, Array, Header, Plan, Source
from scantling.data.formats.dicom_geometry import Place, flat_geometry, read_place, read_scale, stacked_geometry

PLAIN = {"1.2.840.10008.1.2", "1.2.840.10008.1.2.1", "1.2.840.10008.1.2.2"}
RUN_LENGTH = "1.2.840.10008.1.2.5"
EXTENDED = "1.2.840.10008.1.2.4.51"
JPEG = {"1.2.840.10008.1.2.4.50", EXTENDED}
LOSSLESS = {f"1.2.840.10008.1.2.4.{number}" for number in (57, 70)}
"""Lossless JPEG, in general and with the first predictor."""
JPEG_LS = {f"1.2.840.10008.1.2.4.{number}" for number in (80, 81)}
JPEG_2000 = {f"1.2.840.10008.1.2.4.{number}" for number in (90, 91, 201, 202, 203)}
"""The last three are high-throughput JPEG 2000."""
DECODERS = {
    RUN_LENGTH: "pydicom",  # pylibjpeg's panics on damaged segments, which no caller can catch as an error
    **dict.fromkeys(JPEG, "pillow"),
    **dict.fromkeys(LOSSLESS, "gdcm"),
    **dict.fromkeys(JPEG_LS, "pyjpegls"),
    **dict.fromkeys(JPEG_2000, "pylibjpeg"),
}
"""Which of pydicom's decoders reads a transfer syntax."""
READABLE = "an uncompressed one, run lengths, JPEG, lossless JPEG, JPEG-LS or JPEG 2000"
SEGMENTATIONS = ("1.2.840.10008.5.1.4.1.1.66.4", "1.2.840.10008.5.1.4.1.1.66.7")
"""SOP classes: Segmentation Storage and Label Map Segmentation Storage."""
GREYS = ("MONOCHROME1", "MONOCHROME2")
COLOURS = ("RGB", "YBR_FULL", "YBR_FULL_422", "YBR_ICT", "YBR_RCT")
DAMAGED = "it is truncated or damaged: copy it again from its source"
_QUIET = threading.RLock()


@contextmanager
def quiet() -> Iterator[None]:
    """Keep pydicom's warnings and log lines from the user, who gets one sentence from us or none."""
    logger = logging.getLogger("pydicom")
    with _QUIET, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        before, logger.disabled = logger.disabled, True
        try:
            yield
        finally:
            logger.disabled = before


@dataclass(frozen=True)
class Frames:
    """What the header of one DICOM file says.

    Attributes:
        size: rows and columns.
        place: where the frames lie in the patient.
        scale: slope and intercept.
        dtype: of the rescaled values.
        number: its place in the order of acquisition.
    """

    size: tuple[int, int]
    count: int
    channels: tuple[str, ...]
    place: Place
    scale: tuple[float, float]
    dtype: np.dtype[Any]
    number: int
    syntax: str


def inspect(source: Source) -> Plan:
    """Judge the size, the coding and the geometry of one file."""
    with quiet():
        kind = str(read_header(source, ["SOPClassUID"]).get("SOPClassUID", ""))
        if kind in SEGMENTATIONS:
            from scantling.data.formats.dicom_seg import inspect as inspect_segmentation

            return inspect_segmentation(source)
        if source.address.member:
            raise source.error("has no members", expected="a segmentation before '#', or a folder of DICOM files")
        frames = parse(source)
    place = frames.place
    if frames.count == 1:
        geometry = flat_geometry(source, frames.size, place)
    else:
        geometry = stacked_geometry(source, frames.size, place, frames.count)
    header = Header("DICOM", geometry.shape, frames.channels, frames.dtype, geometry)

    def decode() -> Array:
        with quiet():
            pixels = decoded(source, frames)
        if frames.count == 1:
            return np.ascontiguousarray(pixels[:, 0])
        ordered = pixels[:, place.order()] if place.origins else pixels
        return np.ascontiguousarray(ordered.transpose(0, 3, 2, 1)).reshape(len(frames.channels), *header.shape)

    samples = len(frames.channels) * prod(frames.size) * frames.count
    return Plan(header, decode, samples * frames.dtype.itemsize, source.size)


@dataclass(frozen=True)
class _InParts:
    """A file for pydicom, which reads a deflated one whole to unpack it, however large that becomes."""

    source: Source

    def read(self, count: int = -1) -> bytes:
        if count < 0:
            raise self.source.error("is deflated", expected=READABLE, remedy="decompress it first")
        return self.source.file.read(count)

    def seek(self, offset: int, whence: int = 0) -> int:
        return self.source.file.seek(offset, whence)

    def tell(self) -> int:
        return self.source.file.tell()


def read_header(source: Source, tags: list[str] | None = None) -> Dataset:
    """What stands before the pixels (call within `quiet`)."""
    source.file.seek(0)
    file: Any = _InParts(source)
    return dcmread(file, stop_before_pixels=True, force=True, specific_tags=tags)


def parse(source: Source) -> Frames:
    """Read the header of one file and judge it (call within `quiet`)."""
    found = read_header(source)
    meta = getattr(found, "file_meta", Dataset())
    syntax: str = str(meta.get("TransferSyntaxUID", "1.2.840.10008.1.2"))
    if syntax not in PLAIN and syntax not in DECODERS:
        raise source.error(
            f"its transfer syntax is {syntax[:64]}",
            expected=READABLE,
            remedy="decompress it first",
        )
    rows, columns = int(_value(found, "Rows", 0)), int(_value(found, "Columns", 0))
    count = int(_value(found, "NumberOfFrames", 1) or 1)
    samples, bits = int(_value(found, "SamplesPerPixel", 1)), int(_value(found, "BitsAllocated", 0))
    stored = int(_value(found, "BitsStored", bits))
    kind = str(_value(found, "PhotometricInterpretation", ""))
    if min(rows, columns, count) < 1:
        raise source.error("holds no image", expected="rows, columns and pixels", remedy="leave this file out")
    grey = samples == 1 and kind in GREYS and bits in (1, 8, 16, 32)
    colour = (bits in (8, 16) and (samples == 3 and kind in COLOURS)) or (samples == 1 and kind == "PALETTE COLOR")
    if not (grey or colour) or not 1 <= stored <= bits or int(_value(found, "HighBit", stored - 1)) != stored - 1:
        raise source.error(
            f"holds {samples} samples of {bits} bits ({stored} stored) as {kind or 'nothing said'}",
            expected="grey values or colours of 8 to 32 bits",
            remedy="convert it",
        )
    least = rows * columns * samples * bits // 12 if syntax in PLAIN else 8  # a frame of YBR_FULL_422, an item
    if count * least > source.size:
        raise source.error(
            f"asks for {count:,} frames of {columns} x {rows} pixels",
            expected=f"what fits into its {source.size:,} bytes",
            remedy=DAMAGED,
        )
    place = read_place(source, found, count)
    scale = (1.0, 0.0) if colour else read_scale(source, found, count)
    return Frames(
        (rows, columns),
        count,
        GREY if grey else COLOUR,
        place,
        scale,
        _dtype(found, bits, stored, scale) if grey else np.dtype(np.uint8 if bits == 8 or samples == 1 else np.uint16),
        int(_value(found, "InstanceNumber", 0)),
        syntax,
    )


def decoded(source: Source, frames: Frames) -> Array:
    """The values of one file `(C, frames, H, W)` (call within `quiet`)."""
    source.file.seek(0)
    found = dcmread(source.file, force=True)
    if "PixelData" not in found:
        raise source.error("holds no pixel data", remedy=DAMAGED)
    if "TransferSyntaxUID" not in found.file_meta:
        found.file_meta.TransferSyntaxUID = UID(frames.syntax)
    data: bytes = found.PixelData
    if frames.syntax in PLAIN:
        expected = get_expected_length(found)
        if len(data) != expected + expected % 2:
            raise source.error(
                f"holds {len(data):,} bytes of pixels",
                expected=f"{expected:,} for {frames.count} frames of {frames.size[1]} x {frames.size[0]}",
                remedy=DAMAGED,
            )
    else:
        _judge_frames(source, data, frames)
    if frames.syntax == EXTENDED and int(found.BitsStored) > 8:  # none of pydicom's decoders reads 12 bits
        coded = generate_frames(data, number_of_frames=frames.count)
        pixels = np.stack([imagecodecs.jpeg_decode(frame) for frame in coded])
    else:
        pixels = pixel_array(found, decoding_plugin=DECODERS.get(frames.syntax, ""))
    if found.PhotometricInterpretation == "PALETTE COLOR":
        pixels = apply_color_lut(pixels, found)
        pixels = pixels >> 8 if pixels.dtype.itemsize > 1 else pixels
    if frames.channels == COLOUR:
        pixels = np.moveaxis(pixels.reshape(frames.count, *frames.size, 3), -1, 0)
        return pixels.astype(frames.dtype)
    pixels = pixels.reshape(1, frames.count, *frames.size)
    return _rescaled(pixels, found, frames)


def _rescaled(pixels: Array, found: Dataset, frames: Frames) -> Array:
    """Stored bits to values: bits beyond those stored fall away, MONOCHROME1 is inverted, the scale is applied."""
    stored, signed = int(found.BitsStored), bool(found.PixelRepresentation)
    wide = pixels.astype(np.int64) & ((1 << stored) - 1)
    if signed:
        wide = (wide ^ (1 << (stored - 1))) - (1 << (stored - 1))
    if found.PhotometricInterpretation == "MONOCHROME1":
        wide = (-1 if signed else (1 << stored) - 1) - wide
    slope, intercept = frames.scale
    if frames.scale == (1.0, 0.0):
        return wide.astype(frames.dtype)
    return (wide * slope + intercept).astype(frames.dtype)


def _judge_frames(source: Source, data: bytes, frames: Frames) -> None:
    """Compressed frames must have the size of the header before any of them is decoded."""
    count = 0
    for frame in generate_frames(data, number_of_frames=frames.count):
        count += 1
        size = frames.size
        if frames.syntax in JPEG | LOSSLESS | JPEG_LS:
            size = _jpeg_size(frame)
        elif frames.syntax == RUN_LENGTH and not _fills(frame, prod(size)):
            raise source.error(f"frame {count} does not unpack to its size", remedy=DAMAGED)
        elif frames.syntax in JPEG_2000:
            at = frame.find(b"\xff\x4f\xff\x51")  # SOC, SIZ: length, capabilities, then the extent and its offset
            field = [int.from_bytes(frame[at + 8 + 4 * n : at + 12 + 4 * n], "big") for n in range(4)]
            size = (field[1] - field[3], field[0] - field[2])
        if size != frames.size:
            raise source.error(
                f"frame {count} is {size[1]} x {size[0]} pixels",
                expected=f"{frames.size[1]} x {frames.size[0]} as its header says",
                remedy=DAMAGED,
            )
    if count != frames.count:
        raise source.error(f"holds {count} frames", expected=f"{frames.count}", remedy=DAMAGED)


def _fills(frame: bytes, pixels: int) -> bool:
    """Whether every segment of a frame of run lengths holds `pixels` bytes; pydicom's decoder takes more for good."""
    head = np.frombuffer(frame[:64], "<u4")
    if len(head) != 16 or not 1 <= head[0] <= 15:
        return False
    ends = [int(offset) for offset in head[1 : 1 + head[0]]] + [len(frame)]
    return ends == sorted(ends) and all(
        len(imagecodecs.packbits_decode(frame[begin:end], out=pixels + 1)) == pixels for begin, end in pairwise(ends)
    )


def _jpeg_size(frame: bytes) -> tuple[int, int]:
    """Rows and columns in the first frame header (SOF) of a JPEG or JPEG-LS stream; 0 x 0 if there is none."""
    at = 2
    while at + 9 <= len(frame) and frame[at] == 0xFF:
        marker = frame[at + 1]
        if marker == 0xF7 or (0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC)):
            return int.from_bytes(frame[at + 5 : at + 7], "big"), int.from_bytes(frame[at + 7 : at + 9], "big")
        at += 1 if marker == 0xFF else 2 + int.from_bytes(frame[at + 2 : at + 4], "big")
    return 0, 0


def _value(found: Dataset, name: str, default: Any) -> Any:
    value = found.get(name, default)
    return default if value is None else value


def _dtype(found: Dataset, bits: int, stored: int, scale: tuple[float, float]) -> np.dtype[Any]:
    """The smallest type that holds every value that the file could hold."""
    signed = bool(int(_value(found, "PixelRepresentation", 0)))
    low, high = (-(1 << (stored - 1)), (1 << (stored - 1)) - 1) if signed else (0, (1 << stored) - 1)
    slope, intercept = scale
    if not (slope.is_integer() and intercept.is_integer()):
        return np.dtype(np.float32)
    ends = sorted((low * int(slope) + int(intercept), high * int(slope) + int(intercept)))
    for candidate in (np.uint8, np.int8, np.uint16, np.int16, np.int32, np.uint32):
        if np.iinfo(candidate).min <= ends[0] and ends[1] <= np.iinfo(candidate).max:
            return np.dtype(candidate)
    return np.dtype(np.float32)
