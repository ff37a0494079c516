"""The objects of tiles that `gland-diffusion` learns from, and those of its answers, each pixel of one alone."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from scipy import ndimage
from torch import Tensor

from scantling.contract.results import Objects
from scantling.core.fields import IGNORE
from scantling.core.samples import Batch


@dataclass(frozen=True)
class Truth:
    """The objects of one tile.

    Attributes:
        numbers: (H, W) int64, 0 background and i + 1 for object i; where objects overlap, the last one.
        boxes: (n, 4) top, left, bottom, right in pixels.
        classes: (n,) int64 from 0.
        known: (H, W) bool, where the label says something.
    """

    numbers: Tensor
    boxes: Tensor
    classes: Tensor
    known: Tensor

    def known_at(self, boxes: Tensor) -> Tensor:
        """(N,) bool, whether the label knows what the middle of each box (N, 4) is."""
        ends = torch.tensor(self.known.shape, device=boxes.device) - 1
        rows, columns = ((boxes[:, :2] + boxes[:, 2:]) / 2).long().clamp(min=0).minimum(ends).unbind(1)
        return self.known[rows, columns]

    def masks_at(self, objects: Tensor, stride: int, shape: tuple[int, ...]) -> Tensor:
        """(n, h, w) bool, the masks of objects (n,) at the centres of the cells of a map of this stride."""
        return cells(self.numbers, stride, shape)[None] == (objects + 1)[:, None, None]

    def known_cells(self, stride: int, shape: tuple[int, ...]) -> Tensor:
        """(1, h, w) bool, where the label says something at the centres of the cells of a map of this stride."""
        return cells(self.known, stride, shape)[None]


def cells(layer: Tensor, stride: int, shape: tuple[int, ...]) -> Tensor:
    """The values (h, w) of a layer (H, W) at the centres of the cells of a map; 0 beyond its border."""
    found = layer.new_zeros(shape)
    part = layer[stride // 2 :: stride, stride // 2 :: stride]
    found[: part.shape[0], : part.shape[1]] = part
    return found


def truth_of(tiles: Batch, *, objects_from: Literal["instances", "mask"], least: int) -> list[Truth]:
    """The objects of each tile: those of instance maps, or the connected pieces of each class, corners counting.

    Args:
        least: pixels that an object needs; smaller ones are taken for unknown.
    """
    like = tiles.image
    maps = (tiles.instances if objects_from == "instances" else tiles.mask).cpu().numpy()
    regions = tiles.region[:, 0].cpu().numpy()
    return [_of_tile(layers, region, objects_from, least, like) for layers, region in zip(maps, regions, strict=True)]


def _of_tile(layers: np.ndarray, region: np.ndarray, source: str, least: int, like: Tensor) -> Truth:
    device = like.device
    numbers, known = np.zeros(layers.shape[1:], np.int64), region.astype(bool)
    boxes, classes = list[list[int]](), list[int]()
    for number, layer in enumerate(layers):
        unknown = (layer == IGNORE) & (source == "mask")
        known = known & ~unknown
        values = [int(value) for value in np.unique(layer[~unknown & (layer != 0)])]
        for value in values if source == "mask" else values[:1]:
            pieces = ndimage.label(layer == value, np.ones((3, 3)))[0] if source == "mask" else layer
            for label, window in enumerate(ndimage.find_objects(pieces), start=1):
                if window is None:
                    continue
                inside = pieces[window] == label
                if np.count_nonzero(inside) < least:
                    known[window] &= ~inside
                    continue
                boxes.append([window[0].start, window[1].start, window[0].stop, window[1].stop])
                classes.append(number if len(layers) > 1 else value - 1 if source == "mask" else 0)
                numbers[window][inside] = len(boxes)
    return Truth(
        torch.from_numpy(numbers).to(device), torch.tensor(boxes, dtype=like.dtype, device=device).view(-1, 4),
        torch.tensor(classes, dtype=torch.int64, device=device), torch.from_numpy(known).to(device),
    )  # fmt: skip


def separated(masks: Iterable[Tensor], scores: Tensor, classes: Tensor, *, own: float) -> Objects:
    """Objects of which no two of a class share a pixel: it belongs to the better one.

    Args:
        masks: (H, W) of bool, the best object first.
        own: the share of its pixels that an object has to keep, or it is dropped.
    """
    kept, places, taken = list[Tensor](), list[int](), dict[int, Tensor]()
    for place, mask in enumerate(masks):
        before = taken.setdefault(int(classes[place]), torch.zeros_like(mask))
        free = mask & ~before
        if bool(free.any()) and int(free.sum()) >= own * int(mask.sum()):
            kept.append(free.cpu())
            places.append(place)
            before |= free
    found = torch.tensor(places, dtype=torch.long)
    return Objects.of_masks(kept, classes=classes.cpu()[found], scores=scores.float().cpu()[found])


def painted(objects: Objects, classes: int, size: tuple[int, ...]) -> tuple[Tensor, Tensor]:
    """The score of the object that each pixel is of, (K, H, W), and whether it is of one, (K, H, W) bool."""
    likely = torch.zeros(classes, *size)
    scores = objects.scores if objects.scores is not None else torch.ones(len(objects.classes))
    corners = objects.corners if objects.corners is not None else torch.zeros(0, 2, dtype=torch.long)
    for number, score, crop, (top, left) in zip(
        objects.classes.tolist(), scores.tolist(), objects.crops, corners.tolist(), strict=True
    ):
        window = likely[number, top : top + crop.shape[0], left : left + crop.shape[1]]
        window[crop & (window < score)] = score
    return likely / likely.sum(0, keepdim=True).clamp(min=1), likely > 0
