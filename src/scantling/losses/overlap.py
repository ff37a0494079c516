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
    both, found, true = overlap_sums(probabilities, mask)
    return 1 - ((2 * both + smooth) / (found + true + smooth)).mean()


def batch_dice_loss(sums: Tensor, *, total: Tensor, parts: int = 1, smooth: float = 1.0) -> Tensor:
    r"""One minus soft Dice with all samples of a step counted as one (the batch Dice of nnU-Net, Isensee et al., 2021).

    .. math:: 1 - \frac{2 \sum_b \sum p m + s}{\sum_b (\sum p + \sum m) + s}, averaged over classes

    Of a class that a patch lacks, `dice_loss` sees false alarms alone, however few: 1 - s / (sum p + s). Here they are
    held against what the other patches show of the class.

    Args:
        sums: (3, K), the `overlap_sums` of the samples of this part of the step, summed over them.
        total: (3, K), the same over the whole step, without gradient.
        parts: into which the step is divided; the loss is that of the whole step, its gradient, averaged over the
            parts, too.
        smooth: s, in pixels.
    """
    both, found, true = total + parts * (sums - sums.detach())
    return 1 - ((2 * both + smooth) / (found + true + smooth)).mean()


def overlap_sums(probabilities: Tensor, mask: Tensor) -> Tensor:
    """The sums of p m, of p and of m over the pixels that count, (3, B, K); arguments as in `dice_loss`."""
    probabilities = _exact(probabilities)
    known = mask != IGNORE
    target = class_channels(mask, probabilities.shape[1]).to(probabilities.dtype)
    probabilities = probabilities * known
    both = (probabilities * target).flatten(2).sum(2)
    return torch.stack([both, probabilities.flatten(2).sum(2), target.flatten(2).sum(2)])


def class_channels(mask: Tensor, classes: int) -> Tensor:
    """(B, K, *S) bool, one channel for each foreground class; pixels that do not count are false."""
    if mask.shape[1] == classes and classes > 1:
        return mask == 1
    numbers = torch.arange(1, classes + 1, device=mask.device).view(1, classes, *[1] * (mask.ndim - 2))
    return mask == numbers


def _exact(tensor: Tensor) -> Tensor:
    """At least float32, whatever autocast has made of it."""
    return tensor if tensor.dtype == torch.float64 else tensor.float()
