"""What names a file or a folder in a call from Python."""

from __future__ import annotations

import os

StrPath = str | os.PathLike[str]
"""A path as text, a `Path`, or an object that is a path, such as the `Run` that `scantling.train` returns."""
