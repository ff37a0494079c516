"""What names a file or a folder in a call from Python."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

from scantling.core.errors import SettingsError

StrPath = str | os.PathLike[str]
"""A path as text, a `Path`, or an object that is a path, such as the `Run` that `scantling.train` returns."""


def path_of(value: object, argument: str, *, expected: str = "a path, or a run that is one") -> Path:
    """The path that an argument is.

    Args:
        argument: its name, for the message.
        expected: what it may be, for the message.

    Raises:
        SettingsError: it is none.
    """
    if not isinstance(value, str | os.PathLike):
        raise SettingsError(f"{argument}: found a {type(value).__name__}; expected {expected}")
    return Path(os.fspath(value))


def path_or_none(value: object, argument: str) -> Path | None:
    """The path that an argument is, where it is given.

    Raises:
        SettingsError: it is something else.
    """
    return None if value is None else path_of(value, argument, expected="a path, or None")


def paths_of(value: object, argument: str) -> list[Path]:
    """The paths that an argument is a list of; a single path is a list of one.

    Raises:
        SettingsError: it is none, or one of them is none.
    """
    if isinstance(value, str | os.PathLike):
        return [path_of(value, argument)]
    if not isinstance(value, Iterable):
        raise SettingsError(f"{argument}: found a {type(value).__name__}; expected a path, or a list of them")
    return [path_of(each, f"{argument}[{number}]") for number, each in enumerate(value)]
