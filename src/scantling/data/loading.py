"""A case becomes a sample: its files, read through the door, agree with each other and with the labels."""

from __future__ import annotations

import functools
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from typing import Any, Literal

import numpy as np

from scantling.core.case import IGNORE, Address, Case, Geometry, Labels, Sample
from scantling.core.errors import DataError
from scantling.core.fields import FIELDS
from scantling.data.channels import by_image, only, with_image
from scantling.data.contents import some
from scantling.data.drawn_objects import forget_objects, has_own_map, known_by, numbers_in_mask
from scantling.data.files import Limits, Picture, probe, read, read_labels
from scantling.data.grids import place
from scantling.data.labels import encode, encode_one, region_of
from scantling.data.orientation import canonical, stored_geometry, turned_rows
from scantling.data.outside import finite
from scantling.data.partly_drawn import drawn_part, forget_classes, forget_undrawn

EVERYTHING = tuple(name for name in FIELDS if name != "mask")


def load(
    case: Case,
    *,
    labels: Labels | None = None,
    channels: Sequence[str] = (),
    reads: Collection[str] = EVERYTHING,
    partial: bool = False,
    layered: bool = False,
    limits: Limits | None = None,
    untrusted: bool = False,
) -> Sample:
    """Read a case; what `reads` does not name is not opened.

    Args:
        case: addresses.
        labels: what the values of the masks mean (`Dataset.labels`); needed where masks or scribbles are read.
        channels: the channels that are wanted (`Traits.channels`). One grey channel is repeated where three are
            wanted; three become one where one is wanted (the common value, else luma after ITU-R BT.601). Those that
            are not wanted have no influence, and an image without a wanted one is not opened. None leaves the channels
            of the files.
        reads: the fields that are read (`core.fields`).
        partial: a case may lack channels, which are 0, and files of single classes, which are `IGNORE`; else the image
            is refused, and nothing is of such a class.
        layered: masks have a layer for each class, also where classes exclude one another, so that those of a case
            whose masks know only some of them say which are certainly not there (`partly_drawn.forget_classes`).
        limits: bounds on what is decoded.
        untrusted: decode in a process with limits on time and memory.

    Returns:
        The sample; its image is (0, *S) where the case has none or it is not read.

    Raises:
        FileError: a file cannot be read.
        DataError: the files of the case disagree in shape or place, or hold values or channels that do not fit.
    """
    pictures, sample = load_apart(
        case, labels=labels, channels=channels, reads=reads, layered=layered, limits=limits, untrusted=untrusted
    )
    if partial and labels is not None:
        for array, mask in zip(sample.masks, case.masks, strict=False):
            if isinstance(mask, Mapping):
                array[[name not in mask for name in labels.names]] = IGNORE
        if sample.masks and isinstance(first := case.masks[0], Mapping):
            sample = replace(sample, known=np.array([name in first for name in labels.names]))
    return with_image(sample, pictures, channels, partial=partial) if pictures else sample


def load_apart(
    case: Case,
    *,
    labels: Labels | None = None,
    channels: Sequence[str] = (),
    reads: Collection[str] = EVERYTHING,
    layered: bool = False,
    limits: Limits | None = None,
    untrusted: bool = False,
) -> tuple[dict[str, Picture], Sample]:
    """As `load`, but with the images as they are in their files, by name, beside a sample without them.

    Where `channels` are named, images have only those of them that have these names.
    """
    limits = limits or Limits()
    grey = case.threshold is not None
    grids: list[tuple[Address, Geometry]] = []

    def on_grid(array: np.ndarray, geometry: Geometry, address: Address, labels: bool = True) -> np.ndarray:
        """(C, *S) on the grid of the first file."""
        if not grids:
            grids.append((address, geometry))
            return array
        return place(array, geometry, grids[0][1], where=address, reference=grids[0][0], labels=labels)[0]

    def label_map(address: Address, meant: Labels | None = None, *, grey: bool = False) -> np.ndarray:
        array, geometry = read_mask(address, meant, grey=grey, limits=limits, untrusted=untrusted)
        return on_grid(array[None], geometry, address)[0]

    pictures: dict[str, Picture] = {}
    outside: list[np.ndarray] = []
    if "image" in reads:
        wanted = by_image(channels, case.images)
        for name in wanted:
            address = case.images[name]
            picture = only(read(address, limits=limits, untrusted=untrusted), name, wanted[name])
            found, part = finite(picture, address)
            array = on_grid(found.array, found.geometry, address, labels=False)
            pictures[name] = replace(found, array=array, geometry=grids[0][1])
            if part is not None:
                outside.append(on_grid(part[None], found.geometry, address, labels=False)[0])
    annotators = case.masks if "masks" in reads else case.masks[:1] if "mask" in reads else ()
    masks = tuple(
        {name: label_map(address, labels, grey=grey) for name, address in mask.items()}
        if isinstance(mask, Mapping)
        else label_map(mask, labels, grey=grey)
        for mask in annotators
    )
    region = region_of(label_map(case.region), case.region) if "region" in reads and case.region else None
    known = inside(label_map(case.known), case) if annotators and case.known else None
    partly = case.drawn_objects is not None and bool(annotators)
    instances = label_map(case.instances) if case.instances and ("instances" in reads or partly) else None
    scribbles = label_map(case.scribbles, labels) if "scribbles" in reads and case.scribbles else None
    if not grids:
        raise DataError(f"case {case.id}: it has nothing to read; expected one of: {', '.join(reads)}")
    rows = [name for name in ("boxes", "points") if name in reads and case.has(name)]
    beyond = np.logical_or.reduce(outside) if outside else None
    if beyond is not None:
        region = ~beyond if region is None else region & ~beyond
    geometry, image = grids[0][1], None
    if "image" not in reads and case.images and (case.spacing is not None or case.drawn_slices is not None):
        first = next(iter(case.images.values()))  # the manifest speaks of its axes
        image = probe(first, limits=limits, untrusted=untrusted).geometry
    drawn = functools.partial(forget_undrawn, case=case, geometry=geometry, known=known, image=image)
    forget = functools.partial(forget_classes, case=case, labels=labels or Labels(names=(), values=()), layered=layered)
    part = drawn_part(case, geometry, image=image) if masks and case.drawn_slices is not None else None
    if case.spacing is not None:
        there = with_spacing(image or geometry, case.spacing, case.id)
        geometry = there if image is None else spaced_like(geometry, there, case.id)
    plain = [
        class_numbers(case, array, mask, labels, drawn=part) for array, mask in zip(masks, annotators, strict=True)
    ]
    known_masks = tuple(forget(drawn(mask)) for mask in plain)
    if case.drawn_objects is not None and (known_masks or instances is not None):
        numbers = instances if instances is not None and (has_own_map(case) or not plain) else None
        numbers = numbers_in_mask(case, masks[0], plain[0]) if numbers is None else numbers
        known_masks, kept = forget_objects(case, known_masks, numbers)
        instances = None if instances is None else np.where(kept, instances, 0)
    return pictures, Sample(
        case=case,
        image=np.zeros((0, *geometry.shape), np.float32),
        geometry=geometry,
        masks=known_masks,
        region=region,
        outside=beyond,
        scribbles=None
        if scribbles is None or case.scribbles is None
        else _scribbles(scribbles, labels, case.scribbles),
        instances=instances if "instances" in reads else None,
        boxes=coordinates(case, "boxes", geometry).astype(np.float32) if "boxes" in rows else None,
        points=coordinates(case, "points", geometry).astype(np.float32) if "points" in rows else None,
        classes={name: object_classes(case, name, labels) for name in rows},
    )


def inside(array: np.ndarray, case: Case) -> np.ndarray:
    """(*S) bool, the inside of what a case says is known: of a region, or of a label map of objects.

    The latter is one where it is the very file of the objects or of the mask, or where it looks like one.
    """
    if case.known is None:
        return np.ones(array.shape, np.bool_)
    if case.known == case.instances:
        return np.asarray(array > 0)
    objects = known_by(array)
    return region_of(array, case.known) if objects is None else objects


def read_mask(
    address: Address, labels: Labels | None, *, grey: bool = False, limits: Limits, untrusted: bool = False
) -> tuple[np.ndarray, Geometry]:
    """The label map (*S) in a file, read as `labels` need it: palettes as colours, fractions as the nearest.

    Args:
        grey: a threshold will cut it, and so fractions stay.

    Raises:
        FileError: the file cannot be read, or holds fractions.
    """
    if grey:
        picture = read(address, limits=limits, untrusted=untrusted, labels=True)
        if len(picture.array) == 1 and picture.array.dtype.kind == "f":
            return finite(picture, address)[0].array[0], picture.geometry
    coloured, nearest = (labels.coloured, labels.others == "nearest") if labels is not None else (False, False)
    return read_labels(address, limits=limits, untrusted=untrusted, colours=coloured, rounded=nearest)


def coordinates(case: Case, name: Literal["boxes", "points"], geometry: Geometry) -> np.ndarray:
    """The boxes (N, D, 2) or points (N, D) of a case, turned as its image is.

    Raises:
        DataError: one has another number of axes; or a box stops before it starts, or lies outside of the image.
    """
    rows: Sequence[Sequence[Any]] = (case.boxes if name == "boxes" else case.points) or ()
    axes = len(geometry.shape)
    if any(len(row) != axes for row in rows):
        raise DataError(f"case {case.id}: a box or a point has {len(rows[0])} axes; expected {axes} as the image has")
    shape = (len(rows), axes, 2)[: 3 if name == "boxes" else 2]
    found = turned_rows(np.array(rows, np.float64).reshape(shape), geometry, name)
    if name == "boxes" and len(rows):
        low, high = found[..., 0], found[..., 1]
        apart = ~((low <= high) & (high > 0) & (low < np.array(geometry.shape))).all(1)
        if apart.any():
            number = int(np.flatnonzero(apart)[0])
            raise DataError(
                f"case {case.id}: box {number + 1} runs {_sides(found[number])} in an image of "
                f"{' x '.join(map(str, geometry.shape))} pixels; expected each axis from where the box starts to where "
                "it stops, within the image; correct 'boxes'"
            )
    return found


def _sides(box: np.ndarray) -> str:
    return ", ".join(f"from {low:g} to {high:g}" for low, high in box.tolist())


def object_classes(case: Case, name: str, labels: Labels | None) -> np.ndarray:
    """(N,) int64, the class of each of the "boxes" or "points" from 0; of the only class where none is named.

    Raises:
        DataError: there are several classes and none is named, or one is named that is not there.
    """
    count, names = len(getattr(case, name) or ()), case.box_classes if name == "boxes" else case.point_classes
    known = labels.names if labels is not None else ()
    if not count or (not names and len(known) <= 1):
        return np.zeros(count, np.int64)
    if len(names) != count or not {*names} <= {*known}:
        key = "box_classes" if name == "boxes" else "point_classes"
        raise DataError(
            f"case {case.id}: found {count} {name} with the classes {some(names) or 'none'}; expected one of "
            f"{some(known) or 'those that are declared'} for each; correct {key!r} and 'classes' in the manifest"
        )
    return np.array([known.index(one) for one in names], np.int64)


def class_numbers(
    case: Case,
    found: np.ndarray | Mapping[str, np.ndarray],
    address: Address | Mapping[str, Address],
    labels: Labels | None,
    *,
    drawn: np.ndarray | None = None,
) -> np.ndarray:
    """One annotator's mask as `Sample` holds it, from the label map that was read, or from that of each class.

    Args:
        drawn: (*S) bool, the part that was drawn: whatever values the rest holds, they count as background here.

    Raises:
        DataError: it holds values or classes that the labels do not know.
    """
    if labels is None:
        raise DataError(
            f"case {case.id}: it has a mask, but the dataset has no labels; declare the classes in a manifest"
        )
    layers = dict(found) if isinstance(found, Mapping) else {"": found}
    if drawn is not None:
        nothing = labels.background[0] if "" in layers else 0
        layers = {name: np.where(drawn, layer, layer.dtype.type(nothing)) for name, layer in layers.items()}
    places = address if isinstance(address, Mapping) else {"": address}
    if "" in layers:
        if case.threshold is None:
            return encode(layers[""], labels, places[""])
        if len(labels.names) > 1:
            raise DataError(
                f"{places['']}: a threshold makes one class; expected {len(labels.names)} ({', '.join(labels.names)})"
            )
        return _above(layers[""], case.threshold)[None]
    mask = np.zeros((len(labels.names), *next(iter(layers.values())).shape), np.uint8)
    for name, layer in layers.items():
        if name not in labels.names:
            raise DataError(f"{places[name]}: a mask of {name!r}; expected one of {', '.join(labels.names)}")
        mask[labels.names.index(name)] = (
            encode_one(layer, labels, places[name]) if case.threshold is None else _above(layer, case.threshold)
        )
    return mask


def _above(array: np.ndarray, threshold: float) -> np.ndarray:
    return (array >= threshold).astype(np.uint8)


def _scribbles(array: np.ndarray, labels: Labels | None, where: Address) -> np.ndarray:
    if labels is None or labels.ignore is None:
        raise DataError(
            f"{where}: scribbles need a value that says 'nothing drawn here'; "
            "declare the classes and 'ignore' in a manifest"
        )
    return encode(array, labels, where)


def spaced_like(geometry: Geometry, other: Geometry, id: str) -> Geometry:
    """`geometry` with the spacing of another file of the case, whichever way the two store their axes.

    Raises:
        DataError: the number of axes differs.
    """
    if geometry.affine is not None and other.affine is not None and len(geometry.shape) == len(other.shape):
        return with_spacing(geometry, stored_geometry(replace(geometry, spacing=other.spacing)).spacing, id)
    return with_spacing(geometry, stored_geometry(other).spacing, id)


def with_spacing(geometry: Geometry, spacing: tuple[float, ...], id: str) -> Geometry:
    """`geometry` with another spacing, in the order of the file; the affine keeps its directions and its centre.

    The centre is the same whichever way a file stores the axes, so that files that fit each other still do.

    Raises:
        DataError: the number of axes differs.
    """
    if len(spacing) != len(geometry.shape):
        raise DataError(
            f"case {id}: the manifest gives a spacing for {len(spacing)} axes; expected {len(geometry.shape)}"
        )
    stored = stored_geometry(geometry)
    affine = stored.affine
    if affine is not None:
        moved = affine[:3, : len(spacing)] @ ((np.array(stored.shape) - 1) / 2)
        affine = affine.copy()
        affine[:3, : len(spacing)] *= np.divide(spacing, stored.spacing)
        affine[:3, 3] += moved - affine[:3, : len(spacing)] @ ((np.array(stored.shape) - 1) / 2)
    return canonical(replace(stored, spacing=spacing, affine=affine, unit="mm"))
