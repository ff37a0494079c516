"""The stages of a training: players, teachers, streams, and the game that the players play."""

from __future__ import annotations

import math
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn

from scantling.contract.step import Step, Total
from scantling.core.fields import Kind
from scantling.core.samples import Batch
from scantling.core.streams import Stream
from scantling.networks.spectral_norm import SpectralNorm

Losses = Mapping[str, Tensor]


Move = tuple[str | tuple[str, ...], Losses]
"""One or several players and the terms of their loss, by name; their sum is what the players minimise."""


Game = Generator[Move | Total, Tensor, Any]
"""What objectives are: they yield moves, after which the loop updates the players, and totals, which it answers.

What they return in the end is handed to `Stage.stepped`.
"""


@dataclass(frozen=True, kw_only=True, eq=False)
class Player:
    """Whoever is updated together: parameters, their optimiser and its schedule.

    Attributes:
        modules: what it owns; players of one stage share no parameter.
        rate: the learning rate, at its highest.
        betas: of Adam; "sgd" takes the first as its Nesterov momentum.
        schedule: of the rate over the steps of the stage, a name or a function of progress (`contract.schedules`).
        warmup: steps over which the rate rises from 0, before the schedule.
        clip: the greatest norm of the gradient.
        average: decay of an exponential average of the weights and of the running statistics of batch norm, which then
            is what answers; 0 for none. It grows to this value: min(average, (1 + updates) / (10 + updates)).
    """

    name: str
    modules: tuple[nn.Module, ...]
    rate: float
    optimiser: Literal["adam", "adamw", "sgd"] = "adam"
    betas: tuple[float, float] = (0.9, 0.999)
    weight_decay: float = 0.0
    schedule: Literal["constant", "cosine", "polynomial", "one-cycle"] | Callable[[float], float] = "constant"
    warmup: int = 0
    clip: float | None = None
    average: float = 0.0

    def parameters(self) -> list[nn.Parameter]:
        """Its parameters, each once, in a fixed order."""
        return list({id(p): p for module in self.modules for p in module.parameters()}.values())


@dataclass(frozen=True, kw_only=True, eq=False)
class Teacher:
    """A module that follows a player's and learns nothing itself: its weights are averages (Tarvainen, Valpola, 2017).

    In a stage it is frozen and in evaluation mode; objectives use it without gradient. It is part of the method, and
    so saved and resumed like everything else.

    Attributes:
        module: begins the stage with the weights of `of`, whose architecture it has.
        of: what it follows.
        decay: the share of itself that it keeps after a step, in [0, 1]: a number, or a function of the step from 0.
            It holds for floating weights and buffers; others, such as counters, are copied.
    """

    module: nn.Module
    of: nn.Module
    decay: float | Callable[[int], float] = 0.99

    @torch.no_grad()
    def begin(self) -> None:
        """Take over what it follows."""
        self.module.load_state_dict(self.of.state_dict())

    @torch.no_grad()
    def follow(self, step: int) -> None:
        """Follow by one step, which has been taken."""
        decay = self.decay(step) if callable(self.decay) else self.decay
        followed = self.of.state_dict()
        vectors = {id(b) for m in self.module.modules() if isinstance(m, SpectralNorm) for b in m.buffers()}
        for name, own in self.module.state_dict(keep_vars=True).items():
            if own.is_floating_point() and id(own) not in vectors:  # the mean of unit vectors is none
                own.lerp_(followed[name].to(own.dtype), 1 - decay)
            else:
                own.copy_(followed[name])


Visit = Callable[[str], Iterable[Batch]]
"""Visits each case of a stream once, whole and unchanged, one case a batch; `batch.case` is its position."""


@dataclass(frozen=True, kw_only=True)
class Criterion:
    """A value by which weights may be chosen where masks may not choose them; it sees validation cases only."""

    name: str
    direction: Literal["min", "max"]
    value: Callable[[Visit, Step], float | Mapping[str, float]]
    """Given a `Visit` of the validation cases of each stream; NaN where it cannot tell. Or numbers by name, of which
    `name` chooses and the others stand beside it in the log."""
    visits: tuple[str, ...]
    """The streams that it cannot do without."""

    def values(self, visit: Visit, step: Step) -> dict[str, float]:
        """All its numbers by name, the one that chooses among them."""
        found = self.value(visit, step)
        return {self.name: math.nan, **found} if isinstance(found, Mapping) else {self.name: found}


@dataclass(frozen=True, kw_only=True, eq=False)
class Prepared:
    """A field that is made for every training case before the first step: a pseudo-label, a latent, features.

    Streams of this and of later stages read it by its name; it is cut, flipped and turned with the image. One on a
    coarser grid than the image can be read as a whole only, by streams without patches and augmentation, or by single
    pixels.

    Attributes:
        kind: how it travels between grids (`core.fields.Kind`).
        make: `make(batch, step)` gives (1, C, *S) for one whole case, or one slice of it, without gradients; or that by
            the names of the `parts`.
        reads: the fields that `make` is given; cases that lack any of them have no such field.
        parts: the names of several fields that are made together, which streams read in place of `name`.
    """

    name: str
    kind: Kind
    make: Callable[[Batch, Step], Tensor | Mapping[str, Tensor]]
    reads: tuple[str, ...] = ("image",)
    parts: tuple[str, ...] = ()

    @property
    def fields(self) -> tuple[str, ...]:
        """The names of what it makes."""
        return self.parts or (self.name,)


@dataclass(frozen=True, kw_only=True, eq=False)
class Calibration:
    """What a method learns after its training: a threshold, a temperature, reliabilities.

    Attributes:
        stream: what is read of each case; masks that it reads count as read.
        split: the cases that are visited, each once, whole and unchanged.
        fit: sets buffers or parameters of the method, in evaluation mode and without gradients.
        optional: without a case to visit the buffers stay as they were built; else that is an error.
    """

    stream: Stream
    split: Literal["train", "validation"]
    fit: Callable[[Iterable[Batch], Step], None]
    optional: bool = True


@dataclass(frozen=True, kw_only=True, eq=False)
class Stage:
    """A part of the training with its own players, streams and length.

    Attributes:
        objectives: `objectives(batch, step)` with the batches by stream yields (player, terms) moves; the loop
            updates the player, then resumes the generator.
        teachers: what follows the players' modules, after every step and before `stepped`.
        prepare: called once before the first step, without gradients, in evaluation mode; it may set the
            state of the method, and what it returns is kept for the whole stage as `step.prepared`.
        prepares: fields that are made for every case after that.
        draws: the names of the streams that a step reads, a function of the step alone and its randomness; all if None.
        stepped: called once after each optimiser step has been taken by all players of that step, with what the
            objectives returned, one for each micro-batch of this process.
        criterion: see `Criterion`.
    """

    name: str
    players: tuple[Player, ...]
    streams: tuple[Stream, ...]
    steps: int
    objectives: Callable[[Mapping[str, Batch], Step], Game]
    teachers: tuple[Teacher, ...] = ()
    prepare: Callable[[Visit, Step], Mapping[str, Tensor]] | None = None
    prepares: tuple[Prepared, ...] = ()
    draws: Callable[[Step], Sequence[str]] | None = None
    stepped: Callable[[Step, Sequence[Any]], None] | None = None
    criterion: Criterion | None = None


_frozen_depth = 0


@contextmanager
def frozen(*networks: nn.Module) -> Iterator[None]:
    """Let gradients flow through `networks` but not into them, in evaluation mode, for the length of the block.

    Nothing may be yielded from inside it.
    """
    global _frozen_depth
    before = [(p, p.requires_grad) for network in networks for p in network.parameters()]
    modes = [(m, m.training) for network in networks for m in network.modules()]
    for parameter, _ in before:
        parameter.requires_grad_(False)
    for network in networks:
        network.eval()
    _frozen_depth += 1
    try:
        yield
    finally:
        _frozen_depth -= 1
        for parameter, wanted in before:
            parameter.requires_grad_(wanted)
        for module, training in modes:
            module.training = training


def frozen_depth() -> int:
    """How many `frozen` blocks are open; the loop refuses a move made inside one."""
    return _frozen_depth
