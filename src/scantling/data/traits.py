"""What a method will know of its data, measured once on the training cases in one pass."""

from __future__ import annotations

import math
from collections import Counter, deque
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, replace
from itertools import islice
from typing import TYPE_CHECKING, Any, Literal, TypeVar, cast

import numpy as np

from scantling.core.case import IGNORE, Case, Geometry, Labels, Split, Unit
from scantling.core.errors import DataError, FileError, ScantlingError
from scantling.core.fields import FIELDS, drawn_field, reads_masks
from scantling.core.pieces import slabs, value_counts
from scantling.core.samples import Traits
from scantling.data.channels import is_grey
from scantling.data.contents import count, some
from scantling.data.files import probe
from scantling.data.loading import load_apart
from scantling.data.mirroring import class_places, mirrored_axes
from scantling.data.moments import Moments, summed
from scantling.data.storage import storage_of
from scantling.data.thickness import ObjectSizes, object_sizes, thickness_of

if TYPE_CHECKING:
    from scantling.data.dataset import Dataset

Progress = Callable[[int, int, str], None]
"""Told how many cases are done, of how many, and the id of the last one."""

THREADS = 2
MOST_VALUES = 4_000_000
"""Pixels of a channel, spread evenly over all images, from which the percentiles are taken."""
COLOUR = ("red", "green", "blue")

R = TypeVar("R")


@dataclass(frozen=True)
class Measured:
    """One training case: its grid, its channels and number type by image name, how many pixels each class has.

    Attributes:
        moments: of each channel, inside the region where there is one.
        foreground: the same, inside of any class; of no pixel where there is no mask.
        objects: of the first mask; None where there is no mask, and of cases that are not for training.
    """

    geometry: Geometry
    names: dict[str, tuple[str, ...]]
    dtypes: dict[str, np.dtype[Any]]
    moments: dict[str, tuple[Moments, ...]]
    foreground: dict[str, tuple[Moments, ...]]
    pixels: np.ndarray
    """(1 + K,) int64: the pixels of which something is known, then those of each class."""
    pixels_inside: np.ndarray
    """The same inside the region."""
    objects: ObjectSizes | None = None
    places: np.ndarray | None = None
    """(K, D), see `class_places`; None without a mask."""


def in_order(work: Callable[[Case], R], cases: Sequence[Case], *, progress: Progress | None = None) -> Iterator[R]:
    """What `work` returns for each case, in order, made by `THREADS` threads that are never far ahead."""
    with ThreadPoolExecutor(THREADS) as threads:
        waiting: deque[Future[R]] = deque()
        left = iter(cases)
        for done, case in enumerate(cases, start=1):
            waiting.extend(threads.submit(work, ahead) for ahead in islice(left, 2 * THREADS - len(waiting)))
            yield waiting.popleft().result()
            if progress is not None:
                progress(done, len(cases), case.id)


def measure_traits(
    dataset: Dataset,
    *,
    reads: Collection[str] = ("image", "mask"),
    partial: bool = False,
    progress: Progress | None = None,
) -> Traits:
    """As `readable_traits`, but of all training cases.

    Raises:
        DataError: as there, or the files of a case disagree.
        FileError: a file cannot be read.
    """
    only: tuple[Split] = ("train",)
    traits, failed = readable_traits(dataset, reads=reads, splits=only, partial=partial, progress=progress)
    if failed:
        raise next(iter(failed.values()))
    return traits


def readable_traits(
    dataset: Dataset,
    *,
    reads: Collection[str] = ("image", "mask"),
    splits: Collection[Split] = ("train", "validation"),
    partial: bool = False,
    progress: Progress | None = None,
) -> tuple[Traits, dict[str, ScantlingError]]:
    """The traits of the training cases that have an image, or of the masks where "image" is not read.

    Cases of which a file cannot be read, or whose files disagree, do not count.

    Mean and deviation are exact; the percentiles are those of up to `MOST_VALUES` pixels spread evenly. An image file
    in colour makes the data coloured; files whose three channels are all equal count as grey.

    Args:
        dataset: every case of which has a split.
        reads: without "mask" no mask is opened, and labels that are not declared stay unknown. Images and regions
            are read unless masks are read and images are not. Of scribbles, where they are read and masks are not, all
            is measured that they can tell: everything but how thick objects are.
        splits: whose cases are read.
        partial: cases may lack images; the channels are those of all.
        progress: told after each case.

    Returns:
        The traits, and by id why a case cannot be read.

    Raises:
        DataError: there is no training image (or mask), or they have different channels or numbers of axes.
        FileError: no training case can be read; the reason is that of the first.
    """
    masks = reads_masks(reads)
    blind = masks and "image" not in reads
    training = dataset.split("train")
    cases = [case for case in training if (case.masks if blind else case.images)]
    if not cases:
        what = "a mask" if blind else "an image"
        raise DataError(f"{dataset.name}: there is no training case with {what}; expected at least one")
    labels = dataset.labels if masks else dataset.label_source.resolved
    stride = 1 if blind else stride_for(cases)
    wanted = {"mask"} if blind else {"image", "region"} | ({"mask"} if masks else set())
    wanted |= {name for name in reads if name in FIELDS and FIELDS[name].gridded and name != "image"}
    measured_ids = {case.id for case in cases}
    others = [case for name in splits for case in dataset.split(name) if case.images or (masks and case.masks)]
    every = [*cases, *(case for case in others if case.id not in measured_ids)]

    def measure(case: Case) -> Measured | ScantlingError:
        try:
            return measured(case, labels, stride, wanted)
        except ScantlingError as error:
            return error

    done = list(zip(every, in_order(measure, every, progress=progress), strict=True))
    failed = {case.id: one for case, one in done if isinstance(one, ScantlingError)}
    training = tuple(case for case in training if case.id not in failed)
    cases = [case for case in cases if case.id not in failed]
    found = [one for case, one in done if isinstance(one, Measured) and case.id in measured_ids]
    if not found:
        raise next(iter(failed.values()))
    field = drawn_field(reads)
    return _of_cases(dataset.name, training, cases, found, labels=labels, partial=partial, field=field), failed


def _of_cases(
    name: str,
    training: Sequence[Case],
    cases: Sequence[Case],
    found: Sequence[Measured],
    *,
    labels: Labels | None,
    partial: bool,
    field: str,
) -> Traits:
    """The traits of training cases, of which those in `cases` were measured; `field` is what labels them."""
    _check_known_classes(name, training, labels)
    axes = Counter(len(one.geometry.shape) for one in found)
    if len(axes) > 1:
        rare = next(
            case
            for case, one in zip(cases, found, strict=True)
            if len(one.geometry.shape) == min(axes, key=axes.__getitem__)
        )
        raise DataError(
            f"{name}: images with two and with three axes (case {rare.id}); expected one kind; split the folder"
        )
    channels, moments = merged_channels(cases, found, partial=partial)
    _, inside = merged_channels(cases, [replace(one, moments=one.foreground) for one in found], partial=partial)
    shapes = np.array([one.geometry.shape for one in found])
    unspaced = sum(one.geometry.unit == "pixel" for one in found)
    spacings = np.ones(shapes.shape) if unspaced else np.array([one.geometry.spacing for one in found])
    placed = [(one.places, case.subject) for case, one in zip(cases, found, strict=True) if one.places is not None]
    shares = [
        tuple(float(count / max(pixels[0], 1)) for count in pixels[1:])
        for pixels in (_summed(one.pixels for one in found), _summed(one.pixels_inside for one in found))
    ]
    unit: Unit = "pixel" if unspaced else "mm"
    return Traits(
        dimensions=cast(Literal[2, 3], next(iter(axes))),
        channels=channels,
        labels=labels,
        image_classes=tuple(sorted({case.image_class for case in cases if case.image_class is not None})),
        spacing=tuple(float(value) for value in np.median(spacings, axis=0)),
        fine_spacing=tuple(float(value) for value in np.percentile(spacings, 10, axis=0)),
        unit=unit,
        unspaced=unspaced if unspaced < len(found) else 0,
        shape=tuple(int(value) for value in np.round(np.median(shapes, axis=0))),
        smallest=tuple(int(value) for value in shapes.min(axis=0)),
        slice_axis=Counter(one.geometry.slice_axis for one in found).most_common(1)[0][0],
        intensity=tuple(one.intensity() for one in moments),
        foreground_intensity=tuple(one.intensity() for one in inside) if all(one.count for one in inside) else (),
        regions=all(case.region is not None for case in cases),
        foreground=shares[0],
        foreground_inside=shares[1],
        thickness=thickness_of([one.objects for one in found if one.objects is not None], unit),
        partly_known=field == "mask" and any(case.masks and case.drawn_classes is not None for case in training),
        mirrored=mirrored_axes([place for place, _ in placed], [subject for _, subject in placed]),
        labelled=sum(case.has(field) and bool(case.images) for case in training),
        unlabelled=sum(bool(case.images) and not case.has(field) for case in training),
        classified=sum(bool(case.images) and case.image_class is not None for case in training),
        masks_alone=sum(bool(case.masks) and not case.images for case in training),
        hand_drawn=hand_drawn(case for case in training if case.images and case.has(field)),
        hand_drawn_alone=hand_drawn(case for case in training if case.masks and not case.images),
        pools=tuple(sorted({case.pool for case in cases if case.pool})),
        storage=storage_of(found, channels),
    )


def _summed(counts: Iterable[np.ndarray]) -> np.ndarray:
    """The sum of what `class_pixels` gave for cases, of which those without a mask are empty."""
    return np.asarray(sum((each for each in counts if each.size), np.zeros(1, np.int64)))


def _check_known_classes(name: str, training: Sequence[Case], labels: Labels | None) -> None:
    """Make sure that the masks of some training case know each class.

    Raises:
        DataError: one is known by none, so that it could be anything.
    """
    marked = [case for case in training if case.masks]
    if labels is None or not marked or any(case.drawn_classes is None for case in marked):
        return
    known = {each for case in marked for each in case.drawn_classes or ()}
    if lost := [each for each in labels.names if each not in known]:
        raise DataError(
            f"{name}: the masks of no training case know the class {lost[0]!r} ('drawn_classes'); expected one or more "
            "that do: label some, ask for more labels, or take the class out of 'classes'"
        )


def spacing_remarks(traits: Traits) -> list[str]:
    """A sentence where some training cases say their spacing and others do not."""
    if not traits.unspaced:
        return []
    return [
        f"{count(traits.unspaced, 'training case')} without a spacing, the others have one in mm: no image is "
        "resampled by its spacing; add 'spacing' in a manifest"
    ]


def hand_drawn(cases: Iterable[Case]) -> int:
    """How many masks drawn by people stand behind these: of real cases their own, of synthetic ones their model's.

    A mask counts as drawn by people unless its origin says that it is synthetic. The models behind synthetic cases
    are taken to have learned from the same masks.
    """
    origins = [case.origin for case in cases]
    return sum(each.kind != "synthetic" for each in origins) + max((each.hand_drawn for each in origins), default=0)


def stride_for(cases: Iterable[Case], *, untrusted: bool = False) -> int:
    """Every how many-th pixel of the images is kept for the percentiles; only headers are read, broken ones skipped."""
    pixels = 0
    for case in cases:
        with suppress(FileError):
            pixels += math.prod(probe(next(iter(case.images.values())), untrusted=untrusted).shape)
    return max(1, -(-pixels // MOST_VALUES))


def measured(case: Case, labels: Labels | None, stride: int, reads: Collection[str]) -> Measured:
    """Read one case and measure it, inside its region where it has one."""
    pictures, sample = load_apart(case, labels=labels, reads=reads)
    names: dict[str, tuple[str, ...]] = {}
    moments: dict[str, tuple[Moments, ...]] = {}
    foreground: dict[str, tuple[Moments, ...]] = {}
    mask = sample.masks[0] if sample.masks else sample.scribbles
    marked = None if mask is None else _foreground(mask)
    for name, picture in pictures.items():
        array, names[name] = picture.array, picture.channels
        if picture.channels == COLOUR and is_grey(array):
            array, names[name] = array[:1], ("grey",)
        inside = [layer.ravel() if sample.region is None else layer[sample.region] for layer in array]
        moments[name] = tuple(Moments.of(values, stride) for values in inside)
        labelled = [layer[:0].ravel() if marked is None else layer[marked] for layer in array]
        foreground[name] = tuple(Moments.of(values, stride) for values in labelled)
    pixels = class_pixels(mask, labels) if mask is not None else np.zeros(0, np.int64)
    return Measured(
        sample.geometry,
        names,
        {name: picture.array.dtype for name, picture in pictures.items()},
        moments,
        foreground,
        pixels,
        pixels if mask is None or sample.region is None else class_pixels(mask[:, sample.region], labels),
        object_sizes(sample.masks[0], labels, sample.geometry) if sample.masks and case.split == "train" else None,
        class_places(mask, len(labels.names)) if mask is not None and labels else None,
    )


def _foreground(mask: np.ndarray) -> np.ndarray:
    """(*S) bool: the pixels of any class in a mask of `Sample`."""
    found = np.empty(mask.shape[1:], bool)
    for slab in slabs(found.shape):
        part = mask[:, slab]
        found[slab] = ((part != 0) & (part != IGNORE)).any(axis=0)
    return found


def class_pixels(mask: np.ndarray, labels: Labels | None) -> np.ndarray:
    """(1 + K,) int64: how many pixels are not ignored, and how many each class has, in a mask of `Sample`."""
    number = len(labels.names) if labels else 0
    if len(mask) == 1:
        counts = value_counts(mask, low=0, high=IGNORE)
        return np.concatenate([[counts[:IGNORE].sum()], counts[1 : number + 1]]).astype(np.int64)
    known = (mask != IGNORE).all(axis=0)
    return np.array([known.sum(), *((layer == 1).sum() for layer in mask)], np.int64)


def merged_channels(
    cases: Sequence[Case], found: Sequence[Measured], *, partial: bool = False
) -> tuple[tuple[str, ...], list[Moments]]:
    """The channels of all images by name and their moments; grey images count three times where others are in colour.

    Raises:
        DataError: an image is missing and not `partial`, or its channels are neither those of the others nor grey
            beside colour.
    """
    order = tuple(dict.fromkeys(name for one in found for name in one.names))
    channels: list[str] = []
    moments: list[Moments] = []
    for name in order:
        for case, one in zip(cases, found, strict=True):
            if name not in one.names and not partial:
                raise DataError(
                    f"case {case.id}: it has the images {some(one.names)}; expected {some(order)} as in other cases"
                )
        widest = max((one.names[name] for one in found if name in one.names), key=len)
        for case, one in zip(cases, found, strict=True):
            if (
                name in one.names
                and len(one.names[name]) != len(widest)
                and (len(one.names[name]), widest) != (1, COLOUR)
            ):
                raise DataError(
                    f"{case.images[name]}: found {len(one.names[name])} channels; expected {len(widest)} as in other "
                    "cases; convert the image, or describe the folder in a manifest"
                )
        alone = len(order) == 1 and name == "image"
        channels += widest if alone else (name,) if len(widest) == 1 else [f"{name} {channel}" for channel in widest]
        for number in range(len(widest)):
            parts = [one.moments[name] for one in found if name in one.names]
            moments.append(summed(part[number if len(part) > 1 else 0] for part in parts))
    return tuple(channels), moments
