"""The cells of the table of systems: an arm with a seed, several trainings that share its minutes, and its scores.

A cell of `curve` is one training; these make cases between trainings, build one on another and have measures of their
own, so that they are cells of their own kind, as resumable.
"""

from __future__ import annotations

import hashlib
import json
import multiprocessing
import resource
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from rich.console import Console

from scantling.core.atomic import write_json
from scantling.core.errors import RunError, ScantlingError, out_of_memory
from scantling.core.fields import reads_labels
from scantling.core.machine import Compute
from scantling.core.outputs import locked
from scantling.data.dataset import Dataset, open_dataset
from scantling.data.division import divide
from scantling.data.label_budget import few_labelled
from scantling.data.manifest_file import write_manifest
from scantling.data.mask_classes import classes_of_masks
from scantling.experiments.kept_scores import kept_scores, scores_once
from scantling.experiments.systems import DATA, Arm, Making, System, Training
from scantling.inference import synthesize
from scantling.methods.catalogue import card_of
from scantling.records.evaluation import EvaluationRecord
from scantling.records.run import LabelsRead, read_run
from scantling.training.callbacks import StoppedError
from scantling.training.options import Options
from scantling.training.training import train

SMALL_STEPS, SMALL_COUNT = 4, 2


@dataclass(frozen=True)
class How:
    """What all cells share; minutes of None are `SMALL_STEPS` steps."""

    data: Path
    out: Path
    minutes: float | None
    preset: str
    split: str
    threads: int | None


@dataclass(frozen=True)
class Cell:
    """One arm of a system with one seed."""

    system: System
    arm: str
    seed: int
    how: How

    @property
    def of(self) -> Arm:
        """What is trained."""
        arm: Arm = getattr(self.system, self.arm)
        return arm

    @property
    def folder(self) -> Path:
        """Where it lies: of the same trainings of two systems, in the same place."""
        of, how = self.system, self.how
        facts = [asdict(self.of) | {"says": ""}, str(self.place), of.prepared, of.labels, how.minutes, how.preset]
        key = hashlib.sha256(json.dumps(facts).encode()).hexdigest()[:8]
        return how.out / "cells" / f"{of.data}-{self.of.last.method}-{key}-{self.seed}"

    @property
    def place(self) -> Path:
        """The folder of its data set."""
        return (self.how.data / self.system.data).resolve()

    @property
    def scores(self) -> Path:
        """The file of its scores."""
        return self.folder / f"{self.how.split}-{self.system.metric}.json"

    @property
    def costs(self) -> Path:
        """The file of what each stage has taken."""
        return self.folder / "costs.json"

    def taken(self) -> Mapping[str, Mapping[str, float]]:
        """What each stage has taken: "seconds", and "bytes" of memory at the peak."""
        found: dict[str, dict[str, float]] = {}
        return json.loads(self.costs.read_text(encoding="utf-8")) if self.costs.is_file() else found

    def labels_read(self) -> LabelsRead | None:
        """The labels that the training which answers has looked at."""
        return read_run(self.folder / [*self.of.stages][-1]).labels_read

    def done(self) -> EvaluationRecord | None:
        """Its scores; None where it is not done."""
        return kept_scores(self.scores, [self.system.metric])

    def __str__(self) -> str:
        return f"{self.system.name}, {self.of.says}, seed {self.seed}"


def data_of(cell: Cell) -> Dataset:
    """The data set of a cell; of image classes that the masks tell, a manifest of it, written once."""
    if cell.system.prepared != "classes":
        return open_dataset(cell.place)
    manifest = cell.how.out / "data" / f"{cell.system.data}-classes.toml"
    with locked(manifest.parent, wait=True):
        if not manifest.is_file():
            source = open_dataset(cell.place)
            write_manifest(classes_of_masks(source, source.labels), manifest, source.labels, derived=True)
    return open_dataset(manifest)


def do_cell(cell: Cell) -> None:
    """Train, make and score what is not yet done of a cell.

    Raises:
        StoppedError: a signal has stopped the training, which goes on when the cell is done again.
        ScantlingError: it cannot be done.
    """
    with locked(cell.folder.parent, shard=cell.folder.name, wait=True):
        if cell.done() is not None:
            return
        try:
            whole = data_of(cell)
            parts: dict[str, Any] = {DATA: whole}
            if cell.system.prepared == "labelled" and cell.system.labels is not None:
                parts[DATA] = few_labelled(divide(whole, validation=0.0), cell.system.labels, seed=cell.seed)[0]
            for name, stage in cell.of.stages.items():
                with _costing(cell, name):
                    if isinstance(stage, Making):
                        parts[name] = cell.folder / name
                        made(cell, stage, parts[name])
                    else:
                        data = [parts[one] for one in stage.data]
                        options = options_of(cell, stage)
                        train(stage.method, data, cell.folder / name, options, console=Console(quiet=True))
            scores_once(
                [cell.folder / name], divide(whole), cell.scores, split=cell.how.split, metrics=[cell.system.metric],
                options=cell.of.answer, compute=Compute(threads=cell.how.threads),
            )  # fmt: skip
        except (MemoryError, RuntimeError) as error:
            if not out_of_memory(error):
                raise
            raise RunError(f"{cell.folder}: too large for the memory that is free; do fewer things beside it") from None


def made(cell: Cell, stage: Making, out: Path) -> None:
    """The cases that an arm makes."""
    small = cell.how.minutes is None
    rule = stage.of not in cell.of.stages
    synthesize(
        stage.of if rule else cell.folder / stage.of, out=out, count=SMALL_COUNT if small else stage.count,
        settings=stage.settings if rule else {}, options={"seed": cell.seed}, compute=Compute(threads=cell.how.threads),
    )  # fmt: skip


def options_of(cell: Cell, stage: Training) -> Options:
    """Of one training: its share of the minutes, and the budget of labels where it reads any.

    No case is held out unless the stage says so: nothing is chosen on validation cases, whose answers would take
    minutes of some arms alone.
    """
    how, system = cell.how, cell.system
    card = card_of(stage.method)
    budget: dict[str, Any] = {}
    reads = {word for words in card.needs for word in words}
    if system.labels is not None and system.prepared != "labelled" and reads_labels(reads):
        budget = {"labels": system.labels, "label_seed": cell.seed}
    timed = stage.share > 0
    return Options(
        preset=how.preset, seed=cell.seed, threads=how.threads, settings=stage.settings,
        minutes=how.minutes * stage.share if timed and how.minutes is not None else None,
        steps=SMALL_STEPS if timed and how.minutes is None else None,
        uses={role: cell.folder / name for role, name in stage.uses.items()},
        base=cell.folder / stage.base if stage.base else None, **budget, **{"validation": 0.0, **stage.options},
    )  # fmt: skip


@contextmanager
def _costing(cell: Cell, name: str) -> Iterator[None]:
    """Note how long the block takes, and the peak memory of this process so far, for the stage `name`."""
    found = dict(cell.taken())
    before, begun = found.get(name, {"seconds": 0.0, "bytes": 0.0}), time.monotonic()
    try:
        yield
    finally:
        unit = 1 if sys.platform == "darwin" else 1024
        peak = max(before["bytes"], unit * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
        cell.folder.mkdir(parents=True, exist_ok=True)
        write_json(
            cell.costs, {**found, name: {"seconds": before["seconds"] + time.monotonic() - begun, "bytes": peak}}
        )


def do_cells(cells: Sequence[Cell], say: Callable[[str], None]) -> list[str]:
    """Do the cells one after the other, each in a process of its own; sentences on those that failed.

    Args:
        say: told what is done.

    Raises:
        StoppedError: a signal has stopped a training.
    """
    left, failed = [cell for cell in cells if cell.done() is None], list[str]()
    for number, cell in enumerate(left, start=1):
        begun, error = time.monotonic(), ""
        try:
            _apart(cell)
        except StoppedError:
            raise
        except ScantlingError as problem:
            error = str(problem)
        failed += [f"{cell}: {error}"] if error else []
        say(f"{number} of {len(left)}: {cell}: {f'failed: {error}' if error else f'{time.monotonic() - begun:.0f} s'}")
    return failed


def _apart(cell: Cell) -> None:
    """Do a cell in a process of its own, so that its peak memory is its own; raises what `do_cell` does."""
    context = multiprocessing.get_context("spawn")
    hear, tell = context.Pipe(duplex=False)
    process = context.Process(target=_there, args=(cell, tell))
    process.start()
    tell.close()
    try:
        problem: ScantlingError | None = hear.recv()
    except EOFError:
        problem = RunError("its process was ended, perhaps for too little memory; the same command goes on")
    except KeyboardInterrupt:
        process.terminate()  # a training saves, and all else can be done again
        raise
    finally:
        process.join()
        hear.close()
    if problem is not None:
        raise problem


def _there(cell: Cell, tell: Connection) -> None:
    with suppress(KeyboardInterrupt):  # it was asked to stop before its training could save
        try:
            do_cell(cell)
        except ScantlingError as error:
            tell.send(error)
        else:
            tell.send(None)
