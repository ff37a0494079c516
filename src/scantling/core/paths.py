"""What names a file or a folder in a call from Python."""

from __future__ import annotations

import os
from pathlib import Path

from scantling.core.errors import SettingsError

StrPath = str | os.PathLike[str]
"""A path as text, a `Path`, or an object that is a path, such as the `Run` that `scantling.train` returns."""


def path_of(value: object, argument: str) -> Path:
    """The path that an argument is.

    Raises:
        SettingsError: it is none.
    """
    if not isinstance(value, str | os.PathLike):
        raise SettingsError(f"{argument}: found a {type(value).__name__}; expected a path, or a run that is one")
    return Path(os.fspath(value))
