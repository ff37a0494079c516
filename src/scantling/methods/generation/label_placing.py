"""Lesion labels of training cases, turned, mirrored, moved and shrunk until they lie inside another organ."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from scantling.losses.boxes import pixels_of
from scantling.phantoms.weak_labels import boxes_of_layers

TRIES = 100
"""Turns of one label before it is given up (the thesis' number)."""
NUMBERS = 8
"""Uniform numbers behind each try."""
MOVED, SHRUNK = (2.0, 5.0), (2.0, 7.0)
"""Pixels by which a label is moved along each axis, and by which the sides of its image are shrunk (theirs)."""
LEAST = 0.8
"""A label that keeps less of the area that it should have was cut off at the border of the image; ours."""
AT_ONCE = 10
"""Tries that are looked at together."""


@dataclass(frozen=True)
class Placed:
    """A label where it lies now.

    Attributes:
        label: (K, H, W) bool; empty where it fits nowhere.
        tries: that did not fit.
        fits: whether one did.
    """

    label: Tensor
    tries: int
    fits: bool


def placed(label: Tensor, outside: Tensor, numbers: Tensor, *, boxes: bool = False) -> Placed:
    """A label after two random operations, the first try that lies inside the organ: Σ label · outside = 0.

    Two different ones of: turn by 0 to 360°, mirror, move by 2 to 5 pixels along each axis, shrink the image by 2 to 7
    pixels; around its middle, with the nearest values. A label that would reach beyond the image does not fit.

    Args:
        label: (K, H, W) bool.
        outside: (H, W) bool, where the organ is not.
        numbers: (tries, 8) uniform in [0, 1), on the processor.
        boxes: the label is of boxes: each becomes the box around where it lies now.
    """
    if not label.any():
        return Placed(label, 0, fits=True)
    matrices, areas = operations(numbers.double(), (label.shape[-2], label.shape[-1]))
    wanted = label.sum().item() * areas * LEAST  # (tries,)
    for first in range(0, len(numbers), AT_ONCE):
        turned = transformed(label, matrices[first : first + AT_ONCE])  # (tries, K, H, W)
        whole = turned.flatten(1).sum(1).cpu() >= wanted[first : first + AT_ONCE].floor().clamp(min=1)
        if boxes:
            turned = torch.stack([around(each) for each in turned])
        fits = whole & ~(turned & outside).flatten(1).any(1).cpu()
        if fits.any():
            place = int(fits.int().argmax())
            return Placed(turned[place], first + place, fits=True)
    return Placed(torch.zeros_like(label), len(numbers), fits=False)


def around(label: Tensor) -> Tensor:
    """The insides of the boxes (K, H, W) bool around the connected pieces of a label (K, H, W) bool."""
    boxes, classes = boxes_of_layers(label.cpu().numpy())
    size = (label.shape[1], label.shape[2])
    found = filled(torch.from_numpy(boxes), torch.from_numpy(classes), classes=len(label), size=size)
    return found.to(label.device)


def filled(boxes: Tensor, numbers: Tensor, *, classes: int, size: Sequence[int]) -> Tensor:
    """The insides (K, H, W) bool of boxes (n, 2, 2), whose classes (n,) count from 0."""
    found = torch.zeros(classes, *size, dtype=torch.bool)
    for number, box in zip(numbers.tolist(), boxes, strict=True):
        found[(number, *pixels_of(box))] = True
    return found


def operations(numbers: Tensor, size: tuple[int, int]) -> tuple[Tensor, Tensor]:
    """The way of each pixel back through two operations, (tries, 2, 3), and by what the area is multiplied, (tries,).

    Args:
        numbers: (tries, 8) float64, uniform in [0, 1): which two, then what belongs to each.
        size: (H, W) of the image.
    """
    first = (numbers[:, 0] * 4).long()
    second = (first + 1 + (numbers[:, 1] * 3).long()) % 4
    inverses, areas = _inverses(numbers, size)
    rows = torch.arange(len(numbers))
    a, b = inverses[first, rows], inverses[second, rows]  # (tries, 3, 3)
    return (a @ b)[:, :2], areas[first, rows] * areas[second, rows]


def transformed(label: Tensor, matrices: Tensor) -> Tensor:
    """(tries, K, H, W) bool: a label (K, H, W) bool seen through each of (tries, 2, 3), with the nearest values."""
    height, width = label.shape[-2:]
    middle = torch.tensor([(height - 1) / 2, (width - 1) / 2], dtype=torch.float64)
    rows = torch.arange(height, dtype=torch.float64) - middle[0]
    columns = torch.arange(width, dtype=torch.float64) - middle[1]
    grid = torch.stack([rows[:, None].expand(height, width), columns.expand(height, width)]).flatten(1)  # (2, HW)
    places = (matrices[:, :, :2] @ grid + matrices[:, :, 2:] + middle[None, :, None] + 0.5).floor().long()
    i, j = places[:, 0], places[:, 1]  # (tries, HW)
    there = (i >= 0) & (i < height) & (j >= 0) & (j < width)
    index = (i.clamp(0, height - 1) * width + j.clamp(0, width - 1)).to(label.device)
    seen = label.flatten(1)[:, index] & there.to(label.device)  # (K, tries, HW)
    return seen.movedim(0, 1).unflatten(-1, (height, width))


def _inverses(numbers: Tensor, size: tuple[int, int]) -> tuple[Tensor, Tensor]:
    """What each of the four operations takes back, (4, tries, 3, 3), and how it changes an area, (4, tries)."""
    tries = len(numbers)
    found = torch.eye(3, dtype=torch.float64).repeat(4, tries, 1, 1)
    angle = 2 * math.pi * numbers[:, 2]
    found[0, :, 0, 0] = found[0, :, 1, 1] = angle.cos()
    found[0, :, 0, 1], found[0, :, 1, 0] = -angle.sin(), angle.sin()
    mirrored = (numbers[:, 3] * 2).long()
    found[1, torch.arange(tries), mirrored, mirrored] = -1
    for axis in range(2):
        signed = numbers[:, 4 + axis] * 2 - 1
        least, most = MOVED
        found[2, :, axis, 2] = torch.where(signed < 0, -1.0, 1.0) * (least + (most - least) * signed.abs())
    areas = torch.ones(4, tries, dtype=torch.float64)
    less = SHRUNK[0] + (SHRUNK[1] - SHRUNK[0]) * numbers[:, 6]
    for axis, n in enumerate(size):
        share = 1 - less.clamp(max=n - 1) / n
        found[3, :, axis, axis] = 1 / share
        areas[3] *= share
    return found, areas


class LabelBank(nn.Module):
    """Lesion labels of some training cases, kept with a model so that it can place them in what it makes.

    Args:
        size: labels that are kept at most.
        shape: (K, H, W) of one.
    """

    NAME = 512
    """Bytes of the id of a case that are kept."""

    def __init__(self, size: int, shape: tuple[int, int, int]) -> None:
        super().__init__()
        self.labels: Tensor
        self.names: Tensor
        self.held: Tensor
        self.register_buffer("labels", torch.zeros(size, *shape, dtype=torch.uint8))
        self.register_buffer("names", torch.zeros(size, self.NAME, dtype=torch.uint8))
        self.register_buffer("held", torch.zeros((), dtype=torch.int64))

    @torch.no_grad()
    def keep(self, label: Tensor, name: str, *, coin: float) -> None:
        """Keep a label (K, H, W) bool: each that is offered with the same probability (reservoir; Vitter, 1985).

        Args:
            coin: uniform in [0, 1).
        """
        number, size = int(self.held), len(self.labels)
        place = number if number < size else int(coin * (number + 1))
        self.held += 1
        if place < size:
            self.labels[place] = label.to(torch.uint8)
            text = name.encode()[: self.NAME]
            self.names[place] = 0
            self.names[place, : len(text)] = torch.tensor([*text], dtype=torch.uint8)

    def __len__(self) -> int:
        """How many labels there are."""
        return min(int(self.held), len(self.labels))

    def label(self, place: int) -> tuple[Tensor, str]:
        """The label (K, H, W) bool at a place, and the id of the case that it is of."""
        text = bytes(self.names[place].tolist()).rstrip(b"\0").decode(errors="ignore")
        return self.labels[place].bool(), text
