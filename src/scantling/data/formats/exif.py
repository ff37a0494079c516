"""EXIF orientation: how a camera was held, by which viewers turn a picture; arrays are turned as viewers show them."""

from __future__ import annotations

import struct

import numpy as np

from scantling.core.case import Geometry
from scantling.data.formats.common import Array

ORDERS = {b"II*\0": "<", b"MM\0*": ">"}


def orientation(exif: bytes) -> int:
    """The orientation, 1 to 8, in a block of EXIF; 1 (not turned) where it says nothing that can be read.

    Reference: CIPA DC-008 (Exif 2.32), section 4.6.4 A.
    """
    exif = exif.removeprefix(b"Exif\0\0")
    order = ORDERS.get(exif[:4], "")
    try:
        start = struct.unpack_from(f"{order}I", exif, 4)[0] if order else len(exif)
        for entry in range(struct.unpack_from(f"{order}H", exif, start)[0]):
            tag, kind, count, value = struct.unpack_from(f"{order}HHIH", exif, start + 2 + 12 * entry)
            if (tag, kind, count) == (274, 3, 1) and 1 <= value <= 8:
                return int(value)
    except struct.error:
        return 1
    return 1


def as_shown(array: Array, orientation: int) -> Array:
    """An array `(C, H, W)` as viewers show it, `(C, W, H)` for the orientations 5 to 8."""
    if orientation == 1:
        return array
    if orientation > 4:
        array = array.transpose(0, 2, 1)
    across, down = orientation in (2, 3, 6, 7), orientation in (3, 4, 7, 8)
    return np.ascontiguousarray(array[:, :: -1 if down else 1, :: -1 if across else 1])


def unturned(image: Geometry, other: Geometry) -> str:
    """A clause if two grids differ only because EXIF turned one of them by a quarter; else empty.

    Where both would fit (a square, or an orientation that keeps the shape) nothing can be known.
    """
    if image.shape != other.shape[::-1] or (image.exif > 4) == (other.exif > 4):
        return ""
    found, expected = (" x ".join(map(str, grid.shape)) for grid in (other, image))
    if image.exif > 4:
        what = f"the image before its EXIF orientation {image.exif} is applied"
    else:
        what = f"the image before its own EXIF orientation {other.exif} is applied"
    return (
        f"found {found} pixels, expected {expected}: it fits only {what}; turn it as viewers show the image, or save "
        "both without an EXIF orientation"
    )
