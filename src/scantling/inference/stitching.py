"""Pieces of one object that the borders of windows cut, and how they are one again."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import product

import numpy as np
import torch
from torch import Tensor

SAME = 0.5
"""Two pieces are of one object if more than this of what either has in the area that both windows show is common."""


CELL = 64
"""Side of the cells in which boxes that lie near each other are looked for, in pixels."""


class Boxes:
    """Boxes that are found again by where they lie: those of a slide need not all be held against each other."""

    def __init__(self) -> None:
        self._cells = defaultdict[tuple[int, ...], list[int]](list)

    def add(self, number: int, box: Tensor) -> None:
        """Remember a box (D, 2) under a number."""
        for cell in self._met(box):
            self._cells[cell].append(number)

    def near(self, box: Tensor) -> list[int]:
        """The numbers of the boxes that may overlap with one, those of all that do among them, in order."""
        return sorted({number for cell in self._met(box) for number in self._cells.get(cell, ())})

    def _met(self, box: Tensor) -> Iterator[tuple[int, ...]]:
        return product(*(range(int(a) // CELL, int(b) // CELL + 1) for a, b in box.tolist()))


@dataclass(frozen=True)
class Piece:
    """An object as a window shows it, on the canvas.

    Attributes:
        window: its number.
        seen: (D, 2) where the window starts and stops.
        label, score: of the object.
        box: (D, 2).
        crop, corner: its mask within the box, and where that begins; None and () without masks.
        cut: whether a border of the window inside the canvas cuts it.
    """

    window: int
    seen: Tensor
    label: int
    score: float
    box: Tensor
    crop: Tensor | None
    corner: tuple[int, ...]
    cut: bool


def stitched(pieces: Sequence[Piece]) -> list[Piece]:
    """The same objects, those that borders cut joined: what is larger than the windows share is one, and not pieces.

    Two pieces of one class in two windows are of one object if their parts in the area that both windows show have an
    intersection over union above `SAME`; with masks those of the masks, else those of the boxes. An object that is
    whole in a window is left alone. What is joined has the union of the masks, the box around all boxes and the best
    score, and still counts as cut, so that a whole view of it goes before it.
    """
    cut = [place for place, piece in enumerate(pieces) if piece.cut]
    boss = {place: place for place in cut}

    def top(place: int) -> int:
        while boss[place] != place:
            boss[place] = place = boss[boss[place]]
        return place

    if not cut:
        return [*pieces]
    before = Boxes()
    for place in cut:
        for other in before.near(pieces[place].box):
            if _same(pieces[place], pieces[other]):
                first, second = sorted((top(place), top(other)))
                boss[second] = first
        before.add(place, pieces[place].box)
    groups: dict[int, list[Piece]] = {}
    for place in cut:
        groups.setdefault(top(place), []).append(pieces[place])
    return [piece for piece in pieces if not piece.cut] + [_joined(group) for group in groups.values()]


def _same(one: Piece, other: Piece) -> bool:
    if one.window == other.window or one.label != other.label:
        return False
    low, high = torch.maximum(one.seen[:, 0], other.seen[:, 0]), torch.minimum(one.seen[:, 1], other.seen[:, 1])
    if bool((high <= low).any()):
        return False
    if one.crop is None or other.crop is None:
        sides = [_within(each.box, low, high) for each in (one, other)]
        sizes = [float((box[:, 1] - box[:, 0]).clamp(min=0).prod()) for box in sides]
        common = _within(sides[0], sides[1][:, 0], sides[1][:, 1])
        both = float((common[:, 1] - common[:, 0]).clamp(min=0).prod())
    else:
        area = [(int(a), int(b)) for a, b in zip(low.tolist(), high.tolist(), strict=True)]
        parts = [cropped(each.crop, each.corner, area) for each in (one, other) if each.crop is not None]
        sizes = [float(part.sum()) for part in parts]
        both = float((parts[0] & parts[1]).sum())
    return both > SAME * (sum(sizes) - both)


def _within(box: Tensor, low: Tensor, high: Tensor) -> Tensor:
    return torch.stack([torch.maximum(box[:, 0], low), torch.minimum(box[:, 1], high)], dim=1)


def cropped(crop: Tensor, corner: Sequence[int], area: Sequence[tuple[int, int]]) -> Tensor:
    """A mask, whose crop begins at `corner`, in an area of the canvas (start and stop of each axis)."""
    inside = torch.zeros([max(0, stop - start) for start, stop in area], dtype=torch.bool)
    ends = [begin + length for begin, length in zip(corner, crop.shape, strict=True)]
    shared = [(max(start, begin), min(stop, end)) for (start, stop), begin, end in zip(area, corner, ends, strict=True)]
    if all(start < stop for start, stop in shared):
        to = tuple(slice(a - start, b - start) for (a, b), (start, _) in zip(shared, area, strict=True))
        come = tuple(slice(a - begin, b - begin) for (a, b), begin in zip(shared, corner, strict=True))
        inside[to] = crop[come].bool()
    return inside


def _joined(group: Sequence[Piece]) -> Piece:
    """The union of pieces of one object."""
    best = max(group, key=lambda piece: piece.score)
    if len(group) == 1:
        return best
    boxes = torch.stack([piece.box for piece in group])
    box = torch.stack([boxes[:, :, 0].amin(0), boxes[:, :, 1].amax(0)], dim=1)
    if best.crop is None:
        return replace(best, box=box)
    low = np.array([piece.corner for piece in group])
    high = low + np.array([piece.crop.shape for piece in group if piece.crop is not None])
    area = [(int(start), int(stop)) for start, stop in zip(low.min(axis=0), high.max(axis=0), strict=True)]
    crop = torch.zeros([stop - start for start, stop in area], dtype=torch.bool)
    for piece in group:
        if piece.crop is not None:
            crop |= cropped(piece.crop, piece.corner, area)
    return replace(best, box=box, crop=crop, corner=tuple(start for start, _ in area))
