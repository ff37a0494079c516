"""`scantling-strata.csv`: the strata of each case or subject of a folder, whatever its layout."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from scantling.core.case import Case
from scantling.core.errors import FileError
from scantling.data.contents import Finding, count, some
from scantling.data.tables import read_table


def with_strata(cases: Sequence[Case], path: Path) -> tuple[tuple[Case, ...], tuple[Finding, ...]]:
    """The cases with the strata of a table, and a remark on rows that belong to no case.

    The table has a column `id` or `subject`; every other column is a stratum, and an empty cell says nothing. What it
    says of a case counts before what a manifest says. Without a table the cases are left as they are.

    Raises:
        FileError: the table cannot be read, has neither column or both, no stratum, or two rows of one name.
    """
    if not path.is_file():
        return tuple(cases), ()
    columns, table = read_table(path)
    keys = [column for column in columns if column in ("id", "subject")]
    if len(keys) != 1 or len(columns) < 2:
        found = f"the table has the columns {some(columns, most=9)}"
        raise FileError(path, found, expected="'id' or 'subject', and a column for each stratum")
    rows: dict[str, dict[str, str]] = {}
    for cells in table:
        name = cells[keys[0]]
        if not name or name in rows:
            raise FileError(path, f"the {keys[0]} {name!r} is empty or there twice", expected="one row for each")
        rows[name] = {column: cell for column, cell in cells.items() if column != keys[0] and cell}
    names = [case.id if keys[0] == "id" else case.subject for case in cases]
    lost = sorted(rows.keys() - set(names))
    sentence = f"{path}: {count(len(lost), 'row')} of no case ({some(lost, most=3)}); correct the {keys[0]}"
    remark = Finding(level="warning", kind="strata", sentence=sentence)
    return (
        tuple(
            replace(case, strata={**case.strata, **rows.get(name, {})}) for case, name in zip(cases, names, strict=True)
        ),
        (remark,) if lost else (),
    )
