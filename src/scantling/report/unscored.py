"""Predictions without a truth, read: for each case what was marked, how much of it, and how far it is to be trusted."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from scantling.core.case import Case, Geometry, Unit
from scantling.core.errors import RunError, ScantlingError
from scantling.core.outputs import PREDICTIONS, RUN
from scantling.data import files
from scantling.data.loading import with_spacing
from scantling.data.opening import Opening
from scantling.evaluation.predictions import Predictions, open_predictions, read_listing
from scantling.evaluation.units import known_spacing
from scantling.metrics.catalogue import METRICS, MetricUnit, unit_name
from scantling.metrics.topology import components
from scantling.metrics.volume import volume_of_a_pixel
from scantling.records.predictions import PredictedCase, PredictionsRecord
from scantling.report.case_files import Layer, Mask

Progress = Callable[[int, int, str], None]


@dataclass(frozen=True)
class Amount:
    """What was marked of a class: its volume in `UnscoredCase.unit`, and its connected pieces, corners included."""

    volume: float
    pieces: int


@dataclass(frozen=True)
class UnscoredCase:
    """A predicted case.

    Attributes:
        predicted: what `predictions.json` says of it.
        amounts: by class.
        unit: of the volumes: mL of three axes in mm, mm² of two, else "pixel".
    """

    predicted: PredictedCase
    amounts: Mapping[str, Amount]
    unit: MetricUnit

    @property
    def id(self) -> str:
        """Its id."""
        return self.predicted.id

    @property
    def empty(self) -> bool:
        """Whether nothing was marked."""
        return not any(amount.volume for amount in self.amounts.values())

    @property
    def doubt(self) -> float | None:
        """A number that grows with the uncertainty: one minus the expected Dice, else the first uncertainty."""
        expected = self.predicted.expected
        if expected is not None and expected.dice is not None and expected.estimate is not None:
            return 1 - expected.dice
        known = [value for value in self.predicted.uncertainty.values() if value is not None]
        return known[0] if known and (expected is None or expected.dice is None) else None


@dataclass(frozen=True)
class Unscored:
    """A folder of predictions.

    Attributes:
        cases: the most uncertain first, those of which nothing is known by id, empty masks last.
        failed: a sentence for each case that could not be predicted or read.
        notes: what a reader should know.
    """

    folder: Path
    listing: PredictionsRecord
    cases: tuple[UnscoredCase, ...]
    failed: tuple[str, ...]
    notes: tuple[str, ...]
    source: Source

    @property
    def classes(self) -> tuple[str, ...]:
        """The foreground classes."""
        return self.listing.classes

    @property
    def uncertainties(self) -> tuple[str, ...]:
        """The names of what measures the uncertainty of an image."""
        return tuple(dict.fromkeys(name for case in self.cases for name in case.predicted.uncertainty))

    def rows(self) -> Iterator[tuple[str | float | None, ...]]:
        """A header, and a line for each case and class."""
        yield (
            "id", "class", "volume", "unit", "pieces", "expected_dice", "expected_low", "expected_high",
            *(f"uncertainty_{name}" for name in self.uncertainties), "unlike", "distance", "stands_out",
        )  # fmt: skip
        for case in self.cases:
            one, expected = case.predicted, case.predicted.expected
            promised = (None, None, None) if expected is None else (expected.dice, expected.low, expected.high)
            doubts = [one.uncertainty.get(name) for name in self.uncertainties]
            unlike = None if one.unlike is None else " ".join(one.unlike) or "no"
            for name, amount in case.amounts.items():
                yield (
                    case.id, name, round(amount.volume, 9), unit_name(case.unit), amount.pieces,
                    *promised, *doubts, unlike, one.distance, one.stands_out,
                )  # fmt: skip


@dataclass(frozen=True)
class Source:
    """The files of predictions, and of the images that they are of, by id."""

    predictions: Predictions
    images: Mapping[str, Case]

    def mask(self, id: str) -> Mask:
        """The mask of a case.

        Raises:
            ScantlingError, OSError: it cannot be read.
        """
        order = list(range(len(self.predictions.labels.names)))
        found, geometry = self.predictions.mask(id, order, limits=files.GENEROUS)
        layers = [found[0] == number + 1 if len(found) == 1 else found[number] == 1 for number in order]
        case = self.images.get(id)
        if case is not None and case.spacing is not None and len(case.spacing) == len(geometry.shape):
            geometry = with_spacing(geometry, case.spacing, id)
        return Mask(np.stack(layers), np.ones((len(layers), *geometry.shape), bool), geometry)

    def image(self, id: str) -> tuple[Layer | None, str]:
        """The first image of a case, and a sentence on what is shown or why none is."""
        case = self.images.get(id)
        address = None if case is None else next(iter(case.images.values()), None)
        if case is None or address is None:
            return None, "Its image is not where it was predicted from, so the mask is drawn on black."
        try:
            found = files.read(address)
            geometry = found.geometry
            if case.spacing is not None and len(case.spacing) == len(geometry.shape):
                geometry = with_spacing(geometry, case.spacing, id)
        except (ScantlingError, OSError) as error:
            return None, f"The image is not shown: {error}."
        if found.channels == ("red", "green", "blue"):
            return Layer(np.moveaxis(found.array, 0, -1), geometry), ""
        several = len(found.channels) > 1 or len(case.images) > 1
        name = found.channels[0] if len(found.channels) > 1 else next(iter(case.images))
        return Layer(found.array[0], geometry), f"The image shows {name} only." if several else ""

    def spacing(self, id: str, geometry: Geometry) -> tuple[tuple[float, ...], Unit]:
        """How far pixels lie apart: of the mask, else of the image, as scores have it."""
        case = self.images.get(id) or Case(id=id, subject=id)
        return known_spacing(case, (geometry,), limits=files.GENEROUS, untrusted=False)


def holds_unscored(target: Path) -> bool:
    """Whether a target of `report` is a folder that `predict` wrote, without scores."""
    others = any((target / name).is_file() for name in (RUN, "scores.json"))
    return (target / PREDICTIONS).is_file() and not others


def read_unscored(folder: Path, *, progress: Progress | None = None) -> Unscored:
    """Read the masks of a folder that `predict` wrote; a mask that cannot be read is listed, not raised.

    Raises:
        RunError: it holds no masks.
        FileError, DataError: its list is not what `predict` writes.
    """
    listing = read_listing(folder / PREDICTIONS)
    listed = [case for case in listing.cases if case.mask] if listing is not None else []
    if listing is None or not listed:
        raise RunError(
            f"{folder}: lists no mask; expected a folder of masks by `scantling predict`; score image classes with "
            f"scantling evaluate {folder} TRUTH"
        )
    predictions = open_predictions(folder, truth=listing.labels, ids=[case.id for case in listed])
    images, notes = _images(listing)
    source = Source(predictions, images)
    cases, failed = [], [f"{one.id}: not predicted: {one.error}" for one in listing.failed]
    for number, case in enumerate(listed, start=1):
        try:
            cases.append(_measured(case, source))
        except (ScantlingError, OSError) as error:
            failed.append(f"{case.id}: {error}")
        if progress is not None:
            progress(number, len(listed), case.id)
    cases.sort(key=lambda case: (case.empty, -math.inf if case.doubt is None else -case.doubt, case.id))
    known, unknown = ([c for c in cases if not c.empty and (c.doubt is None) == lacking] for lacking in (False, True))
    ordered = [*known, *unknown, *(case for case in cases if case.empty)]
    return Unscored(folder, listing, tuple(ordered), tuple(failed), tuple(notes), source)


def _measured(case: PredictedCase, source: Source) -> UnscoredCase:
    mask = source.mask(case.id)
    spacing, unit = source.spacing(case.id, mask.geometry)
    one, axes = volume_of_a_pixel(spacing, unit), len(mask.shape)
    amounts = {
        name: Amount(int(np.count_nonzero(layer)) * one, components(layer, spatial_dims=axes))
        for name, layer in zip(source.predictions.labels.names, mask.classes, strict=True)
    }
    return UnscoredCase(case, amounts, METRICS["volume_difference"].unit_of(unit, axes=axes) or "pixel")


def _images(listing: PredictionsRecord) -> tuple[Mapping[str, Case], list[str]]:
    """The cases that were predicted as their data set has them, by id; a sentence where it is not there."""
    if not listing.input:
        return {}, ["The list does not say which images were predicted, so the masks are drawn on black."]
    manifest, root = (Path(path) if path else None for path in (listing.manifest, listing.root))
    try:
        found = Opening(manifest=manifest, root=root, subjects=listing.subjects).open(Path(listing.input))
    except (ScantlingError, OSError) as error:
        return {}, [f"The images cannot be read, so the masks are drawn on black: {error}."]
    return {case.id: case for case in found.cases}, []
