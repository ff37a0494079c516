"""Masks that lie beside their images, in one folder, and are known by their names."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from scantling.core.case import Address, Case, Split
from scantling.data.contents import Finding, count, left_out, name_of
from scantling.data.naming import says_mask
from scantling.data.pairs import LIKE_A_MASK, by_words, nearest_misses, owner_of, same_ending


def beside(files: Sequence[Path], split: Split | None, remarks: list[Finding], root: Path) -> list[Case]:
    """The cases of one folder of images, some of which are masks by their names (`x.png`, `x_mask.png`)."""
    names = {path: name_of(path) for path in files}
    stems = {*names.values()}
    claims: dict[str, list[tuple[bool, Path]]] = {}
    for path, name in names.items():
        owner, numbered = owner_of(name, stems, regions=False)
        if owner:
            claims.setdefault(owner, []).append((numbered, path))
    first = {owner: min(claimed) for owner, claimed in claims.items()}
    masks = {owner: path for owner, (numbered, path) in first.items() if not numbered or len(claims[owner]) == 1}
    chosen = {*masks.values()}
    further = [path for claimed in claims.values() for _, path in claimed if path not in chosen]
    called = {name: path for path, name in names.items() if says_mask(name)}
    if not masks:
        masks = by_words(called, stems - called.keys())
    if not masks and len(called) == len(stems - called.keys()) == 1:  # the two files of a patient
        masks = {next(iter(stems - called.keys())): next(iter(called.values()))}
    known = {*masks.values(), *further}
    after = {path for path, name in names.items() if LIKE_A_MASK.fullmatch(name)}
    lost = [path for path in files if path in after and path not in known and names[path] not in masks] if masks else []
    left = known.union(lost)
    images = [path for path in files if path not in left]
    free = [names[path] for path in images if names[path] not in masks]
    if masks:
        owner, mask = next(iter(masks.items()))
        sentence = f"{count(len(masks), 'image')} with a mask beside it by its name ({owner}, {mask.name})"
        sentence += f"; {len(free)} without" if free else ""
        remarks.append(Finding(level="note", kind="names", sentence=sentence))
    remarks += left_out(further, root, "a further mask of an image", warning="without image")
    remarks += left_out(lost, root, "called like a mask, without an image", warning="without image")
    bare = called.keys() - {names[path] for path in known} - masks.keys()
    if misses := nearest_misses(bare, {*free} - called.keys()):
        remarks.append(Finding(level="warning", kind="names", sentence=f"the nearest names do not pair: {misses}"))
    elif not masks and (twins := same_ending(stems)):
        remarks.append(Finding(level="warning", kind="names", sentence=twins))
    return [
        replace(plain(path, split), masks=(Address(masks[names[path]]),) if names[path] in masks else ())
        for path in images
    ]


def plain(path: Path, split: Split | None) -> Case:
    """An image without labels, called after its file."""
    stem = name_of(path)
    return Case(id=stem, subject=stem, images={"image": Address(path)}, split=split)
