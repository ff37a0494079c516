"""Folders that hold files of the same names, of which one may hold the masks of the other."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import combinations
from pathlib import Path

from scantling.core.errors import ScantlingError
from scantling.data.contents import Finding, name_of
from scantling.data.files import read_labels
from scantling.data.labels import distinct

_MOST_VALUES = 64
"""A file whose name does not say what it is may be a label map if it has no more values than this."""
_MOST_FOLDERS = 20


def is_label_map(path: Path) -> bool:
    """Whether a file has so few values that it may be a mask."""
    try:
        return len(distinct(read_labels(path, untrusted=True)[0])) <= _MOST_VALUES
    except ScantlingError:
        return False


def twins(folders: Mapping[Path, Sequence[Path]], root: Path) -> Iterator[Finding]:
    """A warning of the first two folders that share most of their names where one holds label maps and one does not.

    Args:
        folders: the images in each folder.
        root: the folder that is opened.
    """
    listed = [(folder, {name_of(path) for path in files}) for folder, files in folders.items() if len(files) > 1]
    for (one, names), (other, others) in combinations(listed[:_MOST_FOLDERS], 2):
        if 2 * len(names & others) <= max(len(names), len(others)):
            continue
        flat = [folder for folder in (one, other) if is_label_map(min(folders[folder]))]
        if len(flat) == 1:
            image, mask = sorted((one, other), key=lambda folder: folder in flat)
            sentence = (
                f"the files in {mask.relative_to(root)} are called like those in {image.relative_to(root)} and have "
                "few values; if they are their masks, call the folder 'masks' and the other 'images', or write a "
                "manifest (scantling.toml)"
            )
            yield Finding(level="warning", kind="names", sentence=sentence)
            return
