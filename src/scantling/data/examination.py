"""One case under the lens: every file of it is read, and what is wrong with it is written down, not raised."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Literal, TypeVar

import numpy as np

from scantling.core.case import IGNORE, Address, Case, Geometry, Labels
from scantling.core.errors import DataError, FileError
from scantling.data.duplicates import Looks, looks
from scantling.data.files import Picture, read, read_labels
from scantling.data.labels import encode, region_of
from scantling.data.loading import class_numbers, disagreement, finite, is_grey, object_classes, with_spacing
from scantling.data.traits import COLOUR, Moments, class_pixels

T = TypeVar("T")


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
        channels: the names of those that `moments` are of, training cases only.
        pixels: of the first mask, as `class_pixels` counts them.
        scribbled: whether scribbles were read.
    """

    case: Case
    problems: list[Problem] = field(default_factory=list)
    geometry: Geometry | None = None
    stored: dict[str, str] = field(default_factory=dict)
    channels: dict[str, tuple[str, ...]] = field(default_factory=dict)
    moments: dict[str, tuple[Moments, ...]] = field(default_factory=dict)
    pixels: np.ndarray | None = None
    looks: dict[str, Looks] = field(default_factory=dict)


def examine(case: Case, labels: Labels | None, *, stride: int, untrusted: bool = False) -> Seen:
    """Read everything that a case has.

    Args:
        case: addresses.
        labels: what the values of masks mean, where that is known.
        stride: every how many-th pixel is kept for the percentiles.
        untrusted: decode in a process with limits on time and memory.
    """
    picture_of, labels_of = partial(read, untrusted=untrusted), partial(read_labels, untrusted=untrusted)
    seen = Seen(case)
    grids: list[tuple[Address, Geometry]] = []

    def note(level: Literal["error", "warning", "note"], kind: str, sentence: str = "") -> None:
        seen.problems.append(Problem(level, kind, sentence))

    def opened(reader: Callable[[Address], T], address: Address, geometry: Callable[[T], Geometry]) -> T | None:
        """What the reader returns, if the file can be read and fits the other files."""
        try:
            found = reader(address)
        except FileError as error:
            note("error", "unreadable", str(error))
            return None
        if remark := geometry(found).remark:
            note("note", remark)
        if not grids:
            grids.append((address, geometry(found)))
        elif clash := disagreement(grids[0][1], geometry(found)):
            note(
                "error", "geometry", f"{address}: it does not fit {grids[0][0]}: {clash}; make both from the same image"
            )
            return None
        return found

    def label_map(address: Address | None) -> np.ndarray | None:
        found = opened(labels_of, address, lambda pair: pair[1]) if address is not None else None
        return None if found is None else found[0]

    pictures = {name: opened(picture_of, at, lambda picture: picture.geometry) for name, at in case.images.items()}
    found = label_map(case.region)
    region = region_of(found, case.region) if found is not None and case.region is not None else None
    if region is not None and not region.any():
        note("warning", "empty region")
        region = None
    if region is not None and region.all():
        note("note", "whole region")
    for name, picture in pictures.items():
        if picture is not None:
            _look_at(seen, name, picture, region, stride)
    masks = [_mask(seen, mask, labels, label_map) for mask in case.masks]
    instances = label_map(case.instances)
    if instances is not None and masks and masks[0] is not None and (apart := mismatched(instances, masks[0])):
        note(
            "warning",
            "instances",
            f"case {case.id}: {apart} pixels are an instance outside the mask or mask without an "
            "instance; make one from the other",
        )
    if (scribbles := label_map(case.scribbles)) is not None and labels is not None:
        _scribbles(case, scribbles, labels, note)
    if masks:
        first = masks[0]
        seen.pixels = class_pixels(first, labels) if first is not None else None
    if grids:
        seen.geometry = grids[0][1]
        _measure(seen, note)
    for name in ("boxes", "points"):
        try:
            object_classes(case, name, labels)
        except DataError as error:
            note("error", "classes", str(error))
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
    array = picture.array
    address = seen.case.images[name]
    try:
        finite(picture, address)
    except FileError as error:
        seen.problems.append(Problem("error", "not finite", str(error)))
        return
    if picture.channels == COLOUR:
        grey = is_grey(array)
        seen.stored[name] = "grey in three channels" if grey else "colour"
        array = array[:1] if grey else array
    else:
        seen.stored[name] = "grey" if len(array) == 1 else f"{len(array)} channels"
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
) -> np.ndarray | None:
    """The mask as class numbers, if it is in order."""
    case = seen.case
    parts = {"": mask} if isinstance(mask, Address) else mask
    layers = {name: layer for name, address in parts.items() if (layer := label_map(address)) is not None}
    if labels is None or len(layers) < len(parts):
        return None
    try:
        found = class_numbers(case, layers[""] if isinstance(mask, Address) else layers, mask, labels)
    except DataError as error:
        seen.problems.append(Problem("error", "label values", str(error)))
        return None
    if not ((found != 0) & (found != IGNORE)).any():
        seen.problems.append(Problem("warning", "empty mask"))
    return found


def mismatched(instances: np.ndarray, mask: np.ndarray) -> int:
    """How many pixels are an instance outside the mask or mask without an instance; `IGNORE` aside."""
    covered = ((mask != 0) & (mask != IGNORE)).any(axis=0)
    return int(((instances != 0) != covered)[(mask != IGNORE).all(axis=0)].sum())


def _measure(seen: Seen, note: Callable[[Literal["error", "warning", "note"], str, str], None]) -> None:
    """Give the case its spacing, and see whether boxes and points lie in the image."""
    case = seen.case
    if seen.geometry is None:
        return
    if case.spacing is not None:
        try:
            seen.geometry = with_spacing(seen.geometry, case.spacing, case.id)
        except DataError as error:
            note("error", "geometry", str(error))
    shape = seen.geometry.shape
    inside = all(
        len(point) == len(shape) and all(0 <= at < length for at, length in zip(point, shape, strict=True))
        for point in case.points
    )
    inside &= all(
        len(box) == len(shape)
        and all(0 <= low < high <= length for (low, high), length in zip(box, shape, strict=True))
        for box in case.boxes
    )
    if not inside:
        note(
            "error",
            "geometry",
            f"case {case.id}: a box or a point does not lie in the image of "
            f"{' x '.join(map(str, shape))} pixels; correct it",
        )
