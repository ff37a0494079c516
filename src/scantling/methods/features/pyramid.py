"""Features without any network: colours at several scales, and where a pixel lies."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor
from torch.nn import functional as F

from scantling.core.samples import Batch

SCALES = (1, 2, 4, 8, 16, 32)
"""How many times smaller than the image each level is; ours."""


def pyramid(batch: Batch) -> Mapping[str, Tensor]:
    """Mean and deviation of each channel over blocks of pixels of growing size, and the place; all ours.

    The place is the row and the column from -1 to 1, and the distance from the middle.
    """
    image = batch.image
    size, found = image.shape[2:], dict[str, Tensor]()
    for scale in SCALES:
        shape = (max(1, round(size[0] / scale)), max(1, round(size[1] / scale)))
        mean = F.adaptive_avg_pool2d(image, shape)
        variance = F.adaptive_avg_pool2d(image.square(), shape) - mean.square()
        found[f"colour, scale {scale}"] = torch.cat([mean, variance.clamp(min=0).sqrt()], 1) if scale > 1 else mean
    row, column = (torch.linspace(1 / n - 1, 1 - 1 / n, n, device=image.device, dtype=image.dtype) for n in size)
    rows, columns = torch.meshgrid(row, column, indexing="ij")
    place = torch.stack([rows, columns, (rows.square() + columns.square()).sqrt()])
    found["place"] = place.expand(len(image), -1, -1, -1)
    return found
