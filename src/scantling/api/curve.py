"""`curve` from Python: methods at several budgets of labels, and how many labels each is worth."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal

from rich.console import Console

from scantling.api.calls import in_python, public
from scantling.api.training import Speaker
from scantling.core.engines import Share
from scantling.core.errors import SettingsError
from scantling.core.machine import Precision
from scantling.core.paths import StrPath, path_of, path_or_none
from scantling.data.dataset import Dataset
from scantling.data.subjects import Subjects
from scantling.experiments import curve as curves
from scantling.experiments.cell_runs import Engine, Progress
from scantling.experiments.curve_result import Curve
from scantling.training.callbacks import StoppedError
from scantling.training.options import Options

if TYPE_CHECKING:
    from scantling.contract.method import Method


@public
def curve(
    methods: Sequence[str | type[Method]],
    data: StrPath | Dataset,
    out: StrPath,
    *,
    labels: Sequence[int | str] = ("all",),
    label_instances: Sequence[int | str] = (),
    seeds: int = 1,
    label_seeds: int = 3,
    preset: Literal["paper", "quick", "tiny"] = "paper",
    steps: int | None = None,
    minutes: float | None = None,
    augment: Literal["own", "none", "strong"] | None = None,
    settings: Mapping[str, Any] | None = None,
    metric: str = "dice",
    shard: tuple[int, int] = (1, 1),
    engine: Engine = "local",
    cpus_per_cell: int | None = None,
    gpus_per_cell: float | None = None,
    manifest: StrPath | None = None,
    root: StrPath | None = None,
    subjects: Subjects = "name",
    device: str = "auto",
    threads: int | None = None,
    precision: Precision = "auto",
    console: Console | None = None,
    progress: Progress | None = None,
) -> Curve:
    """Train methods at several budgets of labels, score them on the test cases, and say how many labels each is worth.

    Each training is a run folder below `out` and is done once: the same call goes on where it stopped, and methods,
    budgets and seeds can be added. The page of the command is not written; see `scantling.report.curve.write_curve`.

    Args:
        methods: names of `scantling methods`, or classes; the first is the control that the others are held against.
        data: an open data set or its folder, with true masks.
        out: the folder of the curve; new, empty, or that of a curve of the same data and settings.
        labels: budgets: numbers of labelled subjects, percentages ("10%"), "all".
        label_instances: budgets in drawn objects in the same way, in place of `labels`.
        seeds: how many training seeds each budget is trained with.
        label_seeds: how many times the labelled subjects of a budget are drawn; the same for all methods.
        preset, settings: of all methods, see `scantling.train`.
        steps: of every training; None: those of the control's preset.
        minutes: that a training of the control may take, instead of `steps`.
        augment: of all methods; None: "strong" for the control and their own for the others.
        metric: that the test masks are scored by.
        shard: (i, n) does every n-th training, the i-th of n jobs, counted from 1.
        engine: "local" trains one after the other; "ray" spreads trainings over the machine, or over the cluster that
            the variable RAY_ADDRESS names, whose nodes see the same folders.
        cpus_per_cell, gpus_per_cell: what each training takes, with Ray; GPUs may be a fraction.
        manifest, root, subjects: how `data` are opened, see `scantling.open_dataset`.
        device, threads, precision: where and how numbers are computed.
        console: where sentences go; unless given, to the terminal or the notebook, else nowhere.
        progress: called with the number of trainings done (a share of the running one included), of all, and a name.

    Returns:
        The curve: `points`, `cells`, `sentences`, `failed`, `table()`, `facts()`.

    Raises:
        ScantlingError: nothing can be started. Trainings that fail are listed in `failed`.
        KeyboardInterrupt: after the state of the running training has been saved.

    Example:
        >>> found = scantling.curve(["unet", "mean-teacher"], "scans", "curve", labels=[3, 7, "all"], preset="quick")
        >>> print(found.table())
    """
    given: Any = methods  # a caller may pass anything
    if isinstance(given, str | type) or not isinstance(given, Iterable):
        raise SettingsError(f"methods: found {given!r}; expected a list of methods, the control first")
    budgets: Any = labels
    if not isinstance(budgets, Iterable | int):
        raise SettingsError(f'labels: found {budgets!r}; expected a list of budgets, such as [3, 7, "all"]')
    options = Options(
        preset=preset, steps=steps, minutes=minutes, settings=settings or {}, device=device, threads=threads,
        precision=precision, manifest=path_or_none(manifest, "manifest"), root=path_or_none(root, "root"),
        subjects=subjects,
    )  # fmt: skip
    try:
        return curves.curve(
            list(given), data if isinstance(data, Dataset) else path_of(data, "data"), path_of(out, "out"),
            labels=[budgets] if isinstance(budgets, int | str) else list(budgets),
            label_instances=list(label_instances), seeds=seeds, label_seeds=label_seeds, options=options,
            augment=augment, metric=metric, shard=shard, engine=engine,
            share=Share(cpus=cpus_per_cell, gpus=gpus_per_cell), console=console or Speaker(), progress=progress,
        )  # fmt: skip
    except StoppedError as stopped:
        if stopped.by in ("SIGINT", "KeyboardInterrupt"):
            raise KeyboardInterrupt(in_python(str(stopped))) from None
        raise
