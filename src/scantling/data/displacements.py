"""Displacements as files that ITK and ANTs read: NIfTI of vectors (intent 1007) in millimetres.

The vector at a pixel of the fixed image leads to the point of the moving image that is there after warping, as
`DisplacementFieldTransform` of ITK takes it. In 3-D its components are ITK's: left, posterior, superior (LPS), on
the grid that the file of the fixed image has; of an image without an affine, along the axes of the file. In 2-D there
are two components in the plane. An axial slice in NIfTI has them left and posterior, on its own grid. Of any other
image they are x along the first axis of the file (the columns of a raster image) and y along the second, on a grid
that begins at 0, with the spacing of the image; so ITK reads a raster image too, but it does not read a slice that
stands upright.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np

from scantling.core import atomic
from scantling.core.case import Address, Geometry
from scantling.core.errors import FileError
from scantling.data.files import Limits, read, safe_id
from scantling.data.formats import nifti
from scantling.data.orientation import as_stored, file_axis, stored_geometry, turned

LPS = np.diag((-1.0, -1.0, 1.0))


def write_displacement(folder: Path, id: str, displacement: np.ndarray, geometry: Geometry) -> Path:
    """Write a displacement (D, *S), in pixels of the fixed image, as `ID.nii.gz`; return its path.

    Raises:
        FileError: the id is no safe name, or the shape is not the geometry's.
    """
    path = folder / f"{safe_id(id)}.nii.gz"
    if displacement.shape != (len(geometry.shape), *geometry.shape):
        wanted = (len(geometry.shape), *geometry.shape)
        raise FileError(path, f"is to hold a displacement of shape {displacement.shape}", expected=f"{wanted}")
    vectors = np.einsum("ij,j...->i...", millimetres(geometry), displacement.astype(np.float64))
    if len(geometry.shape) == 2:
        vectors, geometry = _in_plane(vectors, geometry)
    atomic.write_bytes(path, nifti.encode(vectors.astype(np.float32), geometry, vectors=True))
    return path


def read_displacement(path: Path, geometry: Geometry, *, limits: Limits | None = None) -> np.ndarray:
    """A displacement (D, *S) float64 in pixels of the fixed image, whose geometry is known.

    Raises:
        FileError: the file cannot be read, or does not belong to an image of this geometry.
    """
    picture = read(Address(path), limits=limits or Limits())
    array, dimensions = picture.array.astype(np.float64), len(geometry.shape)
    if geometry.container == "raster" and dimensions == 2 and len(array) == 2:
        array = array[::-1].swapaxes(1, 2)
    elif picture.geometry.affine is not None:
        array = array if geometry.orientation else as_stored(array, picture.geometry)
    elif array.shape == (dimensions, *stored_geometry(geometry).shape):
        array = turned(array, geometry)
        order = [file_axis(geometry, axis) for axis in range(dimensions)]
        array = np.stack([-array[axis] if flip else array[axis] for axis, flip in order])
    if array.shape != (dimensions, *geometry.shape):
        found = " x ".join(map(str, array.shape[1:]))
        raise FileError(
            path,
            f"holds {len(array)} components on {found} pixels",
            expected=f"{dimensions} on {' x '.join(map(str, geometry.shape))}, as in the fixed image",
            remedy="register again",
        )
    if not np.isfinite(array).all():
        raise FileError(path, "holds values that are not finite", remedy="register again")
    return np.einsum("ij,j...->i...", np.linalg.inv(millimetres(geometry)), array)


def millimetres(geometry: Geometry) -> np.ndarray:
    """(D, D): what a step in pixels along each axis is in mm, in LPS where an affine says it."""
    dimensions = len(geometry.shape)
    if geometry.affine is not None and (dimensions == 3 or _is_axial(geometry)):
        linear: np.ndarray = (LPS @ geometry.affine[:3, :3])[:dimensions, :dimensions]
        return linear
    return np.diag(geometry.spacing)


def _is_axial(geometry: Geometry) -> bool:
    """Whether an image with two axes is a slice in the plane of left and posterior."""
    if geometry.container != "volume" or geometry.affine is None or len(geometry.shape) != 2:
        return False
    linear = geometry.affine[:3, :3]
    return bool(np.abs([*linear[2, :2], *linear[:2, 2]]).max() <= 1e-6 * np.abs(linear).max())


def _in_plane(vectors: np.ndarray, geometry: Geometry) -> tuple[np.ndarray, Geometry]:
    """The vectors (2, X, Y) of an image with two axes as they are written, and their grid."""
    if _is_axial(geometry):
        return vectors, geometry
    order = [file_axis(geometry, axis) for axis in range(2)]
    stored = as_stored(
        np.stack([-part if flip else part for part, (_, flip) in zip(vectors, order, strict=True)]), geometry
    )
    vectors, geometry = stored[np.argsort([axis for axis, _ in order])], stored_geometry(geometry)
    shape, spacing = geometry.shape, geometry.spacing
    if geometry.container == "raster":
        vectors, shape, spacing = vectors[::-1].swapaxes(1, 2), shape[::-1], spacing[::-1]
    return vectors, replace(geometry, shape=shape, spacing=spacing, affine=None, stored=None)
