"""The objects of one side of a case: read from an instance map or from lists of masks, or the components of a mask."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from scantling.core.case import Address, Geometry
from scantling.core.errors import DataError, FileError
from scantling.data.contents import count, some
from scantling.data.files import Limits, read_labels
from scantling.metrics.instance_overlaps import instance_map, separated
from scantling.metrics.instances import Instances, instances
from scantling.records.predicted_objects import PredictedObjectsRecord
from scantling.records.record import read_record

Array = NDArray[np.generic]


@dataclass(frozen=True)
class ObjectFiles:
    """Where the objects of a predicted case lie.

    Attributes:
        numbers: the instance map; None where masks overlap.
        listed: `instances/ID.json`, with the class and the score of each object; None where nobody wrote one.
    """

    numbers: Address | None
    listed: Path | None = None


@dataclass(frozen=True)
class Found:
    """The objects of a case on one side.

    Attributes:
        numbers: (*S) whole numbers, 0 background and one for each object.
        classes: by number the class of each object, from 0, -1 where it has none of those that are scored; None where
            it is the class of most of its pixels in the mask.
        scores: by number; None without.
        overlapped: whether masks overlapped, and the object with the better score was put on top.
    """

    numbers: Array
    classes: NDArray[np.int64] | None = None
    scores: NDArray[np.float64] | None = None
    overlapped: bool = False


@dataclass(frozen=True)
class SplitObjects:
    """The objects of a case on one side, each of them in one piece.

    Attributes:
        numbers: (*S) int32, 0 and 1..N.
        classes, scores: as in `Found`.
        split: how many numbers marked several separate objects.
        numbered: whether the map told objects apart, so that they are not just components.
        overlapped: as in `Found`.
    """

    numbers: NDArray[np.int32]
    classes: NDArray[np.int64] | None = None
    scores: NDArray[np.float64] | None = None
    split: int = 0
    numbered: bool = False
    overlapped: bool = False

    @classmethod
    def of(cls, found: Found) -> SplitObjects:
        """The objects of a map in which one number may mark several."""
        pieces, values = separated(found.numbers)
        names, times = np.unique(values, return_counts=True)

        def by_piece(given: NDArray[Any]) -> NDArray[Any]:
            return np.concatenate([given[:1], given[values]])

        return cls(
            pieces,
            None if found.classes is None else by_piece(found.classes),
            None if found.scores is None else by_piece(found.scores),
            split=int((times > 1).sum()) if names.size > 1 else 0,
            numbered=names.size > 1,
            overlapped=found.overlapped,
        )

    def of_class(self, number: int, masks: Array, classes: int) -> NDArray[np.int32]:
        """(*S) the objects of class `number`, from 0, of so many; `masks` has the form of `Sample.masks`."""
        if classes == 1:
            return self.numbers
        if self.classes is not None:
            return np.where((self.classes == number)[self.numbers], self.numbers, 0).astype(np.int32)
        size = int(self.numbers.max(initial=0)) + 1
        votes = np.stack([np.bincount(self.numbers[layer_of(masks, each)], minlength=size) for each in range(classes)])
        mine = (votes.argmax(0) == number) & (votes.max(0) > 0)
        mine[0] = False
        return np.where(mine[self.numbers], self.numbers, 0).astype(np.int32)


def layer_of(masks: Array, number: int) -> NDArray[np.bool_]:
    """(*S) bool: where class `number`, counted from 0, is in masks of the form of `Sample.masks`."""
    return np.asarray(masks[0] == number + 1 if len(masks) == 1 else masks[number] == 1)


@dataclass(frozen=True)
class Pair:
    """The objects of both sides of a case; None: the components of its masks stand for them."""

    prediction: SplitObjects | None = None
    truth: SplitObjects | None = None

    def compare(
        self,
        number: int,
        masks: tuple[Array, Array],
        *,
        classes: int,
        known: NDArray[np.bool_],
        region: Array | None,
        spacing: Sequence[float] | None,
        distances: bool,
    ) -> Instances:
        """Compare the objects of class `number`, from 0.

        Args:
            masks: of prediction and truth, in the form of `Sample.masks`.
            known: (*S) where the truth knows the class.
            region, spacing, distances: as of `metrics.instances`.
        """
        maps = [
            separated(layer_of(mask, number))[0] if side is None else side.of_class(number, mask, classes)
            for side, mask in zip((self.prediction, self.truth), masks, strict=True)
        ]
        return instances(
            *maps,
            scores=None if self.prediction is None else self.prediction.scores,
            spacing=spacing,
            region=region,
            unknown=None if known.all() else ~known,
            distances=distances,
        )


@dataclass(frozen=True)
class ObjectFacts:
    """What is to be said of the objects of a case: of the prediction and of the truth.

    Attributes:
        numbered: whether their maps told objects apart.
        split: see `SplitObjects`.
        overlapped: of the prediction.
    """

    numbered: tuple[bool, bool]
    split: tuple[int, int]
    overlapped: bool

    @classmethod
    def of(cls, pair: Pair) -> ObjectFacts:
        """The facts of a pair."""
        sides = (pair.prediction, pair.truth)
        return cls(
            (bool(sides[0] and sides[0].numbered), bool(sides[1] and sides[1].numbered)),
            (sides[0].split if sides[0] else 0, sides[1].split if sides[1] else 0),
            bool(sides[0] and sides[0].overlapped),
        )


def sentences_on_objects(facts: Mapping[str, ObjectFacts]) -> list[str]:
    """What a reader should know of the objects that were compared, by case."""
    notes = []
    for side, whose in enumerate(("predictions", "truth")):
        if facts and not any(each.numbered[side] for each in facts.values()):
            tell = "tells" if side else "tell"
            notes.append(
                f"The {whose} {tell} no objects apart: connected components (corners count) of the masks stand for "
                "them, so objects that touch are one."
            )
        if split := {id: each.split[side] for id, each in facts.items() if each.split[side]}:
            notes.append(
                f"In the {whose}, {count(sum(split.values()), 'number')} marked several separate objects each, which "
                f"were taken apart: {some(sorted(split))}."
            )
    if drawn := [id for id, each in facts.items() if each.overlapped]:
        notes.append(
            f"Predicted objects overlap in {count(len(drawn), 'case')}; the one with the better score lies on top: "
            f"{some(sorted(drawn))}."
        )
    return notes


def read_objects(
    files: ObjectFiles,
    classes: Sequence[str],
    grid: Geometry,
    *,
    inside: Collection[int] | None = None,
    limits: Limits,
    untrusted: bool = False,
) -> tuple[Found, Geometry]:
    """The predicted objects of a case, and the grid that they lie on.

    Args:
        classes: the names of those that are scored.
        grid: of the predicted mask, on which overlapping masks were written.
        inside: values of the map that are no objects.

    Raises:
        FileError: a file cannot be read, or holds no objects.
        DataError: overlapping masks of a volume, whose axes no list tells.
    """
    listed = None if files.listed is None else read_record(PredictedObjectsRecord, files.listed)
    if files.numbers is None:
        if listed is None or files.listed is None:
            raise DataError("objects without a map and without a list; expected one of them")
        if len(grid.shape) != 2:
            raise DataError(
                f"{files.listed}: its objects overlap in a volume; expected a picture; write them as a label map"
            )
        return _drawn(listed, classes, files.listed), grid
    array, geometry = read_labels(files.numbers, limits=limits, untrusted=untrusted)
    numbers = instance_map(array, str(files.numbers))
    if inside:
        numbers = np.where(np.isin(numbers, [*inside]), 0, numbers)
    if listed is None or files.listed is None:
        return Found(numbers), geometry
    known = [each for each in listed.objects if each.number is not None]
    named = np.full(int(numbers.max(initial=0)) + 1, -1, np.int64)
    scores = np.full(named.size, np.nan)
    for each in known:
        if each.number is not None and each.number < named.size:
            named[each.number] = classes.index(each.class_name) if each.class_name in classes else -1
            scores[each.number] = np.nan if each.score is None else each.score
    scores[0] = 0
    present = np.unique(numbers)
    if missing := sorted({*present.tolist()} - {each.number for each in known} - {0}):
        raise FileError(
            files.listed,
            f"lacks {count(len(missing), 'object')} of {files.numbers.path.name} ({some(map(str, missing), most=3)})",
            expected="an entry for each number",
            remedy="predict again, or delete the file to take the map alone",
        )
    scored = bool(np.isfinite(scores[present]).all())  # as it is without any object
    return Found(numbers, named, scores if scored else None), geometry


def _drawn(listed: PredictedObjectsRecord, classes: Sequence[str], path: Path) -> Found:
    """Objects whose masks are run lengths, drawn one on the other, the best score last."""
    shape = tuple(listed.shape)
    if len(shape) != 2 or min(shape) < 1:
        raise FileError(path, f"has the shape {list(shape)}", expected="the two sides of a picture")
    numbers = np.zeros(shape, np.int32)
    order = sorted(range(len(listed.objects)), key=lambda place: listed.objects[place].score or 0.0)
    for place in order:
        each = listed.objects[place]
        crop = each.mask()
        window = tuple(slice(low, low + side) for low, side in zip(each.at, crop.shape, strict=True))
        if any(part.start < 0 or part.stop > side for part, side in zip(window, shape, strict=True)):
            raise FileError(path, f"object {place + 1} leaves the picture", expected="objects inside of it")
        numbers[window][crop] = place + 1
    named = [classes.index(each.class_name) if each.class_name in classes else -1 for each in listed.objects]
    scored = all(each.score is not None for each in listed.objects)
    scores = np.array([0.0, *(each.score or 0.0 for each in listed.objects)]) if scored else None
    return Found(numbers, np.array([-1, *named], np.int64), scores, overlapped=True)
