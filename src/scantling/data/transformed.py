"""A data set whose cases a transform of MONAI or TorchIO has changed, grid and all, before any method sees them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from scantling.core.case import IGNORE, Address, Case, Labels, Sample
from scantling.core.errors import DataError, SettingsError
from scantling.data.contents import Finding
from scantling.data.exchange import MAPS, READS, affine_of, item_of, label_key, loaded_subject, torchio_affine
from scantling.data.formats.common import Picture
from scantling.data.given import array_of, comes_from, is_array, is_torchio_image, part_of, picture_of
from scantling.data.label_source import LabelSource
from scantling.data.loading import load
from scantling.data.memory import MEMORY, Items, MemoryAddress

if TYPE_CHECKING:
    from scantling.data.dataset import Dataset


def transformed(dataset: Dataset, transform: Callable[[Any], Any]) -> Dataset:
    """See `Dataset.with_transform`."""
    if random := random_in(transform):
        raise SettingsError(
            f"the transform {random} is random, and a case has to be the same whenever it is read; leave it out: "
            "augmentation is a setting of the method"
        )
    labels = dataset.labels
    dataset = dataset.with_instances(labels)
    cases = dataset.cases
    as_item = loaded_subject if comes_from(transform, "torchio") else item_of

    def evaluate(number: int) -> dict[str, Picture]:
        sample = load(cases[number], labels=labels, reads=READS)
        if sample.outside is not None:  # it stays where the image holds no number
            image = sample.image.astype(np.float32)
            image[:, sample.outside] = np.nan
            sample = replace(sample, image=image)
        return _pictures(transform(as_item(sample)), sample, labels)

    items, name = Items(evaluate), described(transform)
    new = tuple(_case(case, number, items, dataset.name, labels) for number, case in enumerate(cases))
    items.check(new)
    sentence = f"every case is what {name} makes of its files; give the model images after the same transform"
    return replace(
        dataset, cases=new, label_source=LabelSource(None if labels is None else _class_numbers(labels)),
        remarks=(*dataset.remarks, Finding(level="warning", kind="transform", sentence=sentence)),
    )  # fmt: skip


def _class_numbers(labels: Labels) -> Labels:
    """What the masks mean once they hold class numbers."""
    values = tuple((number,) if labels.exclusive else () for number, _ in enumerate(labels.names, start=1))
    return Labels(names=labels.names, values=values, ignore=IGNORE)


def _case(case: Case, number: int, items: Items, name: str, labels: Labels | None) -> Case:
    """A case whose arrays are what the transform gives."""
    files = tuple(
        path
        for _, address in case.addresses()
        for path in (address.files if isinstance(address, MemoryAddress) else (address.path,))
    )

    def place(role: str) -> MemoryAddress:
        return MemoryAddress(MEMORY / name / case.id, role, items=items, number=number, files=files)

    masks: list[Address | Mapping[str, Address]] = []
    for annotator, mask in enumerate(case.masks):
        names = tuple(mask) if isinstance(mask, Mapping) else labels.names if labels and not labels.exclusive else ()
        key = label_key(annotator)
        masks.append({each: place(f"{key} {each}") for each in names} if names else place(key))
    maps: dict[str, Any] = {each: place(each) for each in MAPS if getattr(case, each) is not None}
    return replace(
        case, images={each: place(f"image {each}") for each in case.images}, masks=tuple(masks), **maps, known=None,
        drawn_slices=None, drawn_axis=None, drawn_objects=None, drawn_rim=0.0, drawn_classes=None,
        spacing=None, threshold=None,
    )  # fmt: skip


def _pictures(item: Any, sample: Sample, labels: Labels | None) -> dict[str, Picture]:
    """The arrays of a transformed case by role.

    Raises:
        DataError: it is no item any more, lost a channel, or is on another grid than the boxes and points of its case.
    """
    case, found = sample.case, dict[str, Picture]()
    if not isinstance(item, Mapping):
        raise DataError(f"the transform gave {type(item).__name__}; expected one dictionary or subject for each case")
    for key, value in item.items():
        if is_array(value) and (key == "image" or key in MAPS or key.startswith("label")):
            found[key] = _placed(value, sample, f"{case.id}, {key}")
    changed = any(picture.geometry is not sample.geometry for picture in found.values())
    if changed and (case.boxes or case.points):
        raise DataError("the transform changes the grid of a case that has boxes or points, which it does not move")
    if image := found.pop("image", None):
        names = [*case.images]
        if len(names) > 1 and len(image.array) != len(sample.image):
            raise DataError(
                f"the transform made {len(image.array)} channels of {len(sample.image)}; expected as many, since the "
                f"case has several images ({', '.join(names)})"
            )
        parts = np.split(image.array, len(names)) if len(names) > 1 else [image.array]
        for name, part in zip(names, parts, strict=True):
            found[f"image {name}"] = part_of(image, part)
    for key in [key for key in found if key.startswith("label")]:
        if labels is not None and len(found[key].array) == len(labels.names):
            layers = zip(labels.names, found[key].array, strict=True)
            found |= {f"{key} {name}": part_of(found[key], layer[None]) for name, layer in layers}
    return found


def _placed(value: Any, sample: Sample, where: str) -> Picture:
    """The array of a transformed case with the geometry of its file, where the transform has left that alone."""
    before = sample.geometry
    picture = picture_of(value, where=where, spatial_dims=3 if len(before.shape) == 3 else 2, unit=before.unit)
    affine, was = array_of(value)[1], torchio_affine(before) if is_torchio_image(value) else affine_of(before)
    same = affine is None or np.allclose(affine, was, atol=1e-5)
    if same and picture.array.shape[1:] == before.shape:
        return Picture(picture.array, before, picture.channels)
    return picture


def random_in(transform: object) -> str:
    """The name of a random transform of MONAI or TorchIO that `transform` is, or applies; empty if there is none."""
    kinds = type(transform).__mro__
    if type(transform).__name__ == "Compose":
        return next(filter(None, map(random_in, getattr(transform, "transforms", ()))), "")
    random = {"RandomizableTrait", "Randomizable", "RandomTransform"}
    foreign = any(kind.__name__ in random and kind.__module__.startswith(("monai.", "torchio.")) for kind in kinds)
    return type(transform).__name__ if foreign else ""


def described(transform: object) -> str:
    """The transform by its name, a composition by those of its parts."""
    if parts := getattr(transform, "transforms", None):
        return ", ".join(described(part) for part in parts)
    return str(getattr(transform, "__name__", type(transform).__name__))
