"""How well the pieces of one class were found, each by itself: masks without instances, in two or three dimensions."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import ndimage
from scipy.spatial import cKDTree
from skimage.measure import label

from scantling.core.pieces import LARGE
from scantling.metrics.arrays import Mask, bounding_box, masks_inside, spatial
from scantling.metrics.distance import surface_distances

_Map = NDArray[np.int32]


@dataclass(frozen=True)
class Lesions:
    """The components of two masks, corners counting.

    Where the truth is empty all is NaN; where the prediction alone is, the scores are 0 and the distance is the
    diagonal of the image (ours).

    Attributes:
        prediction, truth: (*S) the components, 0 background and 1..N.
        nearest: (*S) the true component whose Voronoi region each predicted pixel lies in; 0 where nothing is
            predicted.
        spacing: of each axis.
    """

    prediction: _Map
    truth: _Map
    nearest: _Map
    spacing: tuple[float, ...]

    @cached_property
    def lesion_f1(self) -> float:
        """2 TP / (2 TP + FP + FN) over components, which are found if they share a pixel with the other mask.

        As in ISLES 2022 (Hernandez Petzsche et al., 2022): TP are the true components that the prediction touches, FN
        the others, FP the predicted components that touch no true one.
        """
        count, predicted = int(self.truth.max(initial=0)), int(self.prediction.max(initial=0))
        if not count:
            return math.nan
        both = (self.truth > 0) & (self.prediction > 0)
        found, right = (np.unique(each[both]).size for each in (self.truth, self.prediction))
        return 2 * found / (2 * found + (predicted - right) + (count - found))

    @cached_property
    def lesion_dice(self) -> float:
        """The mean over true components of the Dice in the Voronoi region of each (Jaus et al., 2024, CC-Metrics)."""
        count = int(self.truth.max(initial=0))
        if not count:
            return math.nan
        true, predicted, both = (
            np.bincount(each, minlength=count + 1)[1:]
            for each in (self.truth.ravel(), self.nearest.ravel(), self.nearest[self.nearest == self.truth])
        )
        return float((2 * both / (true + predicted)).mean())

    @cached_property
    def lesion_hd95(self) -> float:
        """The mean over true components of the 95 % Hausdorff distance in the Voronoi region of each (as above)."""
        count = int(self.truth.max(initial=0))
        if not count:
            return math.nan
        worst = float(np.linalg.norm((np.array(self.truth.shape) - 1) * self.spacing))
        boxes = zip(ndimage.find_objects(self.truth, count), ndimage.find_objects(self.nearest, count), strict=True)
        values = []
        for number, (true, predicted) in enumerate(boxes, start=1):
            if predicted is None:
                values.append(worst)
                continue
            box = tuple(slice(min(a.start, b.start), max(a.stop, b.stop)) for a, b in zip(true, predicted, strict=True))
            masks = self.nearest[box] == number, self.truth[box] == number
            values.append(surface_distances(*masks, spatial_dims=len(box), spacing=self.spacing).hd95)
        return float(np.mean(values))


def lesions(
    prediction: ArrayLike,
    truth: ArrayLike,
    *,
    spatial_dims: int | None = None,
    spacing: Sequence[float] | None = None,
    region: ArrayLike | None = None,
) -> Lesions:
    """Compare the components of two masks `(*S)`, bool or 0 and 1; both are emptied outside `region` `(*S)`.

    Args:
        spatial_dims: 2 or 3, for masks (1, H, W), which have two readings; it follows from other shapes.
        spacing: the distance between neighbours along each axis, whose unit the distances have; 1 if not given.

    Raises:
        ArrayError: the shapes differ or have two readings, there is no pixel to compare, or a mask holds other values.
    """
    predicted, true = (spatial(mask, spatial_dims) for mask in masks_inside(prediction, truth, region))
    steps = (1.0,) * true.ndim if spacing is None else tuple(float(step) for step in spacing)
    pieces = _components(true)
    return Lesions(_components(predicted), pieces, _nearest(predicted, pieces, steps), steps)


def _components(mask: Mask) -> _Map:
    return np.asarray(label(mask, connectivity=mask.ndim), np.int32) if mask.any() else np.zeros(mask.shape, np.int32)


def _nearest(predicted: Mask, pieces: _Map, steps: tuple[float, ...]) -> _Map:
    """(*S) at each predicted pixel the number of the nearest true component, which is its own inside of one."""
    found = np.where(predicted, pieces, 0).astype(np.int32)
    outside = predicted & (pieces == 0)
    box = bounding_box(outside | (pieces > 0))
    if box is None or not outside.any() or not pieces.any():
        return found
    there = pieces[box]
    asked = np.nonzero(outside[box])
    if there.size > LARGE:  # the transform would take several times the image
        goals = np.argwhere(there > 0)
        _, place = cKDTree(goals * steps).query(np.stack(asked, 1) * steps)
        numbers = there[tuple(goals[place].T)]
    else:
        where = ndimage.distance_transform_edt(there == 0, sampling=steps, return_distances=False, return_indices=True)
        numbers = there[tuple(axis[asked] for axis in where)]
    found[box][asked] = numbers
    return found
