"""What it takes to draw the labels of cases by hand, an estimate: the pixels that a hand follows, and the strokes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Mapping

import numpy as np
from scipy import ndimage

from scantling.core.case import IGNORE, Case
from scantling.core.fields import drawn_field
from scantling.data.dataset import Dataset
from scantling.data.loading import load
from scantling.phantoms.weak_labels import outline_effort

EFFORT = ("pixels", "strokes")


def effort_of_case(dataset: Dataset, case: Case, taught_by: Collection[str]) -> Mapping[str, int]:
    """The pixels and strokes behind the labels of a case that a method reads.

    What a rule has drawn says it itself. A mask takes the pixels on the borders of its objects, slice by slice, and a
    stroke for each object; a scribble its pixels and a stroke for each piece; a box two corners, a point one pixel.

    Args:
        taught_by: the fields that the method learns from.

    Raises:
        ScantlingError: a file cannot be read.
    """
    if case.origin.kind == "simulated" and case.origin.effort:
        return {name: case.origin.effort.get(name, 0) for name in EFFORT}
    field = "points" if "points" in taught_by else drawn_field(taught_by)
    if field in ("boxes", "points"):
        rows = len((case.boxes if field == "boxes" else case.points) or ())
        return {"pixels": rows * (2 if field == "boxes" else 1), "strokes": rows}
    sample = load(case, labels=dataset.labels, reads=(field,))
    objects = None if sample.instances is None else sample.instances[None]
    array = {"scribbles": sample.scribbles, "instances": objects, "mask": sample.mask}[field]
    if array is None:
        return dict.fromkeys(EFFORT, 0)
    axis = None if array.ndim == 3 else sample.geometry.slice_axis
    planes = (plane for layer in array for plane in ([layer] if axis is None else np.moveaxis(layer, axis, 0)))
    pairs = [_scribbled(plane) if field == "scribbles" else outline_effort(plane) for plane in planes]
    return dict(zip(EFFORT, map(sum, zip(*pairs, strict=True)), strict=True))


def effort_of(
    dataset: Dataset, cases: Iterable[Case], taught_by: Collection[str], *, known: dict[str, Mapping[str, int]]
) -> dict[str, int]:
    """The sum over cases.

    Args:
        known: what is known of cases of the dataset, by their ids; it grows, so that each is read once.
    """
    total = Counter[str](dict.fromkeys(EFFORT, 0))
    for case in cases:
        if case.id not in known:
            known[case.id] = effort_of_case(dataset, case, taught_by)
        total.update(known[case.id])
    return dict(total)


def _scribbled(plane: np.ndarray) -> tuple[int, int]:
    """The pixels and the pieces of the strokes in a plane (H, W)."""
    drawn = [plane == value for value in np.unique(plane) if value != IGNORE]
    pieces = sum(int(ndimage.label(line, np.ones((3, 3)))[1]) for line in drawn)
    return int(sum(np.count_nonzero(line) for line in drawn)), pieces
