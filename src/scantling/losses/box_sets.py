"""The loss of detectors that answer with a set: which proposal is to find which object, and how well it does."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from monai.data.box_utils import box_giou, box_iou
from torch import Tensor
from torch.nn import functional as F

ALPHA, GAMMA = 0.25, 2.0
"""Of the focal loss (Lin et al., 2017)."""
CANDIDATES = 5
"""Of the boxes that overlap an object most, whose overlaps say how many proposals it has (SimOTA: Ge et al., 2021)."""
RADIUS = 2.5
"""How many lengths of an object the middle of a proposal may be away from its middle."""
OUTSIDE, FAR = 100.0, 10_000.0
"""Costs of a proposal whose middle is not both in the object and near its middle; and of one that is near none."""


@dataclass(frozen=True)
class Costs:
    """What the parts of a set loss weigh, in the assignment and in the loss (DiffusionDet's).

    Attributes:
        focal, distance, overlap: of the class, of the L1 distance of boxes as shares of the image, of 1 - GIoU.
    """

    focal: float = 2.0
    distance: float = 5.0
    overlap: float = 2.0


DEFAULTS = Costs()


def focal_loss(logits: Tensor, target: Tensor) -> Tensor:
    r"""Of each element -α_t (1 - p_t)^γ log p_t with α = ¼ and γ = 2 (Lin et al., 2017); 0 to 1 in `target`."""
    entropy = F.binary_cross_entropy_with_logits(logits, target, reduction="none")
    likely = logits.sigmoid()
    wrong = likely * (1 - target) + (1 - likely) * target
    return (ALPHA * target + (1 - ALPHA) * (1 - target)) * wrong**GAMMA * entropy


@torch.no_grad()
def dynamic_k(
    logits: Tensor, boxes: Tensor, true_boxes: Tensor, true_classes: Tensor, size: tuple[int, int], *,
    costs: Costs = DEFAULTS,
) -> Tensor:  # fmt: skip
    """For each of N proposals the number of the object that it is to find, (N,) int64; -1 for none.

    SimOTA as DiffusionDet has it: an object has as many proposals as the sum of its five best overlaps says, at least
    one, those that cost least; a proposal that several objects want goes to the one that costs it least; an object that
    is left without then has the cheapest one that is no object's only one (ours: so that each has one and the search
    ends). Objects go without where there are more of them than proposals.

    Args:
        logits: (N, classes).
        boxes: (N, 4) top, left, bottom, right in pixels.
        true_boxes: (M, 4).
        true_classes: (M,) from 0.
        size: (H, W) of the image.
    """
    number, objects = len(boxes), len(true_boxes)
    found = torch.full((number,), -1, dtype=torch.int64, device=boxes.device)
    if not objects or not number:
        return found
    boxes, true_boxes = boxes.float(), true_boxes.float()
    cost = _costs(logits.float(), boxes, true_boxes, true_classes, size, costs)  # (N, M)
    overlaps = torch.as_tensor(box_iou(boxes, true_boxes))
    wanted = overlaps.topk(min(CANDIDATES, number), dim=0)[0].sum(0).int().clamp(min=1).tolist()
    matching = torch.zeros_like(cost, dtype=torch.bool)
    order = cost.argsort(dim=0, stable=True)
    for one, count in enumerate(wanted):
        matching[order[:count, one], one] = True
    cheapest = cost.masked_fill(~matching, torch.inf).argmin(1)
    found = torch.where(matching.any(1), cheapest, found)
    for one in range(objects):
        if not bool((found == one).any()):
            held = torch.bincount(found.clamp(min=0)[found >= 0], minlength=objects)
            free = (found < 0) | (held[found.clamp(min=0)] > 1)
            if bool(free.any()):
                found[cost[:, one].masked_fill(~free, torch.inf).argmin()] = one
    return found


def _costs(
    logits: Tensor, boxes: Tensor, true_boxes: Tensor, true_classes: Tensor, size: tuple[int, int], costs: Costs
) -> Tensor:
    """What it costs that a proposal finds an object, (N, M)."""
    ones, whole = torch.ones_like(logits), boxes.new_tensor(size * 2)
    of_class = (focal_loss(logits, ones) - focal_loss(logits, 0 * ones))[:, true_classes]
    distance = torch.cdist(boxes / whole, true_boxes / whole, p=1)
    middle = (boxes[:, None, :2] + boxes[:, None, 2:]) / 2
    length = true_boxes[None, :, 2:] - true_boxes[None, :, :2]
    centre = true_boxes[None, :, :2] + length / 2
    within = ((middle > true_boxes[None, :, :2]) & (middle < true_boxes[None, :, 2:])).all(2)
    near = ((middle - centre).abs() < RADIUS * length).all(2)
    cost = costs.focal * of_class + costs.distance * distance
    cost = cost - costs.overlap * torch.as_tensor(box_giou(boxes, true_boxes)) + OUTSIDE * ~(within & near)
    return cost + FAR * ~(within | near).any(1, keepdim=True)


def box_terms(boxes: Tensor, wanted: Tensor, size: tuple[int, int]) -> tuple[Tensor, Tensor]:
    """The sums over n pairs of boxes (n, 4) of their L1 distance, as shares of the image, and of 1 - GIoU."""
    if not len(boxes):
        return boxes.sum(), boxes.sum()
    whole = boxes.new_tensor(size * 2)
    distance = F.l1_loss(boxes / whole, wanted.to(boxes.dtype) / whole, reduction="sum")
    return distance, (1 - paired_giou(boxes, wanted.to(boxes.dtype))).sum()


def paired_giou(boxes: Tensor, others: Tensor) -> Tensor:
    """Generalised IoU (n,) of n pairs of boxes (n, 4) (Rezatofighi et al., 2019), in their own precision.

    MONAI's rounds to float32, and the last bits of its gradient depend on whether another pair is disjoint.
    """

    def area(low: Tensor, high: Tensor) -> Tensor:
        height, width = (high - low).clamp(min=0).unbind(-1)
        return height * width

    (low, high), (start, stop) = ((each[:, :2], each[:, 2:]) for each in (boxes, others))
    both = area(torch.maximum(low, start), torch.minimum(high, stop))
    either = area(low, high) + area(start, stop) - both
    around = area(torch.minimum(low, start), torch.maximum(high, stop))
    least = torch.finfo(torch.float32).eps
    return both / (either + least) - (around - either) / (around + least)


def mask_dice(logits: Tensor, masks: Tensor, known: Tensor | None = None) -> Tensor:
    r"""The sum over n masks of 1 - 2 Σ p q / (Σ p² + Σ q²) (Milletari et al., 2016; as CondInst has it).

    Args:
        logits: (n, h, w).
        masks: (n, h, w) in [0, 1].
        known: (n, h, w) bool, where pixels count; all if None.
    """
    likely, masks = logits.sigmoid().flatten(1), masks.flatten(1).to(logits.dtype)
    if known is not None:
        likely, masks = (each * known.flatten(1) for each in (likely, masks))
    both = 2 * (likely * masks).sum(1)
    return (1 - both / (likely.square().sum(1) + masks.square().sum(1) + 1e-5)).sum()
