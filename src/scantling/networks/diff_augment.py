"""Augmentation that discriminators see through: the same changes of real images and fakes, with a gradient."""

from __future__ import annotations

import torch
from torch import Tensor

from scantling.core.errors import ArrayError

CHANGES = 8
"""Numbers that `diff_augment` draws for each image at most: two of its values, three axes moved and cut out."""
MOVED, CUT = 1 / 8, 1 / 2
"""The greatest move and the side of the block that is cut out, as shares of an axis (Zhao et al., 2020)."""


def diff_augment(images: Tensor, coins: Tensor) -> Tensor:
    """DiffAugment (Zhao et al., 2020) of pictures and volumes: brightness, contrast, translation and cutout.

    Real images and fakes get changes of one distribution, so that a discriminator that has few of them cannot learn
    them by heart. What lies beyond the border, and in the block that is cut out, is 0. Departure: no saturation, which
    grey images have none of.

    Args:
        images: (B, C, *S), two or three axes.
        coins: (B, 8) uniform in [0, 1).

    Raises:
        ArrayError: there are not 8 numbers for each image.
    """
    axes = images.ndim - 2
    if coins.shape != (len(images), CHANGES):
        raise ArrayError(f"coins: found {tuple(coins.shape)}; expected {(len(images), CHANGES)}")
    one = [1] * (axes + 1)
    x = images + (coins[:, 0] - 0.5).view(-1, *one)
    mean = x.flatten(1).mean(1).view(-1, *one)
    x = (x - mean) * (coins[:, 1] + 0.5).view(-1, *one) + mean
    kept = torch.zeros_like(x[:, :1], dtype=torch.bool)
    for axis in range(axes):
        n = x.shape[2 + axis]
        along = torch.arange(n, device=x.device)
        shape = [-1, 1, *(n if other == axis else 1 for other in range(axes))]
        most = round(n * MOVED)
        moved = (coins[:, 2 + axis] * (2 * most + 1)).long() - most  # (B,)
        source = along[None] - moved[:, None]  # (B, n)
        inside = (source >= 0) & (source < n)
        index = source.clamp(0, n - 1).view(shape).expand_as(x)
        x = x.gather(2 + axis, index) * inside.view(shape)
        side = round(n * CUT)
        first = (coins[:, 5 + axis] * (n + 1)).long() - side // 2
        outside = (along[None] < first[:, None]) | (along[None] >= first[:, None] + side)
        kept = kept | outside.view(shape)
    return x * kept


NEUTRAL = (0.5, 0.5, 0.5, 0.5, 0.5, 2.0, 2.0, 2.0)
"""The numbers with which `diff_augment` leaves an image as it is."""
GROUPS = (0, 1, 2, 2, 2, 3, 3, 3)
"""To which of four changes each number belongs: brightness, contrast, translation, cutout."""


def with_probability(coins: Tensor, gates: Tensor, probability: Tensor | float) -> Tensor:
    """Numbers for `diff_augment` with which each of its four changes is made with a probability (Karras et al., 2020).

    Args:
        coins: (B, 8) uniform in [0, 1).
        gates: (B, 4) uniform in [0, 1), one for each change.
        probability: in [0, 1].
    """
    made = (gates < probability)[:, list(GROUPS)]
    return torch.where(made, coins, torch.tensor(NEUTRAL, dtype=coins.dtype, device=coins.device))


def adapted(probability: Tensor, signs: Tensor, *, target: float, images: int) -> Tensor:
    r"""The probability after a step: up where the discriminator is too sure of real images, else down, in [0, 1].

    .. math:: p \leftarrow p + \operatorname{sign}(E[\operatorname{sign} D(x)] - target) \cdot B / images

    Karras et al. (2020): a target of 0.6, and from 0 to 1 in 500,000 images.

    Args:
        signs: (B,) of the scores of the real images of the step.
        images: after which it could have gone from 0 to 1.
    """
    change = (signs.mean() - target).sign() * len(signs) / images
    return (probability + change).clamp(0, 1)
