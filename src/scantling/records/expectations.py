"""What a model's folder says of the images that it fits, and of how far its expected scores hold."""

from __future__ import annotations

import math
from pathlib import Path
from typing import ClassVar, Self, TypeVar

from pydantic import model_validator

from scantling.records.record import FileRecord, Number, Table, read_record
from scantling.records.run_folder import model_folder


class AppearanceRecord(FileRecord):
    """The contents of `model/appearance.json`: what the training images look like (`data.appearance`).

    Attributes:
        subjects: how many subjects the images that were looked at show.
        features: their names.
        spread: one robust standard deviation of each feature.
        images: the features of each image, None where it has none.
        threshold: the greatest distance to the nearest of these that an image like them has, in spreads; None where the
            subjects are too few.
    """

    what: ClassVar[str] = "record of what training images look like"
    writer: ClassVar[str] = "scantling train"
    name: ClassVar[str] = "appearance.json"

    subjects: int = 0
    features: tuple[str, ...] = ()
    spread: tuple[float, ...] = ()
    images: tuple[tuple[float | None, ...], ...] = ()
    threshold: Number = None

    @model_validator(mode="after")
    def _fit(self) -> Self:
        if {len(self.spread), *map(len, self.images)} != {len(self.features)}:
            raise ValueError("an image has other features than are named")
        if not all(0 < value < math.inf for value in self.spread):
            raise ValueError("a spread is not above 0")
        return self


class ExpectedRecord(FileRecord):
    """The contents of `model/expected.json`: how far Dice lay from its estimate on the validation cases.

    Attributes:
        cases, subjects: that the calibration rests on: those with a mask that is not empty and a Dice.
        centre: the median over subjects of Dice less its estimate; 0 without any.
        low, high: the limits of that difference; None of too few subjects.
        coverage: the share of the cases of new subjects that the limits are to hold.
        options: how the validation cases were answered.
        fitted: what else was chosen or trained on the same cases, so that the coverage may be less.
    """

    what: ClassVar[str] = "calibration of expected scores"
    writer: ClassVar[str] = "scantling train"
    name: ClassVar[str] = "expected.json"

    cases: int = 0
    subjects: int = 0
    centre: float = 0.0
    low: Number = None
    high: Number = None
    coverage: float = 0.9
    options: Table = {}
    fitted: tuple[str, ...] = ()


R = TypeVar("R", AppearanceRecord, ExpectedRecord)


def of_model(kind: type[R], run: Path) -> R | None:
    """A record of a run's model; None where there is none, as in models of earlier versions.

    Raises:
        FileError: it cannot be read.
    """
    path = model_folder(run) / kind.name
    return read_record(kind, path) if path.is_file() else None
