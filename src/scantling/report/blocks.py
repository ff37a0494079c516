"""Parts of a page that many have: the head of a section, and tables of numbers."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Figure:
    """A number in large type with its name and a word of context."""

    value: str
    name: str
    context: str = ""


@dataclass(frozen=True)
class Header:
    """The head of a section; `settings` and `versions` are long and stand folded."""

    title: str
    name: str
    summary: str
    figures: tuple[Figure, ...]
    facts: tuple[tuple[str, str], ...]
    command: str
    settings: tuple[tuple[str, str], ...]
    versions: tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class NumbersBlock:
    """A table of numbers with a heading.

    Attributes:
        title: its heading.
        note: what its numbers are, and whether they have intervals.
        columns: headings of the numbers.
        rows: what a number is of, and the numbers as they are written.
    """

    title: str
    note: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, tuple[str, ...]], ...]
