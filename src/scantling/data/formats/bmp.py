"""BMP without compression: its length must be exactly what its size asks for, and the padding of its rows empty.

A BMP has no checksum. Rows are padded to four bytes, so where the width is not a multiple of that, a flipped bit
that lengthens the width into empty padding is not detectable. Opacity is dropped, palettes are expanded.
"""

from __future__ import annotations

import struct

import numpy as np

from scantling.data.formats.common import COLOUR, GREY, Array, Plan, Source, channels_first, palette_is_grey, raster

HEADERS = (40, 52, 56, 108, 124)
ORDINARY_MASKS = (0xFF0000, 0xFF00, 0xFF)
CONVERT = "save it as PNG"


def inspect(source: Source) -> Plan:
    """Judge the size, the depth, the palette and the length of the file."""
    start, extent, width, signed, planes, bits, compression = struct.unpack("<IIiiHHI", source.at(10, 24))
    colours, _ = struct.unpack("<II", source.at(46, 8))
    height = abs(signed)
    if extent not in HEADERS or planes != 1 or width < 1 or height < 1:
        raise source.error("its BMP header is damaged or of an old kind", expected="one of Windows 3 or later")
    masked = compression == 3 and bits == 32 and struct.unpack("<III", source.at(54, 12)) == ORDINARY_MASKS
    if bits not in (1, 4, 8, 24, 32) or not (compression == 0 or masked):
        raise source.error(f"holds {bits} bits a pixel in coding {compression}", expected="no coding", remedy=CONVERT)
    count = (colours or 1 << bits) if bits <= 8 else 0
    if count > 1 << min(bits, 8) or 14 + extent + 4 * count > start:
        raise source.error("its palette does not fit before its pixels", remedy="it is damaged")
    stride = (width * bits + 31) // 32 * 4
    end = start + stride * height
    profile = struct.unpack("<II", source.at(14 + 112, 8)) if extent == 124 else (0, 0)
    expected = max(end, 14 + sum(profile)) if profile[1] else end
    if not expected <= source.size <= expected + 3:
        raise source.error(
            f"holds {source.size:,} bytes",
            expected=f"{expected:,} for {width} x {height} pixels",
            remedy="it is damaged",
        )
    palette = np.frombuffer(source.at(14 + extent, 4 * count), np.uint8).reshape(-1, 4)[:, 2::-1]
    grey = bits <= 8 and palette_is_grey(source, palette, protected=False)
    channels = GREY if grey or (bits <= 8 and source.labels) else COLOUR
    header = raster("BMP", (height, width), channels, np.uint8)

    def decode() -> Array:
        lines = np.frombuffer(source.at(start, stride * height), np.uint8).reshape(height, stride)
        used = (width * bits + 7) // 8
        if lines[:, used:].any():
            raise source.error("the padding of its rows is not empty", expected="zeros", remedy=f"if sound, {CONVERT}")
        lines = lines[:, :used]
        if signed > 0:
            lines = lines[::-1]
        if bits > 8:
            pixels = lines.reshape(height, width, bits // 8)[:, :, 2::-1]
            return channels_first(pixels)
        pixels = _unpacked(lines, bits)
        if pixels[:, width:].any():
            raise source.error("the padding of its rows is not empty", expected="zeros", remedy=f"if sound, {CONVERT}")
        pixels = pixels[:, :width]
        if int(pixels.max()) >= count:
            raise source.error("a pixel has a colour that its palette lacks", remedy="it is damaged")
        if not grey and source.labels:
            return channels_first(pixels)
        return channels_first(palette[pixels][:, :, 0] if grey else palette[pixels])

    return Plan(header, decode, stride * height, source.size)


def _unpacked(lines: Array, bits: int) -> Array:
    """Indices of `bits` bits each as bytes, with those of the padding."""
    if bits == 8:
        return lines
    shifts = np.arange(8 - bits, -1, -bits, dtype=np.uint8)
    return ((lines[:, :, None] >> shifts) & ((1 << bits) - 1)).reshape(len(lines), -1)
