"""What boxes say of masks: their projections, and that neighbours that look alike have one label (BoxInst)."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import product

import torch
from torch import Tensor

Shift = tuple[tuple[slice, ...], tuple[slice, ...]]
"""The windows of all pixels with a neighbour, and of the neighbours."""


def pixels_of(box: Tensor) -> tuple[slice, ...]:
    """Where in (*S) the pixels of a box lie, at least one along each axis.

    Args:
        box: (D, 2) where it starts and stops, in pixels, inside of the image.
    """
    return tuple(slice(int(start), max(int(start) + 1, round(stop))) for start, stop in box.tolist())


def projection_loss(likely: Tensor, box: Tensor) -> Tensor:
    r"""How far a mask is from touching all sides of its box: one minus Dice of its projections, the mean over axes.

    .. math:: 1 - \frac{2 \sum_x \max_y p(x, y)}{\sum_x \max_y p(x, y)^2 + \sum_x 1}, inside of the box

    Tian et al. (2021), equation 2. The projection onto an axis counts where no other side of the box lies on the border
    of the patch, which may have cut the object off; 0 where none does (ours).

    Args:
        likely: (*S) probabilities of the class of the box.
        box: (D, 2) where it starts and stops, in pixels.
    """
    place = pixels_of(box)
    inside = likely[place]
    cut = [side.start <= 0 or side.stop >= length for side, length in zip(place, likely.shape, strict=True)]
    losses = []
    for axis in range(inside.ndim):
        others = tuple(other for other in range(inside.ndim) if other != axis)
        if not any(cut[other] for other in others):
            line = inside.amax(others)
            losses.append(1 - 2 * line.sum() / (line.square().sum() + len(line)))
    return torch.stack(losses).mean() if losses else 0 * likely.sum()


def pairwise_loss(distribution: Tensor, image: Tensor, inside: Tensor, *, alike: float, apart: int = 2) -> Tensor:
    """The mean of -log P(same label) over pairs of neighbours that look alike, one of them inside; Tian et al. (2021),
    equation 4. 0 without such a pair.

    Args:
        distribution: (C, *S), over exclusive classes with the background.
        image: (channels, *S).
        inside: (*S) bool, the inside of the boxes.
        alike: the greatest distance of two such pixels in the image.
        apart: pixels between neighbours along each axis.
    """
    total, count = distribution.new_zeros(()), distribution.new_zeros(())
    for here, there in neighbours(tuple(inside.shape), apart):
        near = (image[(slice(None), *here)] - image[(slice(None), *there)]).square().sum(0).sqrt() <= alike
        counted = near & (inside[here] | inside[there])
        same = (distribution[(slice(None), *here)] * distribution[(slice(None), *there)]).sum(0)
        total = total - (same.clamp(min=1e-6).log() * counted).sum()
        count = count + counted.sum()
    return total / count.clamp(min=1)


def neighbours(shape: tuple[int, ...], apart: int) -> Iterator[Shift]:
    """Each pair of neighbours, at a corner too, once: half of the shifts by -1, 0 and 1 times `apart`."""
    shifts = [shift for shift in product((-apart, 0, apart), repeat=len(shape)) if shift > (0,) * len(shape)]
    for shift in shifts:
        if all(abs(step) < length for step, length in zip(shift, shape, strict=True)):
            yield (
                tuple(slice(max(0, -step), length - max(0, step)) for step, length in zip(shift, shape, strict=True)),
                tuple(slice(max(0, step), length - max(0, -step)) for step, length in zip(shift, shape, strict=True)),
            )
