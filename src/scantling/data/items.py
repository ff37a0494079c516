"""A data set from what a program holds: dictionaries, subjects of TorchIO, or data sets of MONAI, without a copy."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from scantling.core.case import Address, Case, Labels, Split
from scantling.core.errors import DataError, SettingsError
from scantling.data.contents import Finding, count, safe_id, unique
from scantling.data.dataset import Dataset
from scantling.data.exchange import MAPS
from scantling.data.files import parse_address, stem_of
from scantling.data.formats.common import Picture, numbered
from scantling.data.given import SpatialDims, array_of, axes_of, is_array, is_torchio_image, picture_of
from scantling.data.given import part_of as part
from scantling.data.label_source import LabelSource
from scantling.data.labels import valid_labels
from scantling.data.memory import MEMORY, Items, MemoryAddress
from scantling.data.splits import SPLITS, assign
from scantling.data.transformed import random_in

Classes = Sequence[str] | Mapping[str, int | Sequence[int]]


def dataset_from(
    items: Any,
    *,
    image: str | Sequence[str] = "image",
    label: str | Sequence[str] = "label",
    classes: Classes = (),
    ignore: int | None = None,
    spatial_dims: SpatialDims | None = None,
    name: str = "data",
) -> Dataset:
    """A data set of what a program holds; it goes wherever a folder does, and nothing is copied to disk.

    Args:
        items: a list of dictionaries, as for `monai.data.Dataset`; or of `torchio.Subject`; or a data set of MONAI, of
            TorchIO (`SubjectsDataset`) or of torch with a length, whose transform is applied when a case is read and
            must not be random; or any of these by split: {"train": ..., "validation": ..., "test": ...}. Of an item
            count

            - its images and masks: NumPy arrays, tensors, MetaTensors, images of TorchIO, nibabel or SimpleITK, or
              paths. An array is channel first, (C, H, W) or (C, D, H, W), or (H, W); a mask has no channel or one. A
              MetaTensor and an image bring their affine; an identity affine says nothing of the spacing unless "unit"
              is "mm";
            - "spacing": in mm along each axis of the array, and "unit", "mm" or "pixel";
            - "id", or the "name" of a subject; else the name of the file of its image; else a number;
            - "subject": who was imaged. Without it each item is a subject of its own;
            - "split": "train", "validation" or "test". Where no item has one, subjects are divided by a hash;
            - "image_class", "pool", and the maps "region", "scribbles" and "instances".
        image: the key of the image, or of several that are its channels by these names ("t1", "flair").
        label: the key of the mask, or one for each annotator, the reference first. Items may lack it.
        classes: the names of the classes, which are the values 1, 2, ... of the masks, or the channels of a mask with
            as many, where classes overlap; or the values by name. None: found in the masks, as for folders.
        ignore: the value of pixels of which nothing is known.
        spatial_dims: 2 or 3, where an array of three axes may be an image or a volume.
        name: of the data set, for people.

    Returns:
        A data set with a root of its own, named after what the items hold, by which a run knows it again: to go on with
        a training, make it again from the same items.

    Raises:
        SettingsError: the transform of a data set is random, or `classes` do not name classes.
        DataError: there is no item, one has neither image nor mask, ids are used twice, or a shape has two readings.

    Example:
        >>> items = [{"image": scan, "label": mask, "spacing": (1, 1, 2), "subject": "A"} for scan, mask in scans]
        >>> data = scantling.dataset_from(items, classes=["liver", "tumour"], spatial_dims=3)
        >>> run = scantling.train("unet", data, "runs/liver", preset="quick")
    """
    keys = _Keys(*((one,) if isinstance(one, str) else tuple(one) for one in (image, label)))
    entries = [entry for split, given in _by_split(items).items() for entry in _entries(given, keys, split)]
    if not entries:
        raise DataError("there is no item to make a data set of; pass at least one")
    declared = _labels(classes, ignore)
    layers = _layers(entries, keys, declared)
    if layers and declared is not None:
        declared = declared.model_copy(update={"values": ((),) * len(layers)})
    ids = _ids(entries, keys)
    digest = hashlib.sha256(repr((keys, spatial_dims, declared)).encode(errors="surrogatepass"))
    for entry, id in zip(entries, ids, strict=True):
        _update(digest, (id, entry.raw))
    root = MEMORY / f"{safe_id(name, 'name')}-{digest.hexdigest()[:12]}"
    cases = _cases(entries, ids, _Reader(keys, spatial_dims, layers), root)
    found = assign(unique(cases, name))
    own = [case for case in found if not case.named]
    sentence = f"{count(len(own), 'item')} of {len(found)} without a 'subject': each is a subject of its own"
    remarks = (Finding(level="note", kind="subjects", sentence=sentence),) if own else ()
    masks = tuple(mask for case in found for mask in case.masks[:1] if isinstance(mask, Address))
    source = LabelSource(declared) if declared is not None else LabelSource(masks=masks)
    parted = any(case.split is not None for case in cases)
    return Dataset(name, root, found, source, parted, remarks, "items in memory")


def _cases(entries: Sequence[_Entry], ids: Sequence[str], reader: _Reader, root: Path) -> list[Case]:
    """The case of each item, after making sure that one which is evaluated is the same whenever it is.

    Raises:
        SettingsError: it is not.
        DataError: an item has neither image nor mask.
    """
    evaluated = Items(lambda number: reader.pictures(entries[number].value(), ids[number]))
    cases = [
        reader.case(entry, id, partial(_place, entry, root / id, evaluated, number))
        for number, (entry, id) in enumerate(zip(entries, ids, strict=True))
    ]
    if lazy := [case for entry, case in zip(entries, cases, strict=True) if entry.lazy]:
        evaluated.check(lazy)
    return cases


@dataclass(frozen=True)
class _Keys:
    """The keys of the images and of the masks of an item."""

    images: tuple[str, ...]
    labels: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class _Entry:
    """An item as it is given, before any transform, and as it is read."""

    raw: Mapping[str, Any]
    value: Callable[[], Mapping[str, Any]]
    lazy: bool
    split: Split | None


def _by_split(items: Any) -> dict[Split | None, Any]:
    """The items by the split that they are given for."""
    if not isinstance(items, Mapping):
        return {None: items}
    if not items or (unknown := [key for key in items if key not in SPLITS]):
        raise DataError(
            f"found a dictionary with the keys {', '.join(map(str, unknown)) or 'none'}; expected a list of items, or "
            f"lists by split: {', '.join(SPLITS)}; put a single item into a list"
        )
    return dict(items)


def _entries(given: Any, keys: _Keys, split: Split | None) -> list[_Entry]:
    """The items of a list, or of a data set of another package, which are evaluated where there is a transform."""
    transform = getattr(given, "transform", None) or getattr(given, "_transform", None)
    if transform is not None and (random := random_in(transform)):
        raise SettingsError(
            f"the transform {random} of the data set is random, and a case has to be the same whenever it is read; "
            "leave it out: augmentation is a setting of the method"
        )
    try:
        number = len(given)
    except TypeError:
        raise DataError(
            f"found {type(given).__name__}; expected a list of dictionaries or subjects, or a data set with a length"
        ) from None
    plain = given.dry_iter() if hasattr(given, "dry_iter") else getattr(given, "data", given)
    entries = []
    for n in range(number):
        raw = plain[n] if isinstance(plain, list | tuple) else None
        lazy = transform is not None or raw is None
        evaluate: Callable[[], Mapping[str, Any]] = partial(given.__getitem__, n) if lazy else partial(_itself, raw)
        if not isinstance(raw, Mapping) or not {*keys.images, *keys.labels} & raw.keys():
            raw = evaluate()
            if not isinstance(raw, Mapping):
                raise DataError(f"item {n}: found {type(raw).__name__}; expected a dictionary or a subject of TorchIO")
            if lazy:  # its arrays are made again when they are read
                raw = {key: _digest(value) if is_array(value) else value for key, value in raw.items()}
        entries.append(_Entry(raw=raw, value=evaluate, lazy=lazy, split=split))
    return entries


def _itself(item: Any) -> Any:
    return item


def _digest(value: Any) -> bytes:
    digest = hashlib.sha256()
    _update(digest, value)
    return digest.digest()


def _ids(entries: Sequence[_Entry], keys: _Keys) -> list[str]:
    """An id for each item: its own, else the name of its file, else its number."""
    own = [str(entry.raw.get("id", entry.raw.get("name", ""))) for entry in entries]
    files = [_path_of(entry.raw.get(key)) for entry in entries for key in keys.images[:1]]
    stems = [stem_of(path) if path is not None else "" for path in files]
    if not all(own) and all(stems) and len({*stems}) == len(stems):
        own = [id or stem for id, stem in zip(own, stems, strict=True)]
    return [safe_id(id or f"case-{number:04d}", f"item {number}") for number, id in enumerate(own)]


def _path_of(value: Any) -> Path | None:
    """The file that a value of an item stands for, where it is nothing but that."""
    if isinstance(value, str | Path):
        return Path(value)
    lazy = is_torchio_image(value) and not value._loaded
    return value.path if lazy and isinstance(value.path, Path) and _own_reader(value) else None


def _own_reader(value: Any) -> bool:
    """Whether an image of TorchIO is read as TorchIO reads, not by a function of the user's."""
    return bool(getattr(value.reader, "__module__", "").startswith("torchio"))


def _place(entry: _Entry, path: Path, items: Items, number: int, key: str) -> Address:
    """Where an image or a mask of an item lies: in its file, or in memory."""
    name = key.partition(" ")[0]
    file = _path_of(entry.raw.get(name))
    if file is not None and not entry.lazy and name == key:
        address = parse_address(entry.raw[name] if isinstance(entry.raw[name], str) else file)
        return Address(address.path.absolute(), address.member)
    paths = [_path_of(value) for value in entry.raw.values()]
    files = tuple(one.absolute() for one in paths if one is not None and one.exists())
    return MemoryAddress(path, key, items=items, number=number, files=files)


def _labels(classes: Classes, ignore: int | None) -> Labels | None:
    """What the values of the masks mean, where the caller says it."""
    if not classes:
        if ignore is not None:
            raise SettingsError("ignore: found no classes beside it; pass classes")
        return None
    if isinstance(classes, str):
        raise SettingsError(f"classes: found {classes!r}; expected a list of names")
    numbered = classes if isinstance(classes, Mapping) else {name: n for n, name in enumerate(classes, start=1)}
    values = tuple((v,) if isinstance(v, int | np.integer) else tuple(v) for v in numbered.values())
    labels = Labels(names=tuple(numbered), values=tuple(tuple(map(int, one)) for one in values), ignore=ignore)
    return valid_labels(labels, "classes")


def _layers(entries: Sequence[_Entry], keys: _Keys, labels: Labels | None) -> tuple[str, ...]:
    """The classes that are channels of the masks, which the first mask that is no file tells; none of them if empty."""
    if labels is None or len(labels.names) == 1:
        return ()
    key = keys.labels[0]
    for entry in entries:
        if (entry.lazy or is_array(entry.raw.get(key))) and key in entry.raw:
            array = array_of(entry.value()[key])[0]
            return labels.names if array.ndim > 2 and len(array) == len(labels.names) else ()
    return ()


@dataclass(frozen=True)
class _Reader:
    """Makes cases of items, and images and masks of what they hold."""

    keys: _Keys
    spatial_dims: SpatialDims | None
    layers: tuple[str, ...]
    """The classes that are channels of the masks."""

    def case(self, entry: _Entry, id: str, place: Callable[[str], Address]) -> Case:
        """The case of an item."""
        raw = entry.raw
        images = {key: place(key) for key in self.keys.images if raw.get(key) is not None}
        given = [key for key in self.keys.labels if raw.get(key) is not None]
        masks = [{name: place(f"{key} {name}") for name in self.layers} if self.layers else place(key) for key in given]
        if not images and not masks:
            wanted = ", ".join((*self.keys.images, *self.keys.labels))
            raise DataError(f"item {id}: it holds {', '.join(map(str, raw))}; expected one of {wanted}")
        split = entry.split or raw.get("split") or None
        if split is not None and split not in SPLITS:
            raise DataError(f"item {id}: found the split {split!r}; expected one of {', '.join(SPLITS)}")
        alone = len(self.keys.images) == 1
        maps: dict[str, Any] = {key: place(key) for key in MAPS if raw.get(key) is not None}
        return Case(
            id=id, subject=str(raw.get("subject", id)), named="subject" in raw,
            images={"image": images[self.keys.images[0]]} if alone and images else images, masks=tuple(masks),
            image_class=None if raw.get("image_class") is None else str(raw["image_class"]),
            pool=str(raw.get("pool", "")), split=split,
            **maps,
        )  # fmt: skip

    def pictures(self, item: Mapping[str, Any], id: str) -> dict[str, Picture]:
        """The images and masks of an item by key, and by key and class where classes overlap."""
        found: dict[str, Picture] = {}
        dims = self.spatial_dims
        for key in (*self.keys.images, *self.keys.labels, *MAPS):
            value = item.get(key)
            if value is None or not is_array(value):
                continue
            facts = {"spacing": item.get("spacing"), "unit": item.get("unit")}
            found[key] = picture_of(value, where=f"item {id}, {key}", spatial_dims=dims, **facts)
            if key not in self.keys.images:  # three channels of a mask are classes, not colours
                found[key] = replace(found[key], channels=numbered(len(found[key].array)))
            if dims is None and not is_torchio_image(value):
                dims = axes_of(value)  # the masks of a volume may have no channel axis
            if key in self.keys.labels and self.layers and len(found[key].array) == len(self.layers):
                layers = zip(self.layers, found[key].array, strict=True)
                found |= {f"{key} {name}": part(found[key], layer[None]) for name, layer in layers}
        return found


def _update(digest: Any, value: Any) -> None:
    """Hash what an item is, as far as it can be told without evaluating it."""
    if path := _path_of(value):
        digest.update(f"path {path}\0".encode(errors="surrogatepass"))
    elif isinstance(value, Mapping):
        for key in sorted(value, key=str):
            digest.update(f"key {key}\0".encode())
            _update(digest, value[key])
    elif is_array(value):
        array, affine = array_of(value)
        digest.update(f"{array.dtype} {array.shape} {None if affine is None else affine.tolist()}\0".encode())
        digest.update(np.ascontiguousarray(array).reshape(-1).view(np.uint8).data)
    elif isinstance(value, list | tuple):
        for one in value:
            _update(digest, one)
    elif isinstance(value, str | bytes | int | float | bool | None):
        digest.update(f"{value!r}\0".encode())
    else:
        digest.update(f"{type(value).__name__}\0".encode())
