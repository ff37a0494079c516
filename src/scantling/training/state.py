"""What resuming needs, as one safetensors file: weights, averages, optimisers, the best weights so far.

No generator is saved, because randomness is a function of the step.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Self

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from scantling.core.atomic import replacing
from scantling.core.case import Frozen
from scantling.core.errors import RunError
from scantling.records.run_folder import save_tensors
from scantling.training.stage_runner import StageRunner

STATE, PREVIOUS, PREPARED = "state.safetensors", "state-previous.safetensors", "prepared.safetensors"


class Position(Frozen):
    """Where a training stands.

    Attributes:
        stage: the number of the stage in play, from 0; the number of stages when all are done.
        begun: whether that stage has been entered, so that there is more to restore than weights.
        step: steps of that stage that are done.
        seconds: of training so far.
        updates: of each player in the stage.
        best_value, best_step: of the best validation so far, NaN-free; None before the first.
        finished: the stages that are done: which step's weights each kept, and its validation value.
    """

    stage: int = 0
    begun: bool = False
    step: int = 0
    seconds: float = 0.0
    updates: dict[str, int] = {}
    best_value: float | None = None
    best_step: int | None = None
    finished: tuple[tuple[str, int, float | None], ...] = ()

    def entering(self, stage: int, updates: Mapping[str, int]) -> Self:
        """Before the first step of a stage."""
        return self.model_copy(update={"stage": stage, "begun": True, "updates": dict(updates)})

    def leaving(self, kept: tuple[str, int, float | None]) -> Self:
        """After a stage, of which `finished` says what it kept."""
        return type(self)(stage=self.stage + 1, seconds=self.seconds, finished=(*self.finished, kept))


def capture(runner: StageRunner) -> dict[str, Tensor]:
    """Everything that the steps of a stage change, as tensors by name; views, not copies."""
    tensors = {f"model/{name}": tensor for name, tensor in runner.method.state_dict().items()}
    for player, averages in runner.averages.items():
        tensors |= {f"average/{player}/{number}": average for number, average in enumerate(averages)}
    for player, optimiser in runner.optimisers.items():
        for number, parameter in enumerate(runner.owned[player]):
            for name, value in optimiser.state.get(parameter, {}).items():
                if isinstance(value, Tensor):
                    tensors[f"optimiser/{player}/{number}/{name}"] = value
    return tensors


@torch.no_grad()
def restore(runner: StageRunner, tensors: Mapping[str, Tensor], updates: Mapping[str, int]) -> None:
    """Put captured tensors back; optimisers forget what was not captured."""
    own = runner.method.state_dict()
    for name, tensor in own.items():
        tensor.copy_(tensors[f"model/{name}"])
    for player, averages in runner.averages.items():
        weights = len(runner.owned[player])
        for number, average in enumerate(averages):
            name = f"average/{player}/{number}"
            followed = number >= weights and name not in tensors  # statistics, which earlier versions did not average
            average.copy_(runner.followed[player][number] if followed else tensors[name])
    kept: dict[str, dict[str, Tensor]] = {}
    for name, tensor in tensors.items():
        owner, _, what = name.rpartition("/")
        kept.setdefault(owner, {})[what] = tensor
    for player, optimiser in runner.optimisers.items():
        optimiser.state.clear()
        for number, parameter in enumerate(runner.owned[player]):
            if found := kept.get(f"optimiser/{player}/{number}"):
                # Adam counts its steps on the processor; all else lies as and where the parameter does
                optimiser.state[parameter] = {
                    name: value.clone() if name == "step" else torch.empty_like(parameter).copy_(value)
                    for name, value in found.items()
                }
    runner.updates = dict(updates)


def copied(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Independent copies on the same device."""
    return {name: tensor.detach().clone() for name, tensor in tensors.items()}


def save_state(run: Path, tensors: Mapping[str, Tensor], position: Position, best: Mapping[str, Tensor]) -> None:
    """Write the state atomically; the one before is kept beside it."""
    everything = {**tensors, **{f"best/{name}": tensor for name, tensor in best.items()}}
    with replacing(run / STATE) as aside:
        save_tensors(aside, everything, metadata={"position": position.model_dump_json()})
        if (run / STATE).exists():
            (run / STATE).replace(run / PREVIOUS)


def load_state(run: Path) -> tuple[Position, dict[str, Tensor], dict[str, Tensor]] | None:
    """Position, tensors and best weights of the newest state that can be read; None before the first.

    Raises:
        RunError: there are states but none can be read.
    """
    broken: list[str] = []
    for name in (STATE, PREVIOUS):
        path = run / name
        if not path.exists():
            continue
        try:
            with safe_open(path, framework="pt") as file:
                metadata: dict[str, Any] = file.metadata() or {}
                tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118 - not a mapping
            position = Position.model_validate_json(metadata["position"])
        except (SafetensorError, OSError, KeyError, ValueError) as error:
            broken.append(f"{name} ({error})")
            continue
        best = {key.removeprefix("best/"): value for key, value in tensors.items() if key.startswith("best/")}
        return position, {key: value for key, value in tensors.items() if not key.startswith("best/")}, best
    if broken:
        raise RunError(f"{run}: no checkpoint can be read: {'; '.join(broken)}; train into another folder")
    return None


def has_progress(run: Path) -> bool:
    """Whether a checkpoint says that a step was done; one that cannot be read might."""
    for path in (run / STATE, run / PREVIOUS):
        if path.exists():
            try:
                with safe_open(path, framework="pt") as file:
                    position = Position.model_validate_json((file.metadata() or {})["position"])
            except (SafetensorError, OSError, KeyError, ValueError):
                return True
            if position.stage or position.step:
                return True
    return False


def save_prepared(run: Path, stage: str, tensors: Mapping[str, Tensor]) -> None:
    """Keep what a stage's `prepare` returned, for the whole stage."""
    with replacing(run / PREPARED) as aside:
        save_tensors(aside, tensors, metadata={"stage": stage})


def load_prepared(run: Path, stage: str) -> dict[str, Tensor]:
    """What `save_prepared` kept.

    Raises:
        RunError: it cannot be read, or it was prepared for another stage.
    """
    path = run / PREPARED
    try:
        with safe_open(path, framework="pt") as file:
            metadata: dict[str, str] = file.metadata() or {}
            tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118 - not a mapping
    except (SafetensorError, OSError) as error:
        raise RunError(f"{path}: cannot be read ({error}); train into another folder") from None
    if metadata.get("stage") != stage:
        raise RunError(f"{path}: was prepared for stage {metadata.get('stage')!r}, not {stage!r}; train anew")
    return tensors
