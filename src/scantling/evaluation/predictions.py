"""A folder of predicted masks: what it says of itself, which file belongs to which case, and a case's masks."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from scantling.core.case import IGNORE, Address, Geometry, Labels
from scantling.core.errors import DataError, FileError
from scantling.core.outputs import PREDICTIONS
from scantling.core.pieces import lookup
from scantling.data.contents import entries, some
from scantling.data.described import confined
from scantling.data.files import Limits, is_image_name, read, read_labels, stem_of
from scantling.data.grids import place
from scantling.data.labels import class_folder, encode, encode_one, joined_classes, unknown_values
from scantling.data.nnunet import DATASET, read_description
from scantling.data.pairs import owner_of
from scantling.data.probability_maps import map_files, read_probabilities
from scantling.evaluation.objects import ObjectFiles
from scantling.records.predictions import Listed, PredictedCase, PredictionsRecord
from scantling.records.record import read_record

Files = Address | Mapping[str, Address]
INSTANCES = "instances"
"""The folder of instance maps below that of masks."""


@dataclass(frozen=True)
class Predictions:
    """The files of a folder of predictions.

    Attributes:
        folder: where they are.
        labels: what the values of their masks mean.
        masks: by id.
        maps: the probability maps, by id.
        maps_in: the folder that was named for the maps: every case then needs one.
        samples: the masks that were drawn, by id.
        uncertainties: maps by name, by id.
        listing: what the folder says of itself.
        objects: by id, where the folder tells objects apart.
        parts: of regions, which join classes, the numbers of the classes of each in the folder, from 0; empty of
            classes. `labels` are then those of the regions.
        channels: of probability maps, where they are not those of `labels`.
    """

    folder: Path
    labels: Labels
    masks: Mapping[str, Files]
    maps: Mapping[str, Address]
    maps_in: Path | None = None
    samples: Mapping[str, tuple[Files, ...]] = field(default_factory=dict)
    uncertainties: Mapping[str, Mapping[str, Address]] = field(default_factory=dict)
    listing: PredictionsRecord | None = None
    objects: Mapping[str, ObjectFiles] = field(default_factory=dict)
    parts: tuple[tuple[int, ...], ...] = ()
    channels: int | None = None

    def joined(self, regions: Mapping[str, Sequence[str]], classes: Sequence[str], order: Sequence[int]) -> Predictions:
        """The same masks, read as regions that join classes; single objects are not told apart.

        Args:
            classes: the names of the classes, as `matched` gives them.
            order: for each its number, from 0, in `labels`.

        Raises:
            DataError: a region joins what is no class, or the classes overlap.
        """
        number = dict(zip(classes, order, strict=True))
        named = tuple(classes[order.index(place)] if place in order else "" for place in range(len(self.labels.names)))
        labels = joined_classes(self.labels.model_copy(update={"names": named}), regions, str(self.folder))
        parts = tuple(tuple(number[name] for name in dict.fromkeys(joined)) for joined in regions.values())
        return replace(self, labels=labels, objects={}, parts=parts, channels=len(self.labels.names))

    @property
    def data_labels(self) -> Labels:
        """The classes with the values that the masks of the training data have, as far as the folder says."""
        values = self.listing.data_values if self.listing is not None else ()
        return (
            self.labels.model_copy(update={"values": values}) if len(values) == len(self.labels.names) else self.labels
        )

    def mask(
        self, id: str, order: Sequence[int], *, limits: Limits, untrusted: bool = False
    ) -> tuple[np.ndarray, Geometry]:
        """The mask of a case, (1, *S) uint8 of class numbers or (K, *S) of 0 and 1, and the grid that it lies on.

        Args:
            order: for each class that is wanted its number, from 0, in `labels`.

        Raises:
            FileError: a file cannot be read.
            DataError: there is no mask, it lacks a class, or it holds values that belong to no class.
        """
        files = self.masks.get(id)
        if files is None:
            raise DataError(f"{self.folder}: there is no prediction for {id}; predict it, or leave it out with --split")
        return self._read(files, id, order, limits=limits, untrusted=untrusted)

    def drawn(
        self, id: str, order: Sequence[int], *, limits: Limits, untrusted: bool = False
    ) -> list[tuple[np.ndarray, Geometry]]:
        """The samples of a case, each in the form of its mask, with their grids; none if none are listed.

        Args:
            order: for each class that is wanted its number, from 0, in `labels`.

        Raises:
            FileError, DataError: as for `mask`.
        """
        listed = self.samples.get(id, ())
        return [self._read(files, id, order, limits=limits, untrusted=untrusted) for files in listed]

    def uncertainty(self, id: str, *, limits: Limits, untrusted: bool = False) -> tuple[np.ndarray, Geometry] | None:
        """The first uncertainty map (1, *S) that is listed for a case, and its grid; None if there is none.

        Raises:
            FileError: the file cannot be read.
            DataError: it has several channels, or holds what is not finite.
        """
        address = next(iter(self.uncertainties.get(id, {}).values()), None)
        if address is None:
            return None
        picture = read(address, limits=limits, untrusted=untrusted)
        array = picture.array
        if len(array) != 1 or not np.isfinite(array).all():
            found = f"{len(array)} channels" if len(array) != 1 else "values that are not finite"
            raise DataError(f"{address}: found {found}; expected one number for each pixel; predict again")
        return array, picture.geometry

    def _read(
        self, files: Files, id: str, order: Sequence[int], *, limits: Limits, untrusted: bool
    ) -> tuple[np.ndarray, Geometry]:
        if isinstance(files, Address):
            array, geometry = read_labels(files, limits=limits, untrusted=untrusted, colours=self.labels.coloured)
            encoded = self._encoded(array, files)
            if len(encoded) > 1:
                return encoded[list(order)], geometry
            numbers = np.zeros(IGNORE + 1, np.uint8)
            numbers[IGNORE] = IGNORE
            numbers[np.array(order) + 1] = np.arange(1, len(order) + 1)
            return lookup(numbers, encoded), geometry
        lacking = [name for name in self.labels.names if name not in files]
        if lacking:
            raise DataError(f"{self.folder}: the prediction for {id} has no mask of {some(lacking)}; add the file")
        layers: list[np.ndarray] = []
        grid: Geometry | None = None
        for name in (self.labels.names[number] for number in order):
            array, own = read_labels(files[name], limits=limits, untrusted=untrusted)
            grid = grid or own
            array = place(array[None], own, grid, where=files[name], reference="the masks of the other classes")[0][0]
            layers.append(encode_one(array, self.labels, files[name]))
        if grid is None:
            raise DataError(f"{self.folder}: there is no class to read of {id}; expected at least one")
        return np.stack(layers), grid

    def probability(
        self, id: str, order: Sequence[int], *, shape: tuple[int, ...], limits: Limits, untrusted: bool = False
    ) -> tuple[np.ndarray, Geometry] | None:
        """The probability map (K, *S) of a case, and its grid; None where none are wanted.

        Args:
            order: for each class that is wanted its number, from 0, in `labels`.
            shape: the size (*S) of its mask.

        Raises:
            FileError: the file cannot be read, or holds no probabilities.
            DataError: the map is missing, or has another number of channels.
        """
        address = self.maps.get(id)
        if address is None:
            if self.maps_in is None:
                return None
            raise DataError(f"{self.maps_in}: there is no probability map for {id}; add it, or score without maps")
        listed = self.listing.cases if self.listing is not None else ()
        own = next((self.folder / case.probability for case in listed if case.id == id and case.probability), None)
        ours = own is not None and address.path.resolve() == own.resolve()
        array, geometry = read_probabilities(
            address, classes=self.channels or len(self.labels.names), shape=shape, hard=ours, limits=limits,
            untrusted=untrusted,
        )  # fmt: skip
        if self.parts:  # the probability of any of them
            array = np.stack([array[list(self.parts[number])].sum(0) for number in order])
            return np.minimum(array, 1, out=array), geometry
        return array if list(order) == list(range(len(array))) else array[list(order)], geometry

    def _encoded(self, array: np.ndarray, where: Address) -> np.ndarray:
        """Class numbers; of a single class whatever is not 0 is foreground, unless the values are the truth's own."""
        if not any(self.labels.values):
            raise DataError(
                f"{where}: found one file for {len(self.labels.names)} classes that overlap; expected a "
                f"folder for each class ({some(self.labels.names)})"
            )
        if len(self.labels.names) == 1 and unknown_values(array, self.labels):
            return encode_one(array, None, where)[None]
        return encode(array, self.labels, where)


def open_predictions(
    folder: Path,
    *,
    truth: Labels,
    ids: Collection[str],
    probabilities: Path | None = None,
    numbered: bool = False,
) -> Predictions:
    """Find the files of a folder of predictions.

    Its `predictions.json` tells where there is one. Otherwise the files are found by their stems: `ID.png`, or
    `CLASS/ID.png` where each class lies in a folder of its own; an ending such as "_seg" may follow the id. The
    values of their masks are then those that nnU-Net's `dataset.json` beside them gives, else those of the truth.

    Args:
        truth: the classes of the truth.
        ids: of the cases that have a true mask.
        probabilities: a folder of maps of any tool (`read_probabilities`); None takes those that `predictions.json`
            lists and that are there.
        numbered: whether masks of one class may number their objects, as there are true ones.

    Raises:
        FileError: `predictions.json` is not what `scantling predict` writes.
        DataError: a folder is missing or holds no masks, two files belong to one case, or `predictions.json` names a
            file that is not inside the folder.
    """
    if not folder.is_dir():
        raise DataError(f"{folder}: there is no such folder; expected a folder of predicted masks")
    if probabilities is not None and not probabilities.is_dir():
        raise DataError(f"{probabilities}: there is no such folder; expected a folder of probability maps")
    listing = read_listing(folder / PREDICTIONS)
    maps = {} if probabilities is None else files_by_id(probabilities, ids, maps=True)
    if listing is not None:
        masks = {case.id: _listed_files(folder, listing, case, case.mask) for case in listing.cases if case.mask}
        samples = {
            case.id: tuple(_listed_files(folder, listing, case, sample) for sample in case.samples)
            for case in listing.cases
            if case.samples
        }
        uncertainties = {
            case.id: {name: _inside(folder, case, path) for name, path in case.uncertainty_maps.items()}
            for case in listing.cases
            if case.uncertainty_maps
        }
        if probabilities is None:
            listed = {case.id: _inside(folder, case, case.probability) for case in listing.cases if case.probability}
            maps = {id: address for id, address in listed.items() if address.path.is_file()}
        objects = {case.id: found for case in listing.cases if (found := _listed_objects(folder, case)) is not None}
        return Predictions(folder, listing.labels, masks, maps, probabilities, samples, uncertainties, listing, objects)
    described = read_description(folder / DATASET).labels if (folder / DATASET).is_file() else None
    labels = (described or truth).model_copy(update={"ignore": None})
    if numbered and described is None and len(labels.names) == 1 and labels.exclusive and labels.others == "error":
        labels = labels.model_copy(update={"others": "object"})
    masks = {**files_by_id(folder, ids)}
    inside = {name: folder / class_folder(name) for name in labels.names}
    parts = {name: files_by_id(place, ids) for name, place in inside.items() if place.is_dir()}
    if parts and (not masks or not any(labels.values)):
        known = sorted({id for part in parts.values() for id in part})
        masks = {id: {name: part[id] for name, part in parts.items() if id in part} for id in known}
    if not masks:
        raise DataError(f"{folder}: found no masks; expected files such as ID.png or ID.nii.gz, or a folder a class")
    objects = _objects_beside(folder, ids, labels, masks)
    return Predictions(folder, labels, masks, maps, probabilities, objects=objects)


def files_by_id(folder: Path, ids: Collection[str], *, maps: bool = False) -> dict[str, Address]:
    """The image files of a folder by their stem, or by the id of `ids` that they are called after (`c0_seg`).

    Args:
        maps: take the files that are probability maps (`map_files`).

    Raises:
        DataError: two files belong to one id.
    """
    found: dict[str, Address] = {}
    named = [path for path in entries(folder) if is_image_name(path)]
    for path in map_files(named) if maps else named:
        stem = stem_of(path)
        id = stem if stem in ids else owner_of(stem, ids)[0] or stem
        if id in found:
            raise DataError(f"{folder}: {found[id].path.name} and {path.name} both belong to {id}; keep one")
        found[id] = Address(path)
    return found


def _listed_files(folder: Path, listing: PredictionsRecord, case: PredictedCase, listed: Listed) -> Files:
    if isinstance(listed, str):
        return _inside(folder, case, listed)
    return {name: _inside(folder, case, path) for name, path in zip(listing.classes, listed, strict=False)}


def _listed_objects(folder: Path, case: PredictedCase) -> ObjectFiles | None:
    """The objects that a list of predictions has for a case."""
    inside = [path for path in case.files if Path(path).parts[:1] == (INSTANCES,)]
    listed = next((_inside(folder, case, path).path for path in inside if path.endswith(".json")), None)
    numbers = next((_inside(folder, case, path) for path in inside if is_image_name(Path(path))), None)
    return ObjectFiles(numbers, listed) if inside and (numbers or listed) else None


def _objects_beside(
    folder: Path, ids: Collection[str], labels: Labels, masks: Mapping[str, Files]
) -> dict[str, ObjectFiles]:
    """The instance maps of a folder of any tool: in `instances`, else its masks where they are of one class."""
    if (folder / INSTANCES).is_dir():
        return {id: ObjectFiles(address) for id, address in files_by_id(folder / INSTANCES, ids).items()}
    if len(labels.names) > 1 or labels.coloured or labels.others == "nearest":
        return {}
    return {id: ObjectFiles(files) for id, files in masks.items() if isinstance(files, Address)}


def _inside(folder: Path, case: PredictedCase, path: str) -> Address:
    """A listed file, which has to lie in the folder: a list may come from anyone."""
    try:
        return Address(confined(folder, path, PREDICTIONS))
    except DataError:
        raise DataError(
            f"{folder / PREDICTIONS}: the case {case.id} lists {path!r}, which does not lie in {folder}; expected "
            "files of that folder; copy them there, or delete the list to match masks by name"
        ) from None


def read_listing(path: Path) -> PredictionsRecord | None:
    """What `scantling predict` says of its folder; None where it says nothing.

    Raises:
        FileError: the file is not what it writes.
    """
    if not path.is_file():
        return None
    listing = read_record(PredictionsRecord, path)
    classes, values = len(listing.classes), len(listing.values)
    if classes != values or not {"classes", "values", "cases"} <= listing.model_fields_set:
        raise FileError(
            path,
            f"is no list of predictions ({classes} classes have {values} entries in 'values')",
            expected="what `scantling predict` writes",
            remedy="predict again, or delete the file to match masks by name",
        )
    return listing
