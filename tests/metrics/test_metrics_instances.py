"""Metrics of objects: hand-worked values, plain loops over all pairs, MONAI and pycocotools say the same."""

from __future__ import annotations

import math

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment
from scipy.spatial.distance import directed_hausdorff

from scantling.core.errors import ArrayError
from scantling.metrics.instance_overlaps import overlaps, separated
from scantling.metrics.instances import Instances, instances
from scantling.metrics.mask_ap import THRESHOLDS

Map = NDArray[np.int64]
RATIOS = ("aji", "aji_plus", "pq", "sq", "dq", "f1_75", "f1_90", "dsb_ap", "object_f1", "object_dice")


def blobs(seed: int, shape: tuple[int, ...] = (40, 44), count: int = 9) -> Map:
    """Boxes of random places, the later on top, some of them touching."""
    draw = np.random.default_rng(seed)
    found = np.zeros(shape, np.int64)
    for number in range(1, count + 1):
        low = [int(draw.integers(0, side - 4)) for side in shape]
        found[tuple(slice(a, a + int(draw.integers(2, 11))) for a in low)] = number
    return found


def shaken(truth: Map, seed: int) -> Map:
    """The same objects moved, one merged into another and one cut in two."""
    draw = np.random.default_rng(seed)
    found = np.roll(truth, draw.integers(-2, 3, truth.ndim), axis=tuple(range(truth.ndim)))
    found = np.where(found == 2, 1, found)
    found[: truth.shape[0] // 2] = np.where(found == 5, 50, found)[: truth.shape[0] // 2]
    return found


def by_loops(found: Map, truth: Map) -> dict[str, float]:
    """The same numbers from one mask for each object, pair by pair, as their papers say them."""
    ours, theirs = by_first_pixel(found), by_first_pixel(truth)
    both = np.array([[(a & b).sum() for b in ours] for a in theirs])
    either = np.array([[(a | b).sum() for b in ours] for a in theirs])
    iou = both / either
    best = iou.argmax(1)
    hit = [(i, j) for i, j in enumerate(best) if iou[i, j] > 0]
    free = [b.sum() for j, b in enumerate(ours) if j not in {j for _, j in hit}]
    missed = [a.sum() for i, a in enumerate(theirs) if i not in {i for i, _ in hit}]
    united = sum(either[pair] for pair in hit) + sum(free) + sum(missed)
    pairs = [(i, j) for i, j in zip(*linear_sum_assignment(-iou), strict=True) if iou[i, j] > 0]
    shared = sum(both[pair] for pair in pairs)
    right = [(iou > threshold).sum() for threshold in THRESHOLDS]
    total = len(ours) + len(theirs)
    to_true = [int(both[:, j].argmax()) for j in range(len(ours))]
    covered = {i for j, i in enumerate(to_true) if both[i, j] * 2 >= theirs[i].sum()}
    sums = {"dice": [0.0, 0.0], "far": [0.0, 0.0]}
    for side, (own, others, table) in enumerate(((theirs, ours, both), (ours, theirs, both.T))):
        size = sum(one.sum() for one in own)
        for i, one in enumerate(own):
            j = int(table[i].argmax())
            far = [hausdorff(one, other) for other in others]
            dice = 2 * table[i, j] / (one.sum() + others[j].sum())
            sums["dice"][side] += one.sum() / size * dice
            sums["far"][side] += one.sum() / size * (far[j] if table[i, j] else min(far))
    return {
        "aji": sum(both[pair] for pair in hit) / united,
        "aji_plus": shared / (sum(each.sum() for each in [*ours, *theirs]) - shared),
        "pq": 2 * iou[iou > 0.5].sum() / total,
        "sq": iou[iou > 0.5].mean() if right[0] else 0.0,
        "dq": 2 * right[0] / total,
        "f1_75": 2 * right[5] / total,
        "f1_90": 2 * right[8] / total,
        "dsb_ap": float(np.mean([one / (total - one) for one in right])),
        "object_f1": 2 * len(covered) / total,
        "object_dice": sum(sums["dice"]) / 2,
        "object_hausdorff": sum(sums["far"]) / 2,
        "count_error": float(abs(len(ours) - len(theirs))),
    }


def by_first_pixel(labels: Map) -> list[NDArray[np.bool_]]:
    numbers, first = np.unique(labels, return_index=True)
    return [labels == number for number in numbers[np.argsort(first)] if number]


def hausdorff(one: NDArray[np.bool_], other: NDArray[np.bool_]) -> float:
    points = np.argwhere(one), np.argwhere(other)
    return max(directed_hausdorff(*points)[0], directed_hausdorff(*points[::-1])[0])


@pytest.mark.parametrize("seed", range(6))
def test_all_metrics_are_those_of_plain_loops_over_pairs(seed: int) -> None:
    shape = (40, 44) if seed < 4 else (12, 14, 13)
    truth = blobs(seed, shape)
    found = shaken(truth, seed)
    measured = instances(found, truth)
    assert {name: getattr(measured, name) for name in by_loops(found, truth)} == pytest.approx(by_loops(found, truth))


def test_a_merged_pair_by_hand() -> None:
    truth = np.zeros((6, 12), np.uint8)
    truth[1:5, 1:5], truth[1:5, 5:9] = 1, 2  # 16 pixels each, touching
    found = np.where(truth > 0, 4, 0)
    measured = instances(found, truth)
    # the one object has IoU 16 / 32 with both, which is not above .5
    assert (measured.dq, measured.pq, measured.sq, measured.dsb_ap, measured.count_error) == (0, 0, 0, 0, 1)
    assert measured.aji == 32 / 64, "both true objects take the same predicted one"
    assert measured.aji_plus == 16 / 48, "it is taken once"
    assert measured.object_f1 == 2 / 3, "it holds half of one true object: one right, one missed"
    assert measured.object_dice == pytest.approx(2 * 16 / 48)
    assert measured.object_hausdorff == 4
    assert (measured.merges, measured.splits) == (1, 0)
    assert overlaps(found, truth).merges == ((0, (0, 1)),)
    assert instances(truth, found).splits == 1


def test_panoptic_quality_by_hand() -> None:
    truth, found = np.zeros((3, 20), np.uint8), np.zeros((3, 20), np.uint8)
    truth[0, :10], truth[1, :10], truth[2, :10] = 1, 2, 3
    found[0, :8], found[1, :4], found[2, 12:] = 1, 2, 3  # IoU .8, .4, 0
    measured = instances(found, truth)
    assert measured.matched.tolist() == [1, 1, 1, 1, 1, 1, 0, 0, 0, 0], "IoU .8 is not above .8"
    assert (measured.dq, measured.sq, measured.pq) == pytest.approx((1 / 3, 0.8, 0.8 / 3))
    assert measured.dsb_ap == pytest.approx(6 / 10 * 1 / 5)


def test_panoptic_quality_is_that_of_monai() -> None:
    torch = pytest.importorskip("torch")
    panoptic = pytest.importorskip("monai.metrics.panoptic_quality")
    truth = blobs(3)
    found = shaken(truth, 3)
    maps = (torch.from_numpy(np.unique(each, return_inverse=True)[1].reshape(each.shape)) for each in (found, truth))
    theirs = panoptic.compute_panoptic_quality(*maps, metric_name="pq", remap=False, smooth_numerator=0)
    assert instances(found, truth).pq == pytest.approx(float(theirs))


def by_pycocotools(cases: list[tuple[Map, Map, NDArray[np.float64]]]) -> float:
    coco, evaluation = (pytest.importorskip(f"pycocotools.{name}") for name in ("coco", "cocoeval"))
    mask = pytest.importorskip("pycocotools.mask")
    images, true, answers = [], [], []
    for image, (found, truth, scores) in enumerate(cases, start=1):
        images.append({"id": image, "height": truth.shape[0], "width": truth.shape[1]})
        for labels, rows in ((truth, true), (found, answers)):
            for number in np.unique(labels)[1:]:
                one = np.asfortranarray((labels == number).astype(np.uint8))
                row = {"id": len(rows) + 1, "image_id": image, "category_id": 1, "iscrowd": 0, "area": int(one.sum())}
                rows.append(row | {"segmentation": mask.encode(one), "score": float(scores[number])})
    truth_set = coco.COCO()
    truth_set.dataset = {"images": images, "categories": [{"id": 1}], "annotations": true}
    truth_set.createIndex()
    judged = evaluation.COCOeval(truth_set, truth_set.loadRes(answers), "segm")
    judged.params.maxDets = [1, 10, 1000]
    judged.evaluate()
    judged.accumulate()
    precision = judged.eval["precision"][:, :, 0, 0, 2]
    return float(precision[precision > -1].mean())


def test_mean_average_precision_is_that_of_pycocotools() -> None:
    cases = []
    for seed in range(4):
        truth = blobs(seed, count=14)
        found = shaken(truth, seed + 1)
        cases.append((found, truth, np.random.default_rng(seed).random(60).round(2)))
    measured = [instances(found, truth, scores=scores, distances=False) for found, truth, scores in cases]
    assert sum(measured[1:], start=measured[0]).mask_ap == pytest.approx(by_pycocotools(cases))


def test_a_perfect_answer_has_the_best_values_and_the_sum_of_cases_too() -> None:
    truth = blobs(1)
    measured = instances(truth, truth, scores=np.ones(10))
    for one in (measured, measured + measured):
        assert [getattr(one, name) for name in (*RATIOS, "mask_ap")] == pytest.approx([1.0] * 11)
        assert (one.object_hausdorff, one.count_error) == (0, 0)
    assert (measured + measured).true == 2 * measured.true


def test_sums_of_cases_are_those_of_the_images_side_by_side() -> None:
    pairs = [(shaken(blobs(seed), seed), blobs(seed)) for seed in range(3)]
    one, two, three = (instances(*pair) for pair in pairs)
    summed = one + two + three
    beside = [
        np.concatenate([np.pad(np.where(each, each + 99 * n, 0), 60) for n, each in enumerate(side)])
        for side in zip(*pairs, strict=True)
    ]
    together = instances(*beside)
    for name in (*RATIOS, "object_hausdorff"):
        assert getattr(summed, name) == pytest.approx(getattr(together, name)), name


def test_nothing_depends_on_the_numbers_of_the_objects() -> None:
    draw = np.random.default_rng(0)
    for seed in range(4):
        truth = blobs(seed)
        found = shaken(truth, seed)
        scores = draw.random(100)
        names = draw.choice(2_000_000_000 if seed == 0 else 5000, 99, replace=False) + 1
        table = np.concatenate([[0], names])
        before = instances(found, truth, scores=scores)
        given = np.zeros(table.max() + 1) if seed else None
        if given is not None:
            given[table] = scores
        after = instances(table[found], table[::-1].copy()[np.where(truth, truth, 99)] * (truth > 0), scores=given)
        for name in (*RATIOS, "object_hausdorff", "count_error", "merges", "splits", "mask_ap")[: 14 if seed else 13]:
            assert getattr(before, name) == getattr(after, name), name


def test_equal_partners_are_told_apart_by_place_and_not_by_number() -> None:
    truth = np.array([[1] * 8])
    left_first, right_first = np.array([[5] * 4 + [9] * 4]), np.array([[9] * 4 + [5] * 4])
    one, other = (instances(found, truth) for found in (left_first, right_first))
    assert all(getattr(one, name) == getattr(other, name) for name in (*RATIOS, "object_hausdorff"))


def test_empty_maps_are_defined() -> None:
    truth = blobs(2)
    nothing = np.zeros_like(truth)
    alone, wrong, both = instances(nothing, truth), instances(truth, nothing), instances(nothing, nothing)
    assert [getattr(alone, name) for name in RATIOS] == [0.0] * len(RATIOS)
    assert alone.object_hausdorff == pytest.approx(math.hypot(39, 43)), "the diagonal"
    assert all(math.isnan(getattr(each, name)) for each in (wrong, both) for name in (*RATIOS, "object_hausdorff"))
    assert (wrong.count_error, both.count_error) == (wrong.predicted, 0)
    assert instances(nothing, truth, scores=[0.0]).mask_ap == 0
    perfect = instances(truth, truth) + wrong
    assert perfect.dq == 2 / 3, "objects in an empty image count among all"


def test_single_pixels_and_more_objects_than_16_bits_number() -> None:
    side = 270
    truth = np.zeros((2 * side, 2 * side), np.int32)
    truth[::2, ::2] = np.arange(1, side**2 + 1).reshape(side, side)
    found = truth.copy()
    found[0, 0] = 0
    measured = instances(found, truth, distances=False)
    assert (measured.true, measured.predicted) == (side**2, side**2 - 1)
    assert measured.dq == 2 * (side**2 - 1) / (2 * side**2 - 1)
    assert measured.aji == measured.aji_plus == (side**2 - 1) / side**2


def test_only_what_counts_is_compared() -> None:
    truth, found = np.zeros((4, 12), int), np.zeros((4, 12), int)
    truth[:, :3] = 1
    found[:, :3], found[:, 5:7], found[:2, 7:12] = 1, 2, 3
    unknown = np.zeros((4, 12), bool)
    unknown[:, 8:] = True
    known = instances(found, truth, unknown=unknown)
    assert known.predicted == 2, "most of the third object lies where nothing is known"
    region = np.ones((4, 12), int)
    region[:, 8:] = 0
    assert instances(found, truth, region=region).predicted == 3, "what the region cuts remains"
    unknown[:, :2] = True
    assert instances(found, truth, unknown=unknown).pq == 2 / 3, "an object that touches a true one stays"


def test_one_number_for_two_pieces_becomes_two_objects() -> None:
    labels = np.zeros((6, 9), np.int32)
    labels[0, 0] = labels[1, 1] = 7  # hang together at a corner
    labels[4:, 6:] = 7
    labels[4:, 3:6] = 3
    pieces, values = separated(labels)
    assert sorted(values.tolist()) == [3, 7, 7]
    assert [int((pieces == number).sum()) for number in np.argsort(values) + 1] == [6, 2, 6]
    assert separated(labels > 0)[1].tolist() == [1, 1], "of a binary mask, its components"
    assert separated(np.zeros((2, 2)))[1].size == 0


def test_what_is_no_instance_map_is_refused() -> None:
    good = np.ones((3, 3), int)
    for wrong, sentence in (
        (np.full((3, 3), 0.5), "fractions"),
        (-good, "number -1"),
        (np.ones((3, 4), int), r"shape \(3, 3\); expected \(3, 4\)"),
    ):
        with pytest.raises(ArrayError, match=sentence):
            instances(wrong, good)
    with pytest.raises(ArrayError, match="no pixel to compare"):
        instances(good, good, region=np.zeros((3, 3), bool))
    with pytest.raises(ArrayError, match="scores"):
        instances(good, good, scores=[0.5])


def test_lengths_are_in_the_unit_of_the_spacing() -> None:
    truth, found = np.zeros((5, 30), int), np.zeros((5, 30), int)
    truth[2, 2:6], found[2, 20:24] = 1, 1
    far = [instances(found, truth, spacing=spacing).object_hausdorff for spacing in (None, (1.0, 0.5))]
    assert far == [18, 9]
    assert isinstance(instances(found, truth, distances=False), Instances)
    assert math.isnan(instances(found, truth, distances=False).object_hausdorff)
