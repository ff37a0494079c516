"""Cross-entropy and soft Dice, for exclusive and for overlapping classes, with pixels that do not count."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

IGNORE = 255


def probabilities_of(logits: Tensor, classes: int) -> Tensor:
    """Foreground probabilities (B, K, *S) of logits: K channels are independent, K + 1 exclude each other."""
    logits = _exact(logits)
    return logits.sigmoid() if logits.shape[1] == classes else logits.softmax(1)[:, 1:]


def cross_entropy(logits: Tensor, mask: Tensor) -> Tensor:
    """Mean cross-entropy over the pixels that count.

    Args:
        logits: (B, K, *S) of independent classes, or (B, K + 1, *S) of exclusive classes with the background first.
        mask: (B, K, *S) of 0 and 1 beside independent classes, else (B, 1, *S) of class numbers; 255 does not count.
    """
    logits = _exact(logits)
    if mask.shape[1] == logits.shape[1]:
        known = mask != IGNORE
        target = mask.masked_fill(~known, 0).to(logits.dtype)
        losses = F.binary_cross_entropy_with_logits(logits, target, reduction="none")
        return (losses * known).flatten(1).sum(1).div(known.flatten(1).sum(1).clamp(min=1)).mean()
    target = mask[:, 0].long()
    known = target != IGNORE
    losses = F.cross_entropy(logits, target, ignore_index=IGNORE, reduction="none")
    return losses.flatten(1).sum(1).div(known.flatten(1).sum(1).clamp(min=1)).mean()


def binary_cross_entropy(probabilities: Tensor, mask: Tensor) -> Tensor:
    """Mean cross-entropy of each class against all else, over the pixels that count, where there are no logits.

    Args:
        probabilities: (B, K, *S) of the foreground classes; what is closer to 0 or 1 than 1e-6 costs what 1e-6 costs.
        mask: (B, K, *S) of 0 and 1, or (B, 1, *S) of class numbers 1..K; 255 does not count.
    """
    inside = _exact(probabilities).clamp(1e-6, 1 - 1e-6)
    known = (mask != IGNORE).expand_as(inside)
    losses = -torch.where(class_channels(mask, inside.shape[1]), inside, 1 - inside).log()
    return (losses * known).flatten(1).sum(1).div(known.flatten(1).sum(1).clamp(min=1)).mean()


def dice_loss(probabilities: Tensor, mask: Tensor, *, smooth: float = 1.0) -> Tensor:
    r"""One minus soft Dice (Milletari et al., 2016, with plain sums in the denominator), each sample for itself.

    .. math:: 1 - \frac{2 \sum p m + s}{\sum p + \sum m + s}, averaged over samples and classes

    Args:
        probabilities: (B, K, *S) of the foreground classes.
        mask: (B, K, *S) of 0 and 1, or (B, 1, *S) of class numbers 1..K; 255 does not count.
        smooth: s, in pixels; makes two empty masks agree.
    """
    probabilities = _exact(probabilities)
    known = mask != IGNORE
    target = class_channels(mask, probabilities.shape[1]).to(probabilities.dtype)
    probabilities = probabilities * known
    both = (probabilities * target).flatten(2).sum(2)
    either = probabilities.flatten(2).sum(2) + target.flatten(2).sum(2)
    return 1 - ((2 * both + smooth) / (either + smooth)).mean()


def class_channels(mask: Tensor, classes: int) -> Tensor:
    """(B, K, *S) bool, one channel for each foreground class; pixels that do not count are false."""
    if mask.shape[1] == classes and classes > 1:
        return mask == 1
    numbers = torch.arange(1, classes + 1, device=mask.device).view(1, classes, *[1] * (mask.ndim - 2))
    return mask == numbers


def _exact(tensor: Tensor) -> Tensor:
    """At least float32, whatever autocast has made of it."""
    return tensor if tensor.dtype == torch.float64 else tensor.float()
