"""Cases that a model has made, in memory: what `synthesize` would write of each."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from PIL import Image

from scantling.api.calls import public
from scantling.core.case import Geometry, Labels, Origin
from scantling.data.channels import joined
from scantling.data.orientation import as_stored, stored_geometry
from scantling.data.pictures import View, outlined
from scantling.inference.made_cases import MadeArrays
from scantling.inference.writing import values_of
from scantling.report.pictures import png_uri


@dataclass(frozen=True, eq=False, repr=False, kw_only=True)
class Made:
    """One case that a model or a rule has made, with the values and the axes of the files of `synthesize`.

    Attributes:
        id: as `synthesize` calls it; number n of a seed is the same however many are made.
        image: (C, *S) in the number type of the training data, None where only masks are made.
        channels: the names of its channels.
        mask: a label map (*S), 0 where no class is, else `values`; where classes overlap (K, *S) of 0 and 255; None
            where only images are made.
        classes: the names of the classes.
        values: what each of them is in the mask.
        fields: what else is known (*S), 0 and 255, by name: "region", "centre line", "sketch".
        image_class: the class of the image, where it has one.
        spacing: of the axes, in mm, or 1 where nobody says it.
        affine: (4, 4), see `Answer`; None of pictures.
        split: where it may be used: "train", or as the case that it was made from.
        subject: of the case that it was made from, where that names one.
        origin: by which model and seed, from which cases, and how many masks drawn by people stand behind it.

    Example:
        >>> made = scantling.load_model("retina-phantoms").generate(8, size=256, seed=0)
        >>> made[0].image.shape, made[0].mask.shape
        ((3, 256, 256), (256, 256))
    """

    id: str
    image: np.ndarray | None
    channels: tuple[str, ...]
    mask: np.ndarray | None
    classes: tuple[str, ...]
    values: tuple[int, ...]
    fields: Mapping[str, np.ndarray] = field(default_factory=dict)
    image_class: str | None = None
    spacing: tuple[float, ...] = ()
    affine: np.ndarray | None = None
    split: str = "train"
    subject: str = ""
    origin: Origin = Origin()
    _geometry: Geometry

    @public
    def plot(self, *, longest: int = 768) -> Image.Image:
        """A picture of the image with the outline of each class; of a volume the slice with most of the mask.

        Args:
            longest: pixels of its longer side.
        """
        mask, layers = self.mask, list[np.ndarray]()
        if mask is not None:
            several = mask.ndim > len(self._geometry.shape)
            layers = [each > 0 for each in mask] if several else [mask == value for value in self.values]
        shown = np.asarray(np.any(layers, axis=0)) if layers else None
        picture = outlined(self.image, layers, View.of(self._geometry, shown), longest=longest)
        return Image.fromarray(picture)

    def __repr__(self) -> str:
        image = "no image" if self.image is None else f"image {self.image.shape} {self.image.dtype}"
        return f"Made({self.id}: {image}, {'no mask' if self.mask is None else f'mask {self.mask.shape}'})"

    def _repr_html_(self) -> str:
        return f'<img alt="{self.id}" src="{png_uri(np.asarray(self.plot(longest=256)))}">'


def made_of(id: str, arrays: MadeArrays, facts: Mapping[str, Any], *, labels: Labels | None) -> Made:
    """A made case in memory.

    Args:
        facts: what the manifest would say of it.
        labels: the classes of its mask.
    """

    def back(array: np.ndarray) -> np.ndarray:
        single = array.ndim == len(arrays.geometry.shape)
        stored = as_stored(array[None] if single else array, arrays.geometry)
        return stored[0] if single else stored

    geometry = stored_geometry(arrays.geometry)
    return Made(
        id=id,
        image=back(joined([values for _, values in arrays.images])) if arrays.images else None,
        channels=tuple(name for file, _ in arrays.images for name in file.channels),
        mask=None if arrays.mask is None else back(arrays.mask),
        classes=labels.names if labels else (),
        values=values_of(labels) if labels else (),
        fields={name: back(values) for name, values in arrays.fields.items()},
        image_class=arrays.image_class,
        spacing=geometry.spacing,
        affine=geometry.affine,
        split=facts["split"],
        subject=facts.get("subject", ""),
        origin=Origin.model_validate(facts["origin"]),
        _geometry=geometry,
    )
