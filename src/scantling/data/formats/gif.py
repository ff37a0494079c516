"""GIF: one frame that fills the screen; its size is written twice, which is all that protects it.

An animation is refused: reading its first frame only would be a silent loss.
"""

from __future__ import annotations

import io
import struct

import numpy as np
from PIL import GifImagePlugin

from scantling.data.formats.common import COLOUR, GREY, Array, Plan, Source, channels_first, palette_is_grey, raster

INTERLACED = 64


def inspect(source: Source) -> Plan:
    """Judge the size, the frames and the palette."""
    width, height, flags = struct.unpack("<HHB", source.at(6, 5))
    offset = 13
    palette = _palette(source, offset, flags)
    offset += palette.nbytes
    frame = b""
    while (mark := source.at(offset, 1)) != b";":
        if mark == b"!":
            offset = _skip(source, offset + 2)
        elif mark == b"," and frame:
            raise source.error(
                "is an animation of several frames", expected="one image", remedy="save its frames one by one"
            )
        elif mark == b",":
            descriptor = source.at(offset, 10)
            local = _palette(source, offset + 10, descriptor[9])
            palette = local if local.size else palette
            codes = offset + 10 + local.nbytes
            offset = _skip(source, codes + 1)
            frame = descriptor[:9] + bytes([descriptor[9] & INTERLACED]) + source.at(codes, offset - codes)
        else:
            raise source.error("its blocks do not follow each other", remedy="it is damaged")
    if not frame or not width or not height or not palette.size:
        raise source.error("holds no image or no palette", expected="one image", remedy="save it again from its source")
    left, top, *size = struct.unpack("<HHHH", frame[1:9])
    if (left, top, *size) != (0, 0, width, height):
        raise source.error(
            f"its frame of {size[0]} x {size[1]} pixels does not fill its screen of {width} x {height}",
            expected="one frame of that size",
            remedy="it may be damaged; if not, save it as PNG",
        )
    grey = palette_is_grey(source, palette, protected=False)
    channels = GREY if grey or source.labels else COLOUR
    header = raster("GIF", (height, width), channels, np.uint8)

    def decode() -> Array:
        bare = source.at(0, 10) + bytes(3) + frame + b";"  # without a palette, pixels are its indices
        with GifImagePlugin.GifImageFile(io.BytesIO(bare)) as image:
            image.load()
            pixels = np.array(image)
        if int(pixels.max()) >= len(palette):
            raise source.error("a pixel has a colour that its palette lacks", remedy="it is damaged")
        if grey or not source.labels:
            pixels = palette[pixels]
        return channels_first(pixels[:, :, 0] if pixels.ndim == 3 and len(channels) == 1 else pixels)

    return Plan(header, decode, height * width, source.size)


def _palette(source: Source, offset: int, flags: int) -> Array:
    count = 1 << ((flags & 7) + 1) if flags & 128 else 0
    return np.frombuffer(source.at(offset, 3 * count), np.uint8).reshape(-1, 3)


def _skip(source: Source, offset: int) -> int:
    """The offset after a chain of sub-blocks."""
    while length := source.at(offset, 1)[0]:
        offset += 1 + length
    return offset + 1
