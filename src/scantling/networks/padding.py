"""Any size of image for networks that halve it: pad to what the levels divide, crop the answer."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import Tensor
from torch.nn import functional as F


def padded(x: Tensor, divisor: Sequence[int]) -> Tensor:
    """(B, C, *S) with each axis grown at its end to a multiple of `divisor` by repeating the border."""
    pads = [-n % d for n, d in zip(x.shape[2:], divisor, strict=True)]
    if not any(pads):
        return x
    return F.pad(x, [amount for pad in reversed(pads) for amount in (0, pad)], mode="replicate")


def cropped(x: Tensor, size: Sequence[int]) -> Tensor:
    """The part (B, C, *size) of (B, C, *S) that was there before `padded`."""
    window: tuple[Any, ...] = (..., *(slice(n) for n in size))
    return x[window]
