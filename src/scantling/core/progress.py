"""One line of progress: on a narrow terminal its least important part goes first, and the time left never."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Console, RenderableType
from rich.progress import BarColumn, MofNCompleteColumn, Progress, ProgressColumn, Task, TimeRemainingColumn
from rich.table import Column, Table
from rich.text import Text

BAR = (30, 20, 10)
"""The widths of the bar, of which the greatest is taken that fits."""


def progress_line(console: Console, *, transient: bool = False) -> Progress:
    """A progress of one line, silent where there is no terminal; its tasks have a field `facts`, parts by ", ".

    Args:
        transient: the line goes when all is done.
    """
    line = ProgressLine(console)
    return Progress(line, console=console, disable=not console.is_terminal, transient=transient)


class ProgressLine(ProgressColumn):
    """Title, bar, count, time left and facts, as far as they fit; what is left out goes in the order of `parts`."""

    def __init__(self, console: Console) -> None:
        super().__init__(table_column=Column(no_wrap=True))
        self._console = console
        self._count, self._time = MofNCompleteColumn(), TimeRemainingColumn(elapsed_when_finished=True)

    def render(self, task: Task) -> RenderableType:
        """The line."""
        left = self._time.render(task)
        if left and not task.finished:  # of a task whose end is not known there is none
            left.append(" left")
        room = self._console.width - len(left)
        title, count = Text(task.description), self._count.render(task)
        shown: dict[str, RenderableType] = {"time": left}
        for name, part in (("title", title), ("count", count)):
            if len(part) + 1 <= room:
                shown[name] = part
                room -= len(part) + 1
        if (bar := next((each for each in BAR if each + 1 <= room), None)) is not None:
            shown["bar"] = BarColumn(bar_width=bar).render(task)
            room -= bar + 1
        if facts := fitting(str(task.fields.get("facts", "")).split(", "), room - 1):
            shown["facts"] = Text(facts, style="dim")
        line = Table.grid(padding=(0, 1, 0, 0))
        for _ in shown:
            line.add_column(no_wrap=True)
        line.add_row(*(shown[name] for name in ("title", "bar", "count", "time", "facts") if name in shown))
        return line


def fitting(parts: Sequence[str], room: int) -> str:
    """As many parts, from the first on, as fit into `room` columns."""
    found = ""
    for part in parts:
        longer = f"{found}, {part}" if found else part
        if len(longer) > room:
            break
        found = longer
    return found
