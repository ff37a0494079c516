"""PNG: every chunk carries a checksum, so that a damaged size cannot pass.

Transparency is dropped but from label maps, palettes are expanded, 1-bit images become 0 and 255, resolution and
orientation notes are ignored. Only the chunks that make pixels reach the decoder.
"""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Iterator
from typing import Any

import numpy as np
from PIL import Image, PngImagePlugin

from scantling.data.formats.common import (
    COLOUR,
    GREY,
    Array,
    Plan,
    Source,
    channels_first,
    palette_is_grey,
    raster,
)

MAGIC = b"\x89PNG\r\n\x1a\n"
SAMPLES = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}
DEPTHS = {0: (1, 2, 4, 8, 16), 2: (8, 16), 3: (1, 2, 4, 8), 4: (8, 16), 6: (8, 16)}


def inspect(source: Source) -> Plan:
    """Judge the size, the colour type and the palette."""
    width = height = depth = colour = interlaced = 0
    palette: Array | None = None
    for kind, offset, length in _chunks(source):
        if kind == b"IHDR":
            width, height, depth, colour, _, _, interlaced = struct.unpack(">IIBBBBB", _checked(source, offset, 13))
        elif kind == b"PLTE":
            palette = np.frombuffer(_checked(source, offset, length - length % 3), np.uint8).reshape(-1, 3)
        elif kind == b"acTL":
            raise source.error("is an animation", expected="one image", remedy="save its frames one by one")
        elif kind == b"IDAT":
            break
    if not width or not height or depth not in DEPTHS.get(colour, ()) or interlaced > 1:
        raise source.error("its PNG header makes no sense", remedy="save it again from its source")
    wide = depth == 16 and colour != 0
    if wide and interlaced:
        raise source.error("is interlaced with 16 bits a colour", remedy="save it without interlacing")
    expand = False
    channels: tuple[str, ...]
    if colour == 3:
        if palette is None or not len(palette):
            raise source.error("has no palette", remedy="save it again from its source")
        grey = palette_is_grey(source, palette, protected=True)
        channels = GREY if grey or source.labels else COLOUR
        expand = grey or not source.labels
    else:
        alpha = ("alpha",) if source.labels and SAMPLES[colour] in (2, 4) else ()
        channels = (COLOUR if SAMPLES[colour] > 2 else GREY) + alpha
    header = raster("PNG", (height, width), channels, np.uint16 if depth == 16 else np.uint8)
    line = (width * SAMPLES[colour] * depth + 7) // 8

    def decode() -> Array:
        pixels = _wide(source, height, width, SAMPLES[colour]) if wide else _pixels(source)
        if expand and palette is not None:
            if int(pixels.max()) >= len(palette):
                raise source.error("a pixel has a colour that its palette lacks", remedy="it is damaged")
            pixels = palette[pixels]
        if pixels.ndim == 3:
            pixels = pixels[:, :, : len(channels)]
        return channels_first(pixels[:, :, 0] if pixels.ndim == 3 and len(channels) == 1 else pixels)

    return Plan(header, decode, height * (line + 1), source.size)


def encode(array: Array) -> bytes:
    """A PNG of an array: grey `(H, W)` of uint8 or uint16, or colour `(H, W, 3)` of uint8."""
    stream = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(array)).save(stream, "PNG")
    return stream.getvalue()


def _chunks(source: Source) -> Iterator[tuple[bytes, int, int]]:
    """(kind, offset of the data, length) of every chunk to the end mark, nothing checked but that they fit."""
    offset = len(MAGIC)
    while True:
        length, kind = struct.unpack(">I4s", source.at(offset, 8))
        if offset == len(MAGIC) and (kind != b"IHDR" or length != 13):
            raise source.error("does not begin with a PNG header", remedy="it is damaged")
        yield kind, offset + 8, length
        if kind == b"IEND":
            return
        offset += 12 + length


def _checked(source: Source, offset: int, length: int) -> bytes:
    """The data of a chunk whose checksum holds."""
    block = source.at(offset - 4, length + 8)
    if zlib.crc32(block[:-4]) != int.from_bytes(block[-4:], "big"):
        raise source.error("a checksum does not match", remedy="it is damaged: copy it again from its source")
    return block[4:-4]


def _essential(source: Source) -> Iterator[tuple[bytes, bytes]]:
    """The chunks that make pixels, every checksum of the file verified."""
    for kind, offset, length in _chunks(source):
        data = _checked(source, offset, length)
        if kind in (b"IHDR", b"PLTE", b"IDAT", b"IEND"):
            yield kind, data


def _pixels(source: Source) -> Array:
    parts = [MAGIC]
    for kind, data in _essential(source):
        parts += [struct.pack(">I", len(data)), kind, data, struct.pack(">I", zlib.crc32(kind + data))]
    with PngImagePlugin.PngImageFile(io.BytesIO(b"".join(parts))) as image:
        image.load()
        pixels: np.ndarray[Any, Any] = np.array(image)
    return pixels.astype(np.uint8) * 255 if pixels.dtype == bool else pixels.astype(pixels.dtype.newbyteorder("="))


def _wide(source: Source, height: int, width: int, samples: int) -> Array:
    """16 bits a sample in several samples, which Pillow would cut to 8."""
    from scantling.data.formats.kernels import unfilter

    step = 2 * samples
    expected = height * (1 + width * step)
    stream = zlib.decompressobj()
    data = stream.decompress(b"".join(data for kind, data in _essential(source) if kind == b"IDAT"), expected + 1)
    lines = np.frombuffer(bytearray(data), np.uint8)
    if lines.size != expected or unfilter(lines := lines.reshape(height, -1), step) < 0:
        raise source.error("its pixels do not fill its size", remedy="it is damaged")
    return np.ascontiguousarray(lines[:, 1:]).view(">u2").astype(np.uint16).reshape(height, width, samples)
