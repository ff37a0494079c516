"""What a network answers before it has learnt anything."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import nn

LEAST = 1e-3
"""The least share that a class, or the background, is taken to have."""


def begin_at_shares(head: nn.Module, shares: Sequence[float], *, exclusive: bool) -> None:
    """Let a new network answer, on average, with the shares of pixels that the classes have.

    A network that begins with all classes alike learns first, and for long, that nearly all is background; small
    classes are then so improbable that no loss reaches them, and some are never found. It begins there instead, as
    detectors do (Lin et al., Focal Loss for Dense Object Detection, 2017, section 4.1).

    Args:
        head: the last layer, a convolution whose bias is set: (K + 1, ...) channels, the background first, where the
            classes exclude each other, else (K, ...); further channels stay as they are.
        shares: of each of the K classes, in [0, 1]; empty where they are unknown, which changes nothing.
        exclusive: whether the classes exclude each other.
    """
    if not shares or not isinstance(head, nn.Conv2d | nn.Conv3d) or head.bias is None:
        return
    inside = [min(max(share, LEAST), 1 - LEAST) for share in shares]
    if exclusive:
        biases = [math.log(share) for share in (max(1 - sum(inside), LEAST), *inside)]
    else:
        biases = [math.log(share / (1 - share)) for share in inside]
    with torch.no_grad():
        head.bias[: len(biases)] = torch.tensor(biases, dtype=head.bias.dtype)
