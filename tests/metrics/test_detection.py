"""Measures of boxes, against cases worked out by hand and MONAI's COCO metric."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch

from scantling.core.errors import ArrayError
from scantling.metrics import FoundBoxes, detection, matched
from scantling.metrics.detection import OVERLAPS, overlaps


def image(found: list[tuple[Any, float, int]], true: list[tuple[Any, int]]) -> FoundBoxes:
    return FoundBoxes(
        boxes=np.array([box for box, _, _ in found], float).reshape(-1, 2, 2),
        scores=np.array([score for _, score, _ in found]),
        classes=np.array([number for _, _, number in found], int),
        true_boxes=np.array([box for box, _ in true], float).reshape(-1, 2, 2),
        true_classes=np.array([number for _, number in true], int),
    )


A, B, FAR = [[0, 10], [0, 10]], [[20, 30], [20, 30]], [[50, 60], [50, 60]]
HALF = [[0, 10], [0, 5]]  # inside of A, half of it


def test_the_overlap_of_boxes_is_what_they_share_of_what_they_cover_together() -> None:
    one, other = np.array([A, HALF, B], float), np.array([A, [[5, 15], [5, 15]]], float)
    expected = [[1, 25 / 175], [0.5, 0], [0, 0]]
    np.testing.assert_allclose(overlaps(one, other), expected)
    assert overlaps(np.array([[[3, 3], [3, 3]]]), np.array([[[3, 3], [3, 3]]])).tolist() == [[0]]


def test_a_perfect_answer_has_one_everywhere() -> None:
    found = detection([image([(A, 0.9, 0), (B, 0.8, 1)], [(A, 0), (B, 1)])], classes=2)
    assert (found.ap, found.ap50, found.box_iou, found.froc) == (1, 1, 1, 1)


def test_average_precision_of_a_hit_a_false_alarm_and_a_hit_by_hand() -> None:
    # Precisions 1, 1/2, 2/3 at sensitivities 1/2, 1/2, 1: 51 of 101 places read 1 and 50 read 2/3.
    one = image([(A, 0.9, 0), (FAR, 0.8, 0), (B, 0.7, 0)], [(A, 0), (B, 0)])
    assert detection([one], classes=1).ap50 == pytest.approx((51 + 50 * 2 / 3) / 101)


def test_a_double_is_a_false_alarm_and_of_two_boxes_the_surer_one_is_matched() -> None:
    one = matched([image([(A, 0.6, 0), (HALF, 0.9, 0)], [(A, 0)])], 0)
    assert one.hit.tolist() == [True, False]
    assert one.scores.tolist() == [0.9, 0.6]
    assert one.mean_overlap == 0.5


def test_an_overlap_of_exactly_one_half_counts_at_a_half_and_not_above() -> None:
    found = detection([image([(HALF, 0.9, 0)], [(A, 0)])], classes=1)
    assert found.ap50 == 1
    assert found.ap == pytest.approx(1 / len(OVERLAPS))


def test_sensitivity_at_a_rate_of_false_alarms_by_hand() -> None:
    images = [image([(A, 0.9, 0), (FAR, 0.8, 0)], [(A, 0)]), image([(B, 0.7, 0), (FAR, 0.6, 0)], [(B, 0), (A, 0)])]
    one = matched(images, 0)
    assert [one.sensitivity_at(rate) for rate in (0, 0.5, 1)] == [pytest.approx(n / 3) for n in (1, 2, 2)]


def test_boxes_of_one_score_count_together() -> None:
    one = matched([image([(A, 0.5, 0), (FAR, 0.5, 0)], [(A, 0)])], 0)
    assert (one.sensitivity_at(0), one.sensitivity_at(1)) == (0, 1)


def test_classes_that_the_truth_lacks_are_undefined_and_leave_the_mean_alone() -> None:
    found = detection([image([(A, 0.9, 0), (B, 0.9, 1)], [(A, 0)])], classes=2)
    assert (found.ap50, found.froc) == (1, 1)
    nothing = detection([image([(A, 0.9, 0)], [])], classes=1)
    assert math.isnan(nothing.ap)
    assert math.isnan(nothing.froc)
    silent = detection([image([], [(A, 0)])], classes=1)
    assert (silent.ap, silent.froc) == (0, 0)
    assert math.isnan(silent.box_iou)


def test_average_precision_is_that_of_monais_coco_metric() -> None:
    from monai.apps.detection.metrics.coco import COCOMetric
    from monai.apps.detection.metrics.matching import matching_batch
    from monai.data.box_utils import box_iou

    generator = np.random.default_rng(3)
    images = []
    for _ in range(6):
        start = generator.uniform(0, 40, (4, 2))
        true = np.stack([start, start + generator.uniform(6, 20, (4, 2))], -1)
        moved = np.concatenate([true + generator.normal(0, 1.5, (4, 2, 1)), true[:2] + 25])
        images.append(
            FoundBoxes(
                boxes=moved, scores=generator.permutation(6) / 7 + generator.random() / 10,
                classes=np.zeros(6, int), true_boxes=true, true_classes=np.zeros(4, int),
            )
        )  # fmt: skip

    def flat(boxes: np.ndarray) -> np.ndarray:
        return boxes.transpose(0, 2, 1).reshape(len(boxes), 4)

    metric = COCOMetric(classes=["one"], iou_list=list(OVERLAPS), iou_range=(0.5, 0.95, 0.05), max_detection=(100,))
    results = matching_batch(
        iou_fn=lambda a, b: np.asarray(box_iou(torch.from_numpy(a), torch.from_numpy(b))),
        iou_thresholds=metric.iou_thresholds,
        pred_boxes=[flat(each.boxes) for each in images],
        pred_classes=[each.classes for each in images],
        pred_scores=[each.scores for each in images],
        gt_boxes=[flat(each.true_boxes) for each in images],
        gt_classes=[each.true_classes for each in images],
    )
    theirs = metric(results)[0]
    found = detection(images, classes=1)
    assert found.ap50 == pytest.approx(theirs["AP_IoU_0.50_MaxDet_100"], abs=1e-6)
    assert found.ap == pytest.approx(theirs["mAP_IoU_0.50_0.95_0.05_MaxDet_100"], abs=1e-6)


def test_numbers_that_do_not_fit_are_refused() -> None:
    with pytest.raises(ArrayError, match="expected one of each"):
        detection([], classes=1)
    none = np.zeros((0, 2, 2))
    with pytest.raises(ArrayError, match="boxes: found the shape"):
        FoundBoxes(boxes=none, scores=np.ones(1), classes=np.ones(1), true_boxes=none, true_classes=np.zeros(0))
    with pytest.raises(ArrayError, match="not finite"):
        image([([[0, math.nan], [0, 1]], 0.5, 0)], [])
