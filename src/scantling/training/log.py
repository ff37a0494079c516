"""The log of a run and what the user sees of it: one JSON line a logged step, and a line of progress."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from rich.console import Console

from scantling.core.atomic import to_json, write_text, writing
from scantling.core.progress import progress_line

LOG = "log.jsonl"


class Log:
    """Appends to `log.jsonl`, after cutting it back to the step that training goes on from."""

    def __init__(self, run: Path, stages: list[str], *, stage: int, step: int) -> None:
        self.path = run / LOG
        run.mkdir(parents=True, exist_ok=True)
        if self.path.exists():
            write_text(self.path, "".join(kept_lines(self.path, stages, stage=stage, step=step)))
        self._file = self.path.open("a", encoding="utf-8")

    def line(self, facts: Mapping[str, Any]) -> None:
        """Write one line and hand it to the system."""
        with writing(self.path):
            self._file.write(to_json(dict(facts), indent=None) + "\n")
            self._file.flush()

    def close(self) -> None:
        """Flush to the disk and close."""
        with writing(self.path):
            os.fsync(self._file.fileno())
        self._file.close()


def kept_lines(path: Path, stages: list[str], *, stage: int, step: int) -> list[str]:
    """The whole lines of a log that lie before step `step` of stage number `stage`."""
    kept = []
    for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
        try:
            facts = json.loads(line)
            at = (stages.index(facts["stage"]), int(facts["step"]))
        except (ValueError, KeyError, TypeError):
            continue
        if at <= (stage, step):
            kept.append(line + "\n")
    return kept


class Bar:
    """Progress of one stage with the time left; a line now and then where there is no terminal.

    In a notebook it is silent: curves take its place (`api.notebook`).
    """

    def __init__(self, console: Console, title: str, *, total: int, done: int) -> None:
        self._console, self._title, self._total = console, title, total
        self._progress = progress_line(console)
        self._task = self._progress.add_task(title, total=total, completed=done, facts="")
        self._told = done

    def __enter__(self) -> Self:
        self._progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._progress.stop()

    def to(self, done: int, facts: str, seconds_left: float) -> None:
        """Show how far the stage is, `facts` beside it."""
        self._progress.update(self._task, completed=done, facts=facts)
        if not (self._console.is_terminal or self._console.is_jupyter) and (done - self._told) * 10 >= self._total:
            self._told = done
            self._console.print(
                f"{self._title}: {done} of {self._total}, {spoken(seconds_left)} left, {facts}", highlight=False
            )


def spoken(seconds: float) -> str:
    """A duration as people say it: "40 s", "12 min", "3.5 h"."""
    if seconds < 100:
        return f"{seconds:.0f} s"
    if seconds < 5400:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.1f} h" if seconds < 2 * 86400 else f"{seconds / 86400:.1f} days"
