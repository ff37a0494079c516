"""What a folder was understood as: its layout, and how many images have masks in it."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import get_args

from scantling.core.case import Address, Case, Split
from scantling.data.contents import Contents, count, name_of
from scantling.data.naming import SPLITS


def layout_of(contents: Contents) -> str:
    """The layout of a folder in a few words ("name + _mask"); what the reader of the layout says of it counts first."""
    if contents.layout:
        return contents.layout
    marked = next((case for case in contents.cases if case.images and case.masks), None)
    if marked is None:
        return "masks alone" if all(not case.images for case in contents.cases) else "images alone"
    image = next(iter(marked.images.values())).path
    first = marked.masks[0]
    mask = first.path if isinstance(first, Address) else next(iter(first.values())).path
    if marked.named and contents.root != image.parent:
        return "a folder for each patient"
    if image.parent == mask.parent:
        stem, name = name_of(image), name_of(mask)
        before, _, after = name.partition(stem) if stem in name else ("", "", "")
        ending = " + ".join([*([before] if before else []), "name", *([after] if after else [])])
        return ending if stem in name else f"names that share words ({image.name}, {mask.name})"
    parts = [Path(os.path.relpath(path.parent, contents.root)).parts for path in (image, mask)]
    one, other = ("/".join(part for part in each if part.lower() not in SPLITS) or "." for each in parts)
    splits = [split for split in get_args(Split) if any(case.split == split for case in contents.cases)]
    below = {part.lower() for part in parts[0]} & {*SPLITS}
    return f"folders {one} and {other}" + (f", by {', '.join(splits)}" if below else "")


def understood(cases: Sequence[Case], layout: str) -> str:
    """A sentence on the images with and without masks: "8 images with masks in the layout name + _mask; 0 without"."""
    images = [case for case in cases if case.images]
    marked = sum(bool(case.masks) for case in images)
    text = f"{count(marked, 'image')} with masks in the layout {layout}; {len(images) - marked} without"
    alone = len(cases) - len(images)
    return text + (f"; {count(alone, 'mask')} without an image" if alone else "")
