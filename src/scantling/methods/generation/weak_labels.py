"""Scribbles, centre lines, slices, boxes and points, drawn by rule from the masks of a data set, for `synthesize`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar

import numpy as np
from pydantic import Field

from scantling.contract.capabilities import Annotator
from scantling.contract.results import Annotation
from scantling.contract.settings import Settings
from scantling.core.case import Labels, Sample
from scantling.core.errors import DataError
from scantling.core.fields import IGNORE
from scantling.methods.catalogue import CARDS
from scantling.phantoms.weak_labels import (
    boxes_of_layers,
    centre_lines_of,
    outline_effort,
    points_of,
    scribbles_of,
    unsteady,
)

Share = Annotated[float, Field(ge=0, le=1)]


class DrawnSettings(Settings):
    """Settings of all that draws; there is none that all have."""

    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {"tiny": {}}


class ScribblesSettings(DrawnSettings):
    """Settings of `scribbles`; all are ours.

    Attributes:
        eroded: the greatest share of an object's radius by which it is eroded before its skeleton is taken.
        broken: the greatest share of a stroke that is left out, at its ends.
        least: pixels of the smallest object in a plane that is marked.
    """

    eroded: Share = 0.7
    broken: Annotated[float, Field(ge=0, lt=1)] = 0.5
    least: Annotated[int, Field(gt=0)] = 5


class Scribbles(Annotator):
    """A stroke in each object and one around them, in a picture or in every slice of a volume."""

    card = CARDS["scribbles"]
    Settings = ScribblesSettings
    settings: ScribblesSettings

    def annotate(self, sample: Sample, labels: Labels, generator: np.random.Generator) -> Annotation:
        """Scribbles; effort is the pixels of the lines and the strokes."""
        planes, axis = _planes(_exclusive(sample, labels), sample)
        of, drawn, strokes = self.settings, [], 0
        for plane in planes:
            one, count = scribbles_of(
                plane, generator=generator, eroded=of.eroded, broken=of.broken, least=of.least
            )  # fmt: skip
            drawn.append(one)
            strokes += count
        found = drawn[0] if axis is None else np.stack(drawn, axis)
        return Annotation(scribbles=found[None], effort={"pixels": _drawn(found), "strokes": strokes})


class CentreLinesSettings(DrawnSettings):
    """Settings of `centre-lines`.

    Attributes:
        noise: how far lines go astray, the deviation along each axis in pixels; ours.
    """

    noise: Annotated[float, Field(ge=0)] = 0.0


class CentreLines(Annotator):
    """The skeleton of each class as scribbles, and background where it is farther away than tubes are wide."""

    card = CARDS["centre-lines"]
    Settings = CentreLinesSettings
    settings: CentreLinesSettings

    def annotate(self, sample: Sample, labels: Labels, generator: np.random.Generator) -> Annotation:
        """Scribbles; effort is the pixels of the lines, and the lines with one measure of the width."""
        masks = unsteady(_exclusive(sample, labels), noise=self.settings.noise, generator=generator)
        found, strokes = centre_lines_of(masks)
        lines = np.where(found == 0, np.uint8(IGNORE), found)
        return Annotation(scribbles=found[None], effort={"pixels": _drawn(lines), "strokes": strokes})


class SlicesSettings(DrawnSettings):
    """Settings of `slices`.

    Attributes:
        every: which slices are drawn: one in so many, from the middle of the first so many on.
    """

    every: Annotated[int, Field(gt=1)] = 5


class Slices(Annotator):
    """Masks of every k-th slice of a volume; the others are unknown."""

    card = CARDS["slices"]
    Settings = SlicesSettings
    settings: SlicesSettings

    def annotate(self, sample: Sample, labels: Labels, generator: np.random.Generator) -> Annotation:
        """A mask with its drawn slices; effort is the pixels on the borders that were drawn, and the objects."""
        del generator
        mask, axis = sample.masks[0], sample.geometry.slice_axis
        if mask.ndim != 4:
            raise DataError(f"case {sample.case.id}: found a picture; slices are drawn of volumes; leave it out")
        length, every = mask.shape[1 + axis], self.settings.every
        drawn = tuple(range(min(every // 2, length - 1), length, every))
        kept = np.moveaxis(np.zeros_like(mask), 1 + axis, 0)
        kept[list(drawn)] = np.moveaxis(mask, 1 + axis, 0)[list(drawn)]
        effort = [outline_effort(layer) for number in drawn for layer in kept[number]]
        pixels, strokes = (int(sum(part)) for part in zip(*effort, strict=True))
        return Annotation(
            mask=np.moveaxis(kept, 0, 1 + axis), drawn_slices=drawn,
            effort={"pixels": pixels, "strokes": strokes, "slices": len(drawn)},
        )  # fmt: skip


class Boxes(Annotator):
    """The box around each object; of a volume in three dimensions."""

    card = CARDS["boxes"]
    Settings = DrawnSettings

    def annotate(self, sample: Sample, labels: Labels, generator: np.random.Generator) -> Annotation:
        """Boxes; effort is two corners each."""
        del generator
        boxes, classes = boxes_of_layers(_layers(sample))
        return Annotation(
            boxes=boxes, box_classes=classes, effort={"pixels": 2 * len(boxes), "strokes": len(boxes)}
        )  # fmt: skip


class PointsSettings(DrawnSettings):
    """Settings of `points`.

    Attributes:
        background: points of the background for each of an object, one at least; 0 for none. Ours.
    """

    background: Annotated[float, Field(ge=0)] = 1.0


class Points(Annotator):
    """A point inside of each object, and points of the background."""

    card = CARDS["points"]
    Settings = PointsSettings
    settings: PointsSettings

    def annotate(self, sample: Sample, labels: Labels, generator: np.random.Generator) -> Annotation:
        """Points, and where classes exclude one another scribbles of single pixels, those of the background too; effort
        is one pixel each."""
        found = [points_of(layer, generator=generator) for layer in _layers(sample)]
        points = np.concatenate([points for points, _ in found])
        classes = np.concatenate([one + number * (len(found) > 1) for number, (_, one) in enumerate(found)])
        scribbles, number = None, len(points)
        if labels.exclusive:
            mask = sample.masks[0][0]
            drawn = np.full(mask.shape, IGNORE, np.uint8)
            drawn[tuple(points.astype(np.int64).T)] = classes + 1
            empty = np.flatnonzero(mask == 0)
            wanted = min(max(1, round(self.settings.background * len(points))), len(empty))
            if self.settings.background and wanted:
                drawn.flat[generator.choice(empty, wanted, replace=False)] = 0
                number += wanted
            scribbles = drawn[None]
        return Annotation(
            scribbles=scribbles, points=points, point_classes=classes, effort={"pixels": number, "strokes": number}
        )  # fmt: skip


def _layers(sample: Sample) -> list[np.ndarray]:
    """The label maps (*S) of the first mask: one, or one for each class that may overlap others."""
    return list(sample.masks[0])


def _exclusive(sample: Sample, labels: Labels) -> np.ndarray:
    """The label map (*S) of exclusive classes.

    Raises:
        DataError: they may overlap.
    """
    if not labels.exclusive:
        raise DataError(
            f"case {sample.case.id}: the classes ({', '.join(labels.names)}) may overlap, and a scribble is of one "
            "class; expected classes that exclude one another; draw boxes or points instead"
        )
    return np.asarray(sample.masks[0][0])


def _planes(labels: np.ndarray, sample: Sample) -> tuple[list[np.ndarray], int | None]:
    """A picture itself, or the slices of a volume and the axis along which they lie."""
    if labels.ndim == 2:
        return [labels], None
    axis = sample.geometry.slice_axis
    return list(np.moveaxis(labels, axis, 0)), axis


def _drawn(labels: np.ndarray) -> int:
    return int(np.count_nonzero(labels != IGNORE))
