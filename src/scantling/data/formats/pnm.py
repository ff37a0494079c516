"""PBM, PGM and PPM, as text or as bytes: the pixels must fill the size exactly; values are as stored, never scaled.

A text that is cut within its last number is not detectable.
"""

from __future__ import annotations

import re
import warnings

import numpy as np

from scantling.data.formats.common import COLOUR, GREY, Array, Plan, Source, channels_first, raster

GAP = rb"(?:\s|#[^\r\n]*[\r\n])+"
HEAD = re.compile(rb"P([1-6])" + GAP + rb"(\d{1,9})" + GAP + rb"(\d{1,9})(?:" + GAP + rb"(\d{1,5}))?\s")
BITS = re.compile(rb"P([14])" + GAP + rb"(\d{1,9})" + GAP + rb"(\d{1,9})\s")


def inspect(source: Source) -> Plan:
    """Judge the size and the number of bytes."""
    start = source.at(0, min(source.size, 4096))
    bits = start[1:2] in b"14"
    found = (BITS if bits else HEAD).match(start)
    if found is None or (not bits and found[4] is None):
        raise source.error("its PNM header makes no sense", remedy="save it again from its source")
    kind, width, height = (int(number) for number in found.groups()[:3])
    highest = 1 if bits else int(found[4])
    if not (width and height and 0 < highest < 65536):
        raise source.error(f"is {width} x {height} pixels of up to {highest}", remedy="save it again from its source")
    samples, dtype = 3 if kind in (3, 6) else 1, np.dtype(np.uint16 if highest > 255 else np.uint8)
    header = raster("PNM", (height, width), COLOUR if samples == 3 else GREY, dtype)
    count = height * width * samples
    expected = height * ((width + 7) // 8) if kind == 4 else count * dtype.itemsize
    held = source.size - found.end()
    if held != expected if kind > 3 else held < (count if bits else 2 * count - 1):
        raise source.error(
            f"holds {held:,} bytes of pixels",
            expected=f"{expected:,} for {width} x {height} pixels",
            remedy="it is truncated or damaged: copy it again from its source",
        )

    def decode() -> Array:
        data = source.at(found.end(), held)
        if kind > 4:
            pixels = np.frombuffer(data, dtype.newbyteorder(">")).astype(dtype)
        elif kind == 4:
            lines = np.frombuffer(data, np.uint8).reshape(height, -1)
            pixels = np.unpackbits(lines, axis=1)[:, :width]
        else:
            text = re.sub(rb"#[^\r\n]*", b"", data)
            letters = np.frombuffer(text, np.uint8)
            pixels = letters[np.isin(letters, (48, 49))] - 48 if bits else _numbers(text)
            if len(pixels) != count:
                raise source.error(f"holds {len(pixels):,} numbers", expected=f"{count:,}", remedy="it is damaged")
        if int(pixels.max()) > highest or int(pixels.min()) < 0:
            raise source.error(f"holds the value {pixels.max()}", expected=f"at most {highest}", remedy="it is damaged")
        if bits:
            pixels = np.uint8(255) * (pixels == 0)  # in a bitmap 1 is black
        pixels = pixels.astype(dtype, copy=False)
        return channels_first(pixels.reshape((height, width) if samples == 1 else (height, width, 3)))

    return Plan(header, decode, count * dtype.itemsize, source.size)


def _numbers(text: bytes) -> Array:
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # what is no number
        return np.fromstring(text, np.int64, sep=" ")
