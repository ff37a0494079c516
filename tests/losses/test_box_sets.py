"""Which proposal is to find which object, and the terms of the loss."""

from __future__ import annotations

import math

import pytest
import torch
from monai.data.box_utils import box_pair_giou

from scantling.losses.box_sets import Costs, box_terms, dynamic_k, focal_loss, mask_dice, paired_giou

SIZE = (100, 100)


def test_the_focal_loss_is_its_formula() -> None:
    logits = torch.tensor([0.3, -1.2])
    p = logits.sigmoid().tolist()
    found = focal_loss(logits, torch.tensor([1.0, 0.0])).tolist()
    expected = [-0.25 * (1 - p[0]) ** 2 * math.log(p[0]), -0.75 * p[1] ** 2 * math.log(1 - p[1])]
    assert found == pytest.approx(expected, rel=1e-5)


def test_an_object_has_as_many_proposals_as_the_overlaps_of_its_five_best_say() -> None:
    truth = torch.tensor([[10.0, 10, 30, 30], [60, 60, 80, 80]])
    near = [[10.0, 10, 30, 30]] * 3 + [[60.0, 60, 80, 80]] + [[90.0, 0, 95, 5]] * 4
    found = dynamic_k(torch.zeros(8, 1), torch.tensor(near), truth, torch.zeros(2, dtype=torch.long), SIZE)
    assert found.tolist() == [0, 0, 0, 1, -1, -1, -1, -1]


def test_of_equal_boxes_the_one_whose_class_is_surer_is_taken() -> None:
    truth = torch.tensor([[10.0, 10, 30, 30]])
    boxes = torch.tensor([[10.0, 10, 21, 30]] * 2)  # the two overlaps are 1.1 together: one proposal
    logits = torch.tensor([[-2.0, 2.0], [2.0, -2.0]])
    assert dynamic_k(logits, boxes, truth, torch.tensor([0]), SIZE).tolist() == [-1, 0]
    assert dynamic_k(logits, boxes, truth, torch.tensor([1]), SIZE).tolist() == [0, -1]


def test_every_object_has_a_proposal_wherever_the_proposals_lie() -> None:
    torch.manual_seed(0)
    for objects in (1, 3, 8, 12):
        corner = torch.rand(12 + objects, 2) * 80
        all_boxes = torch.cat([corner, corner + 1 + torch.rand(12 + objects, 2) * 20], 1)
        boxes, truth = all_boxes[:12], all_boxes[12:]
        boxes[:6] = boxes[:1]  # a crowd at one place
        found = dynamic_k(torch.randn(12, 1), boxes, truth, torch.zeros(objects, dtype=torch.long), SIZE)
        assert {*range(objects)} <= {*found.tolist()}
        assert found.max() < objects


def test_of_more_objects_than_proposals_some_go_without_and_no_object_gives_no_pair() -> None:
    truth = torch.rand(5, 2).repeat(1, 2) * 50 + torch.tensor([0.0, 0, 10, 10])
    found = dynamic_k(torch.zeros(2, 1), truth[:2], truth, torch.zeros(5, dtype=torch.long), SIZE)
    assert (found >= 0).all()
    nothing = dynamic_k(torch.zeros(2, 1), truth[:2], truth[:0], torch.zeros(0, dtype=torch.long), SIZE)
    assert nothing.tolist() == [-1, -1]


def test_the_terms_of_boxes_and_masks_are_0_where_all_is_right() -> None:
    boxes = torch.tensor([[10.0, 20, 30, 60]])
    distance, overlap = box_terms(boxes, boxes, SIZE)
    assert distance.item() == 0
    assert overlap.item() == pytest.approx(0, abs=1e-6)
    distance, overlap = box_terms(boxes + 10, boxes, SIZE)
    assert distance.item() == pytest.approx(0.4)
    assert overlap.item() == pytest.approx(1 - 300 / 1300 + (30 * 50 - 1300) / (30 * 50), rel=1e-5)
    assert [each.item() for each in box_terms(boxes[:0], boxes[:0], SIZE)] == [0, 0]
    mask = torch.zeros(1, 6, 6)
    mask[:, 1:3, 1:4] = 1
    assert mask_dice(mask * 200 - 100, mask).item() == pytest.approx(0, abs=1e-5)
    assert mask_dice(100 - mask * 200, mask).item() == pytest.approx(1, abs=1e-5)
    wrong_outside = mask.clone()
    wrong_outside[:, 5] = 1
    known = torch.ones(1, 6, 6, dtype=torch.bool)
    known[:, 5] = False
    assert mask_dice(wrong_outside * 200 - 100, mask, known).item() == pytest.approx(0, abs=1e-5)
    assert Costs() == Costs(2.0, 5.0, 2.0)


def test_following_the_gradients_leads_boxes_to_their_objects() -> None:
    wanted = torch.tensor([[10.0, 20, 30, 60], [50, 50, 90, 70]])
    boxes = (wanted + torch.tensor([[5.0, -9, 12, 4], [-20, 3, -6, 8]])).requires_grad_()
    for part in range(2):
        before = box_terms(boxes, wanted, SIZE)[part]
        (slope,) = torch.autograd.grad(before, boxes)
        after = box_terms(boxes - 20 * slope, wanted, SIZE)[part]
        assert after < before


def test_generalised_overlaps_are_monais() -> None:
    torch.manual_seed(0)
    ends = torch.rand(2, 50, 2, 2).sort(dim=3).values * 40
    boxes, others = torch.cat([ends[..., 0], ends[..., 1]], 2)
    torch.testing.assert_close(paired_giou(boxes, others), torch.as_tensor(box_pair_giou(boxes, others)))
