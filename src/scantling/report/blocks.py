"""The head of a section of a page: its title, the few numbers that matter, and the circumstances."""

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
