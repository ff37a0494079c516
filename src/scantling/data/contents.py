"""What a folder was found to hold, before anything is decided about it: cases, declared labels, remarks."""

from __future__ import annotations

import os
import unicodedata
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

from scantling.core.case import Case, Frozen, Labels
from scantling.core.errors import DataError, FileError
from scantling.core.system_files import is_hidden
from scantling.data import files
from scantling.data.colour_tables import TABLES
from scantling.data.files import stem_of
from scantling.data.formats.recognised import header_of

MANIFESTS = ("scantling.toml", "scantling.json")
STORED_SPLIT = "scantling-split.json"
STRATA = "scantling-strata.csv"
CLASSES = "labels.csv"
UNNAMED = "name"
"""The kind of a finding on a case that was left out because no file can be called after it."""

_SILENT = ("readme", "source.md", "license", "licence", "copying", "citation", "changelog", "notice")


class Finding(Frozen):
    """Something that a check found.

    Attributes:
        level: an error makes results wrong or impossible, a warning may, a note is good to know.
        kind: what it is about, in one or two words ("unreadable", "near duplicate").
        cases: the ids of the cases that it is about.
        sentence: what was found and, where it helps, what to do.
    """

    level: Literal["error", "warning", "note"]
    kind: str
    cases: tuple[str, ...] = ()
    sentence: str


@dataclass(frozen=True, kw_only=True)
class Contents:
    """The cases of a folder, the labels that it declares (None: to be found in the masks) and what was odd in it.

    Attributes:
        layout: what the folder was taken for, after "in the layout" ("name + _mask").
        described: whether a manifest describes it.
        regions: the classes that each region joins (`Dataset.regions`).
    """

    name: str
    root: Path
    cases: tuple[Case, ...]
    labels: Labels | None = None
    remarks: tuple[Finding, ...] = ()
    layout: str = ""
    described: bool = False
    regions: Mapping[str, tuple[str, ...]] = field(default_factory=dict)


def some(names: Iterable[str], *, most: int = 5) -> str:
    """A list for a sentence: "a, b, c", or "a, b, c, d, e and 12 more"."""
    listed = list(names)
    return ", ".join(listed[:most]) + (f" and {len(listed) - most} more" if len(listed) > most else "")


def count(number: int, noun: str, plural: str = "") -> str:
    """ "1 case" or "3 cases"."""
    return f"{number} {noun if number == 1 else plural or noun + 's'}"


def is_silent(path: Path) -> bool:
    """Whether a file is hidden, documentation, a licence, the system's or Scantling's own, or the voxels of a header.

    Such a file needs no remark; no image is one.
    """
    name = path.name.lower()
    if is_hidden(path.name) or name in (*MANIFESTS, STORED_SPLIT, STRATA, *TABLES):
        return True
    if name.endswith(files.SUFFIXES):
        return False
    return name.startswith(_SILENT) or name.endswith(".md") or header_of(path) is not None


def entries(folder: Path) -> Iterator[Path]:
    """What lies directly in `folder`, in the order of the names, without hidden files and documentation.

    Raises:
        FileError: the folder cannot be listed.
    """
    try:
        inside = sorted(folder.iterdir(), key=lambda path: path.name)
    except OSError as error:
        raise FileError(folder, f"the folder cannot be listed ({error.strerror})", remedy="mend its rights") from None
    for path in inside:
        if not is_silent(path) or (path.is_dir() and not is_hidden(path.name)):
            yield path


def files_below(folder: Path, *, levels: int, seen: set[str] | None = None) -> Iterator[Path]:
    """The files of a folder and of so many levels of folders, this one included, in order, as `entries` lists them.

    A folder in it that cannot be listed is left out, and one that links to another of them; the remarks of the layout
    tell of them.

    Args:
        seen: the folders that were listed.

    Raises:
        FileError: `folder` itself cannot be listed.
    """
    seen = set() if seen is None else seen
    seen.add(os.path.realpath(folder))
    for path in entries(folder):
        if not path.is_dir():
            yield path
        elif levels > 1 and os.path.realpath(path) not in seen:
            try:
                yield from files_below(path, levels=levels - 1, seen=seen)
            except FileError:
                continue


def left_out(paths: Sequence[Path], root: Path, what: str, *, warning: str = "") -> Iterator[Finding]:
    """Remarks on files and folders that were left out, those that cannot be listed by themselves.

    Args:
        what: the reason, after "is" ("no image").
        warning: the kind of a warning; a note on unused files if empty.
    """
    closed = [path for path in paths if path.is_dir() and not _listable(path)]
    for kind, level, listed, reason in (
        ("unreadable", "warning", closed, "a folder that cannot be listed"),
        (warning or "unused files", "warning" if warning else "note", [p for p in paths if p not in closed], what),
    ):
        if listed:
            names = some((path.relative_to(root).as_posix() for path in listed), most=3)
            command = "is {} and was" if len(listed) == 1 else "are {} and were"
            sentence = f"{names} {command.format(reason)} left out"
            yield Finding.model_validate({"level": level, "kind": kind, "sentence": sentence})


def _listable(folder: Path) -> bool:
    try:
        next(folder.iterdir(), None)
    except OSError:
        return False
    return True


def name_of(path: Path) -> str:
    """What a case is called after: the stem of a file, the whole name of a folder with a DICOM series; in NFC."""
    return unicodedata.normalize("NFC", path.name) if path.is_dir() else stem_of(path)


def spelled(path: Path, root: Path) -> Path:
    """`path`, or the path below `root` of the same name in another Unicode form (NFC, NFD) where only that exists."""
    if os.path.lexists(path) or path.as_posix().isascii():
        return path
    found = root
    for part in path.relative_to(root).parts:
        wanted = unicodedata.normalize("NFC", part)
        inside = os.listdir(found) if not os.path.lexists(found / part) and found.is_dir() else [part]
        found /= next((name for name in inside if unicodedata.normalize("NFC", name) == wanted), part)
    return found


def safe_id(name: str, where: Path | str) -> str:
    """`name` if files can be named after it.

    Raises:
        DataError: it is empty, starts with a dot, or no file can have this name on some system.
    """
    try:
        checked = files.safe_id(name)
    except FileError as error:
        raise DataError(f"{where}: the id {name!r} {error.found}; use letters, digits, '-', '_' and '.'") from None
    if checked.startswith("."):
        raise DataError(f"{where}: the id {name!r} starts with a dot, which hides files; rename the case")
    return checked


def with_safe_ids(contents: Contents) -> Contents:
    """`contents` without the cases that no file can be called after, which a warning of the kind `UNNAMED` lists.

    Raises:
        DataError: no case is left.
    """
    kept, remarks, errors = list[Case](), list(contents.remarks), list[DataError]()
    for case in contents.cases:
        place = next((address.path for _, address in case.addresses()), contents.root)
        try:
            safe_id(case.id, place)
            kept.append(case)
        except DataError as error:
            errors.append(error)
            remarks.append(Finding(level="warning", kind=UNNAMED, sentence=f"{error}; it was left out"))
    if errors and not kept:
        raise errors[0]
    folded: dict[str, list[str]] = defaultdict(list)
    for case in kept:
        folded[case.id.casefold()].append(case.id)
    if alike := [ids for ids in folded.values() if len(ids) > 1]:
        listed = some((", ".join(ids) for ids in alike), most=3)
        sentence = f"names that differ in capitals only ({listed}): their files are one on some systems; rename one"
        remarks.append(Finding(level="warning", kind="names", sentence=sentence))
    return replace(contents, cases=tuple(kept), remarks=tuple(remarks))


def unique(cases: Iterable[Case], where: Path | str) -> tuple[Case, ...]:
    """The cases, all with different ids.

    Raises:
        DataError: two cases share an id.
    """
    found: dict[str, Case] = {}
    for case in cases:
        if case.id in found:
            files = [
                next((str(address) for _, address in one.addresses()), "a case without files")
                for one in (found[case.id], case)
            ]
            raise DataError(
                f"{where}: two cases have the id {case.id!r} ({files[0]} and {files[1]}); "
                "rename one, or give the cases ids in a manifest"
            )
        found[case.id] = case
    return tuple(found.values())
