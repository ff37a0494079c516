"""The light of images in whatever units they stand: as a filter, a phantom or another model sees it."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from scantling.core.samples import Batch


def light_of(image: Tensor) -> Tensor:
    """Light of an image (B, C, *S) in units of its deviation: the darkest pixel counts as black, as in photographs and
    angiograms."""
    return image - image.amin(tuple(range(2, image.ndim)), keepdim=True)


def level_light(batch: Batch) -> Tensor:
    """Images (B, C, *S) in [0, 1], all channels by the one range, and outside of the region their mean inside it."""
    light = batch.image - batch.image.amin()
    light = light / light.amax().clamp(min=1e-6)
    axes = tuple(range(2, light.ndim))
    inside = (light * batch.region).sum(axes, keepdim=True) / batch.region.sum(axes, keepdim=True).clamp(min=1)
    return torch.where(batch.region, light, inside)


def in_units(batch: Batch, normalise: Literal["image", "unit"]) -> Tensor:
    """Images (B, C, *S) as `Preprocessing` has them by that name, from any units that differ by a factor and an offset
    of each channel."""
    image, region = batch.image, batch.region.expand_as(batch.image)
    axes = tuple(range(2, image.ndim))
    if normalise == "unit":
        low = image.masked_fill(~region, torch.inf).amin(axes, keepdim=True)
        high = image.masked_fill(~region, -torch.inf).amax(axes, keepdim=True)
        return (2 * (image.clamp(low, high) - low) / (high - low).clamp(min=1e-6) - 1).masked_fill(high <= low, 0)
    count = region.sum(axes, keepdim=True).clamp(min=1)
    mean = (image * region).sum(axes, keepdim=True) / count
    deviation = (((image - mean) * region).square().sum(axes, keepdim=True) / count).sqrt()
    return (image - mean) / deviation.clamp(min=1e-6)
