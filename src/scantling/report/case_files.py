"""The arrays of one scored case, as far as its files can be read: image, truth, mask, region, and what varies."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from scantling.data import files
from scantling.data.labels import region_of
from scantling.data.types import Address, Geometry
from scantling.errors import ScantlingError
from scantling.report.records import CaseScores, Evaluation, Run

UNKNOWN = -1
"""Stands in a mask where nothing is known."""


@dataclass(frozen=True)
class Meaning:
    """What the values of masks mean.

    Attributes:
        values: for each class the values in a file that belong to it; empty if that is not known.
        ignore: the value where nothing is known.
        exclusive: whether a pixel has at most one class.
    """

    values: tuple[tuple[int, ...], ...] = ()
    ignore: int | None = None
    exclusive: bool = True

    @classmethod
    def of(cls, evaluation: Evaluation, run: Run | None) -> Meaning:
        """As the predictions say, or the traits of the run that made them."""
        labels = (run.record.traits or {}).get("labels") if run is not None else None
        labels = labels if isinstance(labels, dict) else {}
        ignore = labels.get("ignore")
        said = evaluation.predictions.values or _pairs(labels.get("values"))
        return cls(said, ignore if isinstance(ignore, int) else None, evaluation.predictions.exclusive)


@dataclass(frozen=True)
class Layer:
    """An array `(*S)`, or `(*S, 3)` of an image in colour, with its geometry."""

    array: np.ndarray
    geometry: Geometry


@dataclass(frozen=True)
class CaseArrays:
    """What could be read of a case.

    Attributes:
        truth, mask: class numbers, 0 the background, `UNKNOWN` where nothing is known.
        classes: their names.
        notes: what a reader of the pictures should know.
        missing: a sentence for each thing that could not be read.
    """

    image: Layer | None
    truth: Layer | None
    mask: Layer | None
    region: Layer | None
    classes: tuple[str, ...]
    notes: tuple[str, ...]
    missing: tuple[str, ...]


@dataclass(frozen=True)
class CaseSet:
    """What could be read of a case of which several masks were made.

    Attributes:
        annotators, samples: class numbers, 0 the background, `UNKNOWN` where nothing is known.
        uncertainty: maps by name.
        classes, notes, missing: as in `CaseArrays`.
    """

    image: Layer | None
    annotators: tuple[Layer, ...]
    samples: tuple[Layer, ...]
    uncertainty: Mapping[str, Layer]
    classes: tuple[str, ...]
    notes: tuple[str, ...]
    missing: tuple[str, ...]


def read_case(case: CaseScores, evaluation: Evaluation, meaning: Meaning) -> CaseArrays:
    """Read the files of a case through the door; nothing is raised for a file that is missing or broken."""
    reader = _Reader(evaluation)
    truth = reader.labels("truth", case.files.truth)
    mask = reader.labels("mask", case.files.prediction)
    region = reader.region(case.files.region) if case.files.region else None
    image, notes = reader.image(case.files.image)
    shape = next((layers[0].array.shape for layers in (truth, mask) if layers), None)
    if truth and mask and truth[0].array.shape != mask[0].array.shape:
        reader.missing.append("The mask and the truth differ in size, so no errors are drawn.")
        mask = []
    if image is not None and shape is not None and image.array.shape[: len(shape)] != shape:
        reader.missing.append("The image and the truth differ in size, so the image is not drawn.")
        image = None
    if region and shape is not None and region[0].array.shape != shape:
        reader.missing.append("The region and the truth differ in size, so the region is not drawn.")
        region = []
    classes = evaluation.record.classes
    numbered = _numbers([truth, mask], meaning, len(classes))
    if numbered is None:
        classes = classes[:1]
        notes.append("All classes are drawn together, because they overlap or their values are not known.")
        numbered = [_together(layers, meaning) for layers in (truth, mask)]
    return CaseArrays(
        image=image,
        truth=numbered[0],
        mask=numbered[1],
        region=region[0] if region else None,
        classes=classes,
        notes=tuple(notes),
        missing=tuple(reader.missing),
    )


def read_set(case: CaseScores, evaluation: Evaluation, meaning: Meaning, *, most: int) -> CaseSet:
    """Read all annotators' masks of a case, its first samples, at most `most`, and its uncertainty maps."""
    reader = _Reader(evaluation)
    image, notes = reader.image(case.files.image)
    read = {
        "annotator": [reader.labels("truth", file) for file in (case.files.truth, *case.files.annotators)],
        "sample": [reader.labels("sample", file) for file in case.files.samples[:most]],
    }
    maps = {name: reader.map(name, file) for name, file in case.files.uncertainty.items()}
    masks = [(kind, layers) for kind, several in read.items() for layers in several if layers]
    found = [image, *(layers[0] for _, layers in masks), *maps.values()]
    shape = next((layer.geometry.shape for layer in found if layer is not None), None)
    if any(layer is not None and layer.geometry.shape != shape for layer in found):
        reader.missing.append("The files of this case differ in size, so they are not drawn.")
        image, masks, maps = None, [], {}
    classes = evaluation.record.classes
    numbered = _numbers([layers for _, layers in masks], meaning, len(classes))
    if numbered is None:
        classes = classes[:1]
        notes.append("All classes are drawn together, because they overlap or their values are not known.")
        numbered = [_together(layers, meaning) for _, layers in masks]
    kinds = [(kind, layer) for (kind, _), layer in zip(masks, numbered, strict=True) if layer is not None]
    return CaseSet(
        image=image,
        annotators=tuple(layer for kind, layer in kinds if kind == "annotator"),
        samples=tuple(layer for kind, layer in kinds if kind == "sample"),
        uncertainty={name: layer for name, layer in maps.items() if layer is not None},
        classes=classes,
        notes=tuple(notes),
        missing=tuple(reader.missing),
    )


def _numbers(masks: list[list[Layer]], meaning: Meaning, classes: int) -> list[Layer | None] | None:
    """The masks as class numbers; None where one number cannot say what a pixel is."""
    if classes < 2:
        return [_together(layers, meaning) for layers in masks]
    if not meaning.exclusive or any(len(layers) > 1 for layers in masks):
        return None
    known = {0, *([] if meaning.ignore is None else [meaning.ignore])}
    known |= {value for values in meaning.values for value in values} if meaning.values else set(range(classes + 1))
    numbered: list[Layer | None] = []
    for layers in masks:
        if layers and not set(np.unique(layers[0].array).tolist()) <= known:
            return None
        numbered.append(_numbered(layers[0], meaning) if layers else None)
    return numbered


def _numbered(layer: Layer, meaning: Meaning) -> Layer:
    numbers = np.zeros_like(layer.array) if meaning.values else layer.array.copy()
    for number, values in enumerate(meaning.values, start=1):
        numbers[np.isin(layer.array, values)] = number
    if meaning.ignore is not None:
        numbers[layer.array == meaning.ignore] = UNKNOWN
    return Layer(numbers, layer.geometry)


def _together(layers: list[Layer], meaning: Meaning) -> Layer | None:
    """Any class as 1. What is not 0 is foreground, but for the value where nothing is known."""
    if not layers:
        return None
    found = np.zeros(layers[0].array.shape, np.int32)
    for layer in layers:
        found[layer.array != 0] = 1
    if meaning.ignore is not None and len(layers) == 1:
        found[layers[0].array == meaning.ignore] = UNKNOWN
    return Layer(found, layers[0].geometry)


class _Reader:
    """Reads files; what cannot be read is said in `missing`."""

    def __init__(self, evaluation: Evaluation) -> None:
        self.missing: list[str] = []
        record = evaluation.record
        self.bases = (Path(), evaluation.path.parent, Path(record.prediction), Path(record.truth))

    def image(self, addresses: tuple[str, ...]) -> tuple[Layer | None, list[str]]:
        """The first image, and which channel is shown where there are several."""
        if not addresses:
            self.missing.append("The evaluation names no image for this case.")
            return None, []
        try:
            found = files.read(self._find(addresses[0]))
        except (ScantlingError, OSError) as error:
            self.missing.append(f"The image is not shown: {error}.")
            return None, []
        if found.channels == ("red", "green", "blue"):
            return Layer(np.moveaxis(found.array, 0, -1), found.geometry), []
        several = len(found.channels) > 1 or len(addresses) > 1
        name = found.channels[0] if len(found.channels) > 1 else files.stem_of(addresses[0])
        return Layer(found.array[0], found.geometry), [f"The image shows {name} only."] if several else []

    def labels(self, what: str, address: str | dict[str, str] | None) -> list[Layer]:
        """The label map, or the maps of classes in files of their own; empty if one cannot be read."""
        if not address:
            self.missing.append(f"The evaluation names no {what} for this case.")
            return []
        try:
            parts = [address] if isinstance(address, str) else list(address.values())
            layers = [Layer(*files.read_labels(self._find(part))) for part in parts]
        except (ScantlingError, OSError) as error:
            self.missing.append(f"The {what} is not shown: {error}.")
            return []
        if any(layer.array.shape != layers[0].array.shape for layer in layers):
            self.missing.append(f"The {what} is not shown: the files of its classes differ in size.")
            return []
        return layers

    def region(self, address: str) -> list[Layer]:
        """The inside of a region of interest, as its scores took it; empty if it cannot be read."""
        where = files.parse_address(address)
        return [Layer(region_of(layer.array, where), layer.geometry) for layer in self.labels("region", address)]

    def map(self, what: str, address: str) -> Layer | None:
        """A map of numbers; None if it cannot be read."""
        try:
            found = files.read(self._find(address))
        except (ScantlingError, OSError) as error:
            self.missing.append(f"The {what} is not shown: {error}.")
            return None
        return Layer(found.array[0], found.geometry)

    def _find(self, text: str) -> Address:
        """The address, sought from here and from the folders that the evaluation names."""
        address = files.parse_address(text)
        found = next((base / address.path for base in self.bases if (base / address.path).exists()), address.path)
        return Address(found, address.member)


def _pairs(values: Any) -> tuple[tuple[int, ...], ...]:
    """Values of classes out of JSON; nothing if they are anything else."""
    if not isinstance(values, list) or not all(isinstance(one, list) for one in values):
        return ()
    return tuple(tuple(int(value) for value in one) for one in values) if all(values) else ()
