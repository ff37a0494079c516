"""Numbers that were learned and say something to people, as tables: of a model, and of how far runs are believed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from scantling.report.blocks import NumbersBlock
from scantling.report.words import plural

OF_SEVERAL = " for "
"""Between what a number is of and the class that it is for, in the names that methods give."""


def learned_block(found: Mapping[str, float | None]) -> NumbersBlock | None:
    """What a model has learned (`Method.learned`, as `run.json` keeps it); None where that is nothing.

    "reliability of T1 for liver" stands in the row "reliability of T1" and the column "liver" if every row has every
    class; else each number has a row.
    """
    if not found:
        return None
    pairs = {tuple(name.rsplit(OF_SEVERAL, 1)): number for name, number in found.items() if OF_SEVERAL in name}
    rows, columns = (tuple(dict.fromkeys(pair[side] for pair in pairs)) for side in (0, 1))
    title = "What the model has learned"
    note = "Numbers of this one training, which have no interval: trainings with other seeds tell how far they vary."
    if len(pairs) == len(found) == len(rows) * len(columns):
        cells = {row: tuple(_written(pairs[row, one]) for one in columns) for row in rows}
        return NumbersBlock(title, note, columns, tuple((_titled(row), cells[row]) for row in rows))
    lines = tuple((_titled(name), (_written(number),)) for name, number in found.items())
    return NumbersBlock(title, note, ("Value",), lines)


def believed_block(made: Mapping[str, Any], *, of: str = "") -> NumbersBlock | None:
    """How far each model of an ensemble is believed, as predictions say it; None where it was not learnt.

    Args:
        made: all that `predictions.json` says but the cases.
        of: the evaluation, where there are several.
    """
    found = made.get("reliabilities")
    if not isinstance(found, Mapping):
        return None
    names, columns = found.get("sources"), found.get("classes")
    believed: Any = found.get("believed")
    if not (isinstance(names, Sequence) and isinstance(columns, Sequence) and _numbers(believed, names, columns)):
        return None
    low: Any = found.get("low")
    high: Any = found.get("high")
    sure = _numbers(low, names, columns) and _numbers(high, names, columns)
    rows = tuple(
        (
            str(name),
            tuple(
                f"{believed[n][c]:.2f}" + (f" ({low[n][c]:.2f} to {high[n][c]:.2f})" if sure else "")
                for c in range(len(columns))
            ),
        )
        for n, name in enumerate(names)
    )
    counts = (("cases", "validation case"), ("subjects", "subject"))
    many = [plural(count if isinstance(count := found.get(key), int) else 0, word) for key, word in counts]
    interval = "with 95 % intervals over subjects" if sure else "without intervals: there are few subjects"
    note = (
        "Reliabilities for Dempster's rule, 0 (says nothing) to 1 (is believed), learnt on "
        f"{many[0]} of {many[1]}, {interval}."
    )
    return NumbersBlock(f"How far each run is believed{of}", note, tuple(map(str, columns)), rows)


def _numbers(table: Any, rows: Sequence[Any], columns: Sequence[Any]) -> bool:
    """Whether a stranger's table has a number for each row and column."""
    if not isinstance(table, Sequence) or isinstance(table, str) or len(table) != len(rows):
        return False
    lines = [line for line in table if isinstance(line, Sequence) and len(line) == len(columns)]
    return len(lines) == len(rows) and all(isinstance(one, int | float) for line in lines for one in line)


def _titled(name: str) -> str:
    return name[:1].upper() + name[1:]


def _written(number: float | None) -> str:
    return "" if number is None else f"{number:.3g}" if abs(number) >= 10 or 0 < abs(number) < 1e-3 else f"{number:.3f}"
