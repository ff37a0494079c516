"""How well boxes are found: average precision, overlap of what is matched, sensitivity at a rate of false alarms."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from scantling.core.errors import ArrayError

Floats = NDArray[np.float64]
OVERLAPS = tuple(np.linspace(0.5, 0.95, 10).round(2).tolist())
"""The overlaps over which COCO averages."""
RECALLS = np.linspace(0, 1, 101)
"""The sensitivities at which COCO reads the precision."""
FOUND = 0.5
"""The least overlap of a box that counts as found, where one number is taken."""


@dataclass(frozen=True, kw_only=True)
class FoundBoxes:
    """What was found in an image, and what is there.

    Attributes:
        boxes: (N, D, 2) where each box starts and stops along each axis, in pixels.
        scores: (N,) the higher, the surer.
        classes: (N,) numbers of the classes.
        true_boxes: (M, D, 2).
        true_classes: (M,).

    Raises:
        ArrayError: the shapes do not fit one another, or a number is not finite.
    """

    boxes: np.ndarray
    scores: np.ndarray
    classes: np.ndarray
    true_boxes: np.ndarray
    true_classes: np.ndarray

    def __post_init__(self) -> None:
        for name, number in (("boxes", len(self.scores)), ("true_boxes", len(self.true_classes))):
            found = np.asarray(getattr(self, name))
            if len(found) != number or (len(found) and (found.ndim != 3 or found.shape[2] != 2)):
                raise ArrayError(f"{name}: found the shape {found.shape}; expected ({number}, D, 2)")
            if not np.isfinite(found.astype(np.float64)).all():
                raise ArrayError(f"{name}: found numbers that are not finite; expected pixels")
        axes = [np.asarray(each).shape[1] for each in (self.boxes, self.true_boxes) if len(each)]
        if len({*axes}) > 1:
            raise ArrayError(f"boxes: found boxes of {axes[0]} axes, and true ones of {axes[1]}; expected the same")
        if len(self.classes) != len(self.scores) or not np.isfinite(np.asarray(self.scores, np.float64)).all():
            raise ArrayError(
                f"scores: found {len(self.scores)} for {len(self.classes)} classes, or numbers that are not finite; "
                "expected a score and a class for each box"
            )


def overlaps(one: np.ndarray, other: np.ndarray) -> Floats:
    """Intersection over union (N, M) of boxes (N, D, 2) and (M, D, 2); 0 where both are empty."""
    if not len(one) or not len(other):
        return np.zeros((len(one), len(other)))
    a, b = (np.asarray(each, np.float64) for each in (one, other))
    low = np.maximum(a[:, None, :, 0], b[None, :, :, 0])
    high = np.minimum(a[:, None, :, 1], b[None, :, :, 1])
    both = (high - low).clip(min=0).prod(-1)
    sizes = [(each[..., 1] - each[..., 0]).clip(min=0).prod(-1) for each in (a, b)]
    whole = sizes[0][:, None] + sizes[1][None] - both
    found: Floats = np.divide(both, whole, out=np.zeros_like(both), where=whole > 0)
    return found


@dataclass(frozen=True)
class Matched:
    """The boxes of one class in all images, matched with the true ones, the best score first.

    Attributes:
        scores: (N,) of all boxes.
        hit: (N,) bool, whether a box has found a true one that no better box had.
        overlap: (N,) with the true box that it has found; NaN of the others.
        objects: how many true boxes there are.
        images: how many images.
    """

    scores: Floats
    hit: NDArray[np.bool_]
    overlap: Floats
    objects: int
    images: int

    @cached_property
    def average_precision(self) -> float:
        """The mean precision at 101 sensitivities, each the best of all at least so high; NaN without a true box."""
        if not self.objects:
            return math.nan
        hits = np.cumsum(self.hit)
        precision = hits / np.arange(1, len(hits) + 1)
        best = np.maximum.accumulate(precision[::-1])[::-1]
        places = np.searchsorted(hits / self.objects, RECALLS, side="left")
        return float(np.append(best, 0.0)[np.minimum(places, len(best))].mean())

    @property
    def mean_overlap(self) -> float:
        """The mean overlap of the boxes that have found a true one; NaN where none has."""
        return float(self.overlap[self.hit].mean()) if self.hit.any() else math.nan

    def sensitivity_at(self, rate: float) -> float:
        """The share of true boxes that are found at the lowest score with at most `rate` false alarms an image.

        NaN without a true box. Boxes of one score count together.
        """
        if not self.objects:
            return math.nan
        hits, alarms = np.cumsum(self.hit), np.cumsum(~self.hit)
        last = np.append(self.scores[1:] != self.scores[:-1], True) if len(self.scores) else np.zeros(0, bool)
        allowed = last & (alarms <= rate * self.images + 1e-9)
        return float(hits[allowed].max() / self.objects) if allowed.any() else 0.0


def matched(images: Sequence[FoundBoxes], number: int, *, overlap: float = FOUND) -> Matched:
    """Match the boxes of a class with the true ones, image by image, as COCO does.

    In the order of their scores each box takes the true box that it overlaps most of those that are left, where that is
    `overlap` or more.

    Raises:
        ArrayError: there is no image.
    """
    if not images:
        raise ArrayError("found no image; expected what was found in one at least")
    scores, hit, common, objects = list[Floats](), list[NDArray[np.bool_]](), list[Floats](), 0
    for image in images:
        own, true = np.asarray(image.classes) == number, np.asarray(image.true_classes) == number
        order = np.argsort(-np.asarray(image.scores, np.float64)[own], kind="stable")
        table = overlaps(np.asarray(image.boxes)[own][order], np.asarray(image.true_boxes)[true])
        taken = np.full(len(table), np.nan)
        for row in range(len(table)):
            best = int(table[row].argmax()) if table.shape[1] else -1
            if best >= 0 and table[row, best] >= overlap:
                taken[row] = table[row, best]
                table[:, best] = -1.0
        scores.append(np.asarray(image.scores, np.float64)[own][order])
        hit.append(~np.isnan(taken))
        common.append(taken)
        objects += int(true.sum())
    joined = np.concatenate(scores)
    order = np.argsort(-joined, kind="stable")
    return Matched(joined[order], np.concatenate(hit)[order], np.concatenate(common)[order], objects, len(images))


@dataclass(frozen=True)
class Detection:
    """The measures of boxes of several classes over images; each is the mean over the classes that the truth has.

    Attributes:
        images: what was found in each image, and what is there.
        classes: how many there are.
    """

    images: tuple[FoundBoxes, ...]
    classes: int

    @cached_property
    def ap50(self) -> float:
        """Average precision at an overlap of 0.5."""
        return _mean([matched(self.images, number).average_precision for number in range(self.classes)])

    @cached_property
    def ap(self) -> float:
        """Average precision, the mean over the overlaps 0.5, 0.55, ... 0.95."""
        return _mean(
            [
                float(np.mean([matched(self.images, number, overlap=each).average_precision for each in OVERLAPS]))
                for number in range(self.classes)
            ]
        )

    @cached_property
    def box_iou(self) -> float:
        """The mean overlap of the boxes that have found a true one."""
        return _mean([each.mean_overlap for each in self._matched if each.objects])

    @property
    def froc(self) -> float:
        """Sensitivity at one false alarm an image."""
        return self.sensitivity_at(1.0)

    def sensitivity_at(self, rate: float) -> float:
        """Sensitivity at so many false alarms an image."""
        return _mean([each.sensitivity_at(rate) for each in self._matched])

    @cached_property
    def _matched(self) -> list[Matched]:
        return [matched(self.images, number) for number in range(self.classes)]


def detection(images: Sequence[FoundBoxes], *, classes: int) -> Detection:
    """Measure what was found in images; see `Detection`.

    Raises:
        ArrayError: there is no image, or no class.
    """
    if not images or classes < 1:
        raise ArrayError(f"found {len(images)} images and {classes} classes; expected one of each at least")
    return Detection(tuple(images), classes)


def _mean(values: Sequence[float]) -> float:
    """The mean of the values that are defined; NaN where none is."""
    known = [float(value) for value in values if not math.isnan(value)]
    return math.fsum(known) / len(known) if known else math.nan
