"""Patterns of files and folders where a path is expected: `scans/*.png`, `site*/images`, quoted so that they arrive."""

from __future__ import annotations

import glob
import os
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from scantling.core.errors import DataError
from scantling.core.system_files import is_hidden
from scantling.data.beside import plain
from scantling.data.contents import Contents, Finding, left_out, name_of, some, unique
from scantling.data.files import is_image_name


def matches(path: Path) -> list[Path]:
    """What a pattern matches, in order, without hidden files; nothing where the path is none or is there as it is."""
    if os.path.lexists(path) or not glob.has_magic(str(path)):
        return []
    return [Path(found) for found in sorted(glob.glob(str(path))) if not is_hidden(Path(found).name)]


def folders_of(path: Path) -> list[Path]:
    """The folders that a pattern matches where it matches nothing else, each a data set; none else."""
    found = matches(path)
    return found if found and all(one.is_dir() and not is_image_name(one) for one in found) else []


def names_of(paths: Sequence[Path]) -> list[str]:
    """What each path has otherwise than the others: "site1" and "site2" of `site1/images` and `site2/images`."""
    parts = [path.absolute().parts for path in paths]
    if len({*map(len, parts)}) == 1:
        differs = [len({*column}) > 1 for column in zip(*parts, strict=True)]
        return ["_".join(part for part, keep in zip(row, differs, strict=True) if keep) for row in parts]
    return ["_".join(row[1:]) for row in parts]


def loose_files(paths: Sequence[Path], *, root: Path) -> Contents:
    """Each image file (or folder with a DICOM series) is a case without labels; the others are left out.

    Files of the same name in several folders are called after their folders too.

    Raises:
        DataError: none of several is an image.
    """
    images = [path for path in paths if is_image_name(path)] if len(paths) > 1 else list(paths)
    others = {*paths}.difference(images)
    if not images:
        raise DataError(f"{root}: found no image among {some((path.name for path in paths), most=3)}")
    remarks: list[Finding] = list(left_out(sorted(others), root, "no image"))
    cases = [plain(path, None) for path in images]
    if max(Counter(case.id for case in cases).values()) > 1:
        longer = names_of([path.parent / name_of(path) for path in images])
        cases = [replace(case, id=id, subject=id) for case, id in zip(cases, longer, strict=True)]
    name = name_of(images[0]) if len(images) == 1 else root.resolve().name
    return Contents(name=name, root=root, cases=unique(cases, root), remarks=tuple(remarks))
