"""Single pixels of an image in place of a patch: what is learned pixel by pixel reads no more than it needs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product

import numpy as np
import torch
from torch import Tensor

from scantling.core.errors import DataError
from scantling.core.fields import IGNORE, Field
from scantling.data.preprocessing import Preprocessed


@dataclass(frozen=True)
class Pixels:
    """Places in an image that are read as a `Placement` reads a patch: fields come as (C, P).

    Attributes:
        places: (P, D) int64 indices.
        shape: of the image.
    """

    places: Tensor
    shape: tuple[int, ...]

    @classmethod
    def draw(cls, prepared: Preprocessed, count: int, generator: np.random.Generator) -> Pixels:
        """So many pixels, anywhere in the region where the mask knows something; anywhere where it knows nothing."""
        known = np.ones(prepared.shape, np.bool_)
        if "region" in prepared.fields:
            known &= prepared.fields["region"][0].numpy()
        if prepared.masks:
            known &= (prepared.masks[0] != IGNORE).any(0).numpy()
        if known.all() or not known.any():
            flat = generator.integers(known.size, size=count)
        else:
            inside = np.flatnonzero(known)
            flat = inside[generator.integers(len(inside), size=count)]
        places = np.stack(np.unravel_index(flat, prepared.shape), -1)
        return cls(torch.from_numpy(places.astype(np.int64)), prepared.shape)

    @property
    def patch(self) -> tuple[int, ...]:
        """How many they are, as the shape of what is read."""
        return (len(self.places),)

    def cut_field(self, array: Tensor, field: Field) -> Tensor:
        """(C, P) of a field (C, *S), or of one (C, *s) on a coarser grid that covers the same image.

        There it is interpolated at the centres of the pixels, as `interpolate(align_corners=False)` does.
        """
        if tuple(array.shape[1:]) == self.shape:
            return array.movedim(0, -1)[tuple(self.places.unbind(1))].T
        return sampled(array, self.places, self.shape, linear=field.linear)

    def boxes(self, boxes: Tensor) -> tuple[Tensor, Tensor]:
        """Boxes do not lie in single pixels.

        Raises:
            DataError: always.
        """
        raise DataError("a stream of single pixels cannot read boxes or points; leave them out")

    points = boxes


def sampled(array: Tensor, places: Tensor, shape: Sequence[int], *, linear: bool) -> Tensor:
    """Values (C, P) of an array (C, *s) at the pixels (P, D) of a finer grid of `shape`; float32 where `linear`.

    Only what lies around these pixels is looked at.
    """
    sizes = torch.tensor(array.shape[1:])
    where = (places.double() + 0.5) * sizes / torch.tensor(shape) - 0.5
    where = where.clamp(min=0).minimum((sizes - 1).double())
    last = array.movedim(0, -1)  # (*s, C): one row of memory for each pixel, as prepared fields lie
    if not linear:
        return last[tuple(where.round().long().unbind(1))].T
    low = where.floor().long()
    high, weight = (low + 1).minimum(sizes - 1), (where - low).float()
    total = torch.zeros((len(places), array.shape[0]))
    for corner in product((False, True), repeat=len(shape)):
        at = [(high if upper else low)[:, axis] for axis, upper in enumerate(corner)]
        shares = [weight[:, axis] if upper else 1 - weight[:, axis] for axis, upper in enumerate(corner)]
        total.addcmul_(last[tuple(at)].float(), torch.stack(shares).prod(0)[:, None])
    return total.T
