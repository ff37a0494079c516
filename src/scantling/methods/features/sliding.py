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

    Squares are as few as cover the image and evenly spread, so that they overlap where `side` does not divide that of
    the image; there the mean of their maps counts. An image that is no larger is read as it is. The cells of the first
    square begin at the first cell of the whole, those of the last end at the last, and the others are evenly spread.

    Args:
        read: the maps (B, F, *s) of images, each of which covers the whole image.
        side: in pixels.

    Raises:
        ValueError: the reader answers with maps of squares that do not cover the whole.
    """

    def slid(batch: Batch) -> Mapping[str, Tensor]:
        height, width = batch.image.shape[2:]
        if max(height, width) <= side:
            return read(batch)
        sums, counts = dict[str, Tensor](), dict[str, Tensor]()
        tops, lefts = starts(height, side), starts(width, side)
        for row, top in enumerate(tops):
            for column, left in enumerate(lefts):
                tile = batch.image[:, :, top : top + side, left : left + side]
                for name, one in read(Batch(batch.index, batch.case, {"image": tile}, captions=batch.captions)).items():
                    rows, columns = (seen / cells for seen, cells in zip(tile.shape[2:], one.shape[2:], strict=True))
                    whole = round(height / rows), round(width / columns)
                    if name not in sums:
                        sums[name] = one.new_zeros((*one.shape[:2], *whole))
                        counts[name] = one.new_zeros((1, 1, *whole))
                    y = _start(row, len(tops), whole[0] - one.shape[2])
                    x = _start(column, len(lefts), whole[1] - one.shape[3])
                    around = (x, whole[1] - x - one.shape[3], y, whole[0] - y - one.shape[2])
                    sums[name] = sums[name] + F.pad(one, around)
                    counts[name] = counts[name] + F.pad(torch.ones_like(one[:1, :1]), around)
        if bare := [name for name, count in counts.items() if not bool(count.all())]:
            raise ValueError(f"the squares of {bare[0]} leave cells of the whole map without a value")
        return {name: total / counts[name] for name, total in sums.items()}

    return slid


def starts(length: int, side: int) -> list[int]:
    """Where squares of `side` begin along an axis: as few as cover it, evenly spread."""
    if length <= side:
        return [0]
    count = -(-length // side)
    return [_start(number, count, length - side) for number in range(count)]


def _start(number: int, count: int, last: int) -> int:
    """Where one of several squares begins, from 0 to `last`."""
    return round(number * last / (count - 1)) if count > 1 else 0
