"""One stage of training: the game of its players, step by step.

The objectives of a stage are a generator. It yields one player's losses; the player is updated; the generator
goes on. With several micro-batches there are several generators, and all make the same move before any
player is updated.
"""

from __future__ import annotations

import math
from collections.abc import Generator, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from scantling.contract.method import Method, dropouts
from scantling.contract.stage import Game, Move, Stage, frozen_depth
from scantling.contract.step import Step, Total
from scantling.core.errors import RunError, ScantlingError
from scantling.core.randomness import seed_layers
from scantling.core.samples import Batch
from scantling.training.dropout import by_sample
from scantling.training.optimisers import optimiser_of, rate_at
from scantling.training.processes import Processes


class StageError(ScantlingError):
    """A method that breaks the rules of the game."""


@dataclass
class _Turn:
    """The game of one part of a step's batch."""

    moves: Generator[Move | Total, Tensor | None, Any]
    slot: int
    random: Tensor
    """The state of torch's generator when it goes on."""
    answer: Tensor | None = None
    returned: Any = None
    """What the objectives gave back in the end."""


class StageRunner:
    """A stage being trained.

    Args:
        method: on its device; everything that is no player of the stage is frozen and in evaluation mode.
        accumulation: micro-batches of each process.
        autocast: the type of mixed precision, None for none.
        prepared: what the stage's `prepare` returned.
        rates: a factor on the learning rate of parameters of the method, by name; 1 for others.
    """

    def __init__(
        self,
        method: Method,
        stage: Stage,
        *,
        seed: int,
        device: torch.device,
        group: Processes = Processes(),
        accumulation: int = 1,
        autocast: torch.dtype | None = None,
        prepared: Mapping[str, Tensor] | None = None,
        rates: Mapping[str, float] | None = None,
    ) -> None:
        self.method, self.stage = method, stage
        self.seed, self.device, self.group = seed, device, group
        self.accumulation, self.autocast = accumulation, autocast
        self.prepared = dict(prepared or {})
        self.players = {player.name: player for player in stage.players}
        self.owned = {player.name: player.parameters() for player in stage.players}
        factors = {id(p): rates[name] for name, p in method.named_parameters() if name in rates} if rates else {}
        self.optimisers = {
            name: optimiser_of(player, self.owned[name], factors) for name, player in self.players.items()
        }
        self.followed = {
            player.name: [*self.owned[player.name], *statistics_of(player.modules)]
            for player in stage.players
            if player.average
        }
        self.averages = {name: [t.detach().clone() for t in tensors] for name, tensors in self.followed.items()}
        self.updates = dict.fromkeys(self.players, 0)
        self.layers = dropouts(method)
        self._slot = 0
        _check_disjoint(self.owned, stage)
        for teacher in stage.teachers:
            teacher.begin()
        self.ready()

    @property
    def slots(self) -> int:
        """How many parts the batch of a step is divided into."""
        return self.group.count * self.accumulation

    @property
    def own_slots(self) -> list[int]:
        """The parts that this process computes."""
        return [turn * self.group.count + self.group.rank for turn in range(self.accumulation)]

    def ready(self) -> None:
        """Players in training mode and with gradients; all else in evaluation mode and without."""
        self.method.eval()
        self.method.requires_grad_(False)
        for name, player in self.players.items():
            for module in player.modules:
                module.train()
            for parameter in self.owned[name]:
                parameter.requires_grad_(True)

    def at(self, step: int, slot: int = 0) -> Step:
        """A step for one part of its batch."""
        return replace(
            self.start(self.stage, self.seed, self.device),
            number=step,
            slot=slot,
            slots=self.slots,
            prepared=self.prepared,
            gather=self.group.gather,
        )

    @staticmethod
    def start(stage: Stage, seed: int, device: torch.device) -> Step:
        """Before the first step of a stage."""
        return Step(seed=seed, stage=stage.name, count=stage.steps, device=device)

    def step(self, step: int, batches: Sequence[Mapping[str, Batch]]) -> dict[str, dict[str, Tensor]]:
        """Play one step; returns the terms of every player's loss, averaged over this process's micro-batches.

        Raises:
            StageError: a rule of the game is broken.
        """
        seed_layers(self.device, self.seed, self.stage.name, "layers", step)
        begun = torch.get_rng_state()
        games = [
            _Turn(_started(self.stage.objectives(self._brought(batch), self.at(step, slot))), slot, begun)
            for slot, batch in zip(self.own_slots, batches, strict=True)
        ]
        losses: dict[str, dict[str, Tensor]] = {}
        with by_sample(self.layers, lambda: self._slot):
            while (names := self._move(games, losses)) is not None:
                for name in names:
                    self._update(name, step)
        for teacher in self.stage.teachers:
            teacher.follow(step)
        if self.stage.stepped is not None:
            with torch.no_grad():
                self.stage.stepped(self.at(step), [game.returned for game in games])
        self.group.share_buffers(self.method)
        for name in self.averages:
            self._follow(name, statistics=True)
        return losses

    def _brought(self, batches: Mapping[str, Batch]) -> dict[str, Batch]:
        """The batches beside the weights, in their precision."""
        return {name: batch.to(self.device, self.method.dtype) for name, batch in batches.items()}

    def _move(self, games: Sequence[_Turn], losses: dict[str, dict[str, Tensor]]) -> tuple[str, ...] | None:
        """All games make their next move and leave its gradients with the players; None when all have ended."""
        while True:
            moved: list[tuple[str, ...] | None] = []
            parts: list[Tensor] = []
            for game in games:
                move = self._advance(game)
                if isinstance(move, Total):
                    parts.append(move.part.detach())
                    moved.append(("a total",))
                    continue
                if move is None:
                    moved.append(None)
                    continue
                names, terms = _names(move[0]), move[1]
                self._check_move(names, terms)
                moved.append(names)
                self._backward(names, terms, share=1 / len(games))
                kept = losses.setdefault("+".join(names), {})
                for term, value in terms.items():
                    kept[term] = kept.get(term, 0) + value.detach() / len(games)
            self._check_order(moved)
            if not parts:
                return moved[0]
            total = self.group.sum(torch.stack(parts).sum(0))
            for game in games:
                game.answer = total

    def _backward(self, names: tuple[str, ...], terms: Mapping[str, Tensor], *, share: float) -> None:
        """Leave the gradients of a part's loss with the players."""
        total = torch.stack([term.float() if term.dtype == torch.bfloat16 else term for term in terms.values()]).sum()
        try:
            (total * share).backward(inputs=[p for name in names for p in self.owned[name]])
        except RuntimeError as error:
            raise _explained(error, names, self.stage) from error

    def _check_order(self, moved: Sequence[tuple[str, ...] | None]) -> None:
        """Make sure that all parts of the step, in all processes, have made the same move."""
        everyone = self.group.all(list(moved)) if self.group.count > 1 else [moved]
        first = moved[0]
        if any(_plain(other) != _plain(first) for process in everyone for other in process):
            raise StageError(
                f"stage {self.stage.name!r}: the order of the players may depend on the step but not on the batch; "
                f"one part of the batch moved {first}, another {moved[-1]}"
            )

    def _advance(self, game: _Turn) -> Move | Total | None:
        self._slot = game.slot
        torch.set_rng_state(game.random)  # every part of a step begins with the same, and goes on with its own
        with torch.autocast(self.device.type, dtype=self.autocast, enabled=self.autocast is not None):
            try:
                move = game.moves.send(game.answer)
            except StopIteration as end:
                game.returned = end.value
                return None
            if (
                not torch.is_grad_enabled()
                or frozen_depth()
                or torch.is_autocast_enabled(self.device.type) != (self.autocast is not None)
            ):
                raise StageError(f"stage {self.stage.name!r}: nothing may be yielded inside a context manager")
        game.random, game.answer = torch.get_rng_state(), None
        return move

    def _check_move(self, names: tuple[str, ...], terms: Mapping[str, Tensor]) -> None:
        for name in names:
            if name not in self.players:
                there = ", ".join(self.players)
                raise StageError(f"stage {self.stage.name!r}: {name!r} is no player of this stage; there are {there}")
        if not terms:
            raise StageError(f"stage {self.stage.name!r}: {' and '.join(names)} moved without a loss")
        for term, value in terms.items():
            if value.ndim:
                found = tuple(value.shape)
                raise StageError(f"stage {self.stage.name!r}: loss {term!r} has shape {found}, expected a number")

    def _update(self, name: str, step: int) -> None:
        player, parameters = self.players[name], self.owned[name]
        self.group.average_gradients(parameters)
        if player.clip is not None:
            nn.utils.clip_grad_norm_(parameters, player.clip)
        optimiser = self.optimisers[name]
        for group in optimiser.param_groups:
            group["lr"] = group["factor"] * rate_at(player, step, self.stage.steps)
        optimiser.step()
        optimiser.zero_grad(set_to_none=True)
        if player.average:
            self._follow(name, statistics=False)
        self.updates[name] += 1

    @torch.no_grad()
    def _follow(self, name: str, *, statistics: bool) -> None:
        """Move the averages of a player's weights, or of its statistics, which all processes share after a step."""
        decay = min(self.players[name].average, (1 + self.updates[name]) / (10 + self.updates[name]))
        first = len(self.owned[name])
        which = slice(first, None) if statistics else slice(first)
        for average, tensor in zip(self.averages[name][which], self.followed[name][which], strict=True):
            average.lerp_(tensor, 1 - decay)

    @contextmanager
    def averaged(self) -> Iterator[None]:
        """The averaged weights in their places and the method in evaluation mode, for the length of the block."""
        self._swap()
        self.method.eval()
        try:
            yield
        finally:
            self._swap()
            self.ready()

    def settle(self) -> None:
        """Keep the averaged weights for good, at the end of the stage."""
        self._swap()
        self.averages = {}

    @torch.no_grad()
    def _swap(self) -> None:
        for name, averages in self.averages.items():
            for average, tensor in zip(averages, self.followed[name], strict=True):
                kept = tensor.clone()
                tensor.copy_(average)
                average.copy_(kept)


def statistics_of(modules: Sequence[nn.Module]) -> list[Tensor]:
    """The running means and variances of batch norm: averaged weights answer with averages of these.

    Those that a training keeps are of its last ten batches or so, and of small batches they jump from step to step.
    """
    norms = {id(norm): norm for module in modules for norm in module.modules() if isinstance(norm, _BatchNorm)}
    kept = [(norm.running_mean, norm.running_var) for norm in norms.values()]
    return [tensor for pair in kept for tensor in pair if tensor is not None]


def _started(moves: Game) -> Generator[Move | Total, Tensor | None, Any]:
    """The game with nothing sent before its first move."""
    return (yield from moves)


def finite(losses: Mapping[str, Mapping[str, float]], stage: str, step: int) -> None:
    """Stop a training whose losses are no longer numbers.

    Raises:
        RunError: a term is NaN or infinite.
    """
    for player, terms in losses.items():
        for term, value in terms.items():
            if not math.isfinite(value):
                raise RunError(
                    f"stage {stage!r}, step {step}: loss {term!r} of {player} is {value}; lower the learning rate "
                    f"(--settings.rate) or check the images for NaN (scantling check)"
                )


def _names(named: str | tuple[str, ...]) -> tuple[str, ...]:
    return (named,) if isinstance(named, str) else tuple(named)


def _plain(move: object) -> object:
    return tuple(move) if isinstance(move, list | tuple) else move


def _check_disjoint(owned: Mapping[str, Sequence[nn.Parameter]], stage: Stage) -> None:
    owners: dict[int, str] = {}
    for name, parameters in owned.items():
        if not parameters:
            raise StageError(f"player {name!r} owns no parameter")
        for parameter in parameters:
            other = owners.setdefault(id(parameter), name)
            if other != name:
                raise StageError(f"players {other!r} and {name!r} share a parameter; a parameter belongs to one player")
    for teacher in stage.teachers:
        for parameter in teacher.module.parameters():
            if id(parameter) in owners:
                raise StageError(
                    f"a teacher of stage {stage.name!r} holds a parameter of player {owners[id(parameter)]!r}; "
                    "a teacher follows and is not trained"
                )


def _explained(error: RuntimeError, names: tuple[str, ...], stage: Stage) -> Exception:
    text = str(error)
    if "modified by an inplace operation" in text or "backward through the graph a second time" in text:
        return StageError(
            f"stage {stage.name!r}: a second loss for {' and '.join(names)} needs a new forward pass, since the "
            "player was updated in between"
        )
    if "does not require grad" in text:
        return StageError(f"stage {stage.name!r}: the loss of {' and '.join(names)} does not depend on any player")
    return error
