"""The trainer: the stages of a training one after the other, with checkpoints, validation, log and progress."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

import torch
from rich.console import Console
from torch import Tensor

from scantling.contract.method import Method
from scantling.contract.stage import Stage
from scantling.core.errors import RunError
from scantling.core.samples import Batch
from scantling.data.prefetcher import Prefetcher
from scantling.data.reader import Reader
from scantling.networks.replay import forget
from scantling.training.callbacks import Callback, LoggedStep, StoppedError, called
from scantling.training.log import Bar, Log, spoken
from scantling.training.optimisers import rate_at
from scantling.training.prepared import check_fields, prepare_fields
from scantling.training.processes import Processes
from scantling.training.signals import Stopping, program_ends, stop_signals
from scantling.training.stage_runner import StageRunner, finite
from scantling.training.state import (
    Position,
    capture,
    copied,
    load_prepared,
    load_state,
    restore,
    save_prepared,
    save_state,
)
from scantling.training.validation import Validation

REHEARSED = 3
"""Steps that are played and taken back, to tell the time that a training will take."""


@dataclass
class Trainer:
    """Everything that a training needs besides the method: where it runs, what it reads, how often it looks up.

    Attributes:
        readers: makes the readers of a stage, by stream.
        held_out: makes those of the validation cases, for a stage's criterion; None where there are none.
        validation: scores the last stage; None where no labelled validation case exists.
        select: which weights a stage keeps: the last, or the best on validation (by masks in the last stage, by
            the stage's own criterion in any).
        saved_every: seconds between two checkpoints.
        faster: what is told beside the expected time where that is more than an hour.
        rates: factors on the learning rate of parameters by name; see `StageRunner`.
        plan: a hash of the data, settings and seed, for what stages prepare.
        logged, validated: how many times a stage is logged and validated.
        callbacks: called with each logged step.
    """

    run: Path
    method: Method
    seed: int
    device: torch.device
    group: Processes
    readers: Callable[[Stage], Mapping[str, Reader]]
    validation: Validation | None
    held_out: Callable[[Stage], Mapping[str, Reader]] | None = None
    select: Literal["last", "best"] = "last"
    accumulation: int = 1
    autocast: torch.dtype | None = None
    console: Console = field(default_factory=lambda: Console(stderr=True, markup=False))
    saved_every: float = 60.0
    faster: str = ""
    rates: Mapping[str, float] = field(default_factory=dict)
    plan: str = ""
    logged: int = 200
    validated: int = 10
    callbacks: Sequence[Callback] = ()

    def go(self) -> Position:
        """Train all stages from where the run folder stands.

        Raises:
            StoppedError: a signal or a callback asked to stop; the state is saved.
        """
        stages = list(self.method.stages())
        found = load_state(self.run)
        position = found[0] if found else Position()
        if any(other != position.model_dump() for other in self.group.all(position.model_dump())):
            raise RunError(f"{self.run}: not all processes see the same checkpoint; put the run on a disk they share")
        if found:
            weights = {name.removeprefix("model/"): t for name, t in found[1].items() if name.startswith("model/")}
            self.method.load_state_dict(weights)
            if position.stage < len(stages):
                check_fields(self.run, stages[: position.stage + position.begun])
        log = (
            Log(self.run, [s.name for s in stages], stage=position.stage, step=position.step)
            if self.group.first
            else None
        )
        try:
            with stop_signals() as stopping:
                for number in range(position.stage, len(stages)):
                    played = StageTraining(self, stages, number, log, stopping)
                    position = played.play(found, position)
                    found = None
        finally:
            if log is not None:
                log.close()
        return position


class StageTraining:
    """One stage of a trainer: `play` trains it; `runner` and `rehearse` alone find out how long its steps take."""

    def __init__(
        self, trainer: Trainer, stages: Sequence[Stage], number: int, log: Log | None, stopping: Stopping
    ) -> None:
        self.trainer, self.stage, self.number = trainer, stages[number], number
        self.final = number == len(stages) - 1
        self.log, self.stopping = log, stopping
        self.readers = trainer.readers(self.stage)
        self.criterion = self.stage.criterion if trainer.held_out is not None else None
        self.held_out = trainer.held_out(self.stage) if self.criterion and trainer.held_out is not None else {}
        self.title = self.stage.name if len(stages) == 1 else f"{self.stage.name} ({number + 1}/{len(stages)})"

    def play(self, found: tuple[Position, dict[str, Tensor], dict[str, Tensor]] | None, position: Position) -> Position:
        trainer, stage = self.trainer, self.stage
        begun_before = position.begun and found is not None
        runner = self.runner(again=begun_before)
        best: dict[str, Tensor] = {}
        if begun_before and found is not None:
            restore(runner, found[1], position.updates)
            best = {name: tensor.to(trainer.device) for name, tensor in found[2].items()}
        else:
            position = position.entering(self.number, runner.updates)
            self._save(runner, position, best)
        prefetcher = self._prefetcher(runner)
        try:
            if position.step < stage.steps:
                self._tell_time(runner, position)
            position, best = self._steps(runner, prefetcher, position, best)
        finally:
            prefetcher.close()
        return self._finish(runner, position, best)

    def runner(self, *, again: bool = False) -> StageRunner:
        """The stage before its first step, with all that it prepares, or with what it has prepared before (`again`)."""
        trainer, prepared = self.trainer, self._prepared(again=again)
        if self.stage.prepares and not again:
            self._prepare_fields(prepared)
        return StageRunner(
            trainer.method, self.stage, seed=trainer.seed, device=trainer.device, group=trainer.group,
            accumulation=trainer.accumulation, autocast=trainer.autocast, prepared=prepared, rates=trainer.rates,
        )  # fmt: skip

    def rehearse(self, runner: StageRunner, first: int, *, wanted: Callable[[Sequence[float]], bool]) -> list[float]:
        """Take real steps, from number `first` on, as long as `wanted` says so of the seconds of those that were taken.

        Returns the seconds of each; the state is not restored.
        """
        prefetcher = self._prefetcher(runner)
        times: list[float] = []
        try:
            while wanted(times):
                step, begun = first + len(times), time.monotonic()
                losses = runner.step(step, prefetcher.batches(step))
                finite({p: {t: float(v) for t, v in one.items()} for p, one in losses.items()}, self.stage.name, step)
                times.append(time.monotonic() - begun)
        finally:
            prefetcher.close()
        return times

    def _prefetcher(self, runner: StageRunner) -> Prefetcher:
        draws = self.stage.draws
        named = None if draws is None else lambda number: draws(runner.at(number))
        return Prefetcher(self.readers, named, runner.own_slots, runner.slots)

    def _steps(
        self, runner: StageRunner, prefetcher: Prefetcher, position: Position, best: dict[str, Tensor]
    ) -> tuple[Position, dict[str, Tensor]]:
        trainer, stage = self.trainer, self.stage
        every = max(1, stage.steps // trainer.logged)
        looked = max(1, stage.steps // trainer.validated)
        begun = saved = time.monotonic()
        before, first = position.seconds, position.step
        bar = Bar(trainer.console, self.title, total=stage.steps, done=first)
        facts, seen = "", dict[str, float]()
        with bar:
            for step in range(first, stage.steps):
                losses = runner.step(step, prefetcher.batches(step, last=step + 1 == stage.steps))
                done, now = step + 1, time.monotonic()
                pace = (now - begun) / (done - first)
                position = position.model_copy(
                    update={"step": done, "updates": dict(runner.updates), "seconds": before + now - begun}
                )
                line = self._log(runner, losses, position, pace) if done % every == 0 or done == stage.steps else None
                if line is not None:
                    facts = ", ".join(f"{name} {sum(terms.values()):.3f}" for name, terms in line["losses"].items())
                if self.validates and (done % looked == 0 or done == stage.steps):
                    position, best, value = self._validate(runner, position, best)
                    seen |= value
                    if position.best_value is not None:
                        facts = f"{facts}, best validation {position.best_value:.3f}"
                left = pace * (stage.steps - done)
                bar.to(done, facts, left)
                if line is not None:
                    told = LoggedStep.of(line, steps=stage.steps, validation=seen, left=left)
                    try:
                        self.stopping.ask(called(trainer.callbacks, told))
                    except Exception:  # a fault of the callback costs no step
                        if trainer.group.count == 1:  # others would have to save too
                            self._save(runner, position, best)
                        raise
                    seen = {}
                self.stopping.ask(program_ends())
                together = trainer.group.count > 1 and done % every == 0
                if done == stage.steps or together or self._wants_save(now - saved):
                    stopping = any(trainer.group.all(bool(self.stopping.by)))
                    self._save(runner, position, best)
                    saved = time.monotonic()
                    if stopping and done < stage.steps:
                        by = self.stopping.by or "another process"
                        at = f"stopped at step {done} of {stage.steps} ({by})"
                        raise StoppedError(f"{trainer.run}: {at}; the same command goes on from there", by=by)
        return position, best

    def _wants_save(self, since: float) -> bool:
        # several processes must save together, which a clock cannot tell them
        return self.trainer.group.count == 1 and (bool(self.stopping.by) or since >= self.trainer.saved_every)

    @property
    def validates(self) -> bool:
        """Whether its weights are scored on validation cases."""
        return self.criterion is not None or (self.final and self.trainer.validation is not None)

    def _validate(
        self, runner: StageRunner, position: Position, best: dict[str, Tensor]
    ) -> tuple[Position, dict[str, Tensor], dict[str, float]]:
        criterion = self.criterion
        with runner.averaged(), torch.no_grad():
            if criterion is not None:
                name, direction = criterion.name, criterion.direction
                values = self.trainer.group.agreed(criterion.values(self.visit_held_out, runner.at(position.step)))
            elif self.trainer.validation is not None:
                validation = self.trainer.validation
                name, direction, values = validation.metric, "max", {validation.metric: validation.value()}
            if self.log is not None:
                self.log.line({"stage": self.stage.name, "step": position.step, "validation": values})
            known, value = position.best_value, values[name]
            better = known is None or (value > known if direction == "max" else value < known)
            if better and not math.isnan(value):
                position = position.model_copy(update={"best_value": value, "best_step": position.step})
                if self.trainer.select == "best":
                    best = copied(self.trainer.method.state_dict())
        return position, best, values

    def _finish(self, runner: StageRunner, position: Position, best: dict[str, Tensor]) -> Position:
        runner.settle()
        chosen = position.step
        if best and position.best_step is not None:
            self.trainer.method.load_state_dict(best)
            chosen = position.best_step
        forget(self.trainer.method)
        self.trainer.method.eval().requires_grad_(False)
        kept = (self.stage.name, chosen, position.best_value if best else None)
        position = position.leaving(kept)
        if self.trainer.group.first:
            weights = {f"model/{name}": tensor for name, tensor in self.trainer.method.state_dict().items()}
            save_state(self.trainer.run, weights, position, {})
        return position

    def _prepared(self, *, again: bool) -> dict[str, Tensor]:
        trainer, stage = self.trainer, self.stage
        if stage.prepare is None:
            return {}
        if not again:
            trainer.method.eval().requires_grad_(False)
            trainer.console.print(f"{self.title}: preparing", highlight=False)
            empty = StageRunner.start(stage, trainer.seed, trainer.device)
            with torch.no_grad():
                tensors = dict(stage.prepare(self._visit, empty))
            if trainer.group.first:
                save_prepared(trainer.run, stage.name, tensors)
            trainer.group.agreed(None)
        prepared = load_prepared(trainer.run, stage.name)
        return {name: tensor.to(trainer.device) for name, tensor in prepared.items()}

    def _prepare_fields(self, prepared: Mapping[str, Tensor]) -> None:
        """Make the fields that the stage prepares, in evaluation mode, before its first step."""
        trainer, stage = self.trainer, self.stage
        trainer.method.eval().requires_grad_(False)
        names = ", ".join(each.name for each in stage.prepares)
        trainer.console.print(f"{self.title}: preparing {names}", highlight=False)
        step = replace(StageRunner.start(stage, trainer.seed, trainer.device), prepared=prepared)
        prepare_fields(
            trainer.run, trainer.method, stage, readers=trainer.readers, step=step, plan=trainer.plan,
            group=trainer.group,
        )  # fmt: skip

    def _visit(self, stream: str) -> Iterator[Batch]:
        for batch in self.readers[stream].visit():
            yield batch.to(self.trainer.device, self.trainer.method.dtype)

    def visit_held_out(self, stream: str) -> Iterator[Batch]:
        """The validation cases of a stream, each once."""
        for batch in self.held_out[stream].visit() if stream in self.held_out else ():
            yield batch.to(self.trainer.device, self.trainer.method.dtype)

    def _tell_time(self, runner: StageRunner, position: Position) -> None:
        """Take a few steps, go back to the checkpoint of just before them, and say how long the rest takes."""
        count = min(REHEARSED, self.stage.steps - position.step)
        times = self.rehearse(runner, position.step, wanted=lambda times: len(times) < count)
        found = load_state(self.trainer.run)
        if found is None:
            raise RunError(f"{self.trainer.run}: its checkpoint has gone while the training ran; start it again")
        restore(runner, found[1], found[0].updates)
        left = self.stage.steps - position.step
        expected = min(times) * left
        if self.trainer.group.first:
            of = f"{left} steps" if position.step == 0 else f"{left} of {self.stage.steps} steps left"
            hint = f"; {self.trainer.faster}" if self.trainer.faster and expected > 3600 else ""
            self.trainer.console.print(f"{self.title}: {of}, about {spoken(expected)}{hint}", highlight=False)

    def _log(
        self, runner: StageRunner, losses: Mapping[str, Mapping[str, Tensor]], position: Position, pace: float
    ) -> dict[str, Any]:
        done = position.step
        numbers = {player: {term: float(value) for term, value in terms.items()} for player, terms in losses.items()}
        finite(numbers, self.stage.name, done)
        line: dict[str, Any] = {
            "stage": self.stage.name,
            "step": done,
            "seconds": round(position.seconds, 3),
            "rate": round(1 / pace, 3),
            "losses": numbers,
            "lr": {name: rate_at(player, done - 1, self.stage.steps) for name, player in runner.players.items()},
        }
        if self.log is not None:
            self.log.line(line)
        return line

    def _save(self, runner: StageRunner, position: Position, best: dict[str, Tensor]) -> None:
        if self.trainer.group.first:
            save_state(self.trainer.run, capture(runner), position, best)
        self.trainer.group.agreed(None)
