"""PNG: every chunk carries a checksum, so that a damaged size cannot pass; libpng decodes.

Transparency is dropped but from label maps, palettes are expanded, 1-bit images become 0 and 255; a density of pixels
is no spacing. Only the chunks that make pixels reach the decoder.
"""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Iterator

import imagecodecs
import numpy as np
from PIL import Image

from scantling.data.formats.common import COLOUR, GREY, Array, Plan, Source, channels_first, palette_is_grey, raster
from scantling.data.formats.exif import orientation

MAGIC = b"\x89PNG\r\n\x1a\n"
TAIL = 1 << 18
SAMPLES = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}
DEPTHS = {0: (1, 2, 4, 8, 16), 2: (8, 16), 3: (1, 2, 4, 8), 4: (8, 16), 6: (8, 16)}


def inspect(source: Source) -> Plan:
    """Judge the size, the colour type and the palette."""
    width = height = depth = colour = interlaced = 0
    palette: Array | None = None
    turn = 1
    for kind, offset, length in _chunks(source):
        if kind == b"IHDR":
            width, height, depth, colour, _, _, interlaced = struct.unpack(">IIBBBBB", _checked(source, offset, 13))
        elif kind == b"PLTE":
            palette = np.frombuffer(_checked(source, offset, length - length % 3), np.uint8).reshape(-1, 3)
        elif kind == b"eXIf":
            turn = orientation(_checked(source, offset, length))
        elif kind == b"acTL":
            raise source.error("is an animation", expected="one image", remedy="save its frames one by one")
        elif kind == b"IDAT":
            turn = turn if turn != 1 else _late_orientation(source)
            break
    if not width or not height or depth not in DEPTHS.get(colour, ()) or interlaced > 1:
        raise source.error("its PNG header makes no sense", remedy="save it again from its source")
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
    header = raster("PNG", (height, width), channels, np.uint16 if depth == 16 else np.uint8, exif=turn)

    def decode() -> Array:
        stored = (height, width) if SAMPLES[colour] == 1 else (height, width, SAMPLES[colour])
        pixels = np.empty(stored, header.dtype)
        imagecodecs.png_decode(_essential(source), out=pixels)
        if colour == 3 and palette is not None:
            if depth < 8:
                pixels //= 255 // ((1 << depth) - 1)  # indices are decoded as greys, which fill 8 bits
            if int(pixels.max()) >= len(palette):
                raise source.error("a pixel has a colour that its palette lacks", remedy="it is damaged")
            if expand:
                pixels = palette[:, 0][pixels] if len(channels) == 1 else palette[pixels]
        if pixels.ndim == 3:
            pixels = pixels[:, :, : len(channels)]
        return channels_first(pixels)

    return Plan(header, decode, height * ((width * SAMPLES[colour] * depth + 7) // 8 + 1), source.size)


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


def _late_orientation(source: Source) -> int:
    """The EXIF orientation where it stands after the pixels, which may lie in very many chunks."""
    begin = max(0, source.size - TAIL)
    tail = source.at(begin, source.size - begin)
    at = tail.rfind(b"eXIf")
    end = at + 4 + int.from_bytes(tail[at - 4 : at], "big") if at >= 4 else len(tail)
    found = zlib.crc32(tail[at:end]) == int.from_bytes(tail[end : end + 4], "big") and end < len(tail)
    return orientation(tail[at + 4 : end]) if found else 1


def _checked(source: Source, offset: int, length: int) -> bytes:
    """The data of a chunk whose checksum holds."""
    block = source.at(offset - 4, length + 8)
    if zlib.crc32(block[:-4]) != int.from_bytes(block[-4:], "big"):
        raise source.error("a checksum does not match", remedy="it is damaged: copy it again from its source")
    return block[4:-4]


def _essential(source: Source) -> bytes:
    """A PNG of the chunks that make pixels, every checksum verified; the indices of a palette are its greys."""
    parts = [MAGIC]
    for kind, offset, length in _chunks(source):
        data = _checked(source, offset, length)
        if kind == b"IHDR" and data[9] == 3:
            data = data[:9] + b"\0" + data[10:]
        if kind in (b"IHDR", b"IDAT", b"IEND"):
            parts += [struct.pack(">I", len(data)), kind, data, struct.pack(">I", zlib.crc32(kind + data))]
    return b"".join(parts)
