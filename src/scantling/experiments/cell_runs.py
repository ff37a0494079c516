"""How the cells of an experiment are done: one after the other here, or spread by Ray; and how far they are."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal, get_args

from rich.console import Console

from scantling.core.checks import check_choice
from scantling.core.engines import Share, ray_cluster
from scantling.core.errors import DiskFullError, ScantlingError, SettingsError
from scantling.data.dataset import Dataset
from scantling.experiments.cells import Cell, Recipe, do_cell, scores_of
from scantling.experiments.curve_result import told
from scantling.inference.runner import check_shard
from scantling.training.callbacks import LoggedStep, StoppedError
from scantling.training.log import spoken

Engine = Literal["local", "ray"]
Progress = Callable[[float, int, str], None]
"""Called with the number of trainings done, the share of the running one included, of all, and its name."""


def check_spread(engine: Engine, share: Share | None, shard: tuple[int, int]) -> None:
    """Make sure that cells can be spread so.

    Raises:
        SettingsError: the engine is unknown, cells of this process are to have a share of a machine, or the shard is
            none.
    """
    check_choice(engine, get_args(Engine), argument="--engine")
    if engine == "local" and share not in (None, Share()):
        raise SettingsError(
            "--cpus-per-cell and --gpus-per-cell: go with --engine ray or slurm; leave them out, or say --threads"
        )
    check_shard(shard)


def do_cells(
    recipe: Recipe,
    cells: Sequence[Cell],
    *,
    engine: Engine = "local",
    share: Share | None = None,
    console: Console,
    progress: Progress | None = None,
) -> Mapping[Cell, str]:
    """Do the cells that are not yet done; why each of them failed that has.

    Args:
        share: what each takes of a machine, with Ray.

    Raises:
        StoppedError: a signal has stopped a training, which is saved.
        KeyboardInterrupt: the same, where others than this process train.
        ScantlingError: there is no Ray.
    """
    todo = [cell for cell in cells if scores_of(recipe, cell) is None]
    before = f"; {len(cells) - len(todo)} of them are done" if len(todo) < len(cells) else ""
    console.print(f"{told(cells)}{before}", highlight=False, markup=False)
    pace = Pace(len(todo), console, progress)
    if todo and engine == "ray":
        return _by_ray(recipe, todo, share or Share(), pace)
    return _one_by_one(recipe, todo, pace)


def _one_by_one(recipe: Recipe, cells: Sequence[Cell], pace: Pace) -> Mapping[Cell, str]:
    failed = dict[Cell, str]()
    for cell in cells:
        pace.begin(cell)
        try:
            do_cell(recipe, cell, callbacks=(pace.step,))
        except (StoppedError, DiskFullError):
            raise
        except ScantlingError as error:
            failed[cell] = str(error)
        pace.end(cell, time.monotonic() - pace.begun, failed.get(cell, ""))
    return failed


def _by_ray(recipe: Recipe, cells: Sequence[Cell], share: Share, pace: Pace) -> Mapping[Cell, str]:
    if isinstance(recipe.data, Dataset):
        raise SettingsError("--engine ray: other processes open the data by their folder; name it instead")
    failed = dict[Cell, str]()
    with ray_cluster(share) as cluster:
        pace.at_once = cluster.parts
        options = replace(recipe.options, threads=recipe.options.threads or cluster.cpus)
        elsewhere = recipe.elsewhere(options)
        pace.name = f"{cluster.parts} at a time"
        for number, result in cluster.run(_timed, [(elsewhere, cell) for cell in cells]):
            error = str(result) if isinstance(result, ScantlingError) else ""
            failed |= {cells[number]: error} if error else {}
            pace.end(cells[number], result if isinstance(result, float) else 0.0, error)
    return failed


def _timed(job: tuple[Recipe, Cell]) -> float:
    """Do a cell in another process; the seconds that it took."""
    begun = time.monotonic()
    do_cell(*job)
    return time.monotonic() - begun


@dataclass
class Pace:
    """Tells how far the cells are, and from those that are done how long the others take."""

    total: int
    console: Console
    progress: Progress | None
    done: int = 0
    seconds: list[float] = field(default_factory=list)
    begun: float = 0.0
    name: str = ""
    at_once: int = 1

    def begin(self, cell: Cell) -> None:
        """A cell is begun."""
        self.begun, self.name = time.monotonic(), str(cell)
        self._show(0.0)

    def step(self, step: LoggedStep) -> None:
        """A callback of its training."""
        self._show(step.step / max(step.steps, 1))

    def end(self, cell: Cell, took: float, error: str) -> None:
        """The cell is done after so many seconds, or has failed."""
        self.done += 1
        if not error:
            self.seconds.append(took)
        self._show(0.0)
        if not (self.console.is_terminal or self.console.is_jupyter):
            said = f"failed: {error}" if error else spoken(took)
            left = -(-(self.total - self.done) // self.at_once) * sum(self.seconds) / max(len(self.seconds), 1)
            more = f"; {spoken(left)} left" if self.seconds and self.done < self.total else ""
            self.console.print(f"{self.done} of {self.total}: {cell}: {said}{more}", highlight=False, markup=False)

    def _show(self, share: float) -> None:
        if self.progress is not None:
            self.progress(self.done + 0.95 * min(share, 1.0), self.total, self.name)
