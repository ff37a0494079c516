"""What made data are worth: the record of the folder, and the result as `scantling worth --json` prints it."""

from __future__ import annotations

from typing import ClassVar

from scantling.records.curve import CurveFolder, CurveRecord
from scantling.records.record import Number, Record, Table


class WorthFolder(CurveFolder):
    """The contents of `worth.json`; `methods` are the arms, and `arms` the made data by name."""

    what: ClassVar[str] = "record of what made cases are worth"
    writer: ClassVar[str] = "scantling worth"
    name: ClassVar[str] = "an experiment"
    besides: ClassVar[str] = "the made cases"


class AmountRecord(Record):
    """How many cases an arm trains on at a budget, with the first label seed."""

    arm: str
    labels: str
    real: int
    made: int


class ValidityRecord(Record):
    """See `experiments.validity.Validity`."""

    on: str
    modality: str = ""
    labels: str
    cases: int
    score: Number = None
    error: Number = None
    remark: str = ""


class WorthRecord(CurveRecord):
    """The result; points and cells have an arm as their method. See `experiments.worth_result.WorthResult`.

    Attributes:
        verdict: what can be said of each made data set, a sentence each.
        images: made images beside real ones, by the name of the made data, as `scantling assess --json` prints them.
    """

    what: ClassVar[str] = "worth of made data"
    writer: ClassVar[str] = "scantling worth --json"

    verdict: tuple[str, ...] = ()
    amounts: tuple[AmountRecord, ...] = ()
    validity: tuple[ValidityRecord, ...] = ()
    images: dict[str, Table] = {}
