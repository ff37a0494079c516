"""The log of a run as curves; lines that a killed run left broken are counted and passed over."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

Curve = tuple[list[float], list[float]]
"""Steps and values; NaN where the log has no number."""


@dataclass
class Log:
    """The curves of a run.

    Losses go by (stage, player, term), learning rates by (stage, player), validation by (stage, metric).
    """

    losses: dict[tuple[str, str, str], Curve] = field(default_factory=dict)
    rates: dict[tuple[str, str], Curve] = field(default_factory=dict)
    validation: dict[tuple[str, str], Curve] = field(default_factory=dict)
    broken: int = 0
    """Lines that could not be read."""

    @property
    def stages(self) -> list[str]:
        """The stages in the order of their first line."""
        return list(dict.fromkeys(key[0] for key in (*self.losses, *self.validation, *self.rates)))

    @property
    def last_step(self) -> int:
        """The greatest step of the last stage; 0 of an empty log."""
        last = self.stages[-1] if self.stages else ""
        steps = [steps for key, (steps, _) in self.losses.items() if key[0] == last]
        steps += [steps for key, (steps, _) in self.validation.items() if key[0] == last]
        return int(max((step for one in steps for step in one), default=0))


def read_log(path: Path) -> Log:
    """Read a log of any length, line by line; a killed run may leave broken lines, which are counted."""
    log = Log()
    if not path.is_file():
        return log
    with path.open("rb") as lines:
        for line in lines:
            if not line.strip():
                continue
            try:
                _add(log, json.loads(line))
            except (ValueError, TypeError, AttributeError, KeyError, RecursionError):
                log.broken += 1
    return log


def _add(log: Log, line: Any) -> None:
    stage, step = str(line.get("stage", "")), float(line["step"])
    for player, terms in (line.get("losses") or {}).items():
        for term, value in terms.items():
            _append(log.losses, (stage, player, term), step, value)
    for player, value in (line.get("lr") or {}).items():
        _append(log.rates, (stage, player), step, value)
    for name, value in (line.get("validation") or {}).items():
        if value is None or isinstance(value, int | float):
            _append(log.validation, (stage, name), step, value)


def _append(curves: dict[Any, Curve], key: tuple[str, ...], step: float, value: Any) -> None:
    steps, values = curves.setdefault(key, ([], []))
    number = math.nan if value is None else float(value)
    steps.append(step)
    values.append(number if math.isfinite(number) else math.nan)
