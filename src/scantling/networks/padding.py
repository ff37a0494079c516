"""Any size of image for networks that halve it: pad to what the levels divide, crop the answer."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import Tensor
from torch.nn import functional as F

from scantling.core.errors import ArrayError


def padded(x: Tensor, divisor: Sequence[int]) -> Tensor:
    """(B, C, *S) with each axis grown at its end to a multiple of `divisor` by repeating the border.

    Raises:
        ArrayError: `divisor` does not fit the axes.
    """
    if len(divisor) != x.ndim - 2 or min(divisor) < 1:
        raise ArrayError(f"found the divisor {tuple(divisor)} for {tuple(x.shape)}; expected one for each axis of S")
    pads = [-n % d for n, d in zip(x.shape[2:], divisor, strict=True)]
    if not any(pads):
        return x
    return F.pad(x, [amount for pad in reversed(pads) for amount in (0, pad)], mode="replicate")


def cropped(x: Tensor, size: Sequence[int]) -> Tensor:
    """The part (B, C, *size) of (B, C, *S) that was there before `padded`.

    Raises:
        ArrayError: the size is greater, or of other axes.
    """
    if len(size) != x.ndim - 2 or any(n > there for n, there in zip(size, x.shape[2:], strict=True)):
        raise ArrayError(f"found the size {tuple(size)} for {tuple(x.shape)}; expected the part of it that was there")
    window: tuple[Any, ...] = (..., *(slice(n) for n in size))
    return x[window]
