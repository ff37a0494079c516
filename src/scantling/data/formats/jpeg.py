"""JPEG: its size is written once and unprotected, so the blocks that were really coded are counted against it.

A JPEG holds no checksum. The count finds every truncation and every size that asks for other blocks of 8 or 16
pixels; where a side is no multiple of such a block, a flipped bit that stays within the last block is not
detectable. Baseline and progressive Huffman coding with 8 bits are read; CMYK is converted to colour; a density of
pixels is no spacing.
"""

from __future__ import annotations

import io
import re
import struct
from dataclasses import dataclass, field
from math import ceil

import numpy as np
from PIL import JpegImagePlugin

from scantling.data.formats.common import COLOUR, GREY, Array, Plan, Source, channels_first, raster
from scantling.data.formats.exif import orientation
from scantling.data.formats.pillow import pixels_of

MARKER = re.compile(rb"\xff+([\x01-\xcf\xd8-\xfe])")
RESTART = re.compile(rb"\xff+([\xd0-\xd7])")
MOST_SCANS = 200
"""Encoders write a dozen; each takes time for all pixels, however few bytes it has."""
DAMAGED = "it is damaged: copy it again from its source"


@dataclass
class Frame:
    """The frame header: the size, and (identifier, horizontal, vertical sampling) of each component."""

    height: int
    width: int
    progressive: bool
    components: list[tuple[int, int, int]]

    def units(self, chosen: list[tuple[int, int, int]]) -> int:
        """The coding units of a scan of `chosen` components: interleaved, or the blocks of one alone."""
        wide = max(h for _, h, _ in self.components)
        high = max(v for _, _, v in self.components)
        if len(chosen) > 1:
            return ceil(self.width / (8 * wide)) * ceil(self.height / (8 * high))
        _, h, v = chosen[0]
        return ceil(ceil(self.width * h / wide) / 8) * ceil(ceil(self.height * v / high) / 8)


@dataclass
class Tables:
    """What the segments before a scan have defined: Huffman tables by class and number, and the restart interval."""

    huffman: dict[int, Array] = field(default_factory=dict)
    restart: int = 0


def inspect(source: Source) -> Plan:
    """Judge the size and the coding."""
    frame, exif = _found_frame(source)
    channels = GREY if len(frame.components) == 1 else COLOUR
    header = raster("JPEG", (frame.height, frame.width), channels, np.uint8, exif=exif)

    def decode() -> Array:
        essential = _walk(source, frame)
        with JpegImagePlugin.JpegImageFile(io.BytesIO(essential)) as image:
            return channels_first(pixels_of(image.convert("RGB") if image.mode == "CMYK" else image))

    return Plan(header, decode, frame.height * frame.width * len(frame.components), source.size)


def _found_frame(source: Source) -> tuple[Frame, int]:
    """The frame header, and the EXIF orientation that may stand before it."""
    offset, exif = 2, 1
    while True:
        marker, offset = _marker(source, offset)
        length = struct.unpack(">H", source.at(offset, 2))[0]
        if 0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC):
            return _frame(source, marker, source.at(offset + 2, length - 2)), exif
        if marker in (0xD9, 0xDA):
            raise source.error("has no frame header", remedy=DAMAGED)
        if marker == 0xE1 and source.at(offset + 2, min(6, length - 2)) == b"Exif\0\0":
            exif = orientation(source.at(offset + 2, length - 2))
        offset += length


def _marker(source: Source, offset: int) -> tuple[int, int]:
    """The marker at `offset`, and the offset after it."""
    byte = source.at(offset, 2)
    while byte == b"\xff\xff":  # fill bytes are allowed
        offset += 1
        byte = source.at(offset, 2)
    if byte[0] != 0xFF or byte[1] in (0x00, 0x01) or 0xD0 <= byte[1] <= 0xD8:
        raise source.error("its segments do not follow each other", remedy=DAMAGED)
    return byte[1], offset + 2


def _frame(source: Source, marker: int, data: bytes) -> Frame:
    if marker > 0xC2 or len(data) < 6 or data[0] != 8:
        raise source.error(
            "is coded in a rare way (lossless, arithmetic or 12 bits)",
            expected="baseline or progressive JPEG of 8 bits",
            remedy="save it as PNG",
        )
    height, width, count = struct.unpack(">HHB", data[1:6])
    components = [(data[at], data[at + 1] >> 4, data[at + 1] & 15) for at in range(6, len(data) - 2, 3)]
    sampling = all(1 <= h <= 4 and 1 <= v <= 4 for _, h, v in components)
    distinct = len({name for name, _, _ in components}) == count
    if count not in (1, 3, 4) or len(data) != 6 + 3 * count or not (height and width and sampling and distinct):
        raise source.error("its frame header makes no sense", remedy=DAMAGED)
    return Frame(height, width, marker == 0xC2, components)


def _walk(source: Source, frame: Frame) -> bytes:
    """Count the coded blocks of every scan; the file without its notes, for the decoder."""
    data = source.whole()
    parts = [data[:2]]
    tables = Tables()
    counted: list[int] = []
    scans, offset = 0, 2
    while True:
        begun = offset
        marker, offset = _marker(source, offset)
        if marker == 0xD9:
            break
        length = struct.unpack(">H", source.at(offset, 2))[0]
        body = source.at(offset + 2, length - 2)
        offset += length
        if marker == 0xC4:
            _read_tables(source, tables, body)
        elif marker == 0xDD:
            tables.restart = int.from_bytes(body[:2], "big")
        elif marker == 0xDA:
            found = MARKER.search(data, offset)
            if found is None:
                raise source.error("ends within its image data", remedy=DAMAGED)
            scans += 1
            if scans > MOST_SCANS:
                raise source.error(f"holds more than {MOST_SCANS} scans", remedy="save it again from its source")
            counted += _count(source, frame, tables, body, data[offset : found.start()])
            offset = found.start()
        if marker in (0xE0, 0xEE) or not (0xE0 <= marker <= 0xEF or marker == 0xFE):
            parts.append(data[begun:offset])
    if sorted(counted) != sorted(name for name, _, _ in frame.components):
        raise source.error("not every component is coded once", remedy=DAMAGED)
    return b"".join([*parts, b"\xff\xd9"])


def _read_tables(source: Source, tables: Tables, body: bytes) -> None:
    """Huffman tables as what the next 16 bits mean: length << 8 | symbol."""
    at = 0
    while at < len(body):
        counts = body[at + 1 : at + 17]
        symbols = body[at + 17 : at + 17 + sum(counts)]
        if len(counts) < 16 or len(symbols) < sum(counts):
            raise source.error("a Huffman table is cut short", remedy=DAMAGED)
        table = np.zeros(1 << 16, np.uint16)
        code = taken = 0
        for length, count in enumerate(counts, start=1):
            for symbol in symbols[taken : taken + count]:
                span = 1 << (16 - length)
                if code + span > 1 << 16:
                    raise source.error("a Huffman table holds too many codes", remedy=DAMAGED)
                table[code : code + span] = length << 8 | symbol
                code += span
            taken += count
        tables.huffman[body[at]] = table
        at += 17 + len(symbols)


def _count(source: Source, frame: Frame, tables: Tables, body: bytes, coded: bytes) -> list[int]:
    """Check that a scan holds exactly the blocks of its components; the components that it gives their means."""
    from scantling.data.formats.kernels import walk_blocks

    by_name = {component[0]: component for component in frame.components}
    count = body[0] if body else 0
    if len(body) != 4 + 2 * count or any(body[1 + 2 * index] not in by_name for index in range(count)) or not count:
        raise source.error("a scan header makes no sense", remedy=DAMAGED)
    first, approximation = body[-3], body[-1] >> 4
    if frame.progressive and (first > 0 or approximation > 0):
        return []  # refinements: the scan of the means has told the size
    chosen = [by_name[body[1 + 2 * index]] for index in range(count)]
    plan: list[tuple[int, int]] = []
    used: list[Array] = []
    for index, (_, h, v) in enumerate(chosen):
        numbers = body[2 + 2 * index]
        names = (numbers >> 4, numbers >> 4 if frame.progressive else 0x10 | (numbers & 15))
        if any(name not in tables.huffman for name in names):
            raise source.error("a scan uses a Huffman table that is not there", remedy=DAMAGED)
        plan += [(len(used), len(used) + 1)] * (h * v if count > 1 else 1)
        used += [tables.huffman[name] for name in names]
    stacked, layout = np.stack(used), np.array(plan)
    left = frame.units(chosen)
    size = tables.restart or left
    for number, interval in enumerate(_intervals(source, coded)):
        units = min(size, left)
        bits = np.frombuffer(interval.replace(b"\xff\x00", b"\xff") + bytes(4), np.uint8)
        taken = walk_blocks(bits, stacked, layout, units, only_dc=frame.progressive) if units else -1
        if taken < 0 or (bits.size - 4) * 8 - taken >= 8:
            raise source.error(
                f"interval {number + 1} of its image data does not hold the blocks",
                expected=f"those of {frame.width} x {frame.height} pixels",
                remedy=DAMAGED,
            )
        left -= units
    if left:
        raise source.error("its image data end early", remedy=DAMAGED)
    return [name for name, _, _ in chosen]


def _intervals(source: Source, coded: bytes) -> list[bytes]:
    """The stretches between restart markers, whose numbers must follow each other."""
    pieces = RESTART.split(coded)
    if any(mark[0] & 7 != number & 7 for number, mark in enumerate(pieces[1::2])):
        raise source.error("its restart markers do not follow each other", remedy=DAMAGED)
    return pieces[::2]
