"""A mask file for each object: together they are one mask, and one label map of objects.

The address is the folder and what its files are called: `FOLDER#mask:*` is 1 where any of them is not empty,
`FOLDER#objects:*` numbers them from 1 in the order of their names; the later lies on top.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from fnmatch import fnmatchcase
from itertools import takewhile
from math import prod
from pathlib import Path

import numpy as np

from scantling.core.case import Address, Case, Labels
from scantling.core.errors import DataError, FileError, ScantlingError
from scantling.data.contents import entries, name_of
from scantling.data.files import is_image_name, probe, read_labels
from scantling.data.formats.common import GREY, Array, Limits, Plan, Source, raster
from scantling.data.labels import region_of
from scantling.data.naming import class_in

MASK, NUMBERS = "mask:", "objects:"
LABELS = Labels(names=("object",), values=((1,),))
APART = 0.05
"""The share of the pixels of all objects that may belong to several of them."""
_LOOKED_AT = 300


def is_by_object(mask: object) -> bool:
    """Whether a mask of a case is made of files of single objects."""
    return isinstance(mask, Address) and mask.member.startswith(MASK)


def with_objects(case: Case, files: Sequence[Path]) -> Case:
    """`case` with the mask and the objects of files in one folder; as it is where there are none.

    Raises:
        DataError: another image in the folder has a name that begins like those of all of them.
    """
    if not files:
        return case
    folder = files[0].parent
    names = [path.name for path in files]
    same = takewhile(lambda letters: len({*letters}) == 1, zip(*names, strict=False))
    start = "".join(letters[0] for letters in same)
    others = (path for path in entries(folder) if path not in files and is_image_name(path))
    if mixed := [path for path in others if path.name.startswith(start)]:
        raise DataError(
            f"{folder}: the names of the masks of single objects ({names[0]}, ...) begin like {mixed[0].name}; put "
            "them into a folder 'masks'"
        )
    quoted = "".join(f"[{letter}]" if letter in "*?[" else letter for letter in start)
    mask, numbers = (Address(folder, f"{kind}{quoted}*") for kind in (MASK, NUMBERS))
    return replace(case, masks=(mask,), instances=numbers)


def _shared(files: Sequence[Path]) -> float | None:
    """The share of the marked pixels that several of the files mark; None where one is no mask of the same size."""
    try:
        total = np.zeros(probe(files[0], untrusted=True).shape, np.int64)
        for path in files[:_LOOKED_AT]:
            total += _inside(Address(path), Limits(), total.shape, untrusted=True)
    except ScantlingError:
        return None
    return float((total > 1).sum() / max((total > 0).sum(), 1))


def by_object(places: Sequence[tuple[Path, Mapping[str, Path]]]) -> str:
    """What to say of masks that lie in a file for each object; empty where they do not.

    They do if no name of theirs stands in another folder, and in the folder that has most hardly any pixel lies in two.
    Files that differ by a number only are also those of annotators, whose masks lie on each other.

    Args:
        places: the folder of each case and its masks by name.
    """
    several = [place for place in places if len(place[1]) > 1]
    kinds = [{class_in(name) for name in masks} - {"", class_in(folder.name)} for folder, masks in places]
    times = Counter(name for names in kinds for name in names)
    if not several or any(number > 1 for number in times.values()) or (times and len(several) == 1):
        return ""
    folder, masks = max(several, key=lambda place: len(place[1]))
    share = _shared(sorted(masks.values()))
    return _sentence(len(masks), folder.name, share) if share is not None and share <= APART else ""


def _sentence(number: int, name: str, share: float) -> str:
    sentence = f"a mask file for each object ({number} in {name}), read as one mask of objects"
    return sentence + (f"; {share:.2%} of their pixels lie in two of them, and count for the later" if share else "")


def paired_by_object(images: Mapping[str, Path], masks: Path) -> tuple[dict[str, list[Path]], str]:
    """The masks of single objects of each image, by its stem, and what to say of them; empty where there are none.

    They lie in a folder called after the image, or are called after it with a number more, which others are not.

    Args:
        images: by stem.
        masks: the folder that holds them all.
    """
    inside = list(entries(masks))
    groups = {
        path.name: [one for one in entries(path) if is_image_name(one)]
        for path in inside
        if path.name in images and path.is_dir()
    }
    if not groups:
        for path in inside:
            match = re.fullmatch(r"(.+?)(?:[_-](?:mask|object|obj|instance|cell|nucleus))?[_-]\d+", name_of(path))
            if not is_image_name(path) or match is None or match[1] not in images or name_of(path) in images:
                return {}, ""
            groups.setdefault(match[1], []).append(path)
    stem, files = max(groups.items(), key=lambda group: len(group[1]), default=("", []))
    share = _shared(files) if len(files) > 1 else None
    if share is None or share > APART:
        return {}, ""
    return {stem: sorted(files) for stem, files in groups.items() if files}, _sentence(len(files), stem, share)


def labels_of(cases: Iterable[Case]) -> Labels | None:
    """The one class of masks that are made of objects; None where there are others."""
    masks = [mask for case in cases for mask in case.masks]
    return LABELS if masks and all(map(is_by_object, masks)) else None


def files_of(address: Address) -> list[Path]:
    """The files of the objects that an address means, in the order of their names; none of another address."""
    kind, colon, pattern = address.member.partition(":")
    if kind + colon not in (MASK, NUMBERS) or not address.path.is_dir():
        return []
    return [path for path in entries(address.path) if is_image_name(path) and fnmatchcase(path.name, pattern)]


def inspect(source: Source) -> Plan:
    """The plan of the label map of a folder of masks.

    Raises:
        FileError: no file is called so, or one has another size or several values.
    """
    member = source.address.member
    if not member.startswith((MASK, NUMBERS)):
        raise source.error("is a folder, which has no such member", expected="'mask:NAMES' or 'objects:NAMES'")
    files = files_of(source.address)
    if not files:
        raise source.error("holds no mask that is called so", remedy="correct the address")
    found = probe(files[0], limits=source.limits)
    header = raster("masks of objects", found.shape, GREY, np.int32)
    if len(header.shape) < len(found.shape):
        raise FileError(files[0], "the mask of an object is a volume", expected="flat masks", remedy="join them")

    def decode() -> Array:
        drawn = np.zeros(header.shape, np.int32)
        for number, path in enumerate(files, start=1):
            drawn[_inside(Address(path), source.limits, header.shape)] = number if member.startswith(NUMBERS) else 1
        return drawn[None]

    needed = 4 * prod(header.shape)
    return Plan(header, decode, needed, needed)


def _inside(address: Address, limits: Limits, shape: Sequence[int], *, untrusted: bool = False) -> Array:
    array = read_labels(address, limits=limits, untrusted=untrusted)[0]
    if array.shape != tuple(shape):
        size, wanted = (" x ".join(map(str, sizes)) for sizes in (array.shape, shape))
        raise FileError(str(address), f"found a mask of {size}", expected=f"{wanted} as the first of its folder")
    return region_of(array, address)
