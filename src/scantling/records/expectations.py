"""What a model's folder says of the images that it fits, and of how far its expected scores hold."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar, TypeVar

from scantling.records.record import FileRecord, Number, Record, Table, read_record
from scantling.records.run_folder import model_folder


class FeatureRecord(Record):
    """A feature of the training images: its median, and its spread, which is one robust standard deviation."""

    centre: float
    spread: float


class AppearanceRecord(FileRecord):
    """The contents of `model/appearance.json`: what the training images look like (`data.appearance`).

    Attributes:
        images: how many training images were looked at.
        threshold: the greatest deviation of a feature, in spreads, that an image like them has; None of too few images.
    """

    what: ClassVar[str] = "record of what training images look like"
    writer: ClassVar[str] = "scantling train"
    name: ClassVar[str] = "appearance.json"

    images: int = 0
    features: dict[str, FeatureRecord] = {}
    threshold: Number = None


class ExpectedRecord(FileRecord):
    """The contents of `model/expected.json`: how far Dice lay from its estimate on the validation cases.

    Attributes:
        cases, subjects: that the calibration rests on: those with a mask that is not empty and a Dice.
        centre: the median over subjects of Dice less its estimate; 0 without any.
        low, high: the limits of that difference; None of too few subjects.
        coverage: the share of the cases of new subjects that the limits are to hold.
        options: how the validation cases were answered.
        fitted: what else was chosen on the same cases, so that the coverage may be less.
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
