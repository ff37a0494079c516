"""The arrays of one scored case, as far as its files can be read: image, truth, mask, region, and what varies.

Masks are read by the functions that scored them, with the labels that the evaluation has recorded, so that a picture
shows what was counted.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeVar

import numpy as np

from scantling.core.case import IGNORE, Address, Case, Geometry
from scantling.core.errors import DataError, ScantlingError
from scantling.data import files
from scantling.data.formats.common import COLOUR
from scantling.data.grids import place
from scantling.data.loading import load, spaced_like, with_spacing
from scantling.data.pictures import View
from scantling.data.probability_maps import read_probabilities
from scantling.evaluation.predictions import Files, Predictions
from scantling.records.evaluation import CaseRecord
from scantling.report.targets import EvaluationFile
from scantling.report.uncertainty import entropy_of

T = TypeVar("T", "Layer", "Mask")


@dataclass(frozen=True)
class Layer:
    """An array `(*S)`, or `(*S, 3)` of an image in colour, with its geometry."""

    array: np.ndarray
    geometry: Geometry

    def on(self, grid: Geometry) -> Layer:
        """The same on another grid.

        Raises:
            DataError: it has no place there.
        """
        channels = np.moveaxis(self.array, -1, 0) if self.coloured else self.array[None]
        found, _ = place(channels, self.geometry, grid, where="the file", reference="the truth")
        return Layer(np.moveaxis(found, 0, -1) if self.coloured else found[0], grid)

    @property
    def coloured(self) -> bool:
        """Whether it has the values of red, green and blue."""
        return self.array.ndim > len(self.geometry.shape)

    @property
    def shape(self) -> tuple[int, ...]:
        """The spatial shape."""
        return self.geometry.shape


@dataclass(frozen=True)
class Mask:
    """A mask, a layer for each class.

    Attributes:
        classes: (K, *S) bool.
        known: (K, *S) bool, where the class is known.
    """

    classes: np.ndarray
    known: np.ndarray
    geometry: Geometry

    def on(self, grid: Geometry) -> Mask:
        """The same on another grid.

        Raises:
            DataError: it has no place there.
        """
        both = np.concatenate([self.classes, self.known])
        found, _ = place(both, self.geometry, grid, where="the file", reference="the truth")
        return Mask(found[: len(self.classes)], found[len(self.classes) :], grid)

    @property
    def shape(self) -> tuple[int, ...]:
        """The spatial shape."""
        return self.geometry.shape

    @property
    def labelled(self) -> np.ndarray:
        """(*S) bool, where any class is."""
        return np.asarray(self.classes.any(axis=0))

    @property
    def topmost(self) -> np.ndarray:
        """(*S) uint8 class numbers, 0 the background, the last where classes overlap."""
        found = np.zeros(self.shape, np.uint8)
        for number, layer in enumerate(self.classes, start=1):
            found[layer] = number
        return found

    def numbers(self, view: View) -> np.ndarray:
        """(H, W) class numbers in a view, 0 the background; where classes overlap, the smallest is seen."""
        shown = np.zeros(view(self.classes[0]).shape, np.uint8)
        sizes = self.classes.reshape(len(self.classes), -1).sum(axis=1)
        for number in np.argsort(-sizes, kind="stable"):
            shown[view(self.classes[number])] = number + 1
        return shown


@dataclass(frozen=True)
class CaseArrays:
    """What could be read of a case.

    Attributes:
        classes: their names.
        notes: what a reader of the pictures should know.
        missing: a sentence for each thing that could not be read.
    """

    image: Layer | None
    truth: Mask | None
    mask: Mask | None
    region: Layer | None
    classes: tuple[str, ...]
    notes: tuple[str, ...]
    missing: tuple[str, ...]


@dataclass(frozen=True)
class CaseSet:
    """What could be read of a case of which several masks were made.

    Attributes:
        uncertainty: maps by name.
        classes, notes, missing: as in `CaseArrays`.
    """

    image: Layer | None
    annotators: tuple[Mask, ...]
    samples: tuple[Mask, ...]
    uncertainty: Mapping[str, Layer]
    classes: tuple[str, ...]
    notes: tuple[str, ...]
    missing: tuple[str, ...]


def read_case(case: CaseRecord, evaluation: EvaluationFile) -> CaseArrays:
    """Read the files of a case through the door; nothing is raised for a file that is missing or broken."""
    reader = Reader(case, evaluation)
    truth, mask, region = next(iter(reader.truths(all=False)), None), reader.mask(), reader.region()
    image, notes = reader.image()
    grid = next((one.geometry for one in (truth, mask) if one is not None), None)
    if truth is not None:
        mask = reader.on(mask, truth.geometry, "The mask and the truth differ in size, so no errors are drawn.")
    if grid is not None:
        image = reader.on(image, grid, "The image and the truth differ in size, so the image is not drawn.")
        region = reader.on(region, grid, "The region and the truth differ in size, so the region is not drawn.")
    notes += _overlap([one for one in (truth, mask) if one is not None])
    return CaseArrays(image, truth, mask, region, evaluation.record.classes, tuple(notes), tuple(reader.missing))


def read_set(case: CaseRecord, evaluation: EvaluationFile, *, most: int) -> CaseSet:
    """Read all annotators' masks of a case, its first samples, at most `most`, and its uncertainty maps."""
    reader = Reader(case, evaluation)
    image, notes = reader.image()
    annotators, samples = reader.truths(all=True), reader.samples(most)
    maps = {name: layer for name in case.files.uncertainty if (layer := reader.map(name)) is not None}
    grid = next((one.geometry for one in (*annotators, *samples, image, *maps.values()) if one is not None), None)
    if grid is not None:
        fits = [reader.on(one, grid, "") for one in (*annotators, *samples)]
        layers = {name: reader.on(layer, grid, "") for name, layer in maps.items()}
        shown = reader.on(image, grid, "")
        if any(one is None for one in (*fits, *layers.values())) or (shown is None) != (image is None):
            reader.missing.append("The files of this case differ in size, so they are not drawn.")
            image, annotators, samples, maps = None, [], [], {}
        else:
            masks = [one for one in fits if one is not None]
            annotators, samples = masks[: len(annotators)], masks[len(annotators) :]
            image, maps = shown, {name: layer for name, layer in layers.items() if layer is not None}
    notes += _overlap([*annotators, *samples])
    return CaseSet(
        image, tuple(annotators), tuple(samples), maps, evaluation.record.classes, tuple(notes), tuple(reader.missing)
    )


def _overlap(masks: Sequence[Mask]) -> list[str]:
    if not any((mask.classes.sum(axis=0) > 1).any() for mask in masks):
        return []
    return ["Classes overlap: the smallest is seen, and an error is one of any class."]


def channel_names(stems: Sequence[str]) -> list[str]:
    """What tells the files of one case apart: "p01_flair" and "p01_t1" are "flair" and "t1"; of one file its name."""
    words = [re.split(r"[_\-. ]+", stem) for stem in stems]
    shared = 0
    while len(words) > 1 and all(len(one) > shared + 1 and one[shared] == words[0][shared] for one in words):
        shared += 1
    return [stem if shared == 0 else " ".join(one[shared:]) for stem, one in zip(stems, words, strict=True)]


class Reader:
    """Reads the files of a case; what cannot be read is said in `missing`."""

    def __init__(self, case: CaseRecord, evaluation: EvaluationFile) -> None:
        self.missing: list[str] = []
        record = evaluation.record
        self.id, self.files, self.labels, self.count = case.id, case.files, record.labels, len(record.classes)
        self.bases = (Path(), evaluation.path.parent, Path(record.prediction), Path(record.truth))
        self.folder = Path(record.prediction)
        if self.labels is None:
            self.missing.append(
                "The evaluation does not say what the values of the masks mean, so they are not drawn; score it again."
            )

    def on(self, one: T | None, grid: Geometry, missing: str) -> T | None:
        """A layer or a mask on another grid; None, and the sentence, if it has no place there."""
        try:
            if one is not None and self.files.spacing is not None:
                one = replace(one, geometry=spaced_like(one.geometry, grid, self.id))
            return None if one is None else one.on(grid)
        except DataError:
            self.missing += [missing] if missing else []
            return None

    def image(self) -> tuple[Layer | None, list[str]]:
        """The first image, and which channel is shown where there are several."""
        channels = self.channels(first=True)
        if not channels:
            return None, []
        name, layer = channels[0]
        several = len(self.files.image) > 1 or len(channels) > 1
        return layer, [f"The image shows {name} only."] if several else []

    def channels(self, *, first: bool = False) -> list[tuple[str, Layer]]:
        """The channels of all images by name, or of the `first` one; red, green and blue are one channel in colour."""
        addresses = self.files.image[:1] if first else self.files.image
        if not addresses:
            self.missing.append("The evaluation names no image for this case.")
        names = channel_names([files.stem_of(address) for address in self.files.image])
        found: list[tuple[str, Layer]] = []
        for address, name in zip(addresses, names, strict=False):
            try:
                picture = files.read(self.find(address))
                geometry = self._spaced(picture.geometry)
            except (ScantlingError, OSError) as error:
                self.missing.append(f"The image is not shown: {error}.")
                continue
            several = len(names) > 1
            if picture.channels == COLOUR:
                colours = np.moveaxis(picture.array, 0, -1)
                found.append((name if several else "colour", Layer(colours, geometry)))
                continue
            for channel, array in zip(picture.channels, picture.array, strict=False):
                called = name if len(picture.channels) == 1 else f"{name} {channel}" if several else channel
                found.append((called, Layer(array, geometry)))
        return found

    def truths(self, *, all: bool) -> list[Mask]:
        """The true mask, or those of all annotators; none if one cannot be read."""
        if self.labels is None:
            return []
        listed = [one for one in (self.files.truth, *(self.files.annotators if all else ())) if one]
        if not listed:
            self.missing.append("The evaluation names no truth for this case.")
            return []
        case = Case(
            id=self.id,
            subject=self.id,
            images={str(number): self.find(text) for number, text in enumerate(self.files.image)},
            masks=tuple(self._each(one) for one in listed),
            spacing=self.files.spacing,
            threshold=self.files.threshold,
            known=self.find(self.files.known) if self.files.known else None,
            drawn_slices=self.files.drawn_slices,
            drawn_axis=self.files.drawn_axis,
            instances=self.find(self.files.instances) if self.files.instances else None,
            drawn_objects=self.files.drawn_objects,
            drawn_rim=self.files.drawn_rim,
            drawn_classes=self.files.drawn_classes,
        )
        try:
            sample = load(case, labels=self.labels.truth, reads=("masks",))
            return [self._layers(mask, sample.geometry) for mask in sample.masks]
        except (ScantlingError, OSError) as error:
            self.missing.append(f"The truth is not shown: {error}.")
            return []

    def mask(self) -> Mask | None:
        """The predicted mask."""
        if self.files.prediction is None:
            self.missing.append("The evaluation names no mask for this case.")
            return None
        return self._predicted("mask", self.files.prediction)

    def samples(self, most: int) -> list[Mask]:
        """The first samples."""
        read = (self._predicted("sample", one) for one in self.files.samples[:most])
        return [mask for mask in read if mask is not None]

    def region(self) -> Layer | None:
        """The pixels that count (*S) bool, where a region says so."""
        if not self.files.region:
            return None
        case = Case(id=self.id, subject=self.id, region=self.find(self.files.region))
        try:
            sample = load(case, reads=("region",))
        except (ScantlingError, OSError) as error:
            self.missing.append(f"The region is not shown: {error}.")
            return None
        return None if sample.region is None else Layer(sample.region, sample.geometry)

    def map(self, name: str) -> Layer | None:
        """An uncertainty map; None if it cannot be read."""
        try:
            found = files.read(self.find(self.files.uncertainty[name]))
            return Layer(found.array[0], self._spaced(found.geometry))
        except (ScantlingError, OSError) as error:
            self.missing.append(f"The {name} is not shown: {error}.")
            return None

    def entropy(self, *, exclusive: bool) -> Layer | None:
        """In bits, of the probabilities that were written; None where there are none or they cannot be read."""
        if self.files.probability is None:
            return None
        try:
            found, geometry = read_probabilities(self.find(self.files.probability), limits=files.GENEROUS)
            return Layer(entropy_of(found, exclusive=exclusive), self._spaced(geometry))
        except (ScantlingError, OSError) as error:
            self.missing.append(f"The probabilities are not shown: {error}.")
            return None

    def _predicted(self, what: str, listed: str | dict[str, str]) -> Mask | None:
        if self.labels is None:
            return None
        predictions = Predictions(self.folder, self.labels.prediction, {self.id: self._each(listed)}, {})
        try:
            mask, geometry = predictions.mask(self.id, self.labels.order, limits=files.GENEROUS)
            return self._layers(mask, self._spaced(geometry))
        except (ScantlingError, OSError) as error:
            self.missing.append(f"The {what} is not shown: {error}.")
            return None

    def _layers(self, mask: np.ndarray, geometry: Geometry) -> Mask:
        """A layer for each class, from class numbers (1, *S) or from layers (K, *S), as they were scored."""
        one = len(mask) == 1
        if not one and len(mask) != self.count:
            raise DataError(f"found masks of {len(mask)} classes, expected {self.count}")
        classes = [mask[0] == number if one else mask[number - 1] == 1 for number in range(1, self.count + 1)]
        known = [mask[0 if one else number] != IGNORE for number in range(self.count)]
        return Mask(np.stack(classes), np.stack(known), geometry)

    def _spaced(self, geometry: Geometry) -> Geometry:
        spacing = self.files.spacing
        return geometry if spacing is None else with_spacing(geometry, spacing, self.id)

    def _each(self, listed: str | dict[str, str]) -> Files:
        if isinstance(listed, str):
            return self.find(listed)
        return {name: self.find(text) for name, text in listed.items()}

    def find(self, text: str) -> Address:
        """The address, sought from here and from the folders that the evaluation names."""
        address = files.parse_address(text)
        found = next((base / address.path for base in self.bases if (base / address.path).exists()), address.path)
        return replace(address, path=found)
