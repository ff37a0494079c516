"""One case of a folder of masks: the files that belong to it are read, made sure to fit, and scored."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Self, TypedDict

import numpy as np

from scantling.core.case import Address, Case, Geometry, Labels
from scantling.core.errors import DataError, ScantlingError
from scantling.data.contents import some
from scantling.data.files import Limits, probe, read_labels
from scantling.data.grids import How, holds, place
from scantling.data.labels import UnknownValueError, region_of, unknown_values
from scantling.data.loading import load, spaced_like, with_spacing
from scantling.data.mask_values import MOST_VALUES
from scantling.evaluation.objects import Found, ObjectFacts, Pair, SplitObjects, read_objects
from scantling.evaluation.predictions import Files, Predictions, files_by_id
from scantling.evaluation.result import CaseScores
from scantling.evaluation.scores import marked_share, scores_of_arrays
from scantling.evaluation.units import known_spacing
from scantling.metrics.catalogue import Metric
from scantling.records.evaluation import CaseFiles, Located, Region


class _How(TypedDict):
    limits: Limits
    untrusted: bool


@dataclass(frozen=True)
class Compared:
    """A scored case, how its files came onto the grid of the truth, and how many samples and annotators it has.

    Attributes:
        not_predicted: the pixels of each value of the truth that is no class of the predictions.
        objects: what is to be said of the objects; None where none were compared.
    """

    case: CaseScores
    ways: frozenset[How]
    sets: tuple[int, int] | None
    not_predicted: Mapping[int, int]
    objects: ObjectFacts | None = None


@dataclass(frozen=True)
class CaseScorer:
    """Scores a case of what `evaluate` has opened."""

    predictions: Predictions
    labels: Labels
    classes: tuple[str, ...]
    order: tuple[int, ...]
    regions: Regions
    metrics: tuple[Metric, ...]
    limits: Limits
    untrusted: bool

    def compare(self, case: Case) -> Compared:
        """Read the files of a case, and score it.

        Raises:
            ScantlingError: a file cannot be read, or does not fit the others.
            ValueError: there is nothing to compare.
        """
        how: _How = {"limits": self.limits, "untrusted": self.untrusted}
        needed = {need for metric in self.metrics for need in metric.needs}
        reads = "masks" if "annotators" in needed else "mask"
        told_apart = "instances" in needed and case.instances is not None
        fields = (reads, "instances") if told_apart else (reads,)
        read = partial(load, case, reads=fields, layered=case.drawn_classes is not None, **how)
        try:
            sample, strange = read(labels=self.labels), {}
        except UnknownValueError:
            strange = self._not_predicted(case.masks if reads == "masks" else case.masks[:1])
            sample = read(labels=self.labels.model_copy(update={"others": "background"}))
        (true, *others), predictions, order = sample.masks, self.predictions, self.order
        ways = set[How]()
        answered = predictions.mask(case.id, order, **how)
        grid = self._common_grid(case, sample.geometry, answered[1])
        if grid is not sample.geometry:
            placed = [_placed((one, sample.geometry), case, grid, case.masks[0])[0] for one in sample.masks]
            true, *others = placed
            ways.add("resampled")
        numbers = None
        if sample.instances is not None and case.instances is not None:
            numbers = _placed((sample.instances[None], sample.geometry), case, grid, case.instances)[0][0]

        def fitted(found: tuple[np.ndarray, Geometry], where: Files) -> np.ndarray:
            array, way = _placed(found, case, grid, where)
            ways.add(way)
            return array

        predicted = fitted(answered, predictions.masks[case.id])
        probability = predictions.probability(case.id, order, shape=true.shape[1:], **how)
        likely = None if probability is None else fitted(probability, predictions.maps[case.id])
        drawn = [
            fitted(one, predictions.samples[case.id][index])
            for index, one in enumerate(predictions.drawn(case.id, order, **how) if others else ())
        ]
        doubt = predictions.uncertainty(case.id, **how) if "uncertainty" in needed else None
        doubts = None if doubt is None else fitted(doubt, next(iter(predictions.uncertainties[case.id].values())))
        objects = self._objects(case, numbers, answered[1], fitted) if "instances" in needed else None
        pixels = self.regions.read(case, grid, **how)
        spacing, unit = grid.spacing, grid.unit
        if "spacing" in needed:
            spacing, unit = known_spacing(case, (grid, answered[1]), **how)
        scores = scores_of_arrays(
            predicted,
            true,
            classes=self.classes,
            others=others,
            samples=drawn,
            probability=likely,
            uncertainty=None if doubts is None else doubts[0],
            region=pixels,
            spacing=spacing,
            unit=unit,
            objects=objects,
            metrics=[metric.name for metric in self.metrics],
        )
        marked = (marked_share(predicted, true, pixels), marked_share(true, true, pixels))
        return Compared(
            CaseScores(
                case.id,
                case.subject,
                scores,
                _files(case, predictions, self.regions),
                marked,
                case.strata,
                unit,
                len(grid.shape),
            ),
            frozenset(ways - {""}),
            (len(drawn), 1 + len(others)) if others else None,
            strange,
            None if objects is None else ObjectFacts.of(objects),
        )

    def _objects(
        self,
        case: Case,
        numbers: np.ndarray | None,
        grid: Geometry,
        fitted: Callable[[tuple[np.ndarray, Geometry], Files], np.ndarray],
    ) -> Pair:
        """The objects of both sides on the grid of the truth.

        Args:
            numbers: (*S) the true instance map, where the case has one.
            grid: of the predicted mask.
            fitted: brings an array onto the grid of the truth.
        """
        true = None if numbers is None else SplitObjects.of(Found(numbers))
        files = self.predictions.objects.get(case.id)
        if files is None:
            return Pair(None, true)
        labels = self.predictions.labels
        whole = files.numbers is not None and files.numbers == self.predictions.masks.get(case.id)
        beside = {value for value in labels.background if value} if whole else set()
        found, geometry = read_objects(
            files, self.classes, grid, inside=beside, limits=self.limits, untrusted=self.untrusted
        )
        where = files.numbers or Address(files.listed or self.predictions.folder)
        placed = fitted((found.numbers[None], geometry), where)[0]
        return Pair(SplitObjects.of(replace(found, numbers=placed)), true)

    def _common_grid(self, case: Case, mask: Geometry, answer: Geometry) -> Geometry:
        """The grid of the true mask, or that of the image where the mask reaches beyond it and beyond the answer."""
        first = next(iter(case.images.values()), None)
        if not holds(mask, answer) or holds(answer, mask):
            return mask
        try:
            grid = probe(first, limits=self.limits, untrusted=self.untrusted).geometry if first is not None else mask
        except ScantlingError:  # the scores need no image
            return mask
        if case.spacing is not None and len(case.spacing) == len(grid.shape):
            grid = with_spacing(grid, case.spacing, case.id)
        return grid if holds(mask, grid) else mask

    def _not_predicted(self, masks: Sequence[Files]) -> dict[int, int]:
        """The pixels of each value of the true masks that is no class of the predictions.

        Raises:
            UnknownValueError: there are too many to be classes.
        """
        pixels = Counter[int]()
        for where in masks:
            if not isinstance(where, Address):
                continue
            array, _ = read_labels(where, limits=self.limits, untrusted=self.untrusted, colours=self.labels.coloured)
            strange = unknown_values(array, self.labels)
            if len(strange) > MOST_VALUES:
                raise UnknownValueError(
                    f"{where}: {len(strange)} values of the mask are no class; expected a label map"
                )
            pixels.update({value: int((array == value).sum()) for value in strange})
        return dict(pixels)


class Regions:
    """Which pixels count: all, those in the cases' own regions, or those in masks of a folder."""

    def __init__(self, choice: Path | str | None, ids: Iterable[str]) -> None:
        self.region = Region(of="image" if choice is None else "cases" if choice == "dataset" else "folder")
        self.files: Mapping[str, Address] = {}
        if choice is not None and self.region.of == "folder":
            folder = Path(choice)
            if not folder.is_dir():
                raise DataError(f"{folder}: there is no such folder; expected masks of the region, or 'dataset'")
            self.region = Region(of="folder", folder=resolved(folder))
            self.folder, self.files = folder, files_by_id(folder, set(ids))

    def checked(self, cases: Iterable[Case], truth: Path) -> Self:
        """The same; made sure that there is a region at all.

        Raises:
            DataError: no case of the truth has one of its own.
        """
        if self.region.of == "cases" and not any(case.region for case in cases):
            raise DataError(
                f"{truth}: no case has a region of interest; leave --region out, or name a folder of regions"
            )
        return self

    def address(self, case: Case) -> Address | None:
        """Where the region of a case lies; None where all pixels count."""
        if self.region.of == "image":
            return None
        found = case.region if self.region.of == "cases" else self.files.get(case.id)
        if found is None:
            where = "it" if self.region.of == "cases" else str(self.folder)
            raise DataError(f"case {case.id}: {where} has no region of interest; add one, or score whole images")
        return found

    def read(self, case: Case, grid: Geometry, *, limits: Limits, untrusted: bool) -> np.ndarray | None:
        """The pixels `(*S)` that count in a case, on the grid of its mask; None if all do.

        Raises:
            FileError: the file cannot be read.
            DataError: the case has no region, or one that is empty or does not fit its mask.
        """
        address = self.address(case)
        if address is None:
            return None
        array, geometry = read_labels(address, limits=limits, untrusted=untrusted)
        pixels = region_of(_placed((array[None], geometry), case, grid, address)[0][0], address)
        if not pixels.any():
            raise DataError(f"{address}: the region of interest is empty; expected pixels to compare")
        return pixels


def _placed(found: tuple[np.ndarray, Geometry], case: Case, grid: Geometry, where: Files) -> tuple[np.ndarray, How]:
    """An array on the grid of the true mask, whose spacing may be that of the manifest."""
    name = where if isinstance(where, Address) else some(str(address) for address in where.values())
    array, geometry = found
    if case.spacing is not None and len(case.spacing) == len(geometry.shape):
        geometry = spaced_like(geometry, grid, case.id)
    return place(array, geometry, grid, where=name, reference="the true mask")


def _files(case: Case, predictions: Predictions, regions: Regions) -> CaseFiles:
    region, probability = regions.address(case), predictions.maps.get(case.id)
    objects = predictions.objects.get(case.id)
    uncertainty = predictions.uncertainties.get(case.id, {})
    return CaseFiles(
        image=tuple(str(_text(address)) for address in case.images.values()),
        prediction=_text(predictions.masks[case.id]),
        truth=_text(case.masks[0]),
        region=None if region is None else str(_text(region)),
        probability=None if probability is None or predictions.parts else str(_text(probability)),
        annotators=tuple(_text(mask) for mask in case.masks[1:]),
        samples=tuple(_text(sample) for sample in predictions.samples.get(case.id, ())),
        uncertainty={name: str(_text(address)) for name, address in uncertainty.items()},
        threshold=case.threshold,
        known=None if case.known is None else str(_text(case.known)),
        instances=None if case.instances is None else str(_text(case.instances)),
        predicted_instances=None if objects is None or objects.numbers is None else str(_text(objects.numbers)),
        predicted_objects=None if objects is None or objects.listed is None else str(objects.listed.resolve()),
        drawn_slices=case.drawn_slices,
        drawn_axis=case.drawn_axis,
        drawn_objects=case.drawn_objects,
        drawn_rim=case.drawn_rim,
        drawn_classes=case.drawn_classes,
        spacing=case.spacing,
    )


def resolved(path: Path | str | None) -> str | None:
    """A path for a record: absolute, behind links."""
    return None if path is None else str(Path(path).resolve())


def _text(address: Files) -> Located:
    if isinstance(address, Mapping):
        return {name: str(_text(one)) for name, one in address.items()}
    path = address.path.resolve()
    return str(Address(path, address.member))
