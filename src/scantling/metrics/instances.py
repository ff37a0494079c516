"""How well objects were found, each by itself: instance maps in two or three dimensions.

Every sum that a metric needs is kept, so that cases add up: of one case the properties are the metrics of that case, of
a sum of cases they are those over all their objects, as if they lay in one image.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, fields

import numpy as np
from numpy.typing import ArrayLike, NDArray

from scantling.metrics.instance_distance import partner_distances
from scantling.metrics.instance_overlaps import Overlaps, overlaps
from scantling.metrics.mask_ap import THRESHOLDS, Ranked, ranked


@dataclass(frozen=True)
class Instances:
    """The sums of a comparison of objects.

    Where there is no true object, all that is about objects is NaN, as for masks (`Confusion`); the counts tell what
    was predicted there. Where there are true objects and no predicted one, the scores are 0.

    Attributes:
        predicted, true: the numbers of objects.
        matched: (10,) how many predicted objects have a true one with IoU > .50, .55, ..., .95; two objects cannot both
            have that of a third.
        matched_iou: the sum of the IoU of those above .5.
        covered: the true objects of which a predicted object holds half at least, whose largest share of pixels is
            theirs.
        aji_shared, aji_united, plus_shared, plus_united: pixels of AJI and of AJI+.
        true_dice, predicted_dice: the sums of size times Dice with the partner.
        true_distance, predicted_distance: the sums of size times Hausdorff distance; NaN where it was not measured.
        true_pixels, predicted_pixels: the sums of the sizes.
        merges, splits: see `Overlaps`.
        ranking: of the predicted objects; None without scores.
    """

    predicted: int
    true: int
    matched: NDArray[np.int64]
    matched_iou: float
    covered: int
    aji_shared: int
    aji_united: int
    plus_shared: int
    plus_united: int
    true_dice: float
    predicted_dice: float
    true_distance: float
    predicted_distance: float
    true_pixels: int
    predicted_pixels: int
    merges: int
    splits: int
    ranking: Ranked | None = None

    def __add__(self, other: Instances) -> Instances:
        """The sums over the objects of both; the ranking is lost where one has none."""
        summed = {
            each.name: getattr(self, each.name) + getattr(other, each.name)
            for each in fields(self)
            if each.name != "ranking"
        }
        both = self.ranking is not None and other.ranking is not None
        return Instances(**summed, ranking=self.ranking + other.ranking if both else None)  # type: ignore[operator]

    @property
    def aji(self) -> float:
        """The aggregated Jaccard index (Kumar et al., 2017).

        Each true object takes the predicted one with the greatest IoU, which several may take; shared and united pixels
        are summed, and the pixels of predicted objects that none took are added to the united ones.
        """
        return self._share(self.aji_shared, self.aji_united)

    @property
    def aji_plus(self) -> float:
        """AJI+ (Graham et al., 2019, HoVer-Net): as AJI, but of the best one-to-one assignment."""
        return self._share(self.plus_shared, self.plus_united)

    def f1(self, threshold: float) -> float:
        """2 TP / (2 TP + FP + FN), where objects match with IoU > `threshold`, one of `THRESHOLDS`."""
        return self._share(2 * int(self.matched[THRESHOLDS.index(threshold)]), self.predicted + self.true)

    @property
    def dq(self) -> float:
        """Detection quality (Kirillov et al., 2019): F1 at IoU > .5."""
        return self.f1(0.5)

    @property
    def sq(self) -> float:
        """Segmentation quality: the mean IoU of the objects that match with IoU > .5; 0 if none does."""
        return self._share(self.matched_iou, max(1, int(self.matched[0])))

    @property
    def pq(self) -> float:
        """Panoptic quality, DQ times SQ (Kirillov et al., 2019)."""
        return self._share(2 * self.matched_iou, self.predicted + self.true)

    @property
    def f1_75(self) -> float:
        """F1 at IoU > .75."""
        return self.f1(0.75)

    @property
    def f1_90(self) -> float:
        """F1 at IoU > .9."""
        return self.f1(0.9)

    @property
    def dsb_ap(self) -> float:
        """The mean over IoU > .50, .55, ..., .95 of TP / (TP + FP + FN) (Data Science Bowl 2018, Caicedo et al., 2019).

        There it is the mean over images of the value of each image.
        """
        either = self.predicted + self.true - self.matched
        return float((self.matched / either).mean()) if self.true else math.nan

    @property
    def object_f1(self) -> float:
        """F1 of GlaS (Sirinukunwattana et al., 2017).

        A predicted object is right if it holds at least half of the true object that it shares most pixels with; a true
        object makes one right.
        """
        return self._share(2 * self.covered, self.predicted + self.true)

    @property
    def object_dice(self) -> float:
        """Object-level Dice of GlaS (Sirinukunwattana et al., 2017).

        The mean of both directions: the Dice of each true object and the predicted one that shares most pixels with it,
        0 if none does, weighted by size; and the same of each predicted object.
        """
        return self._of_both(self.true_dice, self.predicted_dice)

    @property
    def object_hausdorff(self) -> float:
        """Object-level Hausdorff distance of GlaS, weighted as `object_dice`; see `partner_distances`."""
        return self._of_both(self.true_distance, self.predicted_distance)

    @property
    def count_error(self) -> float:
        """By how many the number of predicted objects differs from that of the true ones; always defined."""
        return float(abs(self.predicted - self.true))

    @property
    def mask_ap(self) -> float:
        """COCO's mean average precision of masks (Lin et al., 2014); NaN without scores."""
        return math.nan if self.ranking is None else self.ranking.mean_average_precision

    def _share(self, part: float, whole: float) -> float:
        return float(part / whole) if self.true else math.nan

    def _of_both(self, of_true: float, of_predicted: float) -> float:
        """The mean of both weighted means; of the true ones alone where nothing was predicted."""
        if not self.true:
            return math.nan
        first = of_true / self.true_pixels
        if not self.predicted:
            return first
        return (first + of_predicted / self.predicted_pixels) / 2


def instances(
    prediction: ArrayLike,
    truth: ArrayLike,
    *,
    scores: ArrayLike | None = None,
    spacing: Sequence[float] | None = None,
    region: ArrayLike | None = None,
    unknown: ArrayLike | None = None,
    distances: bool = True,
) -> Instances:
    """Compare two instance maps `(*S)`, 0 background and one number for each object, in any order and with gaps.

    Args:
        scores: (max + 1,) by the number of an object in `prediction`, how sure it is; without them there is no ranking.
        spacing: the distance between neighbours along each axis, whose unit the distances have; 1 if not given.
        region, unknown: see `overlaps`.
        distances: whether Hausdorff distances are worked out.

    Raises:
        ArrayError: the shapes differ, there is no pixel to compare, a map holds other values, or objects lack a score.

    Example:
        >>> import numpy as np
        >>> from scantling.metrics import instances
        >>> true = np.array([[1, 1, 0, 2, 2]])
        >>> merged = np.array([[7, 7, 7, 7, 7]])
        >>> instances(merged, true).count_error
        1.0
    """
    return instances_of(
        overlaps(prediction, truth, region=region, unknown=unknown), scores=scores, spacing=spacing, distances=distances
    )


def instances_of(
    found: Overlaps, *, scores: ArrayLike | None = None, spacing: Sequence[float] | None = None, distances: bool = True
) -> Instances:
    """The sums of objects whose overlaps are known; arguments as of `instances`."""
    true_sizes, predicted_sizes = found.true_sizes, found.predicted_sizes
    pairs = found.nearest_by_iou[found.nearest_by_iou >= 0]
    free = np.ones(len(predicted_sizes), np.bool_)
    free[found.predicted[pairs]] = False
    missed = int(true_sizes[found.nearest_by_iou < 0].sum())
    plus = found.assigned
    plus_shared = int(found.shared[plus].sum())
    to_true, to_predicted = (np.full(len(sizes), math.nan) for sizes in (true_sizes, predicted_sizes))
    if distances:
        to_true, to_predicted = partner_distances(found, spacing)
    own_partner = found.partner_of_predicted[found.predicted] == found.true
    half = 2 * found.shared >= true_sizes[found.true]
    dice = 2 * found.shared / (predicted_sizes[found.predicted] + true_sizes[found.true])
    with_true = found.partner_of_true[found.true] == found.predicted
    return Instances(
        predicted=len(predicted_sizes),
        true=len(true_sizes),
        matched=(found.iou[:, None] > np.array(THRESHOLDS)).sum(0),
        matched_iou=float(found.iou[found.iou > THRESHOLDS[0]].sum()),
        covered=len(np.unique(found.true[own_partner & half])),
        aji_shared=int(found.shared[pairs].sum()),
        aji_united=int(found.united[pairs].sum()) + missed + int(predicted_sizes[free].sum()),
        plus_shared=plus_shared,
        plus_united=int(true_sizes.sum() + predicted_sizes.sum()) - plus_shared,
        true_dice=float((true_sizes[found.true] * dice)[with_true].sum()),
        predicted_dice=float((predicted_sizes[found.predicted] * dice)[own_partner].sum()),
        true_distance=float((true_sizes * to_true).sum()),
        predicted_distance=float((predicted_sizes * to_predicted).sum()),
        true_pixels=int(true_sizes.sum()),
        predicted_pixels=int(predicted_sizes.sum()),
        merges=len(found.merges),
        splits=len(found.splits),
        ranking=None if scores is None else ranked(found, _by_object(scores, found)),
    )


def _by_object(scores: ArrayLike, found: Overlaps) -> NDArray[np.float64]:
    """(N,) the scores of the predicted objects; NaN, which is refused, of those that lack one."""
    given = np.asarray(scores, np.float64)
    values = found.predicted_values
    inside = values < given.size
    return np.where(inside, given[np.where(inside, values, 0)] if given.size else math.nan, math.nan)
