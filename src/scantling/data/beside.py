"""Masks that lie beside their images, in one folder, and are known by their names."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from scantling.core.case import Address, Case, Split
from scantling.data.contents import Finding, count, left_out, name_of
from scantling.data.naming import same_thing, says_mask

MASK_NAME = re.compile(
    r"(?P<before>.+)[_-](?:masks?|seg|segmentation|labels?|gt|groundtruth|ground_truth|annotation|manual1?)"
    r"(?P<number>[_-]?\d+)?|(?:masks?|seg|labels?|gt)[_-]?(?P<after>.+)",
    re.IGNORECASE,
)
"""What the file of a mask is called that lies beside its image: after its stem and this, or this and its stem."""


def beside(files: Sequence[Path], split: Split | None, remarks: list[Finding], root: Path) -> list[Case]:
    """The cases of one folder of images, some of which are masks by their names (`x.png`, `x_mask.png`)."""
    names = {path: name_of(path) for path in files}
    stems, masks, further = {*names.values()}, dict[str, Path](), list[Path]()
    for path, name in names.items():
        match = MASK_NAME.fullmatch(name)
        owner = next((part for part in (match["before"], match["after"]) if part in stems), None) if match else None
        if owner is None or match is None:
            continue
        if match["number"] or owner in masks:
            further.append(path)
        else:
            masks[owner] = path
    if not masks:
        called = {name: path for path, name in names.items() if says_mask(name)}
        masks = by_words(called, stems - called.keys())
    known = {*masks.values(), *further}
    images = [path for path in files if path not in known]
    if masks:
        owner, mask = next(iter(masks.items()))
        bare = len(images) - len(masks)
        sentence = f"{count(len(masks), 'image')} with a mask beside it by its name ({owner}, {mask.name})"
        sentence += f"; {bare} without" if bare else ""
        remarks.append(Finding(level="note", kind="names", sentence=sentence))
    remarks += left_out(further, root, "a further mask of an image", warning="without image")
    return [
        replace(plain(path, split), masks=(Address(masks[names[path]]),) if names[path] in masks else ())
        for path in images
    ]


def by_words(files: Mapping[str, Path], stems: Iterable[str]) -> dict[str, Path]:
    """The file of each stem that alone has the same name but for words for images and masks (`img_1`, `mask_1`)."""
    owners: dict[tuple[str, ...], list[str]] = {}
    claims: dict[tuple[str, ...], list[Path]] = {}
    for stem in stems:
        owners.setdefault(same_thing(stem), []).append(stem)
    for stem, path in files.items():
        claims.setdefault(same_thing(stem), []).append(path)
    both = [key for key in owners if key and len(owners[key]) == len(claims.get(key, [])) == 1]
    return {owners[key][0]: claims[key][0] for key in both}


def plain(path: Path, split: Split | None) -> Case:
    """An image without labels, called after its file."""
    stem = name_of(path)
    return Case(id=stem, subject=stem, images={"image": Address(path)}, split=split)
