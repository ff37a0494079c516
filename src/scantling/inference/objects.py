"""Objects of an image: gathered from overlapping windows, each once, and brought onto the grid of the file."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
import torch
from scipy import ndimage
from torch import Tensor

from scantling.contract.results import Objects
from scantling.core.case import Geometry
from scantling.data.orientation import as_stored, turned_rows
from scantling.inference.stitching import Boxes, Piece, cropped, stitched

OVERLAP = 0.5
"""Two objects of one class that two windows show are one if they share more than this of their union; of the one that
a window's border cuts, or the smaller one of two that are cut."""


def gather(windows: Sequence[tuple[tuple[int, ...], tuple[int, ...], Objects]], shape: tuple[int, ...]) -> Objects:
    """The objects of overlapping windows on a canvas, each once: the best score first.

    A whole object goes before one that a border inside the canvas cuts, whatever their scores. An object is whole in
    some window if it is no larger than what neighbouring windows share; the pieces of a larger one are joined
    (`stitching.stitched`). Where no window shows two objects on one pixel, nor does the answer: the later one keeps
    what is left of it, if that is more than half.

    Args:
        windows: for each its start on the canvas, its shape, and its objects in its own pixels.
        shape: of the canvas.
    """
    found = stitched([each for number, window in enumerate(windows) for each in _pieces(number, *window, shape)])
    apart = all(label_map(objects, extent) is not None for _, extent, objects in windows)
    kept, before = list[Piece](), Boxes()
    for one in sorted(found, key=lambda each: (each.cut, -each.score)):
        near = (kept[place] for place in before.near(one.box))
        others = [other for other in near if _meet(one.box, other.box)]
        rivals = (other for other in others if other.window != one.window and other.label == one.label)
        if any(_overlap(one, other) > OVERLAP for other in rivals):
            continue
        left = _without(one, others) if apart else one
        if left is not None:
            before.add(len(kept), left.box)
            kept.append(left)
    kept.sort(key=lambda each: -each.score)
    dimensions = len(shape)
    scored, masked = (
        any(part is not None for part in parts)
        for parts in zip(*((objects.scores, objects.corners) for _, _, objects in windows), strict=True)
    )
    return Objects(
        classes=torch.tensor([each.label for each in kept], dtype=torch.long),
        boxes=torch.stack([each.box for each in kept]) if kept else torch.zeros(0, dimensions, 2),
        scores=torch.tensor([each.score for each in kept]) if scored else None,
        crops=tuple(each.crop for each in kept if each.crop is not None),
        corners=torch.tensor([each.corner for each in kept], dtype=torch.long).view(-1, dimensions) if masked else None,
    )


def _pieces(
    window: int, start: tuple[int, ...], extent: tuple[int, ...], objects: Objects, shape: tuple[int, ...]
) -> list[Piece]:
    offset = torch.tensor(start, dtype=torch.float32)
    edges = offset[:, None] + torch.stack([torch.zeros(len(extent)), torch.tensor(extent, dtype=torch.float32)], 1)
    inside = torch.tensor([(s > 0, s + n < full) for s, n, full in zip(start, extent, shape, strict=True)])
    found = []
    for number in range(len(objects.classes)):
        box = objects.boxes[number].float().cpu() + offset[:, None]
        corner = objects.corners[number].cpu() + torch.tensor(start) if objects.corners is not None else None
        found.append(
            Piece(
                window=window,
                seen=edges,
                label=int(objects.classes[number]),
                score=float(objects.scores[number]) if objects.scores is not None else 1.0,
                box=box,
                crop=objects.crops[number].cpu() if corner is not None else None,
                corner=tuple(corner.tolist()) if corner is not None else (),
                cut=bool(((box - edges).abs().le(1) & inside).any()),
            )
        )
    return found


def _overlap(one: Piece, other: Piece) -> float:
    """The share that two objects have in common, of their masks where they have some, else of their boxes."""
    low, high = torch.maximum(one.box[:, 0], other.box[:, 0]), torch.minimum(one.box[:, 1], other.box[:, 1])
    both = float((high - low).clamp(min=0).prod())
    if both == 0:
        return 0.0
    if one.crop is not None and other.crop is not None:
        both, sizes = float(_common(one, other)), [float(one.crop.sum()), float(other.crop.sum())]
    else:
        sizes = [float((each.box[:, 1] - each.box[:, 0]).prod()) for each in (one, other)]
    cut = [size for size, each in zip(sizes, (one, other), strict=True) if each.cut]
    whole = min(cut) if cut else sum(sizes) - both
    return both / whole if whole > 0 else 0.0


def _meet(one: Tensor, other: Tensor) -> bool:
    """Whether two boxes (D, 2) overlap."""
    pairs = zip(one.tolist(), other.tolist(), strict=True)
    return all(low < end and start < high for (low, high), (start, end) in pairs)


def _without(one: Piece, others: Sequence[Piece]) -> Piece | None:
    """An object without the pixels of others: its largest part, or None where that is no more than half of it."""
    others = [other for other in others if _common(one, other)]
    if one.crop is None or not others:
        return one
    left = one.crop.clone()
    for other in others:
        if other.crop is not None:
            ends = zip(one.corner, one.crop.shape, other.corner, other.crop.shape, strict=True)
            both = [(max(a, b), min(a + n, b + m)) for a, n, b, m in ends]
            window = tuple(
                slice(low - start, high - start) for (low, high), start in zip(both, one.corner, strict=True)
            )
            left[window] &= ~cropped(other.crop, other.corner, both)
    numbers, _ = ndimage.label(left.numpy())
    sizes = np.bincount(numbers.ravel())[1:]
    if not len(sizes) or sizes.max() <= OVERLAP * int(one.crop.sum()):
        return None
    mask = torch.from_numpy(numbers == sizes.argmax() + 1)
    found = Objects.of_masks([mask], classes=torch.zeros(1, dtype=torch.long))
    start = torch.tensor(one.corner)
    corner = tuple((found.corners[0] + start).tolist()) if found.corners is not None else one.corner
    return replace(one, box=found.boxes[0] + start[:, None], crop=found.crops[0], corner=corner)


def within(objects: Objects, area: Sequence[tuple[int, int]]) -> Objects:
    """Those of the objects whose boxes reach into an area (start and stop of each axis)."""
    low, high = torch.tensor(area, dtype=torch.float32).unbind(1)
    boxes = objects.boxes.float().cpu()
    inside = ((boxes[:, :, 0] < high) & (boxes[:, :, 1] > low)).all(1)
    return Objects(
        classes=objects.classes[inside],
        boxes=objects.boxes[inside],
        scores=None if objects.scores is None else objects.scores[inside],
        crops=tuple(crop for crop, stays in zip(objects.crops, inside.tolist(), strict=False) if stays),
        corners=None if objects.corners is None else objects.corners[inside],
    )


def without(objects: Objects, beyond: np.ndarray) -> Objects:
    """The objects without what lies in `beyond` (*S) bool; those of which nothing is left are dropped.

    An object without a mask goes by the middle of its box.
    """
    if objects.corners is None:
        most = torch.tensor(beyond.shape) - 1
        middles = objects.boxes.float().cpu().mean(2).long().clamp(min=0).minimum(most)
        stays = [n for n, middle in enumerate(middles.tolist()) if not beyond[tuple(middle)]]
        return _chosen(objects, stays, boxes=objects.boxes[stays])
    free, kept, boxed, stays = torch.from_numpy(~beyond), list[Tensor](), list[Tensor](), list[int]()
    for number, (crop, corner) in enumerate(zip(objects.crops, objects.corners.cpu(), strict=True)):
        area = tuple(slice(int(a), int(a) + n) for a, n in zip(corner, crop.shape, strict=True))
        left = crop.cpu() & free[area]
        if left.any():
            found = left.nonzero()
            stays.append(number)
            kept.append(left)
            boxed.append(torch.stack([corner + found.amin(0), corner + found.amax(0) + 1], 1).to(objects.boxes.dtype))
    return _chosen(objects, stays, boxes=torch.stack(boxed) if boxed else objects.boxes[:0], crops=tuple(kept))


def _chosen(objects: Objects, which: list[int], *, boxes: Tensor, crops: tuple[Tensor, ...] = ()) -> Objects:
    """Some of the objects, with boxes and masks anew."""
    return Objects(
        classes=objects.classes[which],
        boxes=boxes,
        scores=None if objects.scores is None else objects.scores[which],
        crops=crops,
        corners=None if objects.corners is None else objects.corners[which],
    )


def _common(one: Piece, other: Piece) -> int:
    """How many pixels two masks share."""
    if one.crop is None or other.crop is None:
        return 0
    area = [
        (max(a, b), min(a + n, b + m))
        for a, n, b, m in zip(one.corner, one.crop.shape, other.corner, other.crop.shape, strict=True)
    ]
    return int((cropped(one.crop, one.corner, area) & cropped(other.crop, other.corner, area)).sum())


def rescaled(
    objects: Objects, restore: Callable[[Tensor], Tensor], grid: Sequence[int], shape: Sequence[int]
) -> Objects:
    """Objects of the method's `grid` on that of the file.

    Args:
        restore: brings a map (1, *grid) onto (1, *shape), nearest values.
    """
    if tuple(grid) == tuple(shape):
        return objects
    factor = torch.tensor([new / old for new, old in zip(shape, grid, strict=True)])
    boxes = objects.boxes.float().cpu() * factor[:, None]
    if objects.corners is None:
        return Objects(classes=objects.classes, boxes=boxes, scores=objects.scores)

    crops, corners = list[Tensor](), list[Tensor]()
    numbers = label_map(objects, tuple(grid))
    if numbers is not None:  # all of them at once
        whole = restore(torch.from_numpy(numbers)[None].float())[0].int().numpy()
        for number, found in enumerate(ndimage.find_objects(whole, len(objects.crops)), start=1):
            window = found or (slice(0, 0),) * len(shape)
            crops.append(torch.from_numpy(whole[window] == number))
            corners.append(torch.tensor([part.start for part in window]))
    else:  # a whole mask for a moment only: there may be thousands
        for crop, corner in zip(objects.crops, objects.corners.tolist(), strict=True):
            mask = torch.zeros((1, *grid))
            mask[0][tuple(slice(c, c + n) for c, n in zip(corner, crop.shape, strict=True))] = crop.float().cpu()
            one = Objects.of_masks([restore(mask)[0] > 0.5], classes=torch.zeros(1, dtype=torch.long))
            crops += one.crops
            corners += [] if one.corners is None else [*one.corners]
    return Objects(
        classes=objects.classes,
        boxes=boxes,
        scores=objects.scores,
        crops=tuple(crops),
        corners=torch.stack(corners) if corners else objects.corners,
    )


def as_file_has_them(objects: Objects, geometry: Geometry) -> Objects:
    """Objects with their axes in the order of the file, of those in the order of `geometry`."""
    if geometry.orientation is None:
        return objects

    def back(boxes: Tensor) -> Tensor:
        return torch.from_numpy(turned_rows(boxes.cpu().numpy(), geometry, "boxes", back=True))

    crops, corners = objects.crops, objects.corners
    if corners is not None and len(crops):
        ends = corners.cpu() + torch.tensor([crop.shape for crop in crops])
        corners = back(torch.stack([corners.cpu(), ends], dim=-1))[..., 0]
        crops = tuple(torch.from_numpy(as_stored(crop.cpu().numpy()[None], geometry)[0]) for crop in crops)
    return replace(objects, boxes=back(objects.boxes), crops=crops, corners=corners)


def label_map(objects: Objects, shape: tuple[int, ...]) -> np.ndarray | None:
    """(*S) int32, 0 background and n + 1 for object n; None where masks overlap or are missing."""
    if objects.corners is None:
        return None
    numbers = np.zeros(shape, np.int32)
    for number, (crop, corner) in enumerate(zip(objects.crops, objects.corners.tolist(), strict=True), start=1):
        place = numbers[tuple(slice(c, c + n) for c, n in zip(corner, crop.shape, strict=True))]
        inside = crop.cpu().numpy()
        if place[inside].any():
            return None
        place[inside] = number
    return numbers


def run_lengths(crop: Tensor) -> list[int]:
    """How many pixels are off, on, off, ... in the order of memory (axes as in the file, the last one fastest)."""
    flat = crop.flatten().numpy().astype(np.int8)
    changes = np.flatnonzero(np.diff(flat)) + 1
    runs = np.diff(np.concatenate([[0], changes, [len(flat)]]))
    return ([0] if len(flat) and flat[0] else []) + [int(n) for n in runs]
