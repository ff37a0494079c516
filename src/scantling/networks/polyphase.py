"""An image as the interleaved images that it is made of: every n-th row and column, from each of n x n beginnings."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F


def apart(x: Tensor, factor: int) -> Tensor:
    """(B f², C, H/f, W/f) of (B, C, H, W): the f² phases of each image, side by side in the batch."""
    phases = F.pixel_unshuffle(x, factor).unflatten(1, (x.shape[1], factor**2))  # (B, C, f², H/f, W/f)
    return phases.transpose(1, 2).flatten(0, 1)


def together(phases: Tensor, factor: int) -> Tensor:
    """(B, C, H, W) of what `apart` made, or of what became of it."""
    rows = phases.unflatten(0, (-1, factor**2)).transpose(1, 2).flatten(1, 2)  # (B, C f², H/f, W/f)
    return F.pixel_shuffle(rows, factor)


def phase(x: Tensor, factor: int, *, first: Tensor) -> Tensor:
    """One phase (B, C, H/f, W/f) of each image (B, C, H, W); `first` (B,) in [0, f²) numbers them row by row."""
    rows = first.tolist()
    return torch.stack(
        [image[:, n // factor :: factor, n % factor :: factor] for image, n in zip(x, rows, strict=True)]
    )
