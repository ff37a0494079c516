"""Frozen features of large images: read in overlapping squares of the size that a network knows, and averaged."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from torch import Tensor
from torch.nn import functional as F

from scantling.core.samples import Batch

Read = Callable[[Batch], Mapping[str, Tensor]]
"""Maps (B, F, *s) by name for a batch of images; each covers the whole image."""


def sliding(read: Read, side: int) -> Read:
    """A reader of maps that sees no more than a square of `side` pixels at once (Xu et al., 2023, ODISE).

    Squares are as few as cover the image and evenly spread; where they overlap, the mean of their maps counts. An image
    that is no larger is read as it is. Cells of a square go to the nearest cells of the whole.

    Args:
        read: the maps (B, F, *s) of images, each of which covers the whole image.
        side: in pixels.
    """

    def slid(batch: Batch) -> Mapping[str, Tensor]:
        height, width = batch.image.shape[2:]
        if max(height, width) <= side:
            return read(batch)
        sums, counts = dict[str, Tensor](), dict[str, Tensor]()
        for top in starts(height, side):
            for left in starts(width, side):
                tile = batch.image[:, :, top : top + side, left : left + side]
                for name, one in read(Batch(batch.index, batch.case, {"image": tile}, captions=batch.captions)).items():
                    rows, columns = (seen / cells for seen, cells in zip(tile.shape[2:], one.shape[2:], strict=True))
                    whole = round(height / rows), round(width / columns)
                    if name not in sums:
                        sums[name] = one.new_zeros((*one.shape[:2], *whole))
                        counts[name] = one.new_zeros((1, 1, *whole))
                    y = min(round(top / rows), whole[0] - one.shape[2])
                    x = min(round(left / columns), whole[1] - one.shape[3])
                    around = (x, whole[1] - x - one.shape[3], y, whole[0] - y - one.shape[2])
                    sums[name] = sums[name] + F.pad(one, around)
                    counts[name] = counts[name] + F.pad(torch.ones_like(one[:1, :1]), around)
        return {name: total / counts[name].clamp(min=1) for name, total in sums.items()}

    return slid


def starts(length: int, side: int) -> list[int]:
    """Where squares of `side` begin along an axis: as few as cover it, evenly spread."""
    if length <= side:
        return [0]
    count = -(-length // side)
    return [round(number * (length - side) / (count - 1)) for number in range(count)]
