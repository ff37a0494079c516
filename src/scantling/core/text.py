"""How text is laid out for people: tables that never grow wider than a terminal, sentences, and many alike as one."""

from __future__ import annotations

import re
import textwrap
import unicodedata
from collections.abc import Iterable, Sequence

BELONGING = ("± std", "± seeds", "95 % interval")
"""Columns so headed say how sure the value to their left is, and stand beside it."""
FIRST = 3
"""Of many alike so many names are told."""


def columns_of(text: str) -> int:
    """The columns of a terminal that a text takes; East Asian characters take two each."""
    return sum(2 if unicodedata.east_asian_width(letter) in "WF" else 1 for letter in text)


def aligned(rows: Iterable[Sequence[str]], *, width: int | None = None, keys: int = 1) -> list[str]:
    """A table: the first row is its head, the first column stands to the left, the others to the right.

    Where it is wider than `width`, its columns stand in blocks below each other, each block behind the columns that say
    what a row is; a value and its interval (`BELONGING`) are never parted. Where one of these does not fit, every row
    becomes lines "head: cell"; no cell is cut.

    Args:
        width: columns of the terminal; None for any number.
        keys: the first columns, which say what a row is.
    """
    listed = [list(row) for row in rows]
    widths = [max(columns_of(row[column]) for row in listed) for column in range(len(listed[0]))]
    room = None if width is None else width - sum(each + 2 for each in widths[:keys]) + 2
    groups: list[list[int]] = []
    for column in range(keys, len(widths)):
        if groups and listed[0][column] in BELONGING:
            groups[-1].append(column)
        else:
            groups.append([column])
    blocks: list[list[int]] = [[]]
    for group in groups:
        if room is not None and room < sum(widths[each] + 2 for each in group):
            return _stacked(listed, keys)
        if room is not None and blocks[-1] and sum(widths[each] + 2 for each in (*blocks[-1], *group)) > room:
            blocks.append([])
        blocks[-1] += group
    lines: list[str] = []
    for block in blocks:
        lines += [""] if lines else []
        lines += [_line(row, [*range(keys), *block], widths) for row in listed]
    return lines


def _line(row: Sequence[str], columns: Sequence[int], widths: Sequence[int]) -> str:
    cells = [" " * (widths[column] - columns_of(row[column])) for column in columns]
    first, *others = (
        row[column] + gap if not number else gap + row[column]
        for number, (column, gap) in enumerate(zip(columns, cells, strict=True))
    )
    return "  ".join([first, *others]).rstrip()


def _stacked(rows: Sequence[Sequence[str]], keys: int) -> list[str]:
    """Each row as lines of its own; cells that are empty are left out."""
    head, *others = rows
    lines, before = list[str](), [""] * keys
    for row in others:
        before = [cell or above for cell, above in zip(row[:keys], before, strict=True)]
        named = [f"{name} {cell}".strip() for name, cell in zip(head[:keys], before, strict=True) if cell]
        lines += [", ".join(named)]
        lines += [
            f"  {name}: {cell}" if name else f"  {cell}"
            for name, cell in zip(head[keys:], row[keys:], strict=True)
            if cell
        ]
    return lines


def wrapped(text: str, width: int | None) -> str:
    """A text whose lines are no longer than a terminal is wide; words, such as paths, stay whole.

    Args:
        width: columns of the terminal; None leaves the text as it is.
    """
    if width is None:
        return text
    lines: list[str] = []
    for line in text.split("\n"):
        if columns_of(line) <= width:
            lines.append(line)
            continue
        indent = line[: len(line) - len(line.lstrip())]
        lines += textwrap.wrap(
            line.strip(), max(20, width), initial_indent=indent, subsequent_indent=f"{indent}  ",
            break_long_words=False, break_on_hyphens=False,
        )  # fmt: skip
    return "\n".join(lines)


def alike(sentences: Iterable[str]) -> list[str]:
    """Sentences "ID: what is wrong", of which those that say the same of several ids become one with their number.

    Numbers and the id within a sentence may differ; what is told is that of the first.
    """
    groups: dict[str, list[tuple[str, str]]] = {}
    for sentence in sentences:
        id, colon, what = sentence.partition(": ")
        if not colon:
            groups.setdefault(sentence, []).append(("", sentence))
            continue
        same = re.sub(r"\d+", "0", re.sub(rf"(?<!\w){re.escape(id)}(?!\w)", "ID", what))
        groups.setdefault(same, []).append((id, what))
    found = []
    for group in groups.values():
        (id, what), names = group[0], [name for name, _ in group]
        if len(group) == 1 or not id:
            found.append(f"{id}: {what}" if id else what)
            continue
        more = f" and {len(names) - FIRST:,} more" if len(names) > FIRST else ""
        named = ", ".join(names[:FIRST]) if more else " and ".join(filter(None, [", ".join(names[:-1]), names[-1]]))
        found.append(f"{len(names):,} in the same way ({named}{more}); of {id}: {what}")
    return found


def with_part(text: str, name: str, content: str) -> str:
    """A page with `content` in the part that is called `name`, between `<!-- NAME: ... -->` and `<!-- end of NAME -->`.

    Raises:
        ValueError: no place is marked for it.
    """
    pattern = re.compile(rf"(<!-- {re.escape(name)}:[^\n]*-->\n).*?(<!-- end of {re.escape(name)} -->)", re.DOTALL)
    found = pattern.search(text)
    if found is None:
        raise ValueError(f"there is no place marked for {name}")
    return f"{text[: found.end(1)]}\n{content}\n\n{text[found.start(2) :]}"
