"""One case under the lens: every file of it is read, and what is wrong with it is written down, not raised."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Literal

import numpy as np
from skimage import measure

from scantling.core.case import IGNORE, Address, Case, Geometry, Labels
from scantling.core.errors import DataError, FileError
from scantling.core.pieces import pieces
from scantling.data.channels import is_grey
from scantling.data.drawn_objects import forget_objects, has_own_map, numbers_in_mask
from scantling.data.duplicates import Looks, looks
from scantling.data.files import Limits, Picture, read
from scantling.data.grids import place
from scantling.data.labels import encode, region_of
from scantling.data.loading import class_numbers, object_classes, read_mask, with_spacing
from scantling.data.loading import inside as known_inside
from scantling.data.moments import Moments
from scantling.data.orientation import stored_geometry
from scantling.data.outside import finite
from scantling.data.partly_drawn import Gaps, drawn_part, forget_classes, forget_undrawn, gaps_in
from scantling.data.thickness import ObjectSizes, object_sizes
from scantling.data.traits import COLOUR, class_pixels


@dataclass(frozen=True)
class Problem:
    """Something wrong with one case; problems of a grouped kind are told in one sentence for all cases."""

    level: Literal["error", "warning", "note"]
    kind: str
    sentence: str = ""


@dataclass
class Seen:
    """What is remembered of a case: no pixels but those for percentiles and comparison.

    Attributes:
        stored: how each image is stored, for people ("grey", "colour", "grey in three channels").
        dtypes: the number type of each image.
        background: the share of the known pixels of the first mask, and of those at its borders, that are of no class.
        channels: the names of those that `moments` are of, training cases only.
        pixels: of the first mask, as `class_pixels` counts them.
        objects: of the first mask, training cases only.
        gaps: empty slices of the masks that may not have been drawn.
        outside: pixels of the images that are NaN or infinite, and so lie outside of what was imaged.
    """

    case: Case
    problems: list[Problem] = field(default_factory=list)
    geometry: Geometry | None = None
    stored: dict[str, str] = field(default_factory=dict)
    dtypes: dict[str, str] = field(default_factory=dict)
    background: tuple[float, float] | None = None
    channels: dict[str, tuple[str, ...]] = field(default_factory=dict)
    moments: dict[str, tuple[Moments, ...]] = field(default_factory=dict)
    pixels: np.ndarray | None = None
    objects: ObjectSizes | None = None
    looks: dict[str, Looks] = field(default_factory=dict)
    outside: int = 0
    gaps: Gaps | None = None


def examine(case: Case, labels: Labels | None, *, stride: int, untrusted: bool = False) -> Seen:
    """Read everything that a case has.

    Args:
        case: addresses.
        labels: what the values of masks mean, where that is known.
        stride: every how many-th pixel is kept for the percentiles.
        untrusted: decode in a process with limits on time and memory.
    """
    seen = Seen(case)
    grids: list[tuple[Address, Geometry]] = []

    def note(level: Literal["error", "warning", "note"], kind: str, sentence: str = "") -> None:
        seen.problems.append(Problem(level, kind, sentence))

    def placed(array: np.ndarray, geometry: Geometry, address: Address, labels: bool) -> np.ndarray | None:
        """(C, *S) on the grid of the first file, if it fits that."""
        if not grids:
            grids.append((address, geometry))
            return array
        try:
            found, how = place(array, geometry, grids[0][1], where=address, reference=grids[0][0], labels=labels)
        except DataError as error:
            note("error", "geometry", str(error))
            return None
        if how and labels and Problem("note", f"{how} masks") not in seen.problems:
            note("note", f"{how} masks")
        return found

    def opened(address: Address) -> Picture | None:
        try:
            found = read(address, untrusted=untrusted)
        except FileError as error:
            note("error", "unreadable", str(error))
            return None
        if remark := found.geometry.remark:
            note("note", remark)
        array = placed(found.array, found.geometry, address, False)
        return None if array is None else replace(found, array=array, geometry=grids[0][1])

    def label_map(address: Address | None, meant: Labels | None = None, *, grey: bool = False) -> np.ndarray | None:
        if address is None:
            return None
        try:
            array, geometry = read_mask(address, meant, grey=grey, limits=Limits(), untrusted=untrusted)
        except FileError as error:
            note("error", "unreadable", str(error))
            return None
        found = placed(array[None], geometry, address, True)
        return None if found is None else found[0]

    def inside(address: Address | None) -> np.ndarray | None:
        found = label_map(address)
        return None if found is None or address is None else region_of(found, address)

    pictures = {name: opened(address) for name, address in case.images.items()}
    region = inside(case.region)
    if region is not None and not region.any():
        note("warning", "empty region")
        region = None
    if region is not None and region.all():
        note("note", "whole region")
    for name, picture in pictures.items():
        if picture is not None:
            _look_at(seen, name, picture, region, stride)
    looked_at = label_map(case.known)
    known = None if looked_at is None else known_inside(looked_at, case)
    of_mask = partial(label_map, meant=labels, grey=case.threshold is not None)
    instances = label_map(case.instances)
    masks = [_mask(seen, mask, labels, of_mask, known, instances, grids) for mask in case.masks]
    if instances is not None and masks and masks[0] is not None and (apart := mismatched(instances, masks[0])):
        note(
            "warning",
            "instances",
            f"case {case.id}: {apart} pixels are an instance outside the mask or mask without an "
            "instance; make one from the other",
        )
    if instances is not None and case.instances not in case.masks and (torn := torn_numbers(instances)):
        note(
            "warning",
            "instances",
            f"case {case.id}: {torn} of the numbers of its objects mark several separate ones; each piece is taken for "
            "an object; give each a number of its own",
        )
    if (scribbles := label_map(case.scribbles, labels)) is not None and labels is not None:
        _scribbles(case, scribbles, labels, note)
    if masks and (first := masks[0]) is not None:
        seen.pixels, seen.background = class_pixels(first, labels), _background(first)
    if grids:
        seen.geometry = grids[0][1]
    _measure(seen, labels, note)
    if masks and masks[0] is not None and seen.geometry is not None and case.split in ("train", None):
        seen.objects = object_sizes(masks[0], labels, seen.geometry)
    return seen


def _scribbles(case: Case, scribbles: np.ndarray, labels: Labels, note: Callable[..., None]) -> None:
    """Note what is wrong with scribbles."""
    if case.scribbles is None:
        return
    try:
        drawn = encode(scribbles, labels, case.scribbles)
    except DataError as error:
        note("error", "label values", str(error))
        return
    if labels.ignore is None:
        note("error", "scribbles")
    elif (drawn == IGNORE).all():
        note("warning", "empty scribbles")


def _look_at(seen: Seen, name: str, picture: Picture, region: np.ndarray | None, stride: int) -> None:
    seen.dtypes[name] = picture.array.dtype.name
    address = seen.case.images[name]
    try:
        picture, outside = finite(picture, address)
    except FileError as error:
        seen.problems.append(Problem("error", "not finite", str(error)))
        return
    if outside is not None:
        seen.outside += int(outside.sum())
        region = ~outside if region is None else region & ~outside
    array = picture.array
    if picture.channels == COLOUR:
        grey = is_grey(array)
        seen.stored[name] = "grey in three channels" if grey else "colour"
        array = array[:1] if grey else array
    else:
        seen.stored[name] = "grey" if len(array) == 1 else f"{len(array)} channels"
    if picture.geometry.exif != 1:
        seen.problems.append(Problem("note", "exif"))
    image = looks(array, picture.geometry)
    if image is None:
        seen.problems.append(Problem("warning", "constant image"))
    else:
        seen.looks[name] = image
    if seen.case.split in ("train", None):
        inside = [layer.ravel() if region is None else layer[region] for layer in array]
        seen.channels[name] = picture.channels if len(array) > 1 else ("grey",)
        seen.moments[name] = tuple(Moments.of(values, stride) for values in inside)


def _mask(
    seen: Seen,
    mask: Address | Mapping[str, Address],
    labels: Labels | None,
    label_map: Callable[[Address], np.ndarray | None],
    known: np.ndarray | None,
    instances: np.ndarray | None,
    grids: Sequence[tuple[Address, Geometry]],
) -> np.ndarray | None:
    """The mask as class numbers, if it is in order."""
    case = seen.case
    parts = {"": mask} if isinstance(mask, Address) else mask
    layers = {name: layer for name, address in parts.items() if (layer := label_map(address)) is not None}
    if labels is None or len(layers) < len(parts):
        return None
    try:
        drawn = None if case.drawn_slices is None else drawn_part(case, grids[0][1])
        raw = layers[""] if isinstance(mask, Address) else layers
        plain = class_numbers(case, raw, mask, labels, drawn=drawn)
        found = forget_classes(forget_undrawn(plain, case, grids[0][1], known=known), case, labels)
        if case.drawn_objects is not None:
            own = instances if has_own_map(case) else None
            numbers = numbers_in_mask(case, raw, plain) if own is None else own
            (found,), _ = forget_objects(case, (found,), numbers)
    except DataError as error:
        seen.problems.append(Problem("error", "label values", str(error)))
        return None
    if not any(((piece != 0) & (piece != IGNORE)).any() for piece in pieces(found)):
        seen.problems.append(Problem("warning", "unknown mask" if found.all() else "empty mask"))
    if not isinstance(mask, Address) and ((found != 0) & (found != IGNORE)).sum(axis=0).max() > 1:
        seen.problems.append(Problem("note", "overlap"))
    seen.gaps = seen.gaps or gaps_in(found, grids[0][1])
    return found


def _background(mask: np.ndarray) -> tuple[float, float]:
    """The shares of the known pixels of a mask (C, *S), and of those at its borders, that are of no class."""
    none, known = _of_no_class(mask)
    at_border = [_of_no_class(part) for part in _border(mask)]
    return none / max(known, 1), sum(one for one, _ in at_border) / max(sum(one for _, one in at_border), 1)


def _of_no_class(mask: np.ndarray) -> tuple[int, int]:
    """How many pixels of a mask (C, *S) are of no class, and how many are known."""
    marked, known = (mask[0], mask[0] != IGNORE) if len(mask) == 1 else (mask.any(axis=0), (mask != IGNORE).all(axis=0))
    return marked.size - int(np.count_nonzero(marked)), int(np.count_nonzero(known))


def _border(mask: np.ndarray) -> Iterator[np.ndarray]:
    """The pixels at the border of a mask (C, *S), each once, in parts (C, ...)."""
    for axis in range(1, mask.ndim):
        yield from (mask.take(place, axis=axis) for place in {0, mask.shape[axis] - 1})
        mask = mask[(*[slice(None)] * axis, slice(1, -1))]


def mismatched(instances: np.ndarray, mask: np.ndarray) -> int:
    """How many pixels are an instance outside the mask or mask without an instance; `IGNORE` aside."""
    covered = ((mask != 0) & (mask != IGNORE)).any(axis=0)
    return int(((instances != 0) != covered)[(mask != IGNORE).all(axis=0)].sum())


def torn_numbers(instances: np.ndarray) -> int:
    """How many numbers of a label map of objects mark several separate ones (corners connect)."""
    pieces, count = measure.label(instances, background=0, connectivity=instances.ndim, return_num=True)
    first = np.zeros(count + 1, np.int64)
    first[pieces.ravel()] = instances.ravel()
    return int((np.unique(first[1:], return_counts=True)[1] > 1).sum())


def _measure(
    seen: Seen, labels: Labels | None, note: Callable[[Literal["error", "warning", "note"], str, str], None]
) -> None:
    """Give the case its spacing, and see whether boxes and points lie in the image and have classes."""
    case = seen.case
    for name in ("boxes", "points"):
        try:
            object_classes(case, name, labels)
        except DataError as error:
            note("error", "classes", str(error))
    if seen.geometry is None:
        return
    if case.spacing is not None:
        try:
            seen.geometry = with_spacing(seen.geometry, case.spacing, case.id)
        except DataError as error:
            note("error", "geometry", str(error))
    shape = stored_geometry(seen.geometry).shape
    inside = all(
        len(point) == len(shape) and all(0 <= at < length for at, length in zip(point, shape, strict=True))
        for point in case.points or ()
    )
    inside &= all(
        len(box) == len(shape)
        and all(0 <= low < high <= length for (low, high), length in zip(box, shape, strict=True))
        for box in case.boxes or ()
    )
    if not inside:
        note(
            "error",
            "geometry",
            f"case {case.id}: a box or a point does not lie in the image of "
            f"{' x '.join(map(str, shape))} pixels; correct it",
        )
