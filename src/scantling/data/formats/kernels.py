"""The loops over single bits and bytes that need a compiler: LZW, PackBits, PNG filters, the walk over JPEG blocks.

Each is bounded by the length of its input or of its output and reports damage as a negative number.
"""

from __future__ import annotations

import os
from typing import Any

import numpy as np
from numba import njit
from numba.core import config

from scantling.data.formats.common import Array

# Numba unpickles what it finds in its cache, and lets a `.numba_config.yaml` in the current folder say where that is.
config.CACHE_DIR = os.environ.get("NUMBA_CACHE_DIR", "")  # type: ignore[attr-defined]

DAMAGED = -1


@njit(cache=True)
def lzw(coded: Array, out: Array) -> int:
    """Expand LZW as TIFF has it (codes of 9 to 12 bits, highest bit first) into `out`; the bytes produced.

    A string of the table is a stretch of the output: that of the code before, and one byte more. More bytes than
    `out` holds, and a code that is not yet defined, are `DAMAGED`.
    """
    start = np.zeros(4096, np.int64)
    length = np.zeros(4096, np.int64)
    width, following, produced = 9, 258, 0
    before_start, before_length = 0, 0
    bits, held = np.int64(0), 0
    for byte in coded:
        bits = ((bits << 8) | np.int64(byte)) & 0xFFFFFF
        held += 8
        if held < width:
            continue
        held -= width
        code = (bits >> held) & ((1 << width) - 1)
        if code == 257:
            return produced
        if code == 256:
            width, following, before_length = 9, 258, 0
            continue
        if before_length > 0 and following < 4096:
            start[following] = before_start
            length[following] = before_length + 1
            following += 1
        if code >= following:
            return DAMAGED
        count = 1 if code < 256 else length[code]
        if produced + count > out.size:
            return DAMAGED
        if code < 256:
            out[produced] = code
        else:
            for index in range(count):
                out[produced + index] = out[start[code] + index]
        before_start, before_length = produced, count
        produced += count
        if following >= (1 << width) - 1 and width < 12:
            width += 1
    return produced


@njit(cache=True)
def packbits(coded: Array, out: Array) -> int:
    """Expand PackBits into `out`; the bytes produced, or `DAMAGED` if they are too many or the input ends early."""
    produced: Any = 0
    at: Any = 0
    while at < coded.size:
        head: Any = np.int64(coded[at])
        at += 1
        if head == 128:
            continue
        count = head + 1 if head < 128 else 257 - head
        if produced + count > out.size or at + (count if head < 128 else 1) > coded.size:
            return DAMAGED
        for index in range(count):
            out[produced + index] = coded[at + index] if head < 128 else coded[at]
        at += count if head < 128 else 1
        produced += count
    return int(produced)


@njit(cache=True)
def unfilter(lines: Array, step: int) -> int:
    """Undo the five PNG filters in place: `lines` (H, 1 + bytes) begin with their filter, pixels are `step` bytes."""
    for row in range(lines.shape[0]):
        kind = lines[row, 0]
        if kind > 4:
            return DAMAGED
        for column in range(1, lines.shape[1]):
            left: Any = np.int64(lines[row, column - step]) if column > step else 0
            above: Any = np.int64(lines[row - 1, column]) if row > 0 else 0
            corner: Any = np.int64(lines[row - 1, column - step]) if row > 0 and column > step else 0
            guess: Any = 0
            if kind == 1:
                guess = left
            elif kind == 2:
                guess = above
            elif kind == 3:
                guess = (left + above) // 2
            elif kind == 4:
                near: Any = left + above - corner
                to_left, to_above, to_corner = abs(near - left), abs(near - above), abs(near - corner)
                guess = corner
                if to_left <= to_above and to_left <= to_corner:
                    guess = left
                elif to_above <= to_corner:
                    guess = above
            lines[row, column] = (np.int64(lines[row, column]) + guess) & 255
    return 0


@njit(cache=True)
def walk_blocks(coded: Array, tables: Array, plan: Array, units: int, *, only_dc: bool) -> int:
    """Walk over the Huffman codes of `units` coding units of a JPEG; the bits they take, or `DAMAGED`.

    `coded` is one interval without stuffed bytes, with four bytes of padding; `tables` (N, 65536) give length << 8 |
    symbol for the next 16 bits, 0 where no code begins so; `plan` (blocks, 2) names the tables (DC, AC) of each
    block of a unit. Values are not decoded: only how far they reach.
    """
    end = (coded.size - 4) * 8
    at: Any = 0
    for _ in range(units):
        for block in range(plan.shape[0]):
            position: Any = 0
            while position < 64:
                byte = at >> 3
                window = (np.int64(coded[byte]) << 16) | (np.int64(coded[byte + 1]) << 8) | np.int64(coded[byte + 2])
                window = (window >> (8 - (at & 7))) & 0xFFFF
                entry = np.int64(tables[plan[block, 0 if position == 0 else 1], window])
                if entry == 0:
                    return DAMAGED
                size = entry & (255 if position == 0 else 15)
                zeros = (entry & 255) >> 4
                at += (entry >> 8) + size
                if at > end:
                    return DAMAGED
                if position == 0:
                    position = 64 if only_dc else 1
                elif size == 0 and zeros < 15:
                    break
                else:
                    position += zeros + 1
                    if position > 64:
                        return DAMAGED
    return int(at)
