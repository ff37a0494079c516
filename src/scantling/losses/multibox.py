"""The loss of single-shot detectors: the class of every default box, with hard negatives, and where the object lies."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F


def multibox_terms(
    logits: Tensor, offsets: Tensor, labels: Tensor, targets: Tensor, *, negatives: float = 3.0
) -> tuple[Tensor, Tensor, Tensor]:
    """The sums of MultiBox (Liu et al., 2016) over a batch, and the number that they are to be divided by.

    Of the default boxes without an object those count that are taken for one most: `negatives` for each with an object,
    image by image. Of an image without any object as many count as of one with one (ours: in the paper none), and it
    counts 1 in the number.

    Args:
        logits: (B, N, 1 + K), background first.
        offsets: (B, N, 4).
        labels: (B, N) int64, 0 for background, -1 where nobody knows: such a box counts nowhere.
        targets: (B, N, 4), read where the label is not 0.

    Returns:
        The cross-entropy, the smooth absolute difference of the offsets, and the number of boxes with an object.
    """
    known = labels.clamp(min=0).flatten()
    entropy = F.cross_entropy(logits.flatten(0, 1), known, reduction="none").view(labels.shape)
    objects, background = labels > 0, labels == 0
    count = objects.sum(1).clamp(min=1)
    taken = entropy.detach().masked_fill(~background, -1.0)
    rank = taken.argsort(dim=1, descending=True, stable=True).argsort(dim=1)
    hard = (rank < (negatives * count).round()[:, None]) & background
    apart = F.smooth_l1_loss(offsets, targets.to(offsets.dtype), reduction="none").sum(-1)
    return (entropy * (objects | hard)).sum(), torch.where(objects, apart, 0).sum(), count.sum().to(entropy.dtype)
