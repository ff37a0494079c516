"""A folder of images with files of annotations, wherever these lie, as cases whose masks are drawn when they are read.

Listed images without objects have empty masks; images that no file lists are unlabelled. Where no object has an area,
boxes and points are the labels.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from math import prod
from pathlib import Path
from typing import Any

import numpy as np

from scantling.core.case import IGNORE, Address, Case, Labels, Split
from scantling.core.errors import DataError, FileError
from scantling.data.annotations.index import ImageIndex
from scantling.data.annotations.reading import OBJECTS, ONE_IMAGE, annotations_in, member
from scantling.data.annotations.shapes import MOST_PIXELS, AnnotatedImage, Annotations, Object, Polygon, Runs, covered
from scantling.data.beside import beside
from scantling.data.contents import Contents, Finding, count, files_below, left_out, some, unique
from scantling.data.files import RASTERS, probe, stem_of
from scantling.data.formats.recognised import ANNOTATIONS
from scantling.data.labels import valid_labels
from scantling.data.naming import IMAGE_FOLDERS, MASK_FOLDERS, SPLITS, words

DEEPEST = 5
"""How many levels of folders may lie between the folder that is opened and a file."""
MANY = 0.05
"""Where objects of different classes share more than this part of the annotated pixels, the classes overlap."""
_LOOKED_AT = 20


@dataclass(frozen=True)
class _Listed:
    """An image that is there, with what a file of annotations says of it."""

    path: Path
    source: Path
    annotations: Annotations
    image: AnnotatedImage


def annotated(root: Path, *, only: Path | None = None) -> Contents | None:
    """The cases of a folder with files of annotations; None where there are none, or masks are images.

    Args:
        root: the folder.
        only: the one file of annotations to use.

    Raises:
        FileError: a file of annotations is damaged.
        DataError: none of the images is there, or it cannot be told which is meant.
    """
    files = list(files_below(root, levels=DEEPEST))
    candidates = [only] if only is not None else [path for path in files if path.name.lower().endswith(ANNOTATIONS)]
    if not candidates:
        return None
    images = [path for path in files if path.name.lower().endswith(RASTERS)]
    masks = [path for path in images if {part.lower() for part in path.relative_to(root).parts[:-1]} & {*MASK_FOLDERS}]
    if not images or (only is None and (masks or _beside(images, root))):
        return None
    images = [path for path in images if path not in masks] or images
    sources = {path: found for path in candidates if (found := annotations_in(path)) is not None}
    if not sources:
        return None
    remarks: list[Finding] = []
    listed = _listed(root, images, sources, remarks)
    objects = [one for entry in listed for one in entry.image.objects]
    drawn = any(one.areas and not one.unknown for one in objects)
    classes = _classes(sources.values(), objects, drawn=drawn)
    if not classes:
        raise DataError(
            f"{root}: {count(len(sources), 'file')} of annotations ({min(sources).name}) and no object in them; draw "
            "some, or move the file away to use the images without labels"
        )
    overlap = _overlap(listed, classes, remarks) if drawn and len(classes) > 1 else False
    cases = _cases(root, images, listed, classes, drawn=drawn, overlap=overlap)
    values = ((),) * len(classes) if overlap else tuple((value,) for value in range(1, len(classes) + 1))
    hidden = drawn and any(one.unknown or one.box is not None for one in objects)
    labels = Labels(names=classes, values=values, ignore=IGNORE if hidden else None)
    others = [path for path in candidates if path not in sources]
    remarks.insert(0, _understood(listed, cases, classes, sources, drawn=drawn))
    remarks += _odd_polygons(listed)
    remarks += _left_out(sources.values(), objects, drawn=drawn)
    used = {address.path for case in cases for address in case.images.values()}
    remarks += left_out([*others, *(path for path in images if path not in used)], root, "not part of the layout")
    return Contents(
        name=root.resolve().name,
        root=root,
        cases=unique(cases, root),
        labels=valid_labels(labels, str(min(sources))),
        remarks=tuple(remarks),
        layout="files of annotations",
    )


def annotated_by(path: Path) -> Contents:
    """The cases of the images beside a file of annotations, or beside its folder, that it describes.

    Raises:
        DataError: there are no images; else as `annotated`.
    """
    for root in (path.parent, path.parent.parent):
        if found := annotated(root, only=path):
            return found
    raise DataError(f"{path}: no images lie beside or above these annotations; open the folder that holds both")


def _beside(images: Sequence[Path], root: Path) -> bool:
    """Whether masks lie beside images, by their names."""
    folders: dict[Path, list[Path]] = {}
    for path in images:
        folders.setdefault(path.parent, []).append(path)
    return any(case.masks for files in folders.values() for case in beside(files, None, [], root))


def _listed(
    root: Path, images: Sequence[Path], sources: Mapping[Path, Annotations], remarks: list[Finding]
) -> list[_Listed]:
    """The images that are listed and there, in the order of their paths.

    Raises:
        DataError: none is there, or one is listed by two files.
    """
    index = ImageIndex(root, images)
    found: dict[Path, _Listed] = {}
    lost: list[str] = []
    for source, content in sources.items():
        names = Counter(image.name for image in content.images)
        for image in content.images:
            path = index.find([image.name, *_stems(source, content)], near=source)
            if path is None:
                lost.append(image.name or source.name)
            elif (before := found.get(path)) is None:
                found[path] = _Listed(path, source, content, image)
            elif before.source != source:
                raise DataError(
                    f"{path}: both {before.source} and {source} describe this image; keep one, or open one by its name"
                )
            elif before.image.name != image.name or names[image.name] > 1:
                raise DataError(f"{source}: lists {path.name} twice, as {before.image.name!r} and {image.name!r}")
    if not found:
        raise DataError(
            f"{min(sources)}: none of its images is below {root} (such as {some(lost, most=3)}; there are "
            f"{some((path.name for path in images), most=3)}); put them there, under these names"
        )
    if lost:
        sentence = f"{count(len(lost), 'image')} in the annotations ({some(lost, most=3)}) {_are(lost)} not there"
        remarks.append(Finding(level="warning", kind="without image", sentence=sentence))
    return [found[path] for path in sorted(found)]


def _are(things: Sequence[object]) -> str:
    return "is" if len(things) == 1 else "are"


def _stems(source: Path, annotations: Annotations) -> Iterator[str]:
    """What the one image of a file is called that is named after it: "a" or "a.tif" of "a.tif - objects.geojson"."""
    if len(annotations.images) == 1 and annotations.format in ONE_IMAGE:
        yield source.stem
        yield source.stem.partition(" - ")[0]


def _classes(sources: Iterable[Annotations], objects: Sequence[Object], *, drawn: bool) -> tuple[str, ...]:
    """The classes that have objects, in the order of the files."""
    used = {one.label for one in objects if (one.areas or not drawn) and not one.unknown}
    listed = dict.fromkeys(name for found in sources for name in found.classes)
    return tuple(name for name in listed if name in used)


def _overlap(listed: Sequence[_Listed], classes: Sequence[str], remarks: list[Finding]) -> bool:
    """Whether classes overlap so much that each is to have a mask of its own; a remark tells of what was found."""
    both = annotated = 0
    pairs: Counter[tuple[str, str]] = Counter()
    several = [
        entry
        for entry in listed
        if entry.image.shape
        and prod(entry.image.shape) <= MOST_PIXELS
        and len({one.label for one in entry.image.objects}) > 1
    ]
    for entry in several[:: max(1, len(several) // _LOOKED_AT)]:
        try:
            layers = _layers(entry.image, classes)
        except ValueError as error:
            raise FileError(entry.source, f"image {entry.image.name!r}: {error}", remedy="export it again") from None
        times = np.sum(list(layers.values()), axis=0)
        annotated += int((times > 0).sum())
        both += int((times > 1).sum())
        for one, other in combinations(layers, 2):
            pairs[one, other] += int((layers[one] & layers[other]).sum())
    if not both:
        return False
    (one, other), _ = pairs.most_common(1)[0]
    share = both / annotated
    apart = share > MANY
    how = "each class has a mask of its own" if apart else "the object that is listed later counts"
    sentence = (
        f"objects of different classes share {share:.1%} of the annotated pixels (most, {one} and {other}); {how}"
    )
    remarks.append(Finding(level="note" if apart else "warning", kind="overlaps", sentence=sentence))
    return apart


def _layers(image: AnnotatedImage, classes: Sequence[str]) -> dict[str, np.ndarray]:
    shape = image.shape or (0, 0)
    layers: dict[str, np.ndarray] = {}
    for one in image.objects:
        if one.label in classes and not one.unknown:
            layer = layers.setdefault(one.label, np.zeros(shape, bool))
            for area in one.areas:
                place, inside = covered(area, shape)
                layer[place] |= inside
    return layers


def _cases(
    root: Path,
    images: Sequence[Path],
    listed: Sequence[_Listed],
    classes: tuple[str, ...],
    *,
    drawn: bool,
    overlap: bool,
) -> list[Case]:
    known = {entry.path: entry for entry in listed}
    beside = {path.parent for path in known}
    rooms = {*SPLITS, *IMAGE_FOLDERS}
    kept = [
        path
        for path in images
        if path in known or path.parent in beside or {part.lower() for part in path.relative_to(root).parts} & rooms
    ]
    times = Counter(stem_of(path) for path in kept)
    cases = []
    for path in kept:
        place = path.relative_to(root)
        id = stem_of(path) if times[stem_of(path)] == 1 else "_".join((*place.parent.parts, stem_of(path)))
        entry = known.get(path)
        split = _split(place) or (
            _split(entry.source.relative_to(root)) if entry and root in entry.source.parents else None
        )
        labels = _labels(entry, classes, drawn=drawn, overlap=overlap) if entry is not None else {}
        cases.append(Case(id=id, subject=id, images={"image": Address(path)}, split=split, **labels))
    return cases


def _split(place: Path) -> Split | None:
    """The split that a path names: a folder, or a word of its name ("instances_val2017.json")."""
    folders = [part.lower() for part in place.parent.parts]
    named = [word.lower().rstrip("0123456789") for word in words(place.name) if place.suffix.lower() in ANNOTATIONS]
    return next((SPLITS[word] for word in (*reversed(folders), *reversed(named)) if word in SPLITS), None)


def _labels(entry: _Listed, classes: tuple[str, ...], *, drawn: bool, overlap: bool) -> dict[str, Any]:
    """What a case has of its objects."""
    image, objects = entry.image, entry.image.objects
    if not drawn:
        boxes = [(one.label, one.box) for one in objects if one.box is not None]
        points = [(one.label, one.point) for one in objects if one.point is not None]
        return {
            "boxes": tuple(((top, bottom), (left, right)) for _, (left, top, right, bottom) in boxes) or None,
            "box_classes": tuple(label for label, _ in boxes),
            "points": tuple((y - 0.5, x - 0.5) for _, (x, y) in points) or None,
            "point_classes": tuple(label for label, _ in points),
        }
    size_of = "" if image.shape else Path(os.path.relpath(entry.path, entry.source.parent)).as_posix()
    own = () if entry.annotations.classes == classes else classes

    def address(layer: str = "", only: str = "") -> Address:
        name = image.name or entry.path.name
        return Address(entry.source, member(name, classes=(only,) if only else own, layer=layer, size_of=size_of))

    mask: Address | dict[str, Address] = {name: address(only=name) for name in classes} if overlap else address()
    return {"masks": (mask,), "instances": address(OBJECTS)}


def _understood(
    listed: Sequence[_Listed],
    cases: Sequence[Case],
    classes: Sequence[str],
    sources: Mapping[Path, Annotations],
    *,
    drawn: bool,
) -> Finding:
    """A note of what was found, for the first lines of `check`."""
    objects = [one for entry in listed for one in entry.image.objects]
    kinds = {
        "polygons": any(not isinstance(area, Runs) for one in objects for area in one.areas),
        "run lengths": any(isinstance(area, Runs) for one in objects for area in one.areas),
        "boxes": not drawn and any(one.box is not None for one in objects),
        "points": not drawn and any(one.point is not None for one in objects),
    }
    formats = some(sorted({found.format for found in sources.values()}))
    where = some((path.name for path in sorted(sources)), most=2)
    sentence = (
        f"{count(len(listed), 'image')} with {' and '.join(kind for kind, there in kinds.items() if there)} of "
        f"{count(len(classes), 'class', 'classes')} ({some(classes, most=9)}) in {formats} {where}"
    )
    if bare := sum(not entry.image.objects for entry in listed):
        meaning = "read as empty masks" if drawn else "read as unlabelled"
        sentence += f"; {bare} of them without an object, {meaning}"
    if unlisted := len(cases) - len(listed):
        sentence += f"; {unlisted} further images in no annotations, unlabelled"
    return Finding(level="note", kind="layout", sentence=sentence)


def _shape(entry: _Listed) -> tuple[int, int] | None:
    """(H, W) of an image, where the annotations or its file say it."""
    if entry.image.shape is not None:
        return entry.image.shape
    try:
        height, width = probe(entry.path).shape
    except (FileError, ValueError):
        return None
    return height, width


def _odd_polygons(listed: Sequence[_Listed]) -> Iterator[Finding]:
    """Remarks on polygons that lie outside of their images, are cut by the border, or cross themselves."""
    outside, cut, crossed = list[str](), list[str](), list[str]()
    for entry in listed:
        areas = [area for one in entry.image.objects for area in one.areas if isinstance(area, Polygon)]
        shape = _shape(entry) if areas else None
        outside += [entry.path.name for area in areas if shape is not None and not area.meets(shape)]
        cut += [entry.path.name for area in areas if shape is not None and area.leaves(shape)]
        crossed += [entry.path.name for area in areas if area.crosses_itself]

    def said(files: Sequence[str]) -> str:
        return f"({some(dict.fromkeys(files), most=3)})"

    if outside:
        sentence = f"{count(len(outside), 'polygon')} outside of the image {said(outside)}; mend the annotations"
        yield Finding(level="warning", kind="outside", sentence=sentence)
    if cut:
        sentence = f"{count(len(cut), 'polygon')} beyond the border of the image {said(cut)}; cut there"
        yield Finding(level="note", kind="outside", sentence=sentence)
    if crossed:
        sentence = f"{count(len(crossed), 'polygon')} whose outline crosses itself {said(crossed)}"
        sentence += "; inside is what it goes around an odd number of times"
        yield Finding(level="warning", kind="crossed", sentence=sentence)


def _left_out(sources: Iterable[Annotations], objects: Sequence[Object], *, drawn: bool) -> Iterator[Finding]:
    """Remarks on what was drawn and does not become a label."""
    lost = sum((found.left_out for found in sources), Counter[str]())
    if lost:
        listed = some(f"{number} of kind {kind!r}" for kind, number in lost.most_common())
        sentence = f"{count(lost.total(), 'shape')} without an area, or of a kind that is not read, left out: {listed}"
        yield Finding(level="warning", kind="left out", sentence=sentence)
    boxes, points = (sum(getattr(one, kind) is not None for one in objects) for kind in ("box", "point"))
    if drawn and boxes:
        sentence = f"{count(boxes, 'object')} with a box and no area: what is inside counts as unknown"
        yield Finding(level="note", kind="boxes", sentence=sentence)
    if drawn and points:
        sentence = f"{count(points, 'point')} beside areas left out"
        yield Finding(level="note", kind="left out", sentence=sentence)
