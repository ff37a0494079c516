"""The worst case by its objects: their outlines on the image, and the worst merges and splits side by side."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from scantling.core.errors import DataError, ScantlingError
from scantling.data.files import GENEROUS
from scantling.data.pictures import View, class_colours, grey
from scantling.evaluation.objects import ObjectFiles, read_objects
from scantling.metrics.instance_overlaps import Overlaps, overlaps, separated
from scantling.records.evaluation import CaseRecord
from scantling.report.case_files import CaseArrays, Reader, read_case
from scantling.report.exemplars import DIM, Picture, picture
from scantling.report.pictures import ERROR_COLOURS, EXTRA, MISSED, luminance, paint
from scantling.report.targets import EvaluationFile
from scantling.report.words import metric, plural

BY = ("pq", "aji", "dq", "object_f1", "count_error")
"""The metrics that say which case is the worst: the first that was measured."""
MOST = 4
"""Merges, and splits, that are drawn."""
MARGIN = 12
"""Pixels around what is drawn of a merge or a split."""
COLOURS = 8
OBJECT_COLOURS = {number: colour for number, colour in class_colours(COLOURS).items() if number}

Plane = NDArray[Any]


@dataclass(frozen=True)
class ObjectPictures:
    """A case with its objects; what could not be drawn is said in `missing`."""

    case: CaseRecord
    shown: str
    whole: tuple[Picture, ...]
    parts: tuple[Picture, ...]
    legend: tuple[tuple[str, str], ...]
    missing: tuple[str, ...]


def objects_of(evaluation: EvaluationFile, *, longest: int) -> ObjectPictures | None:
    """The worst case by its objects; None where none were compared.

    Args:
        longest: pixels of the longer side of a picture, at most.
    """
    by = next((key for key in BY if evaluation.of(key)), None)
    if by is None:
        return None
    of = metric(by, units=evaluation.record.units)
    case, value = min(evaluation.of(by), key=lambda pair: (of.worth(pair[1]), pair[0].id))
    found = read_case(case, evaluation)
    predicted, true, missing = read_numbers(case, evaluation, found)
    shown = f"Case {case.id}, the worst by {of.title} ({of.write(value)})"
    if predicted is None or true is None or predicted.ndim != 2:
        said = missing or ("Objects are drawn of pictures alone.",)
        return ObjectPictures(case, f"{shown}.", (), (), (), (*found.missing, *said))
    pair = overlaps(predicted, true)
    geometry = next(each.geometry for each in (found.truth, found.mask) if each is not None)
    view = View.of(geometry)
    photo = np.zeros(view(pair.truth).shape, np.uint8)
    if found.image is not None:
        photo = luminance(grey(view(found.image.array)))
    counted = f"{plural(len(pair.merges), 'merge')} and {plural(len(pair.splits), 'split')}"
    sizes = f"{plural(len(pair.true_sizes), 'true object')}, {len(pair.predicted_sizes):,} predicted"
    return ObjectPictures(
        case,
        f"{shown}: {sizes}, {counted}.",
        _whole(case, pair, photo, view, longest),
        tuple(_parts(pair, photo, view, longest)),
        (("edge of a true object", ERROR_COLOURS[MISSED]), ("edge of a predicted object", ERROR_COLOURS[EXTRA])),
        (*found.missing, *missing),
    )


def _whole(case: CaseRecord, pair: Overlaps, photo: Plane, view: View, longest: int) -> tuple[Picture, ...]:
    """All outlines on the image; where both sides have one, that of the prediction is seen."""
    codes = np.zeros(photo.shape, np.uint8)
    codes[edges(view(pair.truth))] = MISSED
    codes[edges(view(pair.prediction))] = EXTRA
    alt = f"Outlines of the objects of case {case.id}"
    return (picture("Outlines", alt, [_under(photo), paint(codes, ERROR_COLOURS)], view, longest),)


def _parts(pair: Overlaps, photo: Plane, view: View, longest: int) -> list[Picture]:
    """The worst merges and splits: for each the truth and the prediction, a colour for each object."""
    found = []
    for what, groups, (holder, held) in (
        ("Merge", pair.merges, (pair.prediction, pair.truth)),
        ("Split", pair.splits, (pair.truth, pair.prediction)),
    ):
        for number, (one, several) in enumerate(groups[:MOST], start=1):
            inside = (holder == one + 1) | np.isin(held, np.array(several) + 1)
            box = tuple(
                slice(max(0, int(places.min()) - MARGIN), int(places.max()) + 1 + MARGIN)
                for places in np.nonzero(view(inside))
            )
            for side, numbers in (("truth", pair.truth), ("prediction", pair.prediction)):
                plane = view(numbers)[box]
                codes = np.where(edges(plane), (plane - 1) % COLOURS + 1, 0).astype(np.uint8)
                title = f"{what} {number}: {side}"
                alt = f"{title}, {len(several)} objects in one"
                layers = [_under(photo[box]), paint(codes, OBJECT_COLOURS)]
                found.append(picture(title, alt, layers, view, min(longest, 256)))
    return found


def edges(numbers: Plane) -> NDArray[np.bool_]:
    """(H, W) the pixels of objects beside another object or the background; the picture's border is no edge."""
    edge = np.zeros(numbers.shape, np.bool_)
    for axis in (0, 1):
        turned, marked = numbers.swapaxes(0, axis), edge.swapaxes(0, axis)
        differs = turned[1:] != turned[:-1]
        marked[1:] |= differs
        marked[:-1] |= differs
    return edge & (numbers > 0)


def _under(photo: Plane) -> NDArray[np.uint8]:
    return np.asarray(photo * DIM, np.uint8)


def read_numbers(
    case: CaseRecord, evaluation: EvaluationFile, found: CaseArrays
) -> tuple[np.ndarray | None, np.ndarray | None, tuple[str, ...]]:
    """The predicted and the true objects (*S) of a case, each in one piece, as they were compared; of all classes.

    Args:
        found: the masks of the case, whose components stand for objects where there are none.

    Returns:
        None for a side that could not be read, and a sentence for each.
    """
    reader, missing = Reader(case, evaluation), list[str]()
    sides: list[np.ndarray | None] = []
    listed = case.files.predicted_objects
    for what, address, mask in (
        ("predicted", case.files.predicted_instances, found.mask),
        ("true", case.files.instances, found.truth),
    ):
        numbers = None if mask is None else separated(mask.topmost)[0]
        try:
            if mask is not None and (address or (listed and what == "predicted")):
                by_list = reader.find(listed).path if listed and what == "predicted" else None
                files = ObjectFiles(reader.find(address) if address else None, by_list)
                given, _ = read_objects(files, evaluation.record.classes, mask.geometry, limits=GENEROUS)
                numbers = separated(given.numbers)[0]
                if numbers.shape != mask.shape:
                    raise DataError(f"they have the shape {numbers.shape} and the mask {mask.shape}")
        except (ScantlingError, OSError) as error:
            missing.append(f"The {what} objects are not shown: {error}.")
            numbers = None
        sides.append(numbers)
    return sides[0], sides[1], tuple(missing)
