"""What Python is told of a training while it runs, and how it is stopped."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from scantling.core.errors import RunError


class StopTraining(Exception):  # noqa: N818, as StopIteration, which is no error either
    """Raised by a callback, it ends a training: its state is saved, so that the same call goes on from there."""


class StoppedError(RunError):
    """The training was asked to stop; its state is saved.

    Attributes:
        by: the signal, "KeyboardInterrupt", or `CALLBACK`.
    """

    def __init__(self, sentence: str, *, by: str = "") -> None:
        super().__init__(sentence)
        self.by = by


CALLBACK = "a callback"


@dataclass(frozen=True, kw_only=True)
class LoggedStep:
    """A step of a training that was logged, about 200 in each stage, as callbacks get it.

    Attributes:
        stage: the name of the stage.
        step: how many steps of the stage are done, from 1 to `steps`.
        losses: the terms of the loss, by "player/term".
        rates: the learning rates, by player.
        validation: the values on validation cases since the last logged step, by metric; mostly empty.
        seconds: that the training has taken, of all stages so far.
        seconds_left: until the end of the stage, from the pace of its steps.
    """

    stage: str
    step: int
    steps: int
    losses: Mapping[str, float]
    rates: Mapping[str, float]
    validation: Mapping[str, float]
    seconds: float
    seconds_left: float

    @classmethod
    def of(cls, line: Mapping[str, Any], *, steps: int, validation: Mapping[str, float], left: float) -> LoggedStep:
        """From a line of the log of a run, the steps of its stage, and what is not in it."""
        losses = {f"{player}/{term}": value for player, one in line["losses"].items() for term, value in one.items()}
        return cls(
            stage=line["stage"], step=line["step"], steps=steps, losses=losses, rates=line["lr"],
            validation=dict(validation), seconds=line["seconds"], seconds_left=left,
        )  # fmt: skip


Callback = Callable[[LoggedStep], object]
"""Called with each logged step, in the first process; it raises `StopTraining` to stop, and what it returns is ignored.
"""


def called(callbacks: Sequence[Callback], step: LoggedStep) -> str:
    """Call all callbacks with a logged step; what asks the training to stop, empty where nothing does."""
    asks = ""
    for callback in callbacks:
        try:
            callback(step)
        except StopTraining:
            asks = asks or CALLBACK
        except KeyboardInterrupt:  # no step is lost: its weights are as they will be saved
            asks = "KeyboardInterrupt"
    return asks
