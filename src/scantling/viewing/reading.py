"""Cases of a data set as the viewer shows them: images by channel, the truth if there is one, a predicted mask."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, replace

import numpy as np

from scantling.core.case import IGNORE, Case, Geometry, Labels
from scantling.core.errors import DataError, ScantlingError
from scantling.data.files import Limits
from scantling.data.formats.common import COLOUR, Picture
from scantling.data.loading import load_apart, spaced_like
from scantling.data.opening import OPENING, Opening
from scantling.evaluation.predictions import Predictions
from scantling.report.case_files import Layer, Mask, channel_names
from scantling.report.viewer_cases import ViewerCase


@dataclass(frozen=True)
class CaseReader:
    """Reads the cases of a data set.

    Attributes:
        cases: by id.
        labels: what the values of the masks mean; None where there is no mask.
        predictions: masks of a model, if any.
        order: for each class its number, from 0, in `predictions`.
        truth: whether the masks of the data are shown.
        facts: what is said beside the picture, by id.
    """

    cases: Mapping[str, Case]
    labels: Labels | None
    predictions: Predictions | None = None
    order: tuple[int, ...] = ()
    truth: bool = True
    opening: Opening = OPENING
    facts: Mapping[str, tuple[tuple[str, str], ...]] | None = None

    def __call__(self, id: str) -> ViewerCase:
        """The case of this id; a part that cannot be read becomes a sentence.

        Raises:
            ScantlingError: its image cannot be read.
        """
        case = self.cases[id]
        missing: list[str] = []
        (pictures, geometry), truth = self._image_and_truth(case, missing)
        mask = self.predicted(case, geometry, missing)
        maps: list[tuple[str, Layer]] = []
        if self.predictions is not None:
            for name in self.predictions.uncertainties.get(id, {}):
                with suppress(ScantlingError, OSError):
                    maps.append((name, self._uncertainty(id, name, geometry)))
        labels = self.labels
        return ViewerCase(
            id=id,
            channels=tuple(_channels(pictures, geometry)),
            truth=truth,
            mask=mask,
            region=None,
            uncertainty=tuple(maps),
            classes=() if labels is None else labels.names,
            exclusive=labels is None or labels.exclusive,
            facts=(self.facts or {}).get(id, ()),
            missing=tuple(missing),
        )

    def image(self, case: Case) -> tuple[dict[str, Picture], Geometry]:
        """The images of a case by name, and their grid.

        Raises:
            ScantlingError: one cannot be read.
        """
        opening = self.opening
        pictures, sample = load_apart(
            case, reads=("image",), limits=opening.limits or Limits(), untrusted=opening.untrusted
        )
        return pictures, sample.geometry

    def _image_and_truth(
        self, case: Case, missing: list[str]
    ) -> tuple[tuple[dict[str, Picture], Geometry], Mask | None]:
        """The images and the mask of the data, read once; no mask, and a sentence, where it cannot be read."""
        if not self.truth or not case.masks or self.labels is None:
            return self.image(case), None
        opening = self.opening
        try:
            pictures, sample = load_apart(
                case, labels=self.labels, reads=("image", "mask"), limits=opening.limits or Limits(),
                untrusted=opening.untrusted,
            )  # fmt: skip
            return (pictures, sample.geometry), _mask(sample.masks[0], len(self.labels.names), sample.geometry)
        except (ScantlingError, OSError) as error:
            image = self.image(case)
            missing.append(f"The truth is not shown: {error}.")
            return image, None

    def predicted(self, case: Case, grid: Geometry, missing: list[str]) -> Mask | None:
        """The predicted mask on the grid of the image; None, and a sentence, where it cannot be read."""
        if self.predictions is None or self.labels is None:
            return None
        if case.id not in self.predictions.masks:
            missing.append("There is no mask of this case.")
            return None
        try:
            mask, geometry = self.predictions.mask(case.id, self.order, limits=self.opening.limits or Limits())
            geometry = geometry if case.spacing is None else spaced_like(geometry, grid, case.id)
            return _mask(mask, len(self.labels.names), geometry).on(grid)
        except (ScantlingError, OSError) as error:
            missing.append(f"The mask is not shown: {error}.")
            return None

    def _uncertainty(self, id: str, name: str, grid: Geometry) -> Layer:
        predictions = self.predictions
        if predictions is None:
            raise DataError(f"{id}: there is no uncertainty")
        only = replace(predictions, uncertainties={id: {name: predictions.uncertainties[id][name]}})
        found = only.uncertainty(id, limits=self.opening.limits or Limits())
        if found is None:
            raise DataError(f"{id}: there is no uncertainty")
        array, geometry = found
        geometry = geometry if self.cases[id].spacing is None else spaced_like(geometry, grid, id)
        return Layer(array[0], geometry).on(grid)


def _channels(pictures: Mapping[str, Picture], geometry: Geometry) -> list[tuple[str, Layer]]:
    """Every channel of every image by name; red, green and blue are one in colour."""
    found: list[tuple[str, Layer]] = []
    for name, picture in zip(channel_names([*pictures]), pictures.values(), strict=True):
        if picture.channels == COLOUR:
            found.append((name, Layer(np.moveaxis(picture.array, 0, -1), geometry)))
        elif len(picture.array) == 1:
            found.append((name, Layer(picture.array[0], geometry)))
        else:
            before = f"{name} " if len(pictures) > 1 else ""
            named = zip(picture.channels, picture.array, strict=True)
            found += [(f"{before}{channel}", Layer(array, geometry)) for channel, array in named]
    return found


def _mask(mask: np.ndarray, count: int, geometry: Geometry) -> Mask:
    """A layer for each class, from class numbers (1, *S) or from layers (K, *S)."""
    one = len(mask) == 1
    if not one and len(mask) != count:
        raise DataError(f"found masks of {len(mask)} classes, expected {count}")
    classes = [mask[0] == number if one else mask[number - 1] == 1 for number in range(1, count + 1)]
    known = [mask[0 if one else number] != IGNORE for number in range(count)]
    return Mask(np.stack(classes), np.stack(known), geometry)
