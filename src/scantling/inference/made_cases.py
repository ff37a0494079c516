"""How made cases are written: images as the training data are stored, masks, objects, and what else is known."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from scantling.contract.capabilities import Generator
from scantling.contract.results import Generation, Objects
from scantling.core.case import IGNORE, Geometry, Labels
from scantling.core.errors import RunError
from scantling.core.samples import Intensity, StoredImage
from scantling.data.files import safe_id, write_image, write_labels
from scantling.data.formats.common import COLOUR
from scantling.data.labels import class_folder
from scantling.data.orientation import stored_as, turned_rows
from scantling.data.preprocessing import denormalise, intensities_of
from scantling.inference.answering import decide
from scantling.inference.objects import label_map
from scantling.inference.writing import INSTANCES, mask_values, written_ignore, written_values

FOLDERS = {"region": "fov", "centre line": "centre-lines", "sketch": "sketches"}
"""What is known of an image beside its mask, and the folder that it goes into."""


def split_rows(answer: Generation, count: int) -> Iterator[Generation]:
    """One answer for each case that was made, on the processor.

    Raises:
        RunError: the model has made neither images nor masks, or not as many as it was asked for, or
            values that are not finite.
    """
    if answer.masks is None and answer.images is None:
        raise RunError("the model has made neither images nor masks")
    parts: dict[str, Sequence[Any] | Tensor | None] = {
        "masks": answer.masks,
        "images": answer.images,
        "image classes": answer.image_classes,
        "instances": answer.instances or None,
        "points": answer.points or None,
        "point classes": answer.point_classes or None,
        "parents": answer.parents or None,
        **answer.fields,
    }
    for name, part in parts.items():
        if part is not None and len(part) != count:
            raise RunError(f"the model has made {name} of {len(part)} cases; expected {count}")
        if isinstance(part, Tensor) and not bool(torch.isfinite(part).all()):
            raise RunError(f"the model has made {name} that are not finite; train it again")
    for row in range(count):
        one = slice(row, row + 1)
        mask = None if answer.masks is None else answer.masks[one].cpu()
        yield replace(
            answer,
            masks=None if mask is None else mask if mask.dtype == torch.bool else mask.float(),
            images=None if answer.images is None else answer.images[one].float().cpu(),
            fields={name: tensor[one].cpu() for name, tensor in answer.fields.items()},
            instances=answer.instances[one],
            points=answer.points[one],
            point_classes=answer.point_classes[one],
            parents=answer.parents[one],
            image_classes=None if answer.image_classes is None else answer.image_classes[one].cpu(),
        )


@dataclass(frozen=True, kw_only=True)
class MadeArrays:
    """A made case as its files hold it, axes in the order of `geometry`.

    Attributes:
        mask: values (*S), or (K, *S) of 0 and 255 where classes overlap.
        images: each file with its channels (C, *S), in its number type.
        fields: what else is known (*S), by name: 0 and 255, of scribbles the values of the classes.
        image_class: the class of the image.
    """

    geometry: Geometry
    mask: np.ndarray | None
    images: Sequence[tuple[StoredImage, np.ndarray]]
    fields: Mapping[str, np.ndarray]
    image_class: str | None


def arrays_of(id: str, made: Generation, method: Generator, *, parent: Geometry | None = None) -> MadeArrays:
    """The arrays of one case, the only one of `made`; arguments as in `write_case`.

    Raises:
        RunError: what was made does not fit what the model knows of its classes and channels.
    """
    first = made.masks if made.masks is not None else made.images
    shape = tuple(first.shape[2:]) if first is not None else ()
    for name, tensor in {"mask": made.masks, "image": made.images, **made.fields}.items():
        if tensor is not None and tuple(tensor.shape[2:]) != shape:
            raise RunError(f"{id}: its {name} has {tuple(tensor.shape[2:])} pixels; expected {shape}")
    labels, classes = method.traits.labels, None
    if made.image_classes is not None:
        (classes,) = _class_names(id, "image", made.image_classes, method.traits.image_classes)
    fields = {name: tensor[0, 0].numpy() for name, tensor in made.fields.items()}
    return MadeArrays(
        geometry=geometry_of(shape, method, parent),
        mask=None if made.masks is None else _mask(id, made.masks[0].numpy(), labels),
        images=[] if made.images is None else _images(id, made.images[0].numpy(), made.normalised, method),
        fields={
            name: scribble_values(id, values, labels)
            if name == "scribbles"
            else (values > 0).astype(np.uint8) * np.uint8(255)
            for name, values in fields.items()
        },
        image_class=classes,
    )


def write_case(
    out: Path,
    id: str,
    made: Generation,
    method: Generator,
    *,
    facts: Mapping[str, Any],
    parent: Geometry | None = None,
    mark: Callable[[str, MadeArrays], MadeArrays] | None = None,
    labels: Labels | None = None,
) -> dict[str, Any]:
    """Write one case, the only one of `made`.

    Args:
        facts: what the manifest says of it whatever was made: its split, its origin.
        parent: the geometry of the case that it was conditioned on.
        mark: adds the masks that another model makes of the images.
        labels: of the masks; those of the method if None.

    Returns:
        Its entry in the manifest.

    Raises:
        RunError: what was made does not fit what the model knows of its classes and channels.
    """
    arrays, labels = arrays_of(id, made, method, parent=parent), labels or method.traits.labels
    arrays = arrays if mark is None else mark(id, arrays)
    geometry = arrays.geometry

    def layer(folder: str, values: np.ndarray) -> str:
        return write_labels(out / folder, id, values, geometry).relative_to(out).as_posix()

    entry: dict[str, Any] = {"id": id, "split": facts["split"]}
    if arrays.mask is not None and labels is not None:
        entry["masks"] = [
            layer("masks", arrays.mask)
            if labels.exclusive
            else {
                name: layer(f"masks/{class_folder(name)}", values)
                for name, values in zip(labels.names, arrays.mask, strict=True)
            }
        ]
    entry |= {name: value for name, value in facts.items() if name != "split"}
    if arrays.images:
        entry["images"] = _written(out, id, arrays)
    if geometry.container == "raster" and geometry.unit == "mm":
        entry["spacing"] = list(geometry.spacing)
    if arrays.image_class is not None:
        entry["class"] = arrays.image_class
    for name, values in arrays.fields.items():
        path = layer(FOLDERS.get(name, name), values)
        if name in ("region", "scribbles"):
            entry[name] = path
    if made.instances:
        entry |= _instances(out, id, made.instances[0], geometry, method.traits.classes)
    if made.points:
        points = turned_rows(
            made.points[0].double().cpu().numpy().reshape(-1, len(geometry.shape)), geometry, "points", back=True
        )
        entry["points"] = points.round(3).tolist()
        if not made.point_classes and len(method.traits.classes) > 1:
            raise RunError(f"{id}: the model has made points without their classes; it knows several")
        numbers = made.point_classes[0] if made.point_classes else torch.zeros(len(made.points[0]))
        entry["point_classes"] = _class_names(id, "points", numbers, method.traits.classes)
    return entry


def geometry_of(shape: tuple[int, ...], method: Generator, parent: Geometry | None = None) -> Geometry:
    """How a made case lies in the world: as its parent does, else as the training data do.

    Pixels are as large as those of the data, or of the grid that the method's preprocessing brings images to, and their
    size is not known where that of the data is not. A slice of volumes keeps the spacing and the directions of its
    plane. The axes of a volume are stored as theirs are.
    """
    if parent is not None and parent.orientation is not None and shape == parent.shape:
        return parent
    traits, recipe, storage = method.traits, method.preprocessing, method.traits.storage
    measured = None if storage is None or storage.affine is None else np.array(storage.affine)
    unit = traits.unit  # models of earlier versions do not say it
    if unit is None:
        unit = "pixel" if measured is None and set(traits.spacing) == {1.0} else "mm"
    base = parent or Geometry(traits.shape, traits.spacing, measured if unit == "mm" else None, unit=unit)
    whole, spacing = np.array(base.shape, float), np.array(base.spacing)
    affine = None if base.affine is None else base.affine.copy()
    if storage is None and parent is None and len(shape) == 3:
        affine = np.diag([*spacing, 1.0])
    if len(shape) < len(spacing):  # a slice
        axes = [axis for axis in range(len(spacing)) if axis != traits.slice_axis]
        whole, spacing = whole[axes], spacing[axes]
        affine = None if affine is None else affine[:, [*axes, traits.slice_axis, 3]]
    new = spacing
    if parent is not None or recipe.size is not None or recipe.longest is not None:
        new = spacing * whole / np.array(shape)
    elif recipe.spacing is not None:
        new = np.array(recipe.spacing)
    if base.unit == "pixel" and affine is None:
        new = np.ones(len(shape))
    if affine is not None:
        factor = new / spacing
        affine[:3, 3] += affine[:3, : len(shape)] @ ((factor - 1) / 2)  # the borders stay where they are
        affine[:3, : len(shape)] *= factor
    flat = len(shape) == 2 and (storage is None or storage.container == "raster")
    found = Geometry(shape, tuple(new.tolist()), affine, "raster" if flat else "volume", unit=base.unit)
    way = parent.orientation if parent is not None else storage
    return found if way is None else stored_as(found, way.axes, way.flips)


def files_of(method: Generator) -> list[StoredImage]:
    """The files that the made channels are written into: as in the data where all channels of a file are made."""
    traits, channels = method.traits, method.channels_out
    known = traits.storage.files if traits.storage is not None else ()
    if not known and (len(channels) == 1 or channels == COLOUR or all(name.isdecimal() for name in channels)):
        return [StoredImage(name="image", channels=channels)]
    left, files = channels, list[StoredImage]()
    while left:
        whole = [file for file in known if file.channels == left[: len(file.channels)]]
        owner = next((file for file in known if left[0] in file.channels), None)
        dtype = (owner or next(iter(known), StoredImage(name="image", channels=()))).dtype
        files.append(whole[0] if whole else StoredImage(name=left[0], channels=left[:1], dtype=dtype))
        left = left[len(files[-1].channels) :]
    return files


def _images(id: str, images: np.ndarray, normalised: bool, method: Generator) -> list[tuple[StoredImage, np.ndarray]]:
    """The channels (C, *S) of each file, in the units and the number types of the training data."""
    traits, channels = method.traits, method.channels_out
    if len(images) != len(channels):
        raise RunError(f"{id}: the model has made {len(images)} channels; expected {len(channels)}: {list(channels)}")
    known = dict(zip(traits.channels, traits.intensity, strict=True))
    if normalised:
        if strange := [name for name in channels if name not in known]:
            raise RunError(f"{id}: the units of the channel {strange[0]!r} are not known; known: {list(known)}")
        units = dict(zip(traits.channels, intensities_of(method.preprocessing, traits), strict=True))
        images = denormalise(images, method.preprocessing, [units[name] for name in channels])
    found, start = [], 0
    for file in files_of(method):
        values = images[start : start + len(file.channels)]
        if not normalised:
            values = np.stack([_in_range(v, file, known.get(n)) for n, v in zip(file.channels, values, strict=True)])
        found.append((file, stored(values, file.dtype)))
        start += len(file.channels)
    return found


def _written(out: Path, id: str, arrays: MadeArrays) -> dict[str, str]:
    """Write the files of the images; their paths below `out`, by name."""
    paths = {}
    for file, values in arrays.images:
        alone = len(arrays.images) == 1 and file.name == "image"
        folder = out / "images" if alone else out / "images" / safe_id(file.name)
        names = tuple(name.removeprefix(f"{file.name} ") for name in file.channels)
        path = write_image(folder, id, values, arrays.geometry, colour=names == COLOUR)
        paths[file.name] = path.relative_to(out).as_posix()
    return paths


def _in_range(values: np.ndarray, file: StoredImage, facts: Intensity | None) -> np.ndarray:
    """Values in [0, 1] between the least and the greatest that such files hold: 8 bits use all of theirs."""
    if file.dtype == "uint8":
        return values * 255
    low, high = (0.0, 1.0) if facts is None else (facts.minimum, facts.maximum)
    return values * (high - low) + low


def stored(values: np.ndarray, dtype: str) -> np.ndarray:
    """Values in a number type: rounded to the nearest and clipped to its range, where it has one."""
    if np.dtype(dtype).kind == "f":
        return values.astype(dtype)
    limits = np.iinfo(dtype)
    return values.round().clip(limits.min, limits.max).astype(dtype)


def _mask(id: str, probabilities: np.ndarray, labels: Labels | None) -> np.ndarray:
    """The values of a mask from probabilities (K, *S): see `MadeArrays`."""
    names = labels.names if labels else ()
    if labels is None or len(probabilities) != len(names):
        raise RunError(
            f"{id}: the model has made masks of {len(probabilities)} classes; expected {len(names)}: {', '.join(names)}"
        )
    return mask_values(decide(probabilities, exclusive=labels.exclusive), labels)


def _instances(out: Path, id: str, objects: Objects, geometry: Geometry, classes: Sequence[str]) -> dict[str, Any]:
    """Write the label map of objects, the number of each its place from 1; or just their boxes, without masks."""
    if objects.corners is None:
        boxes = turned_rows(objects.boxes.double().cpu().numpy(), geometry, "boxes", back=True)
        return {"boxes": boxes.round(3).tolist(), "box_classes": _class_names(id, "boxes", objects.classes, classes)}
    numbers = label_map(objects, geometry.shape)
    if numbers is None:
        raise RunError(f"{id}: the model has made objects that overlap, which one label map cannot hold")
    return {INSTANCES: write_labels(out / INSTANCES, id, numbers, geometry).relative_to(out).as_posix()}


def unlabelled_value(labels: Labels) -> int:
    """The value of masks where nothing was drawn: that of the data, else the greatest that no class has."""
    taken = {value for values in written_values(labels) for value in values}
    ignore = written_ignore(labels)
    return ignore if ignore is not None else next(v for v in range(IGNORE, 0, -1) if v not in taken)


def scribble_values(id: str, numbers: np.ndarray, labels: Labels | None) -> np.ndarray:
    """The values of scribbles (*S) in their file, from class numbers and `IGNORE`."""
    if labels is None or not labels.exclusive:
        raise RunError(f"{id}: the model has made scribbles, which need classes that do not overlap")
    values = np.full(IGNORE + 1, unlabelled_value(labels), np.int32)
    values[: len(labels.names) + 1] = [0, *(named[0] for named in written_values(labels))]
    return values[numbers.astype(np.uint8)]


def _class_names(id: str, what: str, numbers: Tensor, classes: Sequence[str]) -> list[str]:
    """The names of classes by number, from 0."""
    for number in numbers.tolist():
        if not 0 <= number < len(classes):
            raise RunError(f"{id}: a class of its {what} has the number {number:g}; the model knows {len(classes)}")
    return [classes[int(number)] for number in numbers.tolist()]
