"""`scantling.json` of made cases: the manifest that `synthesize` writes, which is one as people write it too."""

from __future__ import annotations

from typing import ClassVar

from scantling.data.manifest import CaseTable
from scantling.records.record import FileRecord


class MadeRecord(FileRecord):
    """The contents of the manifest; every case is an entry of `data.manifest`, with its origin.

    Attributes:
        name: of the data set.
        classes: the value of each class in the masks.
    """

    what: ClassVar[str] = "manifest of made cases"
    writer: ClassVar[str] = "scantling synthesize"

    name: str
    classes: dict[str, int]
    case: tuple[CaseTable, ...] = ()
