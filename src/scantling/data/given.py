"""Arrays and images of other packages as the door would have read them from a file.

Conventions, which the bridges of `data.bridges` keep in both directions:

- An array or a tensor is channel first, as in MONAI: (C, H, W), (C, D, H, W), or (H, W) of one channel. Three axes of
  which the first is longer than `MOST_CHANNELS` have two readings and are refused until `spatial_dims` is given.
- An affine maps indices to millimetres (right, anterior, superior), as in MONAI, TorchIO and nibabel. An identity,
  whatever its signs, says nothing, since these packages put it where nothing is known: the spacing is unknown, unless a
  spacing or the unit "mm" is given.
- An affine of a MetaTensor whose "space" is LPS, as ITK has it, maps to left and posterior.
- TorchIO has pictures as (C, W, H, 1); they become (C, H, W).
- An image of nibabel is (X, Y, Z[, ..., C]), one of SimpleITK (x, y[, z]) with components, whose pictures become
  (C, rows, columns).
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Any, Literal

import numpy as np

from scantling.core.case import Geometry, Unit
from scantling.core.errors import DataError
from scantling.data.formats.common import COLOUR, LPS_TO_RAS, Picture, numbered, volume
from scantling.data.orientation import canonical, turned

MOST_CHANNELS = 4
"""The first of three axes may be that of channels where it is not longer."""
SpatialDims = Literal[2, 3]


def comes_from(value: object, package: str) -> bool:
    """Whether an object is of a class of a package, or of one derived from it; the package is not imported."""
    return any(kind.__module__.partition(".")[0] == package for kind in type(value).__mro__)


def is_array(value: object) -> bool:
    """Whether it is a NumPy array, a tensor (a MetaTensor is one), or an image of TorchIO, nibabel or SimpleITK."""
    return isinstance(value, np.ndarray) or comes_from(value, "torch") or is_image(value)


def is_image(value: object) -> bool:
    """Whether it is an image of TorchIO, nibabel or SimpleITK, which says itself which axes are of space."""
    return is_torchio_image(value) or _is_nibabel(value) or _is_sitk(value)


def _is_nibabel(value: object) -> bool:
    return comes_from(value, "nibabel") and hasattr(value, "dataobj")


def _is_sitk(value: object) -> bool:
    return comes_from(value, "SimpleITK") and hasattr(value, "GetDirection")


def is_torchio_image(value: object) -> bool:
    """Whether it is a `torchio.Image`."""
    kinds = type(value).__mro__
    return any(kind.__name__ == "Image" and kind.__module__.startswith("torchio.") for kind in kinds)


def array_of(value: Any) -> tuple[np.ndarray, np.ndarray | None]:
    """The numbers of an array, a tensor or an image, without a copy where there can be none, and its affine (4, 4).

    Of images of nibabel and SimpleITK the channels are first.
    """
    if _is_nibabel(value):
        return _of_nibabel(value)
    if _is_sitk(value):
        return _of_sitk(value)
    affine = getattr(value, "affine", None)  # of a MetaTensor or an image of TorchIO
    numbers = _numpy(value.data if is_torchio_image(value) else value)
    if affine is None:
        return numbers, None
    whole = _square(np.array(_numpy(affine), np.float64))
    lps = comes_from(value, "monai") and str(value.meta.get("space", "")).endswith("LPS")
    return numbers, LPS_TO_RAS @ whole if lps else whole


def _of_nibabel(image: Any) -> tuple[np.ndarray, np.ndarray | None]:
    """(C, X, Y, Z) in the number type of the file, float32 where it scales its values, and the affine."""
    array = np.asanyarray(image.dataobj)
    scaled = (getattr(image.dataobj, "slope", 1.0), getattr(image.dataobj, "inter", 0.0)) != (1.0, 0.0)
    array = array.astype(np.float32) if scaled and array.dtype.kind == "f" else array
    stored = (*array.shape, 1)[:3]
    array = np.moveaxis(array.reshape(*stored, -1), -1, 0)
    return array, None if image.affine is None else np.array(image.affine, np.float64)


def _of_sitk(image: Any) -> tuple[np.ndarray, np.ndarray | None]:
    """(C, x, y, z) of a volume, (C, rows, columns) of a picture, and the affine of these axes."""
    axes = image.GetDimension()
    array = sys.modules["SimpleITK"].GetArrayFromImage(image)  # ([z,] y, x[, C])
    array = np.moveaxis(array, -1, 0) if image.GetNumberOfComponentsPerPixel() > 1 else array[None]
    lps = np.eye(4)
    lps[:axes, :axes] = np.reshape(image.GetDirection(), (axes, axes)) * image.GetSpacing()
    lps[:axes, 3] = image.GetOrigin()
    if axes == 2:
        return array, (LPS_TO_RAS @ lps)[:, [1, 0, 2, 3]]
    return array.transpose(0, *range(axes, 0, -1)), LPS_TO_RAS @ lps


def says_nothing(affine: np.ndarray) -> bool:
    """Whether an affine is an identity, whatever its signs, as packages put it where nothing is known.

    That of a picture whose axes are rows and columns has its first two columns changed.
    """
    return any(np.array_equal(np.abs(affine)[:, order], np.eye(4)) for order in ([0, 1, 2, 3], [1, 0, 2, 3]))


def _numpy(value: Any) -> np.ndarray:
    """An array or a tensor, wherever it lies, as an array."""
    if not comes_from(value, "torch"):
        return np.asarray(value)
    import torch

    tensor = value.detach().cpu()
    tensor = tensor.as_tensor() if hasattr(tensor, "as_tensor") else tensor
    return np.asarray((tensor.float() if tensor.dtype == torch.bfloat16 else tensor).numpy())


def picture_of(
    value: Any,
    *,
    where: str,
    spatial_dims: SpatialDims | None = None,
    spacing: Sequence[float] | None = None,
    unit: Unit | None = None,
) -> Picture:
    """The image (C, *S) in an array, a tensor or an image, turned to right, anterior and superior.

    Args:
        where: what it is called in errors.
        spatial_dims: 2 or 3, where its shape does not tell.
        spacing: in mm along each axis of the array; None: that of its affine, if it has one.
        unit: "mm": an identity affine is meant; "pixel": an affine says nothing.

    Raises:
        DataError: its shape has two readings, or its numbers, spacing or affine cannot be those of an image.
    """
    array, affine = array_of(value)
    array = _plain_numbers(array, where)
    if is_torchio_image(value):
        flat = array.shape[-1] == 1
        array = array[..., 0].swapaxes(1, 2) if flat else array
        affine = affine[:, [1, 0, 2, 3]] if flat and affine is not None else affine
    elif not is_image(value):
        array = _channel_first(array, spatial_dims, where)
    if affine is not None and (unit == "pixel" or (unit is None and says_nothing(affine))):
        affine = None
    if affine is not None and not (np.isfinite(affine).all() and abs(np.linalg.det(affine[:3, :3])) > 0):
        raise DataError(f"{where}: its affine is not finite or singular; expected three independent axes")
    axes = array.ndim - 1
    if spacing is not None and (len(spacing) != axes or not all(0 < step < np.inf for step in spacing)):
        raise DataError(f"{where}: found the spacing {tuple(spacing)}; expected {axes} numbers above 0, in mm")
    if affine is not None:
        steps = np.linalg.norm(affine[:3, :axes], axis=0)
        spacing = steps.tolist() if spacing is None else spacing
        affine[:3, :axes] *= np.asarray(spacing) / steps
    elif spacing is None and unit == "mm":
        spacing = (1.0,) * axes
    if axes == 2:
        down, across = map(float, spacing or (1.0, 1.0))
        shape = (int(array.shape[1]), int(array.shape[2]))
        geometry = Geometry(shape, (down, across), unit="pixel" if spacing is None else "mm")
        return Picture(array, geometry, COLOUR if len(array) == len(COLOUR) else numbered(len(array)))
    stored = volume(array.shape[1:], spacing, affine=affine, slice_axis=0)
    geometry = canonical(stored)
    return Picture(turned(array.reshape(len(array), *stored.shape), geometry), geometry, numbered(len(array)))


def part_of(picture: Picture, array: np.ndarray) -> Picture:
    """Some channels (C, *S) of a picture, by the names that they have if they are all of them."""
    names = picture.channels if len(array) == len(picture.array) else numbered(len(array))
    return Picture(array, picture.geometry, names)


def _plain_numbers(array: np.ndarray, where: str) -> np.ndarray:
    """The array in a number type that files have."""
    if array.dtype == np.bool_:
        return array.astype(np.uint8)
    if array.dtype.kind not in "iuf" or array.dtype.itemsize > 8 or not array.size:
        raise DataError(f"{where}: found {array.dtype} {array.shape}; expected whole or real numbers")
    if array.dtype.itemsize == 8 and array.dtype.kind in "iu":
        low, high = int(array.min()), int(array.max())
        return array.astype(np.int32 if low >= -(2**31) and high < 2**31 else np.float64)
    return array


def _channel_first(array: np.ndarray, spatial_dims: SpatialDims | None, where: str) -> np.ndarray:
    """(C, *S) of an array with or without a channel axis.

    Raises:
        DataError: it has too few or too many axes, or two readings.
    """
    found = "(" + ", ".join(map(str, array.shape)) + ")"
    if spatial_dims is None and array.ndim == 3 and array.shape[0] > MOST_CHANNELS:
        last = f", and (H, W, {array.shape[2]}) has its channels last" if array.shape[2] <= MOST_CHANNELS else ""
        raise DataError(
            f"{where}: the shape {found} is that of a volume without a channel axis, or of an image of "
            f"{array.shape[0]} channels{last}; pass spatial_dims=3 or spatial_dims=2, channels first"
        )
    axes = axes_of(array, spatial_dims)
    if array.ndim not in (axes, axes + 1):
        raise DataError(
            f"{where}: found the shape {found}; expected "
            + ("(H, W) or (C, H, W)" if axes == 2 else "(D, H, W) or (C, D, H, W)")
            + ", one case without a batch axis"
        )
    return array if array.ndim == axes + 1 else array[None]


def axes_of(value: Any, spatial_dims: SpatialDims | None = None) -> SpatialDims:
    """How many spatial axes an array, a tensor or an image has, by its number of axes unless it is said."""
    if _is_nibabel(value) or _is_sitk(value):
        return 3 if _is_nibabel(value) or value.GetDimension() == 3 else 2
    return spatial_dims or (3 if value.ndim == 4 else 2)


def _square(affine: np.ndarray) -> np.ndarray:
    """(4, 4) of an affine of two or three axes."""
    if affine.shape == (4, 4):
        return affine
    whole = np.eye(4)
    axes = len(affine) - 1
    whole[:axes, :axes], whole[:axes, 3] = affine[:axes, :axes], affine[:axes, -1]
    return whole
