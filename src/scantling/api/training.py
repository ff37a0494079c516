"""Training from Python: a method by name or as a class, data as folders or objects, a run as an object."""

from __future__ import annotations

import os
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from difflib import get_close_matches
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypedDict, Unpack

from rich.console import Console

from scantling.api.calls import in_python, public, with_fields
from scantling.api.notebook import LiveDisplay
from scantling.api.runs import Run
from scantling.core.errors import SettingsError
from scantling.core.machine import Precision
from scantling.core.paths import StrPath, path_of
from scantling.data.dataset import Dataset
from scantling.data.subjects import Subjects
from scantling.training import training
from scantling.training.callbacks import CALLBACK, Callback, StoppedError
from scantling.training.equivalent import equivalent_command
from scantling.training.options import DEFAULTS, Options
from scantling.training.preview import Preview

if TYPE_CHECKING:
    from scantling.contract.method import Method


class TrainingOptions(TypedDict, total=False):
    """The fields of `scantling.training.Options` as keywords; a test holds the two against each other."""

    preset: Literal["paper", "quick", "tiny"]
    steps: int | None
    minutes: float | None
    settings: Mapping[str, Any]
    seed: int
    labels: int | str | None
    label_seed: int
    label_instances: int | str | None
    label_slices: int | None
    label_slices_from: Literal["even", "middle"]
    validation: float
    select: Literal["last", "best"]
    base: StrPath | None
    pretrained_rate: float | None
    uses: Mapping[str, StrPath]
    device: str
    precision: Precision
    threads: int | None
    accumulation: int
    share: Mapping[str, float]
    order: Literal["shuffled", "sequential", "synthetic-first", "real-first"]
    augment: Literal["own", "none", "strong"]
    augment_share: float
    manifest: StrPath | None
    root: StrPath | None
    subjects: Subjects
    saved_every: float


@with_fields(Options)
@public
def train(
    method: str | type[Method],
    data: StrPath | Dataset | Sequence[StrPath | Dataset],
    out: StrPath,
    *,
    options: Options | None = None,
    callbacks: Sequence[Callback] = (),
    console: Console | None = None,
    **changes: Unpack[TrainingOptions],
) -> Run:
    """Train a method on the training cases of a data set into a run folder.

    The same call goes on where an interrupted training stopped; a finished run is left alone. Ctrl-C (the stop button
    of a notebook) saves before it raises KeyboardInterrupt. Progress is shown in a terminal and, with live curves, in
    a notebook. The weights are those that the command line gives, bit for bit.

    Args:
        method: a name of `scantling methods`, or a subclass of `Segmenter`, `Classifier`, ... with a card, which is
            then known by its name for the rest of the process (docs/extending.md). Another process opens its runs
            with `scantling.load_model(run, method=Class)`, or where a package announces the class.
        data: a folder, a file, a pattern, an open data set, or a list of these, which are joined.
        out: the run folder; new, empty, or that of the same training.
        options: of the training; keywords of the same names replace them.
        callbacks: each is called with a `scantling.LoggedStep`, about 200 times in each stage; one that raises
            `scantling.StopTraining` ends the training, which is saved and returned with `finished` False.
        console: where sentences and progress go; unless given, to the terminal or the notebook, else nowhere.
        preset: "paper", "quick" (minutes on a laptop's processor) or "tiny" (for tests).
        steps: of the optimiser, instead of the preset's.
        minutes: that the training may take, instead of `steps`.
        settings: what differs from the preset, by name; `scantling methods NAME` lists them.
        seed: all randomness is a function of it.
        labels: keep the labels of so many subjects, or of a percentage of the labelled ones ("10%"), those for
            validation included; the others count as unlabelled. `label_seed` decides which, whatever `seed` is.
        label_instances: keep so many drawn objects, or a percentage of them ("10%"), in place of `labels`.
        label_slices: keep so many slices of the masks of each volume, `label_slices_from` "even" or "middle".
        validation: the share of the labelled training subjects that is held out, in [0, 1).
        select: which weights are kept: the "last", or the "best" on validation.
        base: a run that gives the first weights; `pretrained_rate` in (0, 1] is the factor on their learning rate.
        uses: runs that the method is built on, by role.
        device, precision, threads: where and how numbers are computed; the threads are restored afterwards.
        accumulation: micro-batches a step.
        share, order, augment, augment_share: how samples are drawn and changed.
        manifest, root, subjects: how folders are opened, see `scantling.open_dataset`.
        saved_every: seconds between two checkpoints.

    Returns:
        The run.

    Raises:
        ScantlingError: nothing can be started, the folder holds another training, or SIGTERM has stopped it, after
            the state has been saved.
        KeyboardInterrupt: after the state has been saved.

    Example:
        >>> run = scantling.train("unet", "scans", "runs/unet", preset="quick", labels=5)
        >>> run.log[-1], run.load_model().predict("new.png").mask
    """
    begun, out = time.monotonic(), path_of(out, "out")
    places, chosen = _places(data), _options(options, changes, "train")
    if not isinstance(callbacks, Iterable) or not all(map(callable, callbacks := list(callbacks))):
        raise SettingsError(f"callbacks: found {callbacks!r}; expected a list of functions")
    console = console or Speaker()
    shown = [LiveDisplay(out)] if console.is_jupyter and not console.quiet else []
    try:
        training.train(
            method, places, out, chosen, console=console, begun=begun, callbacks=(*callbacks, *shown),
            command=equivalent_command(method, places, out, chosen),
        )  # fmt: skip
    except StoppedError as stopped:
        if stopped.by in ("SIGINT", "KeyboardInterrupt"):
            raise KeyboardInterrupt(in_python(str(stopped))) from None
        if stopped.by != CALLBACK:
            raise
        console.print(in_python(str(stopped)), highlight=False, markup=False)
    return Run(out)


@with_fields(Options)
@public
def plan(
    method: str | type[Method],
    data: StrPath | Dataset | Sequence[StrPath | Dataset],
    *,
    options: Options | None = None,
    console: Console | None = None,
    **changes: Unpack[TrainingOptions],
) -> Preview:
    """What `scantling.train` would decide from the data with the same arguments, and why; nothing is written.

    Args:
        method, data, options, console: as of `scantling.train`.
        preset, steps, minutes, settings, seed, labels, label_seed, label_instances, label_slices, label_slices_from,
            validation, select, base, pretrained_rate, uses, device, precision, threads, accumulation, share, order,
            augment, augment_share, manifest, root, subjects, saved_every: as of `scantling.train`.

    Returns:
        The plan: its text in a notebook or by `print`; `decided`, the settings that differ from the preset; `facts()`,
        everything as JSON takes it; `method`, the untrained model.

    Raises:
        ScantlingError: nothing could be started.

    Example:
        >>> scantling.plan("unet", "scans", preset="quick").decided
    """
    chosen = _options(options, changes, "plan")
    found = training.preview(method, _places(data), chosen, console=console or Speaker())
    return replace(found, plan=tuple(in_python(sentence) for sentence in found.plan))


def _places(data: Any) -> list[Path | Dataset]:
    """The folders and data sets of a call.

    Raises:
        SettingsError: it is none.
    """
    alone = isinstance(data, str | os.PathLike | Dataset) or not isinstance(data, Iterable)
    several: list[Any] = [data] if alone else list(data)
    if strange := [each for each in several if not isinstance(each, str | os.PathLike | Dataset)]:
        raise SettingsError(
            f"data: found a {type(strange[0]).__name__}; expected folders or open data sets; arrays, dictionaries and "
            "subjects become one with scantling.dataset_from"
        )
    return [each if isinstance(each, Dataset) else Path(each) for each in several]


def _options(options: Options | None, changes: Mapping[str, Any], function: str) -> Options:
    """The options, with those that are named."""
    if unknown := [name for name in changes if name not in TrainingOptions.__annotations__]:
        near = get_close_matches(unknown[0], TrainingOptions.__annotations__, n=1)
        hint = "".join(f"; did you mean {name!r}?" for name in near)
        raise TypeError(f"{function}() got an unexpected keyword argument {unknown[0]!r}{hint}")
    return replace(options or DEFAULTS, **changes)


class Speaker(Console):
    """Speaks of arguments where the rooms speak of flags: to a terminal or a notebook, to nobody from anywhere else."""

    def __init__(self) -> None:
        super().__init__(stderr=True, highlight=False, markup=False)
        self.quiet = not (self.is_terminal or self.is_jupyter)

    def print(self, *objects: Any, **how: Any) -> None:
        """Print; strings are sentences."""
        super().print(*(in_python(one) if isinstance(one, str) else one for one in objects), **how)
