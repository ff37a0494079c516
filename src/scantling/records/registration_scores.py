"""An evaluation of registrations, as `scantling evaluate --json` prints and a run keeps it."""

from __future__ import annotations

from typing import ClassVar

from scantling.core.case import Unit
from scantling.records.predictions import Failure
from scantling.records.record import FileRecord, Numbers, Table
from scantling.records.scores import Interval, ScoredRecord


class PairScoresRecord(ScoredRecord):
    """One scored pair; its metrics stand beside its id, under their own names.

    Attributes:
        fixed, moving: the ids of the two images.
        classes: the metrics by class, where there are several.
        unit: of the metrics that are lengths; None in files of early versions.
    """

    id: str
    fixed: str = ""
    moving: str = ""
    subject: str = ""
    classes: dict[str, Numbers] = {}
    unit: Unit | None = None


class RegistrationScoresRecord(FileRecord):
    """The contents of the file; see `evaluation.registration_result.RegistrationEvaluation`.

    Attributes:
        run, method, model: what registered, and a short name for its weights.
        options: of the command: "manifest" and "root".
        mean, std, interval, count, subjects: by metric, over the pairs that define it.
        units: by metric that is a length what its means are in; empty in files of early versions.
    """

    what: ClassVar[str] = "evaluation of registrations"
    writer: ClassVar[str] = "scantling evaluate --json"

    prediction: str = ""
    truth: str = ""
    run: str | None = None
    method: str | None = None
    model: str | None = None
    options: Table = {}
    classes: tuple[str, ...] = ()
    mean: Numbers = {}
    std: Numbers = {}
    interval: dict[str, Interval] = {}
    count: dict[str, int] = {}
    subjects: dict[str, int] = {}
    units: dict[str, Unit] = {}
    pairs: tuple[PairScoresRecord, ...]
    failed: tuple[Failure, ...] = ()
    notes: tuple[str, ...] = ()
    conventions: tuple[str, ...] = ()
