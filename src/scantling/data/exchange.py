"""A case as an item of a MONAI data set, and as a subject of TorchIO."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np

from scantling.core.case import Case, Geometry, Labels, Sample, Split, Unit
from scantling.core.errors import DataError, SettingsError
from scantling.data.files import probe
from scantling.data.loading import EVERYTHING, load
from scantling.data.memory import MemoryAddress

MAPS = ("region", "scribbles", "instances")
"""The maps of a case beside its masks, which are called as in `core.fields`."""
READS = tuple(name for name in EVERYTHING if name not in ("boxes", "points"))


def chosen(dataset: Any, split: Split | None) -> tuple[Case, ...]:
    """The cases of a split, or all of them.

    Raises:
        DataError: there is none.
    """
    cases: tuple[Case, ...] = dataset.cases if split is None else dataset.split(split)
    if not cases:
        raise DataError(f"{dataset.root}: found no case of the split {split!r}; choose another split")
    return cases


@dataclass(frozen=True)
class CaseItems(Sequence[dict[str, Any]]):
    """Cases as dictionaries for MONAI, each read when it is asked for."""

    cases: tuple[Case, ...]
    labels: Labels | None

    def __len__(self) -> int:
        return len(self.cases)

    def __getitem__(self, number: Any) -> Any:
        if isinstance(number, slice):
            return CaseItems(self.cases[number], self.labels)
        return item_of(load(self.cases[number], labels=self.labels, reads=READS))


def item_of(sample: Sample) -> dict[str, Any]:
    """A case as a dictionary of MetaTensors and texts; `Bridges.to_monai` says which."""
    import torch
    from monai.data.meta_tensor import MetaTensor

    affine = torch.from_numpy(affine_of(sample.geometry))
    where = str(next(address for _, address in sample.case.addresses()))
    return {
        key: MetaTensor(torch.from_numpy(array), affine=affine.clone(), meta={"filename_or_obj": where})
        for key, array in arrays_of(sample).items()
    } | facts_of(sample.case, sample.geometry.unit)


def subject_of(case: Case, labels: Labels | None) -> Any:
    """A case as a `torchio.Subject`, whose files are read when its images are."""
    torchio = torchio_package()
    images = dict[str, Any]()
    if any(isinstance(address, MemoryAddress) for _, address in case.addresses()):
        return loaded_subject(load(case, labels=labels, reads=READS))
    for key, field, path in _files_of(case):
        reader = SubjectReader(case, labels, key, field)
        kind = torchio.ScalarImage if key == "image" else torchio.LabelMap
        images[key] = kind(path, reader=reader)
    first = next(address for _, address in case.addresses())
    unit = "mm" if case.spacing is not None else probe(first).geometry.unit
    return torchio.Subject(**images, **facts_of(case, unit))


def loaded_subject(sample: Sample) -> Any:
    """A case that was read as a `torchio.Subject`."""
    torchio = torchio_package()
    images = {}
    for key, array in arrays_of(sample).items():
        tensor, affine = as_torchio(array, sample.geometry)
        kind = torchio.ScalarImage if key == "image" else torchio.LabelMap
        images[key] = kind(tensor=tensor, affine=affine)
    return torchio.Subject(**images, **facts_of(sample.case, sample.geometry.unit))


@dataclass(frozen=True)
class SubjectReader:
    """Reads an image of a subject when TorchIO asks for it.

    Attributes:
        key: of the image in its subject.
        field: what it is called in `core.fields`.
    """

    case: Case
    labels: Labels | None
    key: str
    field: str

    def __call__(self, path: Path) -> tuple[Any, np.ndarray]:
        """The tensor (C, W, H, D) and the affine; all files of the case say which they are, so `path` does not."""
        del path
        sample = load(self.case, labels=self.labels, reads=("image", self.field))
        return as_torchio(arrays_of(sample)[self.key], sample.geometry)


def _files_of(case: Case) -> list[tuple[str, str, Path]]:
    """The images of a subject: their keys, fields and first files."""
    found = [("image", "image", next(iter(case.images.values())).path)] if case.images else []
    for number, mask in enumerate(case.masks):
        address = next(iter(mask.values())) if not hasattr(mask, "path") else mask
        found.append((label_key(number), "masks", address.path))
    return found + [(name, name, address.path) for name in MAPS if (address := getattr(case, name)) is not None]


def arrays_of(sample: Sample) -> dict[str, np.ndarray]:
    """The arrays of a case (C, *S) by the keys of `Bridges.to_monai`."""
    found: dict[str, np.ndarray] = {}
    if len(sample.image):
        found["image"] = np.array(sample.image, np.float32, order="C")
    for number, mask in enumerate(sample.masks):
        found[label_key(number)] = np.ascontiguousarray(mask)
    if sample.region is not None:
        found["region"] = sample.region[None].astype(np.uint8)
    if sample.scribbles is not None:
        found["scribbles"] = np.ascontiguousarray(sample.scribbles)
    if sample.instances is not None:
        found["instances"] = np.ascontiguousarray(sample.instances[None])
    return found


def label_key(number: int) -> str:
    """What the mask of an annotator is called, who is counted from 0: "label", "label_2", ..."""
    return f"label_{number + 1}" if number else "label"


def facts_of(case: Case, unit: Unit) -> dict[str, str]:
    """The texts of an item."""
    facts = {"id": case.id, "subject": case.subject, "split": case.split or "", "unit": unit}
    return facts | ({"image_class": case.image_class} if case.image_class is not None else {})


def affine_of(geometry: Geometry) -> np.ndarray:
    """(4, 4) from indices to millimetres; of an image without an affine its spacing."""
    if geometry.affine is not None:
        return np.array(geometry.affine, np.float64)
    return np.diag([*geometry.spacing, *[1.0] * (4 - len(geometry.spacing))])


def as_torchio(array: np.ndarray, geometry: Geometry) -> tuple[Any, np.ndarray]:
    """The tensor (C, W, H, D) and the affine of an array (C, *S); of a picture (C, W, H, 1)."""
    import torch

    array = array.swapaxes(1, 2)[..., None] if len(geometry.shape) == 2 else array
    return torch.from_numpy(np.ascontiguousarray(array)), torchio_affine(geometry)


def torchio_affine(geometry: Geometry) -> np.ndarray:
    """The affine (4, 4) of the tensor (C, W, H, D); of a picture as TorchIO reads it, which goes left and posterior."""
    if len(geometry.shape) == 3:
        return affine_of(geometry)
    if geometry.affine is None:
        return np.diag([-geometry.spacing[1], -geometry.spacing[0], 1.0, 1.0])
    return np.array(geometry.affine[:, [1, 0, 2, 3]], np.float64)


def torchio_package() -> Any:
    """TorchIO.

    Raises:
        SettingsError: it is not installed.
    """
    try:
        return import_module("torchio")
    except ImportError as error:
        raise SettingsError(
            f"TorchIO cannot be imported ({error}); install it: pip install 'scantling[torchio]'"
        ) from None
