"""Skeleton Recall: how much of the true centre line, widened to a tube, the prediction covers."""

from __future__ import annotations

import numpy as np
import torch
from scipy import ndimage
from torch import Tensor

from scantling.core.errors import SettingsError
from scantling.losses.overlap import class_channels
from scantling.losses.targets import check_probabilities, check_target
from scantling.metrics.topology import skeleton

RADIUS = 2
"""Of the tube around the centre line, in pixels along the axes: that of the authors' code."""


def skeleton_recall_loss(
    probabilities: Tensor, target: Tensor, *, smooth: float = 1e-5, ignore_index: int | None = None
) -> Tensor:
    r"""One minus the soft recall of the true tubes (Kirchhoff et al., ECCV 2024, section 3.2), each sample for itself.

    .. math:: 1 - \frac{\sum p\, t + s}{\sum t + s}, averaged over samples and classes

    with the tubes t of `tubed_skeleton`. It says nothing of what is marked too much, so use it beside Dice and
    cross-entropy; the paper adds it with weight 1. A class without a pixel costs 0 and has no gradient.

    Args:
        probabilities: (B, K, *S) of the foreground classes, in [0, 1], two or three spatial axes; of logits,
            `probabilities_of(logits, K)`.
        target: (B, K, *S) of 0 and 1, or (B, 1, *S) of class numbers 0..K.
        smooth: s, in pixels, above 0; the authors' value.
        ignore_index: the value of pixels that do not count, 255 in the masks of a `Batch`; None: there are none.

    Raises:
        SettingsError: `smooth` is not above 0.
        ArrayError: the shapes do not belong together, the target holds another value, or a probability lies outside
            [0, 1].
    """
    if smooth <= 0:
        raise SettingsError(f"smooth must be above 0, found {smooth}: the recall of an empty mask would be 0 / 0")
    check_probabilities(probabilities, ignore_index=ignore_index)
    check_target(probabilities, target, classes=probabilities.shape[1], ignore_index=ignore_index)
    probabilities = probabilities.to(torch.promote_types(probabilities.dtype, torch.float32))
    tube = tubed_skeleton(target, probabilities.shape[1]).to(probabilities.dtype)
    covered = (probabilities * tube).flatten(2).sum(2)  # (B, K)
    return 1 - ((covered + smooth) / (tube.flatten(2).sum(2) + smooth)).mean()


def tubed_skeleton(mask: Tensor, classes: int) -> Tensor:
    """The centre lines of a mask, dilated by two pixels and cut to each class (Kirchhoff et al., 2024, algorithm 1).

    Classes that exclude each other have one centre line, that of all of them together, whose tube is divided among
    them, as in the paper. Of classes that overlap each has its own (ours: the inner one of two classes need not hold
    any of the centre line of both together). Pixels that do not count are background; the authors' code draws centre
    lines through them. Worked out by `metrics.topology.skeleton` on the processor: less than a millisecond for a patch
    of 128 x 128.

    Args:
        mask: (B, K, *S) of 0 and 1, or (B, 1, *S) of class numbers 0..K; other values are background.
        classes: K.

    Returns:
        (B, K, *S) bool, where the mask is.

    Raises:
        ArrayError: the mask has another shape.
    """
    target = class_channels(mask, classes)
    drawn = (target if mask.shape[1] == classes else target.any(1, keepdim=True)).cpu().numpy()
    tubes = np.zeros_like(drawn)
    for place in np.argwhere(drawn.reshape(*drawn.shape[:2], -1).any(2)):
        line = skeleton(drawn[tuple(place)], spatial_dims=drawn.ndim - 2)
        tubes[tuple(place)] = ndimage.binary_dilation(line, iterations=RADIUS)  # twice by a cross: a diamond
    return torch.from_numpy(tubes).to(mask.device) & target
