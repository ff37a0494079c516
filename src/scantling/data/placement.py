"""Where a patch lies in its image and how it is turned, and what that makes of a field of each kind.

What is drawn is a function of the generator alone, in a fixed order, so a sample can be drawn again.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from scantling.core.fields import Field
from scantling.core.streams import Augmentation

STILL = Augmentation(flips=False, turns=False)


@dataclass(frozen=True)
class Placement:
    """Where a patch lies in its image and how it is turned: the same for image, mask and linked images."""

    start: tuple[int, ...]
    patch: tuple[int, ...]
    flipped: tuple[int, ...] = ()
    turned: tuple[int, int, int] | None = None
    """Axis, axis and number of quarter turns."""
    matrix: Tensor | None = None
    """(D, D + 1), in pixels around the centre of the patch; None keeps the exact pixels."""

    @classmethod
    def draw(
        cls,
        shape: tuple[int, ...],
        patch: tuple[int, ...],
        augment: Augmentation | None,
        generator: np.random.Generator,
        *,
        centre: Sequence[int] | None = None,
    ) -> Placement:
        """A random placement; `centre` moves the patch onto a pixel as far as the image allows.

        A patch that is longer than the image is laid around its middle.
        """
        augment = augment or STILL
        room = [n - p for n, p in zip(shape, patch, strict=True)]
        start = [int(generator.integers(0, r + 1)) if r > 0 else -((-r) // 2) for r in room]
        if centre is not None:
            start = [
                min(max(c - p // 2, 0), r) if r > 0 else s
                for c, p, r, s in zip(centre, patch, room, start, strict=True)
            ]
        mirrored = augment.along(len(patch))
        flipped: tuple[int, ...] = ()
        if any(mirrored):
            drawn = [generator.random() < 0.5 for _ in mirrored]
            flipped = tuple(axis for axis, flip in enumerate(drawn) if flip and mirrored[axis])
        turned = None
        if planes := augment.planes(patch):
            a, b = planes[int(generator.integers(len(planes)))]
            turned = (a, b, int(generator.integers(4)))
        matrix = None
        if (augment.rotation or augment.zoom) and generator.random() < augment.warped:
            matrix = _warp(augment.spacing or (1.0,) * len(patch), augment, generator)
        return cls(tuple(start), patch, flipped, turned, matrix)

    def cut(self, array: Tensor, *, linear: bool, outside: float | None = None) -> Tensor:
        """The patch (C, *patch) of an array (C, *S): `outside` beyond the border, the border's value if None."""
        if self.matrix is not None:
            patch = self._sampled(array, linear=linear, outside=outside)
        else:
            patch = _window(array, self.start, self.patch, outside)
        if self.turned is not None and self.turned[2]:
            a, b, quarter = self.turned
            patch = torch.rot90(patch, quarter, (1 + a, 1 + b))
        if self.flipped:
            patch = patch.flip([1 + axis for axis in self.flipped])
        return patch

    def cut_field(self, array: Tensor, field: Field) -> Tensor:
        """The patch (C, *patch) of a field (C, *S) on a grid; a displacement is turned with it and in its pixels."""
        patch = self.cut(array, linear=field.linear, outside=field.outside)
        return self.directions(patch.movedim(0, -1)).movedim(-1, 0) if field.kind == "displacement" else patch

    def places(self, indices: Tensor) -> Tensor:
        """Indices (..., D) in the image as indices in the patch, beyond its border too."""
        middle = torch.tensor([(p - 1) / 2 for p in self.patch])
        out = indices.float() - torch.tensor(self.start) - middle
        if self.matrix is not None:
            out = (out - self.matrix[:, -1]) @ self.matrix[:, :-1].inverse().T
        return self._turned(out) + middle  # turns are about the middle: they swap axes of one length

    def directions(self, vectors: Tensor) -> Tensor:
        """Vectors (..., D) in pixels of the image in those of the patch."""
        return self._turned(vectors.float() if self.matrix is None else vectors @ self.matrix[:, :-1].inverse().T)

    def points(self, points: Tensor) -> tuple[Tensor, Tensor]:
        """The points (N, D) that lie in the patch, by their indices there, and which of them those are (N,) bool."""
        found = self.places(points)
        inside = ((found >= -0.5) & (found < torch.tensor(self.patch) - 0.5)).all(-1)
        return found[inside], inside

    def boxes(self, boxes: Tensor) -> tuple[Tensor, Tensor]:
        """The boxes (N, D, 2) that reach into the patch, cut at its border, and which of them those are (N,) bool.

        A box that is turned becomes the smallest one that holds it.
        """
        dimensions = len(self.patch)
        corners = torch.cartesian_prod(*[torch.arange(2)] * dimensions)  # (2^D, D)
        places = boxes[:, torch.arange(dimensions), corners]  # (N, 2^D, D)
        found = self.places(places - 0.5) + 0.5  # a pixel begins half a pixel before its centre
        cut = torch.stack([found.amin(1), found.amax(1)], -1).clamp(min=0)
        cut = cut.minimum(torch.tensor(self.patch)[:, None])
        inside = (cut[..., 1] > cut[..., 0]).all(-1)
        return cut[inside], inside

    def _turned(self, vectors: Tensor) -> Tensor:
        """Vectors (..., D) from the middle of the patch, after the quarter turns and the flips."""
        vectors = vectors.clone()
        if self.turned is not None:
            a, b, quarters = self.turned
            for _ in range(quarters):
                vectors[..., a], vectors[..., b] = -vectors[..., b], vectors[..., a].clone()
        for axis in self.flipped:
            vectors[..., axis] *= -1
        return vectors

    @cached_property
    def _pixels(self) -> tuple[Tensor, Tensor, Tensor]:
        """Where each pixel of the patch comes from (*patch, D), the middle of these places and their reach (D,)."""
        dimensions = len(self.patch)
        axes = [torch.arange(p, dtype=torch.float32) - (p - 1) / 2 for p in self.patch]
        grid = torch.stack(torch.meshgrid(*axes, indexing="ij"), -1)  # (*patch, D)
        matrix = self.matrix if self.matrix is not None else torch.eye(dimensions, dimensions + 1)
        centre = torch.tensor([s + (p - 1) / 2 for s, p in zip(self.start, self.patch, strict=True)])
        middle = centre + matrix[:, dimensions]
        reach = matrix[:, :dimensions].abs() @ (torch.tensor(self.patch) - 1.0) / 2
        return grid @ matrix[:, :dimensions].T + matrix[:, dimensions] + centre, middle, reach

    def _sampled(self, array: Tensor, *, linear: bool, outside: float | None) -> Tensor:
        pixels, middle, reach = self._pixels
        # of the array only the box that the patch touches is looked at: a volume may be far larger
        shape = torch.tensor(array.shape[1:])
        low = (middle - reach).floor().long().clamp(torch.zeros_like(shape), shape - 1)
        high = ((middle + reach).ceil().long() + 1).minimum(shape).maximum(low + 1)
        touched = array[(slice(None), *(slice(a, b) for a, b in zip(low.tolist(), high.tolist(), strict=True)))]
        places = ((2 * (pixels - low) + 1) / (high - low) - 1).flip(-1)[None]  # grid_sample wants x first, in [-1, 1]
        out = F.grid_sample(
            touched[None].float(),
            places,
            mode="bilinear" if linear else "nearest",
            padding_mode="border",
            align_corners=False,
        )[0]
        if outside is not None:
            beyond = ((pixels < -0.5) | (pixels > shape - 0.5)).any(-1)
            out = out.masked_fill(beyond, outside)
        return out if linear else out.to(array.dtype)


def _window(array: Tensor, start: tuple[int, ...], patch: tuple[int, ...], outside: float | None) -> Tensor:
    shape = array.shape[1:]
    inside = tuple(slice(max(s, 0), min(s + p, n)) for s, p, n in zip(start, patch, shape, strict=True))
    cut = array[(slice(None), *inside)]
    if tuple(cut.shape[1:]) == patch:
        return cut
    pads = [(max(-s, 0), max(s + p - n, 0)) for s, p, n in zip(start, patch, shape, strict=True)]
    flat = [amount for pair in reversed(pads) for amount in pair]
    if outside is not None:
        return F.pad(cut, flat, value=outside)
    return F.pad(cut[None].float(), flat, mode="replicate")[0].to(array.dtype)


def _warp(spacing: Sequence[float], augment: Augmentation, generator: np.random.Generator) -> Tensor:
    dimensions = len(spacing)
    zoom = math.exp(generator.uniform(-1, 1) * math.log1p(augment.zoom))
    matrix = np.eye(dimensions) / zoom
    for a in range(dimensions):
        for b in range(a + 1, dimensions):
            angle = math.radians(generator.uniform(-1, 1) * augment.rotation)
            turn = np.eye(dimensions)
            turn[[a, b], [a, b]] = math.cos(angle)
            turn[[a, b], [b, a]] = -math.sin(angle) * spacing[b] / spacing[a], math.sin(angle) * spacing[a] / spacing[b]
            matrix = matrix @ turn
    return torch.from_numpy(np.concatenate([matrix, np.zeros((dimensions, 1))], 1).astype(np.float32))
