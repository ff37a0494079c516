"""Pixels that are no numbers: NaN and infinity around what was imaged lie outside of it, others are damage."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from scipy import ndimage

from scantling.core.errors import FileError
from scantling.data.files import Picture

FLOAT32 = (float(np.finfo(np.float32).tiny), float(np.finfo(np.float32).max))


def finite(picture: Picture, where: object) -> tuple[Picture, np.ndarray | None]:
    """An image in numbers that float32 can hold, and which pixels lie outside of what was imaged.

    A pixel that is NaN or infinite in any channel lies outside. In a picture such pixels have to reach its border, as
    a frame does; in a volume they may lie anywhere, as tools that strip skulls leave them. There each channel
    has its least finite value instead.

    Returns:
        The image, and outside (*S) bool; None where all is finite.

    Raises:
        FileError: no pixel is finite, those of a picture lie inside it, or it is too bright or too dark for float32.
    """
    array = picture.array
    if array.dtype.kind != "f":
        return picture, None
    lost = ~np.isfinite(array)
    outside: np.ndarray | None = None
    if lost.any():
        outside = np.asarray(lost.any(axis=0))
        bad = int(lost.sum())
        if outside.all() or (outside.ndim == 2 and not _at_the_border(outside)):
            raise FileError(
                str(where),
                f"{bad} of {array.size} values are NaN or infinite"
                + (", so that no pixel is left" if outside.all() else " and lie inside the image"),
                expected="finite numbers, but around what was imaged",
                remedy="replace them before use",
            )
        least = np.where(lost, np.inf, array).reshape(len(array), -1).min(axis=1)
        picture = replace(picture, array=np.where(lost, least.reshape(-1, *[1] * outside.ndim), array))
    most = float(np.abs(picture.array).max())
    if most and not FLOAT32[0] <= most <= FLOAT32[1]:
        raise FileError(
            str(where),
            f"the values of the image reach {most:.3g}",
            expected=f"at least {FLOAT32[0]:.3g} and at most {FLOAT32[1]:.3g} (float32)",
            remedy="save it in another unit",
        )
    return picture, outside


def _at_the_border(outside: np.ndarray) -> bool:
    """Whether every piece of the pixels (H, W), connected at sides or corners, reaches the border."""
    pieces, number = ndimage.label(outside, structure=np.ones((3, 3)))
    edges = (pieces[0], pieces[-1], pieces[:, 0], pieces[:, -1])
    return len(np.setdiff1d(np.concatenate(edges), 0)) == number
