"""Masks and probability maps of any package as arrays (K, *S), read as the door reads files, and back."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from scantling.api.arrays import Order, Wanted
from scantling.api.images import Form, read
from scantling.api.packages import package_of
from scantling.core.errors import ArrayError, SettingsError
from scantling.data.loading import with_spacing
from scantling.data.orientation import canonical, turned


@dataclass(frozen=True)
class Layers:
    """A mask or maps as they came in.

    Attributes:
        array: (K, *S) in the number type that came in; volumes with an affine turned as those of files are.
        form: how arrays on this grid go back.
        single: whether it came without an axis of channels, and goes back so.
    """

    array: np.ndarray
    form: Form
    single: bool

    def back(self, array: np.ndarray) -> Any:
        """Masks (K, *S) on the grid in the type that came in."""
        return self.form.back(array[0] if self.single else array, labels=True)


def layers_of(x: Any, name: str, *, spatial_dims: int | None, spacing: Sequence[float] | None = None) -> Layers:
    """A mask or probability maps of one image.

    Args:
        x: (*S), or (K, *S) with the channels first, of NumPy or torch; a MetaTensor (K, *S), or an image of nibabel,
            SimpleITK or TorchIO.
        name: of the argument, for errors.
        spatial_dims: 2 or 3; None where it follows from the type, or from two axes.
        spacing: between neighbours along each spatial axis as it came in, in mm; None: what the image says.

    Raises:
        ArrayError: the shape has two readings, or does not fit `spatial_dims`.
        DataError: it is no image, or the spacing does not fit it.
    """
    if isinstance(x, list | tuple):
        x = np.asarray(x)
    package = package_of(x)
    known = _dimensions(x, package)
    if None not in (known, spatial_dims) and known != spatial_dims:
        raise ArrayError(f"{name}: a {type(x).__name__} of {known} spatial axes; found spatial_dims={spatial_dims}")
    if known is None and package in ("numpy", "torch"):
        shape = tuple(x.shape)
        known = _said(shape, spatial_dims, name)
        single = len(shape) == known
        if len(shape) == known + 1 and shape[0] != 1 and shape[-1] == 1:
            raise ArrayError(f"{name}: found the shape {shape}; expected the channel first: numpy.moveaxis(x, -1, 0)")
    else:
        single = package != "monai" or x.ndim == known
    wanted = Wanted(dimensions=known or 3, channels=(name,), pictures=known == 2)
    order: Order | None = "first" if package in ("numpy", "torch", "monai") else None
    received = read(x, wanted, where=name, channels=order)
    geometry = canonical(received.geometry)
    if spacing is not None:
        try:
            steps = tuple(float(step) for step in spacing)
        except (TypeError, ValueError):
            raise SettingsError(
                f"spacing: found {spacing!r}; expected {len(geometry.shape)} lengths above 0, in mm"
            ) from None
        if len(steps) != len(geometry.shape) or not all(0 < step < float("inf") for step in steps):
            raise SettingsError(f"spacing: found {steps}; expected {len(geometry.shape)} lengths above 0, in mm")
        geometry = with_spacing(geometry, steps, name)
    array = received.array.reshape(-1, *received.geometry.shape)
    return Layers(turned(array, geometry), Form(geometry, received), single and len(array) == 1)


def _dimensions(x: Any, package: str) -> int | None:
    """The spatial axes that follow from the type."""
    if package == "monai":
        return int(x.ndim - 1) if x.ndim in (3, 4) else 2
    if package == "SimpleITK":
        return int(x.GetDimension())
    if package == "nibabel":
        return 3
    if package == "torchio":
        return 3 if x.shape[-1] > 1 else 2
    return None


def _said(shape: tuple[int, ...], spatial_dims: int | None, name: str) -> int:
    """The spatial axes of an array (*S) or (K, *S).

    Raises:
        ArrayError: the shape has two readings and none is said, or it has neither.
    """
    if spatial_dims in (2, 3) and len(shape) in (spatial_dims, spatial_dims + 1):
        return spatial_dims
    if spatial_dims is None and len(shape) == 2:
        return 2
    if spatial_dims is None and len(shape) == 3:
        raise ArrayError(
            f"{name}: found the shape {shape}: a volume (spatial_dims=3), or a 2-D image of {shape[0]} classes, "
            "one channel for each (spatial_dims=2); say which"
        )
    if spatial_dims is None and len(shape) == 4:
        raise ArrayError(
            f"{name}: found the shape {shape}: a volume of {shape[0]} classes, one channel for each "
            "(spatial_dims=3), or a batch of 2-D images, which are given one by one; say spatial_dims"
        )
    axes = {2: "(H, W) or (K, H, W)", 3: "(D, H, W) or (K, D, H, W)"}.get(spatial_dims or 0, "spatial_dims of 2 or 3")
    raise ArrayError(f"{name}: found the shape {shape} with spatial_dims={spatial_dims}; expected {axes}: one image")
