"""Volumes of which only some slices, a box or a crop were drawn: the rest is unknown, not background."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from scantling.core.case import IGNORE, Address, Case, Geometry, Labels
from scantling.core.errors import DataError
from scantling.data.contents import some
from scantling.data.drawn_objects import has_own_map, without_undrawn
from scantling.data.files import probe, read_labels
from scantling.data.grids import place
from scantling.data.orientation import file_axis

MOST_SLICES = 65536
MOST_NUMBER = 1 << 24
RANGE = re.compile(r"(\d{1,8})-(\d{1,8})(?::(\d{1,8}))?")


def slice_numbers(listed: Sequence[int | str]) -> tuple[int, ...]:
    """The numbers of slices, ascending: `[3, "10-14", "20-40:10"]` are 3, 10 to 14, 20, 30 and 40.

    Raises:
        ValueError: an entry is no number from 0 and no such range.
    """
    return _numbers(listed, what="slice", least=0, most=MOST_SLICES - 1)


def object_numbers(listed: Sequence[int | str]) -> tuple[int, ...]:
    """The numbers of objects in the same way, from 1.

    Raises:
        ValueError: an entry is no number from 1 and no range of them.
    """
    return _numbers(listed, what="object", least=1, most=MOST_NUMBER)


def _numbers(listed: Sequence[int | str], *, what: str, least: int, most: int) -> tuple[int, ...]:
    numbers = set[int]()
    for entry in listed:
        first, last, step = entry, entry, 1
        if isinstance(entry, str):
            if (match := RANGE.fullmatch(entry.replace(" ", ""))) is None:
                raise ValueError(f"{entry!r} is no {what} and no range of {what}s such as '10-14' or '20-40:10'")
            first, last, step = int(match[1]), int(match[2]), int(match[3] or 1)
        if not least <= int(first) <= int(last) <= most or step < 1:
            raise ValueError(f"{entry!r}: expected {what}s from {least} to {most}, the first before the last")
        numbers |= set(range(int(first), int(last) + 1, step))
    if not numbers:
        raise ValueError(f"expected at least one {what}")
    return tuple(sorted(numbers))


def forget_undrawn(
    mask: np.ndarray, case: Case, geometry: Geometry, *, known: np.ndarray | None, image: Geometry | None = None
) -> np.ndarray:
    """A mask as `Sample` holds it, `IGNORE` where the data say that nothing was drawn.

    Args:
        known: (*S) bool, the inside of the case's `known` file.
        image: the grid of the image, in whose file slices are counted; None: that of the mask.

    Raises:
        DataError: slices are named that the volume does not have, or of an image without slices.
    """
    if case.drawn_slices is not None:
        drawn = drawn_part(case, geometry, mask=mask, image=image)
        known = drawn if known is None else drawn & known
    return mask if known is None else np.where(known, mask, np.uint8(IGNORE))


def drawn_part(
    case: Case, geometry: Geometry, *, mask: np.ndarray | None = None, image: Geometry | None = None
) -> np.ndarray:
    """(*S) bool, the slices of a case with `drawn_slices` that were drawn.

    Args:
        mask: as `Sample` holds it, which tells where slices are "marked"; all are drawn where it is None.
        image: as of `forget_undrawn`.

    Raises:
        DataError: as of `forget_undrawn`.
    """
    numbers = case.drawn_slices if isinstance(case.drawn_slices, tuple) else None
    if mask is None and numbers is None:
        return np.ones(geometry.shape, np.bool_)
    own, geometry = geometry, image or geometry
    where, reference = f"the image of {case.id}", "its mask"
    named = geometry.slice_axis if case.drawn_axis is None else case.drawn_axis
    if len(geometry.shape) != 3 or named > 2:
        raise DataError(
            f"case {case.id}: the manifest gives 'drawn_slices' along axis {named} of an image with "
            f"{len(geometry.shape)} axes; expected a volume"
        )
    stored = [file_axis(geometry, number) for number in range(3)]  # numbers and axes are those of the file
    axis = named if case.drawn_axis is None else [of for of, _ in stored].index(named)
    others = tuple(1 + other for other in range(3) if other != axis)
    if numbers is None and mask is not None:
        marked = ((mask != 0) & (mask != IGNORE)).any(axis=0, keepdims=True)
        marked, _ = place(marked, own, geometry, where=reference, reference=where)
        drawn = marked.any(axis=(0, *others))
    else:
        length, numbers = geometry.shape[axis], numbers or ()
        if beyond := [str(number) for number in numbers if number >= length]:
            raise DataError(
                f"case {case.id}: 'drawn_slices' names {some(beyond)}, and the volume has {length} slices along "
                f"axis {stored[axis][0]}; expected 0 to {length - 1}; correct it, or set 'drawn_axis'"
            )
        drawn = np.isin(np.arange(length), numbers)
        drawn = drawn[::-1] if stored[axis][1] else drawn
    drawn = np.broadcast_to(np.expand_dims(drawn, [other - 1 for other in others]), geometry.shape)
    return np.asarray(place(drawn[None], geometry, own, where=where, reference=reference)[0][0])


def partly_drawn(cases: Sequence[Case]) -> dict[Address, Case]:
    """The masks of which only some slices or objects were drawn, and their cases."""
    return {
        mask: case
        for case in cases
        if case.drawn_slices is not None or isinstance(case.drawn_objects, tuple)
        for mask in case.masks[:1]
        if isinstance(mask, Address)
    }


def read_drawn(
    mask: Address, *, drawn: Mapping[Address, Case], untrusted: bool, colours: bool
) -> tuple[np.ndarray, Geometry]:
    """The label map in a file, without the slices and the objects that were not drawn."""
    array, geometry = read_labels(mask, untrusted=untrusted, colours=colours)
    if (case := drawn.get(mask)) is None:
        return array, geometry
    if case.drawn_objects is not None:
        own = read_labels(case.instances, untrusted=untrusted)[0] if has_own_map(case) and case.instances else None
        array = without_undrawn(case, array, own)
    if case.drawn_slices is None:
        return array, geometry
    image = next((probe(one, untrusted=untrusted).geometry for one in case.images.values()), None)
    part = drawn_part(case, geometry, image=image)
    axes = range(part.ndim)
    kept = [np.flatnonzero(part.any(axis=tuple(other for other in axes if other != axis))) for axis in axes]
    return array[np.ix_(*kept)], geometry


def forget_classes(mask: np.ndarray, case: Case, labels: Labels, *, layered: bool = False) -> np.ndarray:
    """A mask as `Sample` holds it, without what it says of classes that it does not know (`Case.drawn_classes`).

    Of classes that exclude one another, what the mask does not mark may be background or any of these, and is `IGNORE`.

    Args:
        layered: of classes that exclude one another, a layer (K, *S) of 0, 1 and `IGNORE` for each instead, all
            `IGNORE` for a class that is not known: so it says which are certainly not there.
    """
    numbers = range(1, len(labels.names) + 1)
    unknown = [case.drawn_classes is not None and name not in case.drawn_classes for name in labels.names]
    if not any(unknown) and not (layered and labels.exclusive):
        return mask
    if labels.exclusive and not layered:
        kept = [number for number, lost in zip(numbers, unknown, strict=True) if not lost]
        return np.where(np.isin(mask, kept), mask, np.uint8(IGNORE))
    if labels.exclusive:
        nothing = mask[0] == IGNORE
        mask = np.stack([np.where(nothing, np.uint8(IGNORE), mask[0] == number) for number in numbers])
    mask = mask.copy()
    mask[unknown] = IGNORE
    return mask


@dataclass(frozen=True)
class Gaps:
    """Slices along an axis of the file that hold classes, with empty ones between them at regular distances."""

    axis: int
    slices: tuple[int, ...]

    @property
    def sentence(self) -> str:
        """Which slices they are."""
        steps = set(np.diff(self.slices).tolist())
        every = f"one slice in {next(iter(steps))}" if len(steps) == 1 else f"{len(self.slices)} slices"
        return f"{every} along axis {self.axis} ({some(map(str, self.slices))})"


def gaps_in(mask: np.ndarray, geometry: Geometry) -> Gaps | None:
    """Whether the classes of a mask (1 or K, *S) stop at whole slices, as if the others had not been drawn.

    Three single slices or more, none of them neighbours; or three runs or more of equal length and distance. None of an
    image with two axes, and where the mask says itself what is unknown.
    """
    if mask.ndim != 4 or (mask == IGNORE).any():
        return None
    marked: np.ndarray = np.asarray(mask.any(axis=0))
    for axis in range(3):
        slices = np.flatnonzero(marked.any(axis=tuple(other for other in range(3) if other != axis)))
        runs = np.split(slices, np.flatnonzero(np.diff(slices) > 1) + 1)
        alike = len({len(run) for run in runs}) == 1
        if len(runs) > 2 and alike and (len(runs[0]) == 1 or len(set(np.diff([run[0] for run in runs]))) == 1):
            place, flipped = file_axis(geometry, axis)
            return Gaps(place, tuple(sorted((mask.shape[1 + axis] - 1 - slices if flipped else slices).tolist())))
    return None
