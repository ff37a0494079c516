"""What a caller holds becomes a sample, and an answer the type and the geometry that came in.

Images of NumPy, torch, MONAI, nibabel, SimpleITK, TorchIO and Pillow are known by the package of their type, which is
imported by whoever made them; files and cases go through the door.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from scantling.api import packages
from scantling.api.arrays import Order, Wanted, affine_of
from scantling.api.packages import Received
from scantling.contract.method import Method
from scantling.core.case import Address, Case, Geometry, Sample
from scantling.core.errors import DataError
from scantling.data.channels import is_grey, named, owner_of, with_image
from scantling.data.contents import count, some
from scantling.data.dataset import Dataset, open_dataset
from scantling.data.files import Picture
from scantling.data.formats.common import COLOUR, numbered
from scantling.data.grids import place
from scantling.data.loading import load, with_spacing
from scantling.data.orientation import as_stored, canonical, stored_geometry, turned
from scantling.data.outside import finite
from scantling.inference.prediction import READS

X = "x"
"""What messages call the image, which is the argument `x`."""
KINDS = (
    "a NumPy array, a torch tensor, a MONAI MetaTensor, an image of nibabel, SimpleITK, TorchIO or Pillow, a TorchIO "
    "Subject, a dictionary of channels, a path or a case of a data set"
)


@dataclass(frozen=True)
class Form:
    """How an image came in, and so how arrays on its grid go back.

    Attributes:
        geometry: the grid of the sample.
        received: its first image, where it was one in memory.
        notes: sentences on how it was read.
    """

    geometry: Geometry
    received: Received | None = None
    notes: tuple[str, ...] = ()

    def back(self, array: np.ndarray, *, labels: bool = False) -> Any:
        """An array (*S) or (K, *S) on the grid of the sample in the type that came in, axes in its order."""
        single = array.ndim == len(self.geometry.shape)
        stored = as_stored(array[None] if single else array, self.geometry)
        if self.received is None:
            return stored[0] if single else stored
        stored = stored.reshape(len(stored), *self.received.spatial)
        return self.received.give(stored[0] if single else stored, labels)

    def several(self, arrays: Sequence[np.ndarray]) -> Any:
        """Masks on the grid of the sample: an array (N, ...) of NumPy or torch, else a list."""
        given = [self.back(array, labels=True) for array in arrays]
        if not given or (self.received is not None and self.received.listed):
            return given
        return np.stack(given) if isinstance(given[0], np.ndarray) else torch.stack(given)

    @property
    def stored(self) -> Geometry:
        """The geometry in the order of the axes that came in."""
        return stored_geometry(self.geometry)


def sample_of(
    x: Any,
    method: Method,
    *,
    id: str = "",
    spacing: float | Sequence[float] | None = None,
    affine: Any = None,
    channels: Order | None = None,
    region: Any = None,
) -> tuple[Sample, Form]:
    """An image as `predict` would read it from a file, and its form; arguments as in `Model.predict`.

    Raises:
        DataError: it is none that the model can answer about, or has two readings.
        FileError: a file cannot be read, or an image holds no finite numbers.
    """
    wanted = Wanted.of(method)
    if isinstance(x, Dataset):
        raise DataError(f"{X}: found a data set of {count(len(x.cases), 'case')}; expected one image; pass x.cases")
    if isinstance(x, str | os.PathLike):
        x = _case_at(os.fspath(x))
    if isinstance(x, Case):
        if affine is not None or channels is not None:
            raise DataError("affine and channels say how an array lies; a file says it itself; leave them out")
        sample = load(x, channels=method.channels, reads=READS, partial=method.partial)
        if spacing is not None:
            sample = replace(sample, geometry=_spaced(sample.geometry, spacing))
        form = Form(sample.geometry)
    else:
        sample, form = _in_memory(x, wanted, id=id, spacing=spacing, affine=affine, channels=channels)
        _check_range(sample, method)
    if (found := len(form.geometry.shape)) != wanted.dimensions:
        raise DataError(
            f"{X}: found {count(found, 'axis', 'axes')} longer than 1; the model takes images of {wanted.dimensions}"
        )
    if region is not None:
        sample = replace(sample, region=_region(region, wanted, sample))
    return sample, form


def _in_memory(
    x: Any, wanted: Wanted, *, id: str, spacing: float | Sequence[float] | None, affine: Any, channels: Order | None
) -> tuple[Sample, Form]:
    """A sample of an image, or of the images of a Subject or of a dictionary by the names of their channels."""
    images = packages.images_in(x)
    if type(images) is dict and "image" in images and not any(owner_of(name, images) for name in wanted.channels):
        images = images["image"]
    several = type(images) is dict
    pictures, forms, outside = dict[str, Picture](), list[Form](), list[np.ndarray]()
    for name, part in (wanted.parts(images) if several else {X: wanted}).items():
        where = f'{X}["{name}"]' if several else X
        received = read(images[name] if several else images, part, where=where, affine=affine, channels=channels)
        geometry = canonical(received.geometry)
        if spacing is not None:
            geometry = _spaced(geometry, spacing)
        array = turned(received.array.reshape(-1, *received.geometry.shape), geometry)
        names = COLOUR if len(array) == 3 and array.dtype == np.uint8 else numbered(len(array))
        picture, lost = finite(Picture(array, geometry, names), where)
        if forms:
            array, _ = place(
                picture.array, geometry, forms[0].geometry, where=where, reference=next(iter(pictures)), labels=False
            )
            picture = replace(picture, array=array, geometry=forms[0].geometry)
        pictures[name] = picture
        forms.append(Form(picture.geometry, received, received.notes))
        outside += [] if lost is None else [lost]
    geometry, beyond = forms[0].geometry, np.logical_or.reduce(outside) if outside else None
    sample = Sample(
        case=Case(id=id, subject=id),
        image=np.zeros((0, *geometry.shape), np.float32),
        geometry=geometry,
        region=None if beyond is None else ~beyond,
        outside=beyond,
    )
    if several:
        return with_image(sample, pictures, wanted.channels, partial=wanted.partial), forms[0]
    return replace(sample, image=named(pictures[X], X, wanted.channels, X)), forms[0]


def read(image: Any, wanted: Wanted, *, where: str, affine: Any = None, channels: Order | None = None) -> Received:
    """An image of any package as an array (C, *spatial), axes in its own order.

    Raises:
        DataError: it is none, or has two readings.
    """
    reader = packages.reader_of(image)
    if reader is None:
        kind = type(image)
        raise DataError(f"{where}: found a {kind.__module__}.{kind.__qualname__}; expected {KINDS}, or a list of them")
    if affine is not None:
        if reader not in (packages.numpy_array, packages.torch_tensor):
            raise DataError(f"affine: a {type(image).__name__} says itself how it lies; leave it out")
        affine = affine_of(affine, "affine")
    received = reader(image, wanted, where, affine, channels)
    array = received.array
    if array.dtype.kind not in "biuf":
        raise DataError(f"{where}: found {array.dtype} of shape {array.shape}; expected whole or real numbers")
    if not array.size:
        raise DataError(f"{where}: found the shape {array.shape}; expected an image that holds pixels")
    kept = {"b1": "u1", "f2": "f4", "f16": "f8"}.get(array.dtype.str[1:], array.dtype.str[1:])
    return replace(received, array=np.asarray(array, kept))


def _case_at(path: str) -> Case:
    """The only image at a path.

    Raises:
        DataError: there is none, or there are several.
    """
    cases = [case for case in open_dataset(path).cases if case.images]
    if len(cases) != 1:
        found = some((case.id for case in cases), most=3)
        raise DataError(
            f"{path}: found {count(len(cases), 'image')}{f' ({found})' if cases else ''}; expected one; pass a list of "
            "files, or answer all of them with scantling.predict(run, path, out=folder)"
        )
    return cases[0]


def _region(region: Any, wanted: Wanted, sample: Sample) -> np.ndarray:
    """The pixels that count (*S) bool, on the grid of the sample.

    Raises:
        DataError: it lies on another grid, holds other values than 0 and 1 or 0 and 255, or marks no pixel.
    """
    if isinstance(region, str | os.PathLike):
        case = Case(id="region", subject="region", region=Address(Path(region)))
        read_region = load(case, reads=("region",))
        array, geometry = read_region.region, read_region.geometry
    else:
        received = read(region, replace(wanted, channels=("region",)), where="region")
        geometry = canonical(received.geometry)
        layers = turned(received.array.reshape(-1, *received.geometry.shape), geometry)
        if not is_grey(layers):
            raise DataError(f"region: found {len(layers)} channels that differ; expected one mask")
        array = layers[0] > 0
        marks = np.unique(layers[0])
        if len(marks) > 2 or not set(marks.tolist()) <= {0, 1, 255}:  # also NaN
            listed = ", ".join(f"{value:g}" for value in marks[:5])
            raise DataError(f"region: found the values {listed}; expected bool, 0 and 1, or 0 and 255: region > 0.5")
    if array is None:
        raise DataError("region: found nothing; expected a mask of the pixels that count")
    (inside,), _ = place(array[None], geometry, sample.geometry, where="region", reference=X)
    if not inside.any():
        raise DataError("region: found no pixel that is marked; leave region out where all pixels count")
    return inside if sample.outside is None else inside & ~sample.outside


def _check_range(sample: Sample, method: Method) -> None:
    """Refuse numbers from 0 to 1 where a model knows images of 8 bits and takes their values as they are.

    Raises:
        DataError: they are such.
    """
    storage, recipe = method.traits.storage, method.preprocessing
    bytes_only = storage is not None and {file.dtype for file in storage.files} == {"uint8"}
    if not bytes_only or recipe.normalise in ("image", "unit") or sample.image.dtype.kind != "f":
        return
    low, high = float(sample.image.min()), float(sample.image.max())
    if low >= 0 and 0 < high <= 1:
        raise DataError(
            f"{X}: found values from {low:.3g} to {high:.3g}; the model was trained on images of 8 bits, 0 to 255, and "
            "does not scale each image by itself; multiply x by 255"
        )


def _spaced(geometry: Geometry, spacing: float | Sequence[float]) -> Geometry:
    """The geometry with another spacing, in mm, axes in the order that came in.

    Raises:
        DataError: it is none.
    """
    axes = len(stored_geometry(geometry).shape)
    try:
        found = np.asarray(spacing, np.float64)
    except (TypeError, ValueError):
        found = np.empty(0)
    if found.shape not in ((), (axes,)) or not (np.isfinite(found).all() and (found > 0).all()):
        raise DataError(f"spacing: found {spacing!r}; expected {axes} lengths above 0, one for each axis of {X}, in mm")
    return with_spacing(geometry, tuple(np.broadcast_to(found, axes).tolist()), X)
