"""The step of a training, or the answer at hand: its randomness, its place in the whole, its options."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from scantling.contract.options import SEGMENT_DEFAULTS
from scantling.contract.results import Objects
from scantling.core.randomness import torch_generator

Network = Callable[[Tensor], Tensor]
Finder = Callable[[Tensor], Objects]


@dataclass(frozen=True)
class Total:
    """A sum over the part of a step's batch that an objective sees; yielding it gives that over the whole step.

    For means whose count differs between samples: the pixels that are known, or confident. Ask before the networks are
    passed through, since all parts of a step wait for each other there with what they have computed.
    """

    part: Tensor


@dataclass(frozen=True, kw_only=True)
class Draws:
    """All the randomness that an objective or an answer may use.

    Every draw is a function of the seed, the stage, what it is for, the number and the position of the sample in the
    batch of the whole step, so that one big batch and many small ones draw the same numbers.

    Attributes:
        number: of the step, from 0; of the first case that is made.
        slot: which part of the step's batch this is.
        device: where what is drawn is brought.
    """

    seed: int
    stage: str = ""
    number: int = 0
    slot: int = 0
    device: torch.device = torch.device("cpu")

    def generator(self, purpose: str) -> torch.Generator:
        """A processor generator for one draw that all samples share."""
        return torch_generator(self.seed, self.stage, purpose, self.number)

    def randn(self, purpose: str, *, like: Tensor) -> Tensor:
        """Standard normal numbers (B, ...) in the shape, type and place of `like`, row by row."""
        return self._rows(torch.randn, purpose, like)

    def rand(self, purpose: str, *, like: Tensor) -> Tensor:
        """Uniform numbers in [0, 1) in the shape, type and place of `like`, row by row."""
        return self._rows(torch.rand, purpose, like)

    def randint(self, purpose: str, low: int, high: int, *, count: int) -> Tensor:
        """`count` whole numbers in [low, high), one for each sample: (B,) int64 on the device."""
        uniform = self._rows(torch.rand, purpose, torch.empty(count, dtype=torch.float64))
        return (low + (uniform * (high - low)).long().clamp(max=high - low - 1)).to(self.device)

    def _rows(self, draw: Callable[..., Tensor], purpose: str, like: Tensor) -> Tensor:
        first = self.slot * len(like)
        dtype = like.dtype if like.dtype == torch.float64 else torch.float32
        rows = [
            draw(
                like.shape[1:],
                generator=torch_generator(self.seed, self.stage, purpose, self.number, first + row),
                dtype=dtype,
            )
            for row in range(len(like))
        ]
        return torch.stack(rows).to(like.device, like.dtype)


@dataclass(frozen=True, kw_only=True)
class Step(Draws):
    """The step of a training, as the objectives of a stage see it for one part of its batch.

    Attributes:
        count: of the steps of the stage.
        slots: the parts of the batch: processes times micro-batches.
        prepared: what the stage's `prepare` returned.
        gather: gives the rows of all processes in the order of the samples; every process receives the same.
    """

    count: int = 1
    slots: int = 1
    prepared: Mapping[str, Tensor] = field(default_factory=dict)
    gather: Callable[[Tensor], Tensor] = lambda tensor: tensor

    @property
    def progress(self) -> float:
        """The share of the stage that is done, 0 to 1."""
        return self.number / max(self.count, 1)

    def mean(self, part: Tensor, total: Tensor) -> Tensor:
        """The term of a loss that is one ratio over the whole step: `part`, summed over what this part of the batch
        holds, over the `total` of the step, which yielding a `Total` has given; the loop averages over the parts.
        """
        return part * self.slots / total.clamp(min=1e-6)


@dataclass(frozen=True, kw_only=True)
class Inference(Draws):
    """An answer at hand.

    Attributes:
        tile: applies a network (B, C, *S) to (B, K, *S) over a whole canvas, in blended tiles where it is too large.
        find: applies what finds objects in one image (1, C, *S) over a whole canvas, in overlapping windows where it is
            too large; an object that several windows show is given once.
        views: over which a method averages its maps before it finds objects in them (`Segmenter.objects_in_maps`), each
            as `Views.each` has it; none: the image as it is.
        options: of the capability (`contract.options`), resolved by the method; a segmentation's if none are given.
    """

    tile: Callable[[Network, Tensor], Tensor] = lambda network, canvas: network(canvas)
    find: Callable[[Finder, Tensor], Objects] = lambda finder, canvas: finder(canvas)
    views: Sequence[tuple[int, ...]] = ()
    options: Any = SEGMENT_DEFAULTS
