"""Masks and probability maps of any package, of files, cases and answers as arrays (K, *S), and back."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from scantling.api.answers import Answer
from scantling.api.arrays import Order, Wanted
from scantling.api.images import Form, read
from scantling.api.packages import package_of
from scantling.core.case import Geometry
from scantling.core.errors import ArrayError, SettingsError
from scantling.data.files import parse_address, read_labels
from scantling.data.loading import with_spacing
from scantling.data.open_case import OpenCase
from scantling.data.orientation import canonical, turned
from scantling.data.probability_maps import read_probabilities


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


def layers_of(
    x: Any,
    name: str,
    *,
    spatial_dims: int | None,
    spacing: Sequence[float] | None = None,
    maps: bool = False,
    binary: bool = True,
) -> Layers:
    """A mask or probability maps of one image.

    Args:
        x: (*S), or (K, *S) with the channels first, of NumPy or torch; a MetaTensor (K, *S), an image of nibabel,
            SimpleITK or TorchIO; a file; or an `Answer`.
        name: of the argument, for errors.
        spatial_dims: 2 or 3; None where it follows from the type, or from two axes.
        spacing: between neighbours along each spatial axis as it came in, in mm; None: what the image says.
        maps: whether the probability maps of a file or of an answer are meant, not its mask.
        binary: whether 255 is the foreground in a file of nothing but 0 and 255, as masks are written.

    Raises:
        ArrayError: the shape has two readings, or does not fit `spatial_dims`.
        DataError: it is no image, or the spacing does not fit it.
        FileError: a file cannot be read, or holds something else.
    """
    if isinstance(x, Answer):
        held = _of_answer(x, name, maps=maps)
    elif isinstance(x, str | os.PathLike):
        held = _of_file(os.fspath(x), maps=maps, binary=binary)
    else:
        return _of_image(x, name, spatial_dims=spatial_dims, spacing=spacing)
    if spatial_dims not in (None, found := len(held.form.geometry.shape)):
        raise ArrayError(f"{name}: found {found} spatial axes and spatial_dims={spatial_dims}; leave it out")
    return held if spacing is None else Layers(held.array, _spaced(held.form, spacing, name), held.single)


def layers_of_case(case: OpenCase, name: str, *, spacing: Sequence[float] | None = None) -> list[Layers]:
    """The masks of a case, one for each annotator: (1, *S) of class numbers, or (K, *S) of 0 and 1; 255 is unknown.

    Raises:
        ArrayError: it has none.
        FileError, DataError: they cannot be read.
    """
    sample = case.load(reads=("mask", "masks"))
    if not sample.masks:
        raise ArrayError(f"{name}: found no mask of the case {case.id}; expected a labelled case")
    form = Form(sample.geometry) if spacing is None else _spaced(Form(sample.geometry), spacing, name)
    return [Layers(np.asarray(mask), form, single=len(mask) == 1) for mask in sample.masks]


def _of_answer(answer: Answer, name: str, *, maps: bool) -> Layers:
    """The mask of an answer as class numbers (1, *S), or (K, *S) of 0 and 1 where classes overlap; or its maps.

    Raises:
        ArrayError: it has none.
    """
    decided = answer._decided
    array = None if decided is None else decided.probabilities if maps else decided.decision
    if array is None:
        raise ArrayError(f"{name}: found an answer without a {'probability' if maps else 'mask'}; expected one with it")
    single = array.ndim == len(answer._form.geometry.shape)
    return Layers(array[None] if single else array, answer._form, single or len(array) == 1)


def _of_file(path: str, *, maps: bool, binary: bool) -> Layers:
    """The class numbers (1, *S) or the probability maps (K, *S) of a file; what is made of them is NumPy."""
    address = parse_address(path)
    if maps:
        array, geometry = read_probabilities(address)
        return Layers(array, Form(geometry), single=len(array) == 1)
    labels, geometry = read_labels(address)
    if binary and labels.max() == 255 and not ((labels != 0) & (labels != 255)).any():
        labels = labels == 255
    return Layers(labels[None], Form(geometry), single=True)


def _spaced(form: Form, spacing: Sequence[float], name: str) -> Form:
    """The form with another spacing."""
    return replace(form, geometry=_geometry(form.geometry, spacing, name))


def _geometry(geometry: Geometry, spacing: Sequence[float], name: str) -> Geometry:
    """The geometry with another spacing, in mm, axes in the order that came in.

    Raises:
        SettingsError: it does not fit.
    """
    try:
        steps = tuple(float(step) for step in spacing)
    except (TypeError, ValueError):
        raise SettingsError(
            f"spacing: found {spacing!r}; expected {len(geometry.shape)} lengths above 0, in mm"
        ) from None
    if len(steps) != len(geometry.shape) or not all(0 < step < float("inf") for step in steps):
        raise SettingsError(f"spacing: found {steps}; expected {len(geometry.shape)} lengths above 0, in mm")
    return with_spacing(geometry, steps, name)


def _of_image(x: Any, name: str, *, spatial_dims: int | None, spacing: Sequence[float] | None) -> Layers:
    """A mask or maps of an array, or of an image of another package; arguments as of `layers_of`."""
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
        geometry = _geometry(geometry, spacing, name)
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
