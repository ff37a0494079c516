"""A run as an object: what `scantling.train` returns, and what any run folder is opened as."""

from __future__ import annotations

import json
import os
from html import escape
from pathlib import Path
from typing import Any

from scantling.api.calls import python_words
from scantling.core.paths import StrPath, path_of
from scantling.records.run import run_facts
from scantling.report.logs import read_log


class Run(os.PathLike[str]):
    """A run folder; it goes wherever the path of one goes.

    Args:
        path: the folder; nothing is read before it is needed.

    Attributes:
        path: the folder.

    Example:
        >>> run = scantling.Run("runs/unet")
        >>> run.finished, run.record["steps"], run.log[-1]
    """

    def __init__(self, path: StrPath) -> None:
        self.path = path_of(path, "path")

    def __fspath__(self) -> str:
        return str(self.path)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Run) and self.path == other.path

    def __hash__(self) -> int:
        return hash(self.path)

    @property
    @python_words()
    def record(self) -> dict[str, Any]:
        """The contents of `run.json`: settings, traits, data, split, seed, versions, times, warnings.

        Raises:
            RunError: the folder is no run.
        """
        return run_facts(self.path)

    @property
    def finished(self) -> bool:
        """Whether the training has come to its end; if not, the same call goes on with it."""
        return bool(self.record.get("finished"))

    @property
    def log(self) -> list[dict[str, Any]]:
        """What was logged, a row for each logged step, as `pandas.DataFrame` takes it.

        Keys: `stage`, `step`, `seconds`, `rate` (steps a second), "player/term" for each term of the loss,
        "lr/player" for the learning rates, "validation/metric" in the rows of steps that were validated.
        """
        rows: dict[tuple[str, int], dict[str, Any]] = {}
        path = self.path / "log.jsonl"
        for line in path.read_text(encoding="utf-8").splitlines() if path.is_file() else ():
            try:
                facts = json.loads(line)
                row = rows.setdefault((facts["stage"], facts["step"]), {})
            except (ValueError, KeyError, TypeError):  # what a killed run left of its last line
                continue
            row |= {name: facts[name] for name in ("stage", "step", "seconds", "rate") if name in facts}
            row |= {f"{p}/{term}": v for p, terms in facts.get("losses", {}).items() for term, v in terms.items()}
            row |= {f"lr/{player}": value for player, value in facts.get("lr", {}).items()}
            row |= {f"validation/{name}": value for name, value in facts.get("validation", {}).items()}
        return list(rows.values())

    def load_model(self, **how: Any) -> Any:
        """The trained model; see `scantling.load_model`, which takes the same keywords."""
        import scantling

        return scantling.load_model(self, **how)

    def predict(self, source: Any, out: StrPath, **how: Any) -> Any:
        """Answer about the cases of `source` into the folder `out`; see `scantling.predict`."""
        import scantling

        return scantling.predict(self, source, out=out, **how)

    def report(self, out: StrPath | None = None) -> Path:
        """Write the page about the run; see `scantling.write_report`."""
        import scantling

        return scantling.write_report(self, out=out)

    def __repr__(self) -> str:
        if not (self.path / "run.json").is_file():
            return f"Run({str(self.path)!r})"
        record, log = self.record, read_log(self.path / "log.jsonl")
        if record.get("finished"):
            how = f"trained {record['steps']} steps in {record['seconds']:.0f} s"
        else:
            how = f"not finished, stopped after step {log.last_step}; the same call goes on"
        return f"Run({str(self.path)!r}: {record['method']}, {how})"

    def _repr_html_(self) -> str:
        from scantling.api.notebook import curves

        return f"<div>{escape(repr(self))}{curves(self.path / 'log.jsonl')}</div>"
