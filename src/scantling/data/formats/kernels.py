"""The walk over the coded blocks of a JPEG, bit by bit, which needs a compiler."""

from __future__ import annotations

from typing import Any

import numpy as np

from scantling.core.compiled import compiled
from scantling.data.formats.common import Array

DAMAGED = -1


@compiled()
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
