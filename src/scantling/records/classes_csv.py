"""`classes.csv`: the image class that was predicted for each case, and the probability of every class."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from scantling.core.atomic import write_text
from scantling.core.errors import FileError
from scantling.data.tables import read_table

CLASSES = "classes.csv"
PREFIX = "p "
TOLERANCE = 0.01
"""How far from 1 the probabilities of a case may add up, as rounding leaves them."""


@dataclass(frozen=True)
class ClassRow:
    """One case.

    Attributes:
        predicted: one of the classes.
        probabilities: in [0, 1], of every class by name; they add up to 1.
    """

    id: str
    predicted: str
    probabilities: Mapping[str, float]


def write_classes(path: Path, rows: Iterable[ClassRow], names: Sequence[str]) -> None:
    """Write the columns `id`, `predicted` and, for each class of `names`, `p NAME`; the rows by id."""
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    table.writerow(["id", "predicted", *(f"{PREFIX}{name}" for name in names)])
    for row in sorted(rows, key=lambda row: row.id):
        table.writerow([row.id, row.predicted, *(row.probabilities[name] for name in names)])
    write_text(path, text.getvalue())


def read_classes(path: Path) -> tuple[tuple[str, ...], tuple[ClassRow, ...]]:
    """The names of the classes in the order of their columns, and the rows.

    Raises:
        FileError: the file cannot be read or lacks a column, an id is empty or there twice, a prediction is no class,
            or probabilities lie outside [0, 1] or do not add up to 1.
    """
    columns, table = read_table(path)
    names = tuple(column.removeprefix(PREFIX) for column in columns if column.startswith(PREFIX))
    if not {"id", "predicted"} <= set(columns) or not names:
        raise FileError(
            path,
            f"the table has the columns {', '.join(columns[:9])}",
            expected=f"'id', 'predicted' and a column '{PREFIX}NAME' for each class",
        )
    rows: dict[str, ClassRow] = {}
    for cells in table:
        id, predicted = cells["id"], cells["predicted"]
        if not id or id in rows:
            raise FileError(path, f"the id {id!r} is empty or there twice", expected="one row for each case")
        if predicted not in names:
            raise FileError(path, f"{id}: predicted is {predicted!r}", expected=f"one of {', '.join(names[:9])}")
        values = {name: _probability(cells[f"{PREFIX}{name}"]) for name in names}
        if wrong := [name for name, value in values.items() if math.isnan(value)]:
            found = cells[f"{PREFIX}{wrong[0]}"]
            raise FileError(path, f"{id}: the probability of {wrong[0]} is {found!r}", expected="a number from 0 to 1")
        if abs((total := math.fsum(values.values())) - 1) > TOLERANCE:
            raise FileError(path, f"{id}: the probabilities add up to {total:g}", expected="1")
        rows[id] = ClassRow(id, predicted, values)
    return names, tuple(rows.values())


def _probability(text: str) -> float:
    """The number in [0, 1] that a cell holds; NaN if it holds none."""
    try:
        value = float(text)
    except ValueError:
        return math.nan
    return value if 0 <= value <= 1 else math.nan
