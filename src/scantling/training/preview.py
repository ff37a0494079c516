"""What a training would do, without doing it: `train --plan`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from scantling.contract.method import Method
from scantling.training.equivalent import shown


@dataclass(frozen=True)
class Preview:
    """The decisions of a training that has not begun.

    Attributes:
        method: an untrained model, with resolved settings.
        preset: that its settings began with.
        plan: sentences on what was decided from the data, and why.
    """

    method: Method
    preset: str
    plan: tuple[str, ...]

    @property
    def decided(self) -> dict[str, Any]:
        """The settings that differ from those of the preset."""
        settings = self.method.settings
        before = type(settings).preset(self.preset).model_dump(mode="json")
        return {name: value for name, value in settings.model_dump(mode="json").items() if value != before[name]}

    def facts(self) -> dict[str, Any]:
        """Everything, as JSON takes it."""
        return {
            "method": self.method.card.name,
            "preset": self.preset,
            "plan": list(self.plan),
            "decided": self.decided,
            "settings": self.method.settings.model_dump(mode="json"),
            "preprocessing": self.method.preprocessing.model_dump(mode="json"),
            "grid": list(self.method.median_shape),
            "stages": [
                {
                    "name": stage.name,
                    "steps": stage.steps,
                    "streams": [
                        {"name": stream.name, "batch": stream.batch, "patch": stream.patch} for stream in stage.streams
                    ],
                }
                for stage in self.method.stages()
            ],
            "parameters": sum(parameter.numel() for parameter in self.method.parameters()),
        }

    def __repr__(self) -> str:
        return "\n".join(self.lines())

    def lines(self) -> list[str]:
        """The same for people."""
        facts, recipe = self.facts(), self.method.preprocessing
        decided = ", ".join(f"{name} {shown(value)}" for name, value in facts["decided"].items())
        lines = [f"{facts['method']}: {sentence}" for sentence in self.plan]
        lines += [f"settings that differ from the preset {self.preset}: {decided or 'none'}"]
        lines += [
            f"grid: the median image has {_size(self.method.median_shape)} pixels; normalisation: {recipe.normalise}"
        ]
        for stage in facts["stages"]:
            parts = [
                f"{stream['name']}: {stream['batch']} "
                + (f"patches of {_size(stream['patch'])}" if stream["patch"] else "whole images")
                for stream in stage["streams"]
            ]
            lines.append(f"stage {stage['name']}: {stage['steps']:,} steps; a batch of {', '.join(parts)}")
        return [*lines, f"parameters: {facts['parameters']:,}"]


def _size(shape: Sequence[int]) -> str:
    return " x ".join(map(str, shape))
