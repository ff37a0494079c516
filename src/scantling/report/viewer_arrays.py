"""Arrays of 8 bits as text that a page carries: exact by zlib where there is room, else as a JPEG of all slices.

`viewer_arrays.js` reads them.
"""

from __future__ import annotations

import base64
import math
import zlib
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from scantling.report.pictures import jpeg_uri

Bytes = NDArray[np.uint8]
QUALITY = 90
"""Of JPEG pictures."""
PACKED = 4
"""How many times smaller zlib makes a medical image at the very best (ours): beyond, it is not tried."""
SMALL, FAST = 6, 1
"""Levels of zlib: for a page that is kept, and for a server on this machine, where time counts and size does not."""
SMALLEST = 64
"""Pixels of the longer side below which no image is shrunk."""


def exact(array: Bytes, *, delta: bool = False, level: int = SMALL) -> dict[str, Any]:
    """An array (D, H, W) as zlib; `delta`: of the differences along its rows, which suits images."""
    flat = np.ascontiguousarray(array)
    if delta:
        flat = np.diff(flat, axis=2, prepend=np.uint8(0))
    data = base64.b64encode(zlib.compress(flat.tobytes(), level)).decode("ascii")
    return {"shape": list(array.shape), "codec": "deflate", "delta": delta, "data": data}


def as_picture(array: Bytes, *, quality: int = QUALITY) -> dict[str, Any]:
    """An array (D, H, W) or (D, H, W, 3) as one JPEG, its slices as tiles from left to right and top to bottom."""
    depth, height, width = array.shape[:3]
    columns = max(1, min(depth, round(math.sqrt(depth * height / width))))
    rows = -(-depth // columns)
    tiles = np.zeros((rows * columns, *array.shape[1:]), np.uint8)
    tiles[:depth] = array
    colours = array.shape[3:]
    atlas = tiles.reshape(rows, columns, height, width, *colours).swapaxes(1, 2)
    atlas = atlas.reshape(rows * height, columns * width, *colours)
    data = jpeg_uri(atlas, quality=quality)
    return {"shape": list(array.shape), "codec": "picture", "columns": columns, "data": data}


def fitted(array: Bytes, room: float, *, level: int = SMALL) -> dict[str, Any]:
    """An array (D, H, W[, 3]) in at most `room` characters: exact, as a picture, or as a smaller picture.

    It is shrunk in its slices alone, by means, until it fits, and to no less than 64 pixels a side.
    """
    if array.ndim == 3 and array.size * 4 / 3 <= room * PACKED:
        whole = exact(array, delta=True, level=level)
        if len(whole["data"]) <= room:
            return whole
    share = _share(array, room)
    while True:
        height, width = (max(1, round(side * share)) for side in array.shape[1:3])
        small = array if share >= 1 else shrunk(array, (height, width))
        found = as_picture(small)
        size = len(found["data"])
        if size <= room or max(height, width) <= SMALLEST:
            return found
        share *= min(0.9, math.sqrt(room / size) * 0.97)


def _share(array: Bytes, room: float) -> float:
    """How much smaller a picture of many slices has to be, at a guess from a few of them; 1 of few slices."""
    few = array[::8]
    if len(few) < 2:
        return 1.0
    return min(1.0, math.sqrt(room / (len(as_picture(few)["data"]) * len(array) / len(few))))


def shrunk(array: Bytes, size: tuple[int, int]) -> Bytes:
    """(D, h, w[, 3]) from (D, H, W[, 3]): each new pixel the mean of those that it covers."""
    height, width = size
    slices = [Image.fromarray(one).resize((width, height), Image.Resampling.BOX) for one in array]
    return np.stack([np.asarray(one) for one in slices])
