"""Boxes as what a diffusion process noises: numbers about 0, and back to boxes that are some."""

from __future__ import annotations

import torch
from torch import Tensor

LEAST = 1e-4
"""The least length of a box that pads the true ones, as a share of the image."""


def signal_of(boxes: Tensor, size: tuple[int, int], *, scale: float) -> Tensor:
    """x_0 = (2 b - 1) · scale, b the centre and the lengths as shares of the image (Chen et al., 2023, DiffusionDet).

    Args:
        boxes: (..., 4) top, left, bottom, right in pixels.
        size: (H, W) of the image.
        scale: of the signal; 2 in the paper.

    Example:
        >>> import torch
        >>> from scantling.diffusion.boxes import signal_of
        >>> signal_of(torch.tensor([0.0, 10.0, 20.0, 30.0]), (20, 40), scale=2)
        tensor([0., 0., 2., 0.])
    """
    whole = boxes.new_tensor(size)
    low, high = boxes[..., :2] / whole, boxes[..., 2:] / whole
    return (2 * torch.cat([(low + high) / 2, high - low], -1) - 1) * scale


def boxes_of_signal(signal: Tensor, size: tuple[int, int], *, scale: float) -> Tensor:
    """The boxes (..., 4) of a signal, clamped to ± scale: the inverse of `signal_of` where it has one."""
    shares = (signal.clamp(-scale, scale) / scale + 1) / 2
    half = shares[..., 2:] / 2
    return torch.cat([shares[..., :2] - half, shares[..., :2] + half], -1) * signal.new_tensor(size * 2)


def filled_up(signal: Tensor, noise: Tensor, *, scale: float) -> Tensor:
    """(N, 4): the signals (n, 4) of true boxes, and others about the middle until there are N.

    Their centre and lengths are drawn from N(1/2, (1/6)²), lengths at least 10⁻⁴ (DiffusionDet). Of more than N true
    boxes the first N remain.

    Args:
        noise: (N, 4) standard normal.
    """
    shares = noise / 6 + 0.5
    shares = torch.cat([shares[:, :2], shares[:, 2:].clamp(min=LEAST)], 1)
    others = (2 * shares - 1) * scale
    return torch.cat([signal[: len(noise)].to(noise.dtype), others[min(len(signal), len(noise)) :]])
