"""Which files of a folder are DICOM, by their first bytes; no library is needed to know."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from scantling.data.formats.recognised import looks_like_dicom

SUFFIXES = (".dcm", ".dicom", ".ima")
DIRECTORY = "DICOMDIR"
"""The table of contents of a medium."""
DEEPEST = 8
"""How many levels of folders an archive may have."""


def is_dicom(path: Path) -> bool:
    """Whether a file is DICOM by its first bytes, or by its name where it cannot be read; no `DIRECTORY` is."""
    try:
        if not path.is_file() or path.name == DIRECTORY:
            return False
        with path.open("rb") as file:
            return looks_like_dicom(file.read(132))
    except OSError:
        return path.suffix.lower() in SUFFIXES


def holds_dicom(folder: Path, *, others: tuple[str, ...]) -> bool:
    """Whether a folder is a DICOM series: it can be listed, and more of its files are DICOM than end with `others`."""
    try:
        inside = [path for path in folder.iterdir() if not path.name.startswith(".")]
    except OSError:
        return False
    slices = {path for path in inside if is_dicom(path)}
    return len(slices) > sum(path.name.lower().endswith(others) for path in inside if path not in slices)


def files_below(folder: Path, *, levels: int) -> Iterator[Path]:
    """The files of a folder and of so many levels of folders in it, in order; no hidden ones, no linked folders."""
    for place, folders, names in os.walk(folder):
        here = Path(place)
        level = len(here.relative_to(folder).parts)
        folders[:] = sorted(name for name in folders if level < levels and not name.startswith("."))
        yield from (here / name for name in sorted(names) if not name.startswith("."))
