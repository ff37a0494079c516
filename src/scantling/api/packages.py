"""Images of other packages as arrays and back; no package is imported unless an image of it is given.

How the axes are read: NumPy and torch by their shape (`arrays.channels_first`); a MetaTensor has its channels first, a
SimpleITK image is (x, y, z) with components, a nibabel image (X, Y, Z[, C]), a TorchIO image (C, W, H, D). Flat images
are rows and columns where the model was trained on pictures.
"""

from __future__ import annotations

import copy
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from math import prod
from typing import Any

import numpy as np

from scantling.api.arrays import Order, Wanted, affine_of, array_geometry, channels_first, flat, placed, source_of
from scantling.core.case import Geometry
from scantling.core.errors import DataError
from scantling.data.contents import some
from scantling.data.formats.common import LPS_TO_RAS
from scantling.data.given import array_of


@dataclass(frozen=True)
class Received:
    """An image as it came in.

    Attributes:
        array: (C, *spatial) in the number type of the image.
        geometry: of the array, axes of length 1 left out.
        spatial: its spatial shape.
        give: makes an array (*spatial) or (K, *spatial), of labels or of numbers, what came in.
        listed: whether several masks are a list, and no array.
        notes: sentences on how it was read.
    """

    array: np.ndarray
    geometry: Geometry
    give: Callable[[np.ndarray, bool], Any]
    listed: bool = True
    notes: tuple[str, ...] = ()

    @property
    def spatial(self) -> tuple[int, ...]:
        """The spatial shape."""
        return self.array.shape[1:]


Reader = Callable[[Any, Wanted, str, np.ndarray | None, Order | None], Received]
"""Of an image, what is wanted, what messages call it, and of arrays the affine and where the channels are."""


def package_of(x: Any) -> str:
    """The package of `READERS` that the type of an object comes from; empty if none."""
    homes = [kind.__module__.partition(".")[0] for kind in type(x).__mro__]
    return next(
        (name for name in ("monai", "torchio", "nibabel", "SimpleITK", "PIL", "torch", "numpy") if name in homes), ""
    )


def reader_of(x: Any) -> Reader | None:
    """What reads an image; None of anything else."""
    package, attribute = package_of(x), {"torchio": "affine", "nibabel": "dataobj", "SimpleITK": "GetDirection"}
    if package == "monai" and not hasattr(x, "as_tensor"):
        return None
    return READERS.get(package) if hasattr(x, attribute.get(package, "__class__")) else None


def images_in(x: Any) -> Any:
    """The images of a dictionary or a TorchIO Subject by name, of a Subject with one just that; else `x` itself.

    Raises:
        DataError: there is none.
    """
    if not isinstance(x, Mapping) or reader_of(x) is not None:
        return x
    if package_of(x) != "torchio":
        if not x:
            raise DataError("x: found an empty dictionary; expected an image for each channel, by its name")
        return dict(x)
    scalar = sys.modules["torchio"].ScalarImage
    images = {str(name): image for name, image in x.items() if isinstance(image, scalar)}
    if not images:
        raise DataError(f"x: found a Subject with {some(map(str, x)) or 'nothing'}; expected a ScalarImage in it")
    return next(iter(images.values())) if len(images) == 1 else images


def numpy_array(x: np.ndarray, wanted: Wanted, where: str, affine: np.ndarray | None, order: Order | None) -> Received:
    """An array of NumPy.

    Raises:
        DataError: some of its values are masked.
    """
    if np.ma.is_masked(x):
        raise DataError(
            f"{where}: some of its values are masked; pass x.data, and region=~x.mask where they do not count"
        )
    array = channels_first(np.asarray(x), wanted, where, order)
    geometry, notes = array_geometry(array.shape[1:], wanted, affine)
    return Received(array, geometry, lambda back, labels: back, listed=False, notes=notes)


def torch_tensor(x: Any, wanted: Wanted, where: str, affine: np.ndarray | None, order: Order | None) -> Received:
    """A tensor of torch; what is given back is on its device."""
    import torch

    array = channels_first(array_of(x)[0], wanted, where, order)
    geometry, notes = array_geometry(array.shape[1:], wanted, affine)
    return Received(
        array, geometry, lambda back, labels: torch.from_numpy(back).to(x.device), listed=False, notes=notes
    )


def pillow_image(x: Any, wanted: Wanted, where: str, affine: np.ndarray | None, order: Order | None) -> Received:
    """An image of Pillow, in colour where it has a palette; what is given back is of NumPy."""
    plain = x if x.mode in ("1", "L", "RGB", "RGBA", "I", "I;16", "F") else x.convert("RGB")
    return numpy_array(np.array(plain), wanted, where, affine, "last" if len(plain.getbands()) > 1 else order)


def meta_tensor(x: Any, wanted: Wanted, where: str, affine: np.ndarray | None, order: Order | None) -> Received:
    """A MetaTensor of MONAI, channels first; its affine counts, and meta data and history go with the answer."""
    import torch

    axes, (array, own) = wanted.dimensions, array_of(x)
    array = channels_first(array, wanted, where, order or ("first" if array.ndim == axes + 1 else None))
    own = affine_of(own, where)
    notes: tuple[str, ...] = ()
    if wanted.pictures:
        geometry = flat(array.shape[1:], np.linalg.norm(own[:3, :2], axis=0), wanted)
        if str(x.meta.get("filename_or_obj", "")).lower().endswith((".png", ".jpg", ".jpeg", ".bmp")):
            notes = (
                "x was read by MONAI, whose reader of pictures puts columns before rows unless it is made with "
                "reverse_indexing=False; rows are taken to be first",
            )
    else:
        geometry = placed(array.shape[1:], own, wanted, where)

    def give(back: np.ndarray, labels: bool) -> Any:
        back = back[None] if back.ndim == axes and x.ndim > axes else back
        history = copy.deepcopy(x.applied_operations)
        return type(x)(torch.from_numpy(back).to(x.device), meta=copy.deepcopy(x.meta), applied_operations=history)

    return Received(array, geometry, give, notes=notes)


def nibabel_image(x: Any, wanted: Wanted, where: str, affine: np.ndarray | None, order: Order | None) -> Received:
    """An image of nibabel, as the file would be read that it is; several maps have K as their fourth axis."""
    from nibabel.nifti1 import Nifti1Header

    from scantling.data.formats.nifti import geometry_of

    array = np.asanyarray(x.dataobj)
    if array.ndim < 2 or sum(length > 1 for length in array.shape[3:]) > 1:
        raise DataError(f"{where}: found the axes {array.shape}; expected two or three, and at most one of channels")
    stored = (*array.shape, 1)[:3]
    slope = float(getattr(x.dataobj, "slope", 1.0)), float(getattr(x.dataobj, "inter", 0.0))
    array = array.astype(np.float32) if slope != (1.0, 0.0) and array.dtype.kind == "f" else array
    array = np.moveaxis(array.reshape(*stored, prod(array.shape[3:])), -1, 0)
    header = x.header.copy()
    if isinstance(header, Nifti1Header):
        if x.affine is not None and not np.allclose(x.affine, header.get_best_affine()):
            header.set_sform(x.affine, code="aligned")
        geometry = geometry_of(source_of(where), header, stored)
        header["cal_min"] = header["cal_max"] = 0
    else:
        geometry = placed(stored, affine_of(x.affine, where), wanted, where)

    def give(back: np.ndarray, labels: bool) -> Any:
        fits = header.copy()
        fits.set_data_dtype(back.dtype)
        back = back.reshape(x.shape[:3]) if back.ndim == len(stored) else np.moveaxis(back, 0, -1)
        return type(x)(back, x.affine, fits)

    return Received(array, geometry, give)


def sitk_image(x: Any, wanted: Wanted, where: str, affine: np.ndarray | None, order: Order | None) -> Received:
    """An image of SimpleITK; several maps are the components of one image."""
    sitk, axes = sys.modules["SimpleITK"], x.GetDimension()
    if axes not in (2, 3):
        raise DataError(f"{where}: found {axes} axes; expected 2 or 3, and channels as components")
    array = sitk.GetArrayFromImage(x)  # ([z,] y, x[, C])
    array = np.moveaxis(array, -1, 0) if x.GetNumberOfComponentsPerPixel() > 1 else array[None]
    rows = wanted.pictures and axes == 2
    if rows:
        geometry = flat(array.shape[1:], np.array(x.GetSpacing()[::-1]), wanted)
    else:
        array, lps = array.transpose(0, *range(axes, 0, -1)), np.eye(4)
        lps[:axes, :axes] = np.reshape(x.GetDirection(), (axes, axes)) * x.GetSpacing()
        lps[:axes, 3] = x.GetOrigin()
        geometry = placed(array.shape[1:], LPS_TO_RAS @ lps, wanted, where)

    def give(back: np.ndarray, labels: bool) -> Any:
        several = back.ndim > axes
        back = np.moveaxis(back, 0, -1) if several else back
        back = back if rows else back.transpose(*range(axes - 1, -1, -1), *([axes] if several else []))
        image = sitk.GetImageFromArray(np.ascontiguousarray(back), isVector=several)
        image.CopyInformation(x)
        return image

    return Received(array, geometry, give)


def torchio_image(x: Any, wanted: Wanted, where: str, affine: np.ndarray | None, order: Order | None) -> Received:
    """An image of TorchIO (C, W, H, D); a mask is a LabelMap, other maps are a ScalarImage."""
    import torch

    tio, (array, own) = sys.modules["torchio"], array_of(x)
    pictures = wanted.pictures and array.shape[-1] == 1
    if pictures:
        array = array[..., 0].swapaxes(1, 2)
        geometry = flat(array.shape[1:], np.array(x.spacing[1::-1]), wanted)
    else:
        geometry = placed(array.shape[1:], affine_of(own, where), wanted, where)
    axes = array.ndim - 1

    def give(back: np.ndarray, labels: bool) -> Any:
        back = back[None] if back.ndim == axes else back
        back = back.swapaxes(1, 2)[..., None] if pictures else back
        kind = tio.LabelMap if labels else tio.ScalarImage
        return kind(tensor=torch.from_numpy(np.ascontiguousarray(back)), affine=x.affine)

    return Received(array, geometry, give)


READERS: Mapping[str, Reader] = {
    "monai": meta_tensor,
    "torchio": torchio_image,
    "nibabel": nibabel_image,
    "SimpleITK": sitk_image,
    "PIL": pillow_image,
    "torch": torch_tensor,
    "numpy": numpy_array,
}
