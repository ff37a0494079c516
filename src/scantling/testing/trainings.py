"""Trainings that are quick, quiet, interrupted or patched, for checks and tests."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from rich.console import Console
from safetensors.torch import load_file
from torch import Tensor

from scantling.training import finishing, stage_runner, trainer


def trained_weights(run: Path) -> dict[str, Tensor]:
    """All that a training has changed, what inference does not need included."""
    state = {name: t for name, t in load_file(run / "state.safetensors").items() if name.startswith("model/")}
    answering = load_file(run / "model" / "weights.safetensors")  # calibrated after the last step
    return state | {f"model/{name}": tensor for name, tensor in answering.items()}


def quiet() -> Console:
    """A console that says nothing."""
    return Console(quiet=True)


@contextmanager
def swapped(owner: Any, name: str, value: Any) -> Iterator[None]:
    """Another value for an attribute, for the length of the block."""
    before = getattr(owner, name)
    setattr(owner, name, value)
    try:
        yield
    finally:
        setattr(owner, name, before)


@contextmanager
def quickly(*, rehearsed: bool = True) -> Iterator[None]:
    """A rehearsal of one step, or none, and no pictures, for the length of the block."""
    rehearsal = (trainer, "REHEARSED", 1) if rehearsed else (trainer.StageTraining, "_tell_time", lambda *_: None)
    with swapped(*rehearsal), swapped(finishing, "draw", lambda *_, **__: None):
        yield


@contextmanager
def interrupted(*, after: int, stage: str = "") -> Iterator[None]:
    """Steps beyond the first `after`, of a stage or of any, raise KeyboardInterrupt, for the length of the block."""
    original, taken = stage_runner.StageRunner.step, 0

    def step(self: stage_runner.StageRunner, *args: Any) -> Any:
        nonlocal taken
        taken += stage in ("", self.stage.name)
        if taken > after:
            raise KeyboardInterrupt
        return original(self, *args)

    with swapped(stage_runner.StageRunner, "step", step):
        yield
