"""RoIAlign on maps of one or several strides: what lies in a box, on a grid of a fixed size."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from scantling.core.errors import ArrayError

CELLS = 56
"""A box this many cells of the finest map long is read from the third map (Lin et al., 2017: 224 pixels, stride 16)."""


class RoIAlign:
    """The mean of bilinear samples in each cell of a grid over each box (He et al., 2017), without rounding.

    Samples lie half a pixel further up and left than in the first version, so that a box that is a pixel reads that
    pixel (as Detectron2's "aligned" form). Beyond the border a map goes on for one pixel, then it is 0. All maps are
    one table with a row for each pixel, of which every cell is a weighted sum of 4 · sampling² rows; gradients flow
    into the maps, not into the boxes. The same function on every device, and deterministic there.

    Args:
        maps: (B, C, H_l, W_l), the finest first.
        strides: pixels of the image to one of each map.
        output: cells of the grid along each axis.
        sampling: samples along each axis of a cell.
        chunk: boxes that are read at a time, which bounds the memory that is needed beside the answer.
        canonical: a box that is this many cells of the finest map long is read from the third map.

    Raises:
        ArrayError: maps of different images or channels, or another number of strides.

    Example:
        >>> import torch
        >>> from scantling.networks import RoIAlign
        >>> read = RoIAlign([torch.arange(16.0).view(1, 1, 4, 4)], strides=(2,), output=1)
        >>> read(torch.tensor([[2.0, 2.0, 4.0, 4.0]]), torch.tensor([0]))
        tensor([[[5.]]])
    """

    def __init__(
        self,
        maps: Sequence[Tensor],
        *,
        strides: Sequence[float],
        output: int = 7,
        sampling: int = 2,
        chunk: int = 1024,
        canonical: int = CELLS,
    ) -> None:
        shapes = [tuple(each.shape) for each in maps]
        if not shapes or len(shapes) != len(strides) or len({shape[:2] for shape in shapes}) != 1:
            raise ArrayError(
                f"maps: found the shapes {shapes} and {len(strides)} strides; expected (B, C, H, W) with one B and C, "
                "and a stride for each"
            )
        self.output, self.sampling, self.chunk, self.canonical = output, sampling, chunk, canonical
        dtype = torch.promote_types(maps[0].dtype, torch.float32)
        self.table = torch.cat([each.movedim(1, -1).reshape(-1, shapes[0][1]) for each in maps]).to(dtype)
        self.strides = torch.tensor(strides, dtype=dtype, device=maps[0].device)
        self.sizes = torch.tensor([shape[2:] for shape in shapes], device=maps[0].device)  # (L, 2)
        rows = torch.tensor([0, *(len(each) * each.shape[2] * each.shape[3] for each in maps)])
        self.first = rows.cumsum(0)[:-1].to(maps[0].device)  # the row at which each map begins

    def __call__(self, boxes: Tensor, image: Tensor) -> Tensor:
        """What lies in boxes, (n, output², C), row by row of each grid.

        Args:
            boxes: (n, 4) top, left, bottom, right in pixels of the image.
            image: (n,) int64, which image of the batch each lies in.
        """
        if not len(boxes):
            return self.table.new_zeros(0, self.output**2, self.table.shape[1])
        boxes = boxes.detach().to(self.table.dtype)
        parts = zip(boxes.split(self.chunk), image.split(self.chunk), strict=True)
        return torch.cat([self._read(some, numbers) for some, numbers in parts])

    def _read(self, boxes: Tensor, image: Tensor) -> Tensor:
        level = levels_of(boxes, self.strides, canonical=self.canonical)
        scaled, size = boxes / self.strides[level, None], self.sizes[level]
        rows, of_rows = self._samples(scaled[:, 0], scaled[:, 2], size[:, 0])  # (n, output, 2 sampling)
        columns, of_columns = self._samples(scaled[:, 1], scaled[:, 3], size[:, 1])
        width = size[:, 1].view(-1, 1, 1, 1, 1)
        start = (self.first[level] + image * size.prod(1)).view(-1, 1, 1, 1, 1)
        places = start + rows[:, :, None, :, None] * width + columns[:, None, :, None, :]
        weights = of_rows[:, :, None, :, None] * of_columns[:, None, :, None, :]
        shape = (len(boxes) * self.output**2, -1)
        cells = F.embedding_bag(
            places.reshape(shape), self.table, per_sample_weights=weights.reshape(shape), mode="sum"
        )
        return cells.view(len(boxes), self.output**2, -1)

    def _samples(self, start: Tensor, stop: Tensor, size: Tensor) -> tuple[Tensor, Tensor]:
        """The two pixels beside each sample along one axis, and their shares of a cell: (n, output, 2 · sampling)."""
        count, last = self.output * self.sampling, (size - 1)[:, None]
        share = (torch.arange(count, device=start.device, dtype=start.dtype) + 0.5) / count
        at = start[:, None] - 0.5 + share * (stop - start)[:, None]
        inside = (at >= -1) & (at <= size[:, None])
        at = at.clamp(min=0).minimum(last.to(at))
        low = at.floor().long()
        part = at - low
        pixels = torch.stack([low, (low + 1).minimum(last)], -1)
        weights = torch.stack([1 - part, part], -1) * inside[..., None] / self.sampling
        shape = (len(start), self.output, 2 * self.sampling)
        return pixels.view(shape), weights.view(shape)


def levels_of(boxes: Tensor, strides: Tensor, *, canonical: int = CELLS) -> Tensor:
    """Which map each box (n, 4) is read from, (n,) int64: ⌊2 + log2(√area / (56 · finest stride))⌋ (Lin et al., 2017).

    Args:
        strides: (L,) of the maps, each twice the one before.
        canonical: in place of 56.
    """
    length = (boxes[:, 2:] - boxes[:, :2]).clamp(min=0).prod(1).sqrt()
    level = 2 + (length / (canonical * strides[0]) + 1e-8).log2()
    return level.floor().clamp(0, len(strides) - 1).long()
