"""Arrays on other grids: linear interpolation that averages what shrinks; of labels the nearest or most frequent."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from scantling.core.fields import IGNORE
from scantling.core.pieces import slabs, value_counts

SHRINKS = 1.5
"""From this factor on, an axis of a volume that becomes shorter is averaged, and labels are by their area; ours.

Below it, interpolation between neighbours uses nearly every voxel, and volumes of almost the same grid stay sharp.
"""
LINEAR = {1: "linear", 2: "bilinear", 3: "trilinear"}


def resample(array: Tensor, shape: tuple[int, ...], *, linear: bool, slices: bool = False) -> Tensor:
    """(C, *S) to (C, *shape): see `interpolate`, or the nearest value.

    Args:
        slices: the first axis counts pictures, each of which is resampled for itself.
    """
    before = tuple(array.shape[1:])
    if before == shape:
        return array
    if linear:
        return interpolate(lambda part: array[:, part].float(), before, shape, slices=slices)
    exact = F.interpolate(array[None].double(), shape, mode="nearest-exact")[0]
    return exact.to(array.dtype)


def interpolate(
    read: Callable[[slice], Tensor], before: tuple[int, ...], shape: tuple[int, ...], *, slices: bool = False
) -> Tensor:
    """(C, *shape), linear between the centres of pixels; what an axis loses in pixels is averaged, not skipped.

    Averaged are all axes of pictures that become shorter, and those of volumes that become at least `SHRINKS` times
    shorter: one after the other by a triangle filter as wide as two new pixels, slab by slab, so that a large array
    is never whole in memory.

    Args:
        read: gives a slab (C, n, *rest) float32 along the first axis.
        before: (*S), the shape of all of it.
        slices: the first axis counts pictures.
    """
    least = SHRINKS if len(before) == 3 and not slices else 1.0
    shrinks = [n > m and n >= least * m for n, m in zip(before, shape, strict=True)]
    out: Tensor | None = None
    for slab in slabs(before) if any(shrinks[1:]) else (slice(0, before[0]),):
        part = read(slab)
        for axis in reversed(range(1, len(before))):
            part = _averaged(part, axis, shape[axis]) if shrinks[axis] else part
        if len(part[0]) == before[0]:
            out = part
            break
        out = part.new_empty((len(part), before[0], *part.shape[2:])) if out is None else out
        out[:, slab] = part
    if out is None:
        raise ValueError("an empty array has no values to interpolate")
    out = _averaged(out, 0, shape[0]) if shrinks[0] else out
    if tuple(out.shape[1:]) == shape:
        return out
    return F.interpolate(out[None], shape, mode=LINEAR[len(shape)], align_corners=False)[0]


def most_frequent(mask: Tensor, shape: tuple[int, ...], *, slices: bool = False) -> Tensor:
    """(C, *S) uint8 to (C, *shape): of each channel the value that takes the largest share of each new pixel.

    Where two take as much, the greater one, so that the foreground wins; but `IGNORE` only where it takes most. Where
    no axis becomes `SHRINKS` times shorter, the nearest value. Ours.

    Args:
        slices: the first axis counts pictures.
    """
    before = tuple(mask.shape[1:])
    if all(n < SHRINKS * m for n, m in zip(before, shape, strict=True)):
        return resample(mask, shape, linear=False)
    chosen = mask.new_zeros((len(mask), *shape))
    for layer, out in zip(mask, chosen, strict=True):
        best: Tensor | None = None
        for value in value_counts(layer.numpy(), low=0, high=IGNORE).nonzero()[0].tolist():

            def marked(part: slice, layer: Tensor = layer, value: int = value) -> Tensor:
                return (layer[part] == value).float()[None]

            share = interpolate(marked, before, shape, slices=slices)[0]
            more = torch.ones_like(out, dtype=torch.bool) if best is None else share > best
            if best is not None and value != IGNORE:
                more |= share == best
            out[more] = value
            best = share if best is None else torch.maximum(best, share)
    return chosen


def most_drawn(labels: Tensor, shape: tuple[int, ...], *, slices: bool = False) -> Tensor:
    """(C, *S) uint8 of scribbles to (C, *shape): the value drawn most often inside each new pixel, of two the greater.

    `IGNORE` only where nothing was drawn, so that thin lines are thinned out neither by shrinking nor by their
    surroundings; along an axis that becomes longer, the nearest value. Ours.

    Args:
        slices: the first axis counts pictures.
    """
    before = tuple(labels.shape[1:])
    if all(n <= m for n, m in zip(before, shape, strict=True)):
        return resample(labels, shape, linear=False, slices=slices)
    labels = resample(labels, tuple(map(max, before, shape)), linear=False, slices=slices)
    drawn = (labels != IGNORE).nonzero()
    sides = torch.tensor([1, *shape]), torch.tensor([1, *labels.shape[1:]])
    places = (2 * drawn + 1) * sides[0] // (2 * sides[1])  # the new pixel that holds the centre of the old one
    places[:, 0] = drawn[:, 0]
    keys = torch.zeros(len(drawn), dtype=torch.int64)
    for axis, side in enumerate((len(labels), *shape)):
        keys = keys * side + places[:, axis]
    both, times = torch.unique(keys * 256 + labels[labels != IGNORE], return_counts=True)
    order = torch.argsort(times * 256 + both % 256, stable=True)  # the last that is written stays
    found = np.full(len(labels) * math.prod(shape), IGNORE, np.uint8)
    found[(both[order] // 256).numpy()] = (both[order] % 256).numpy()
    return torch.from_numpy(found).view(len(labels), *shape)


def _averaged(array: Tensor, axis: int, length: int) -> Tensor:
    """(C, *S) with spatial axis `axis` brought to fewer pixels by a triangle filter; the other axes stay exactly."""
    before = tuple(array.shape)
    left, right = math.prod(before[: axis + 1]), math.prod(before[axis + 2 :])
    if right == 1:
        flat, size = array.reshape(1, 1, left, -1), (left, length)
    else:
        flat, size = array.reshape(1, left, -1, right), (length, right)
    found = F.interpolate(flat, size, mode="bilinear", align_corners=False, antialias=True)
    return found.reshape(*before[: axis + 1], length, *before[axis + 2 :])
