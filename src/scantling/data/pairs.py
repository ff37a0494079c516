"""Which file belongs to which image by its name, and what comes nearest where none does."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping
from difflib import SequenceMatcher, get_close_matches
from pathlib import Path

from scantling.core.errors import DataError
from scantling.data.contents import Finding, left_out, some
from scantling.data.naming import same_thing

_WORDS = r"(?:masks?|segs?|segm|segmentations?|labels?|gt|ground[_-]?truth|annotations?|manual1?)"
_AFTER_NAME = re.compile(rf"(?:[_\-. ]*{_WORDS}){{1,3}}(?P<number>[_-]?\d+)?", re.IGNORECASE)
_BEFORE_NAME = re.compile(rf"{_WORDS}[_\-. ]*", re.IGNORECASE)
_REGION_AFTER = re.compile(r"[_\-. ]+(?:fov|regions?)(?:[_-]?masks?)?", re.IGNORECASE)
LIKE_A_MASK = re.compile(rf".+?(?:[_\-. ]+{_WORDS}){{1,3}}(?:[_-]?\d+)?", re.IGNORECASE)
"""What a mask is called beside an image: the stem of the image and a word for masks."""
_CLOSE = 0.6
"""How alike the nearest name must be at least (`difflib`)."""
_MOST = 500
"""Names that are held against each other to find the nearest."""


def owner_of(stem: str, known: Collection[str], *, regions: bool = True) -> tuple[str, bool]:
    """The stem, of those that are known, of the image that a mask with this stem belongs to, and if it has a number.

    The owner is empty where there is none; the longest counts (`x_seg` of `x_seg_mask`, where there is such an image).

    Args:
        regions: whether names of regions of interest (`x_fov`) belong to images too.
    """
    for place in range(len(stem) - 1, 0, -1):
        after = _AFTER_NAME.fullmatch(stem, place) or (_REGION_AFTER.fullmatch(stem, place) if regions else None)
        if after and stem[:place] in known:
            return stem[:place], bool(after.groupdict().get("number"))
        if stem[-place:] in known and _BEFORE_NAME.fullmatch(stem, 0, len(stem) - place):
            return stem[-place:], False
    return "", False


def pair_files(
    files: Mapping[str, Path], stems: Iterable[str], folder: Path, remarks: list[Finding], root: Path
) -> dict[str, Path]:
    """The file of each stem: the one with the same stem, else the only one that is called after it (`owner_of`).

    Raises:
        DataError: no file pairs, or two belong to one image.
    """
    known = set(stems)
    pairs = {stem: path for stem, path in files.items() if stem in known}
    alone: list[Path] = []
    for stem, path in files.items():
        if stem in known:
            continue
        owner, numbered = owner_of(stem, known)
        if owner and owner not in pairs:
            pairs[owner] = path
        elif owner and not numbered:
            raise DataError(f"{folder}: both {pairs[owner].name} and {path.name} may belong to {owner}; keep one")
        else:
            alone.append(path)
    if files and not pairs:
        pairs = by_words(files, known)
        paired = {*pairs.values()}
        alone = [path for path in alone if path not in paired]
    names = {path: stem for stem, path in files.items()}
    misses = nearest_misses([names[path] for path in alone], known - pairs.keys())
    if files and not pairs:
        nearest = f"; nearest: {misses}" if misses else ""
        raise DataError(
            f"{folder}: no file pairs with an image (found {alone[0].name}, the images have stems such as "
            f"{min(known)}){nearest}; give both the same stem, or write a manifest (scantling.toml)"
        )
    remarks += left_out(alone, root, "without an image of the same stem", warning="without image")
    if misses:
        remarks.append(Finding(level="warning", kind="names", sentence=f"the nearest names do not pair: {misses}"))
    return pairs


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


def nearest_misses(alone: Iterable[str], free: Iterable[str], *, most: int = 3) -> str:
    """Up to `most` pairs of names that come nearest to each other, with what differs; empty where none is near.

    Args:
        alone: the stems of masks without an image.
        free: those of images without a mask.
    """
    left, found = sorted(free)[:_MOST], list[str]()
    for name in sorted(alone)[:_MOST]:
        folded = {one.casefold(): one for one in left}
        near = get_close_matches(name.casefold(), folded, n=1, cutoff=_CLOSE)
        if not near:
            continue
        other = folded[near[0]]
        left.remove(other)
        found.append(f"{other!r} and {name!r} ({_difference(other, name)})")
        if len(found) == most:
            break
    return some(found, most=most)


def same_ending(stems: Collection[str]) -> str:
    """A sentence where half of the names are other names with the same word more (`x0`, `x0_overlay`), else ""."""
    ends: dict[str, list[str]] = {}
    for stem in sorted(stems):
        if (match := re.fullmatch(r"(.+?)([_\-. ]+[^\W\d_]+)", stem)) and match[1] in stems:
            ends.setdefault(match[2], []).append(stem)
    end, longer = max(ends.items(), key=lambda item: len(item[1]), default=("", []))
    if 2 * len(longer) < len(stems) or not longer:
        return ""
    return (
        f"{len(longer)} images are called like another one with {end!r} more ({some(longer, most=3)}); if they are "
        "masks, end their names in '_mask', put them into a folder 'masks', or write a manifest"
    )


def _difference(image: str, mask: str) -> str:
    """What the name of a mask has otherwise than that of an image, in words."""
    if image.casefold() == mask.casefold():
        return "they differ in capitals only"
    parts = []
    for kind, start, end, begin, stop in SequenceMatcher(None, image, mask, autojunk=False).get_opcodes():
        if kind == "insert":
            parts.append(f"{mask[begin:stop]!r} is added")
        elif kind == "delete":
            parts.append(f"{image[start:end]!r} is missing")
        elif kind == "replace":
            parts.append(f"{mask[begin:stop]!r} instead of {image[start:end]!r}")
    return ", ".join(parts)
