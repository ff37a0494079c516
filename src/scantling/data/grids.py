"""Whether the files of a case lie on one grid, and how a label map is brought onto the grid of its image.

A mask that lies where its image does but is stored otherwise, shifted or with voxels of another size, is brought onto
the image's grid by the nearest value. What lies elsewhere is refused.
"""

from __future__ import annotations

from typing import Literal

import numpy as np

from scantling.core.case import Geometry
from scantling.core.errors import DataError
from scantling.data.formats.exif import unturned
from scantling.data.orientation import as_stored, stored_geometry, turned

How = Literal["", "turned", "resampled"]
"""How an array came onto its grid: it was there, its file stores the axes in another way, or by the nearest value."""

SHIFT = 0.01
"""Two grids are the same where no corner lies further apart than this share of the smallest spacing."""
CHANNEL_SHIFT = 0.1
"""The same for images, which are not resampled (our choice)."""
COVERED = 0.95
"""A mask is resampled where its grid holds at least this share of the image's voxels (our choice)."""
PROBES = 33
"""The most places along an axis where the two grids are compared."""
AT_ONCE = 1 << 22
"""Voxels that are resampled together."""


def place(
    array: np.ndarray, geometry: Geometry, onto: Geometry, *, where: object, reference: object, labels: bool = True
) -> tuple[np.ndarray, How]:
    """An array on the grid of another file, and how it came there.

    An array without an affine lies in the order of the file that it belongs to, and is turned with it.

    Args:
        array: (C, *S) of `geometry`.
        where: the file, for the error.
        reference: what has the grid `onto`, for the error.
        labels: whether it may be resampled; channels of images are not.

    Raises:
        DataError: the two are not of the same image.
    """
    how: How = "" if _axes(geometry) == _axes(onto) else "turned"
    if geometry.affine is None or onto.affine is None:
        array, geometry = as_stored(array, geometry), stored_geometry(geometry)
        target = stored_geometry(onto)
        if geometry.shape == target.shape:
            return turned(array, onto), ""
        onto = target
    elif not disagreement(onto, geometry, shift=SHIFT if labels else CHANNEL_SHIFT):
        return array, how
    elif labels and holds(geometry, onto):
        return _resampled(array, geometry, onto), "resampled"
    clash = disagreement(onto, geometry)
    remedy = "" if unturned(onto, geometry) else "; make both from the same image"
    raise DataError(f"{where}: it does not fit {reference}: {clash}{remedy}")


def holds(geometry: Geometry, onto: Geometry) -> bool:
    """Whether a label map on one grid is to be resampled to lie on another, and can be."""
    if geometry.affine is None or onto.affine is None or len(geometry.shape) != len(onto.shape):
        return False
    return bool(disagreement(onto, geometry)) and _covered(geometry, onto) >= COVERED


def disagreement(one: Geometry, other: Geometry, *, shift: float = SHIFT) -> str:
    """Why two grids are not the same, as a clause; empty where no corner is further apart than `shift` voxels."""
    if one.shape != other.shape:
        size = f"found {_size(other.shape)} pixels, expected {_size(one.shape)}{_share(other, one)}"
        return unturned(one, other) or size
    if one.affine is None or other.affine is None:
        return ""
    ends = np.array(np.meshgrid(*((0, length - 1) for length in one.shape), indexing="ij")).reshape(len(one.shape), -1)
    ends = np.vstack([ends, np.zeros((3 - len(ends), ends.shape[1])), np.ones((1, ends.shape[1]))])
    apart = float(np.linalg.norm(((one.affine - other.affine) @ ends)[:3], axis=0).max())
    if apart <= (most := shift * min(one.spacing)):
        return ""
    return f"its grid lies up to {apart:.3g} mm away (affine), expected at most {most:.3g} mm{_share(other, one)}"


def _share(geometry: Geometry, onto: Geometry) -> str:
    """How much of an image a grid holds, as the end of a clause; empty where nobody knows."""
    if geometry.affine is None or onto.affine is None or len(geometry.shape) != len(onto.shape):
        return ""
    return f", and its grid holds {_covered(geometry, onto):.0%} of the image"


def _axes(geometry: Geometry) -> object:
    """How a file stores the axes, to be compared."""
    found = geometry.orientation
    return ((0, 1, 2), (False,) * 3) if found is None else (found.axes, found.flips)


def _index_map(geometry: Geometry, onto: Geometry) -> np.ndarray:
    """(3, D + 1), the shift last: the index in `geometry` at an index in `onto`; 0 on the axis that is left out."""
    if geometry.affine is None or onto.affine is None:
        raise DataError("a grid without an affine has no place; expected two that have one")
    whole = np.linalg.inv(geometry.affine) @ onto.affine
    return np.asarray(whole[:3, [*range(len(onto.shape)), 3]])


def _covered(geometry: Geometry, onto: Geometry) -> float:
    """The share of the pixels of `onto` that lie on the grid of `geometry`."""
    matrix, ends = _index_map(geometry, onto), np.array([*geometry.shape, *[1] * (3 - len(geometry.shape))])
    places = [np.linspace(0, length - 1, min(length, PROBES)) for length in onto.shape]
    points = np.stack([each.ravel() for each in np.meshgrid(*places, indexing="ij")])
    indices = matrix[:, :-1] @ points + matrix[:, -1:]
    return float(((indices >= -0.5 - SHIFT) & (indices <= ends[:, None] - 0.5 + SHIFT)).all(axis=0).mean())


def _resampled(array: np.ndarray, geometry: Geometry, onto: Geometry) -> np.ndarray:
    """The nearest values of (C, *S) on the grid of `onto`; what lies beyond continues the border."""
    axes = len(onto.shape)
    matrix = _index_map(geometry, onto)[:axes]
    out = np.empty((len(array), *onto.shape), array.dtype)
    rows = max(1, AT_ONCE // max(1, int(np.prod(onto.shape[1:]))))
    for start in range(0, onto.shape[0], rows):
        some = slice(start, min(start + rows, onto.shape[0]))
        grid = np.indices((some.stop - start, *onto.shape[1:]), np.float64)
        grid[0] += start
        found = np.tensordot(matrix[:, :-1], grid, axes=1) + matrix[:, -1].reshape(-1, *[1] * axes)
        nearest = np.floor(found + 0.5 - 1e-6).astype(np.int64)  # halfway to the lower one, whatever rounding does
        clipped = [np.clip(each, 0, length - 1) for each, length in zip(nearest, geometry.shape, strict=True)]
        out[:, some] = array[(slice(None), *clipped)]
    return out


def _size(shape: tuple[int, ...]) -> str:
    return " x ".join(map(str, shape))
