"""What all commands share: their outcome, `--json`, and how they talk."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from rich.console import Console

from scantling.core.text import wrapped


@dataclass(frozen=True)
class Outcome:
    """What a command has done.

    Attributes:
        facts: for `--json`.
        failed: sentences on the cases that failed; the exit code is 1 if there are any.
        then: what the command does once this is told, such as to serve until it is stopped.
    """

    facts: Any
    failed: list[str] = field(default_factory=list)
    then: Callable[[], None] | None = None


def talk() -> Console:
    """Where progress and remarks go: not where results go."""
    # in a log a sentence is one line
    return Console(stderr=True, highlight=False, markup=False, soft_wrap=not sys.stderr.isatty())


def width() -> int | None:
    """The columns of the terminal that results are told on; None where there is none: in a log a line may be long."""
    return shutil.get_terminal_size().columns if sys.stdout.isatty() else None


def tell(text: str = "") -> None:
    """Lines of a result, for people; a reader that has gone away (`| head`) stops no command."""
    try:
        sys.stdout.write(wrapped(text, width()) + "\n")
        sys.stdout.flush()
    except BrokenPipeError:
        silence()


def silence() -> None:
    """Send what is still to be told nowhere: nobody reads it."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


@contextmanager
def counting(title: str) -> Iterator[Callable[[float, int, str], None]]:
    """A progress bar with the time left for work that is told as (done, total, name); a part of an item may be done."""
    from scantling.core.progress import progress_line

    with progress_line(talk(), transient=True) as progress:
        task = progress.add_task(title, total=None, facts="")

        def update(done: float, total: int, name: str) -> None:
            progress.update(task, completed=done, total=total, facts=name)

        yield update
