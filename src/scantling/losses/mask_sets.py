"""The loss of queries that answer with a set of masks: which is to find which segment, and how well it does."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from scipy.optimize import linear_sum_assignment
from torch import Tensor
from torch.nn import functional as F

OVERSAMPLED, UNCERTAIN = 3, 0.75
"""Candidates for each point, and the share of points that are the least certain of them (Kirillov et al., 2020)."""


@dataclass(frozen=True)
class MaskWeights:
    """What the parts of the loss weigh, in the matching and in the loss (Cheng et al., 2022, Mask2Former).

    Attributes:
        label, mask, dice: of the class, of the cross-entropy and of the Dice of points.
        nothing: of the class "nothing" beside the others.
    """

    label: float = 2.0
    mask: float = 5.0
    dice: float = 5.0
    nothing: float = 0.1


@dataclass(frozen=True)
class Segments:
    """The segments of one image.

    Attributes:
        masks: (n, H, W) bool.
        classes: (n,) int64, from 0.
        known: (H, W) bool, where the label says something.
    """

    masks: Tensor
    classes: Tensor
    known: Tensor


def at_points(maps: Tensor, points: Tensor, *, nearest: bool = False) -> Tensor:
    """The values (n, P) of maps (n, h, w) at points (P, 2) or (n, P, 2): x and y as shares of width and height."""
    points = points if points.ndim == 3 else points.expand(len(maps), -1, -1)
    found = F.grid_sample(
        maps[:, None], 2 * points[:, :, None].to(maps.dtype) - 1, mode="nearest" if nearest else "bilinear",
        padding_mode="border", align_corners=False,
    )  # fmt: skip
    return found[:, 0, :, 0]


@torch.no_grad()
def matched(
    scores: Tensor, logits: Tensor, truth: Segments, points: Tensor, *, weights: MaskWeights
) -> tuple[Tensor, Tensor]:
    """The queries and the segments of the one-to-one matching that costs least (Kuhn, 1955), (m,) int64 each.

    Args:
        scores: (Q, n), the probability that a query gives to the class of each segment.
        logits: (Q, h, w) of masks.
        points: (P, 2), where masks are compared.
    """
    if not len(truth.masks):
        none = torch.zeros(0, dtype=torch.int64, device=logits.device)
        return none, none
    found = at_points(logits.float(), points)  # (Q, P)
    true = at_points(truth.masks.float(), points, nearest=True)  # (n, P)
    known = at_points(truth.known[None].float(), points, nearest=True)  # (1, P)
    true, count = true * known, known.sum().clamp(min=1)
    here, elsewhere = (F.softplus(sign * found) * known for sign in (-1, 1))
    entropy = (here @ true.T + elsewhere @ (known - true).T) / count
    likely = found.sigmoid() * known
    dice = 1 - (2 * likely @ true.T + 1) / (likely.sum(1)[:, None] + true.sum(1)[None] + 1)
    cost = -weights.label * scores.float() + weights.mask * entropy + weights.dice * dice
    queries, segments = linear_sum_assignment(cost.nan_to_num(1e6).cpu().numpy())
    return tuple(torch.as_tensor(each, dtype=torch.int64, device=logits.device) for each in (queries, segments))  # type: ignore[return-value]


@torch.no_grad()
def uncertain_points(logits: Tensor, candidates: Tensor, others: Tensor) -> Tensor:
    """(n, P, 2): of candidates (M, 2) those where masks of logits (n, h, w) are least certain, and `others` (R, 2).

    Args:
        candidates: `OVERSAMPLED` times P of them; `UNCERTAIN` of P are taken.
    """
    count = round(len(candidates) / OVERSAMPLED) - len(others)
    certain = at_points(logits, candidates).abs()  # (n, M)
    best = certain.topk(min(count, len(candidates)), dim=1, largest=False)[1]
    return torch.cat([candidates.to(logits.dtype)[best], others.to(logits.dtype).expand(len(logits), -1, -1)], 1)


def mask_terms(logits: Tensor, masks: Tensor, known: Tensor, points: Tensor) -> tuple[Tensor, Tensor]:
    """The sums over n masks of the mean cross-entropy and of 1 - Dice at points (n, P, 2).

    Args:
        logits: (n, h, w).
        masks: (n, H, W) bool.
        known: (H, W) bool.
    """
    if not len(logits):
        return logits.sum(), logits.sum()
    found = at_points(logits, points)
    true = at_points(masks.to(found.dtype), points, nearest=True)
    here = at_points(known.to(found.dtype).expand(len(masks), -1, -1), points, nearest=True)
    entropy = F.binary_cross_entropy_with_logits(found, true, reduction="none") * here
    entropy = entropy.sum(1) / here.sum(1).clamp(min=1)
    likely, true = found.sigmoid() * here, true * here
    dice = 1 - (2 * (likely * true).sum(1) + 1) / (likely.sum(1) + true.sum(1) + 1)
    return entropy.sum(), dice.sum()


def label_sum(logits: Tensor, classes: Tensor, queries: Tensor, *, nothing: float) -> Tensor:
    """The sum of the cross-entropies of Q queries, weighted; unmatched ones are to say "nothing".

    Args:
        logits: (Q, K + 1), that of "nothing" the last one.
        classes: (m,) of the segments that the queries (m,) are to find.
        nothing: its weight.
    """
    last = logits.shape[1] - 1
    wanted = torch.full((len(logits),), last, dtype=torch.int64, device=logits.device)
    wanted[queries] = classes
    weights = torch.where(wanted == last, nothing, 1.0).to(logits.dtype)
    return (weights * F.cross_entropy(logits, wanted, reduction="none")).sum()


def label_total(segments: int, queries: int, *, nothing: float) -> float:
    """The sum of the weights of `label_sum` of an image."""
    found = min(segments, queries)
    return found + nothing * (queries - found)
