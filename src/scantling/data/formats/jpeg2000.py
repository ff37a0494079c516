"""JPEG 2000, in its box format (.jp2) or as a bare codestream (.j2k): OpenJPEG decodes what is whole."""

from __future__ import annotations

import struct
from math import ceil

import imagecodecs
import numpy as np

from scantling.data.formats.common import COLOUR, GREY, Array, Plan, Source, channels_first, raster

DAMAGED = "it is truncated or damaged: copy it again from its source"
START = b"\xff\x4f\xff\x51"
END = b"\xff\xd9"
HEAD = 1 << 20
"""Bytes within which the boxes before the codestream lie (they may hold a colour profile)."""


def inspect(source: Source) -> Plan:
    """Judge the size and the components, and whether the parts of the tiles follow each other to the end mark."""
    start = source.at(0, min(source.size, HEAD))
    at = start.find(START)
    if at < 0 or b"pclr" in start[:at]:
        raise source.error("has a palette or no codestream", expected="greys or colours", remedy="save it as PNG")
    right, bottom, left, top, wide, high, first, above = struct.unpack(">8I", source.at(at + 8, 32))
    (count,) = struct.unpack(">H", source.at(at + 40, 2))
    components = source.at(at + 42, 3 * count)
    depths, steps = set(components[::3]), set(components[1::3]) | set(components[2::3])
    height, width = bottom - top, right - left
    depth = min(depths, default=255) + 1
    if min(height, width) < 1 or len(depths) != 1 or steps != {1} or depth > 16 or count > 4 or not (wide and high):
        raise source.error(
            f"is {width} x {height} pixels of {count} components",
            expected="greys or colours of up to 16 bits, all of one kind and size",
            remedy="it may be damaged; if not, save it as PNG",
        )
    _follow_parts(source, at + 2, ceil((right - first) / wide) * ceil((bottom - above) / high))
    channels = COLOUR if count > 2 else GREY
    header = raster("JPEG 2000", (height, width), channels, np.uint16 if depth > 8 else np.uint8)

    def decode() -> Array:
        pixels = imagecodecs.jpeg2k_decode(source.whole())
        if count > 1:
            pixels = pixels[:, :, : len(channels)]
        return channels_first(pixels)

    return Plan(header, decode, height * width * count * header.dtype.itemsize, source.size)


def _follow_parts(source: Source, at: int, tiles: int) -> None:
    """Step over the segments and the parts of tiles from `at` to the end mark; every tile must have a part."""
    seen: set[int] = set()
    while (marker := source.at(at, 2)) != END:
        length = int.from_bytes(source.at(at + 2, 2), "big")
        if marker == b"\xff\x90":  # the start of a part says its tile and its length
            tile, length = struct.unpack(">HI", source.at(at + 4, 6))
            seen.add(tile)
            at += length or source.size - 2 - at  # the last part may reach to the end mark
        else:
            at += 2 + length
        if marker[0] != 0xFF or length == 1:
            raise source.error("its segments do not follow each other", remedy=DAMAGED)
    if len(seen) != tiles or max(seen) >= tiles:
        raise source.error(f"holds {len(seen)} tiles", expected=f"{tiles}", remedy=DAMAGED)
