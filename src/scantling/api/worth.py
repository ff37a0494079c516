"""`worth` from Python: what made data are worth beside real ones."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
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
from scantling.experiments import worth as experiment
from scantling.experiments.cell_runs import Engine, Progress
from scantling.experiments.worth_result import WorthResult
from scantling.methods.catalogue import card_of
from scantling.training.callbacks import StoppedError
from scantling.training.options import Options

if TYPE_CHECKING:
    from scantling.contract.method import Method


@public
def worth(
    data: StrPath | Dataset,
    made: StrPath | Sequence[StrPath],
    out: StrPath,
    *,
    method: str | type[Method] = "unet",
    arms: Sequence[str] = experiment.DEFAULT,
    labels: Sequence[int | str] = experiment.BUDGETS,
    seeds: int = 1,
    label_seeds: int = 1,
    generators: Sequence[StrPath] = (),
    validity: bool = False,
    preset: Literal["paper", "quick", "tiny"] = "quick",
    steps: int | None = None,
    minutes: float | None = None,
    augment: Literal["own", "none", "strong"] = "strong",
    settings: Mapping[str, Any] | None = None,
    metric: str | None = None,
    modality: str = "",
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
) -> WorthResult:
    """Train a segmenter on real, made and mixed data at budgets of real subjects, and say what made data are worth.

    Each training is a run folder below `out` and is done once; arms, made data, budgets and seeds can be added. The
    page of the command is not written; see `scantling.report.worth.write_worth`.

    Args:
        data: an open data set or its folder, with true masks.
        made: folders of made cases with masks, runs that make them, or "NAME@BUDGET=PATH" for one budget alone.
        out: the folder of the experiment; new, empty, or that of one with the same data and settings.
        method: a segmenter, a classifier or a detector, which every arm trains.
        arms: such as "real+100%", "real+2000", "synthetic x1", "synthetic-first x1", "mix-80/20"; "real" is always
            among them.
        labels: budgets of real subjects: numbers, percentages, "all".
        seeds: how many training seeds each arm is trained with.
        label_seeds: how many times the subjects of a budget, and the made cases, are drawn.
        generators: runs that made the folders of `made`: their records say whom they have learned from.
        validity: also score trainings on real cases on made ones, and hold made images against real ones (`assess`).
        preset, settings: see `scantling.train`.
        steps: of every training.
        minutes: that a training may take, instead of `steps`; 3 where neither is said.
        augment: ordinary augmentation of all arms.
        metric: that the test answers are scored by; None: "dice", of a classifier "accuracy", of a detector "ap50".
        modality: the one image of each case that every training sees, where cases have several; "": all together.
        shard, engine, cpus_per_cell, gpus_per_cell: as of `scantling.curve`.
        manifest, root, subjects: how `data` are opened, see `scantling.open_dataset`.
        device, threads, precision: where and how numbers are computed.
        console: where sentences go; unless given, to the terminal or the notebook, else nowhere.
        progress: called with the number of trainings done, of all, and a name.

    Returns:
        The result: `verdict`, `points`, `cells`, `sentences`, `validity`, `images`, `failed`, `table()`, `facts()`.

    Raises:
        ScantlingError: nothing can be started. Trainings that fail are listed in `failed`.
        KeyboardInterrupt: after the state of the running training has been saved.

    Example:
        >>> found = scantling.worth("scans", "painted", "worth", labels=[5, "all"], seeds=3)
        >>> print(found.verdict[0])
    """
    several = [made] if isinstance(made, str | Path) or not isinstance(made, Iterable) else list(made)
    words = [name for name, value in {"arms": arms, "labels": labels}.items() if isinstance(value, str)]
    if words:
        raise SettingsError(f"{words[0]}: found a single text; expected a list")
    options = Options(
        preset=preset, steps=steps, minutes=minutes, settings=settings or {}, device=device, threads=threads,
        precision=precision, manifest=path_or_none(manifest, "manifest"), root=path_or_none(root, "root"),
        subjects=subjects,
    )  # fmt: skip
    try:
        return experiment.worth(
            card_of(method).name, data if isinstance(data, Dataset) else path_of(data, "data"),
            [str(path_of(one, "made")) for one in several], path_of(out, "out"), arms=list(arms), labels=list(labels),
            seeds=seeds, label_seeds=label_seeds, generators=[path_of(one, "generators") for one in generators],
            options=options, augment=augment, metric=metric, modality=modality, validity=validity, shard=shard,
            engine=engine, share=Share(cpus=cpus_per_cell, gpus=gpus_per_cell),
            console=console or Speaker(), progress=progress,
        )  # fmt: skip
    except StoppedError as stopped:
        if stopped.by in ("SIGINT", "KeyboardInterrupt"):
            raise KeyboardInterrupt(in_python(str(stopped))) from None
        raise
