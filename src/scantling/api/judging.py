"""`check`, `evaluate`, `compare` and `write_report` from Python."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Literal

from scantling import evaluation
from scantling.api.calls import public
from scantling.core.errors import SettingsError
from scantling.core.machine import Compute, Precision
from scantling.core.paths import StrPath, path_of, path_or_none, paths_of
from scantling.data.dataset import Dataset
from scantling.data.opening import Opening
from scantling.data.subjects import Subjects
from scantling.evaluation import boxes
from scantling.experiments import compare as comparing
from scantling.experiments.comparison import Comparison
from scantling.inference.runner import Progress
from scantling.report import holds_masks, holds_unscored, report, report_masks, report_unscored

IN_MEMORY = "masks in memory are scored by scantling.score"


@public
def evaluate(
    prediction: StrPath,
    truth: StrPath | Dataset,
    *,
    split: Literal["train", "validation", "test", "all"] | None = None,
    probabilities: StrPath | None = None,
    region: StrPath | None = None,
    metrics: Iterable[str] | None = None,
    manifest: StrPath | None = None,
    root: StrPath | None = None,
    subjects: Subjects = "name",
    untrusted: bool = False,
    progress: Progress | None = None,
) -> evaluation.Evaluation:
    """Score a folder of masks, whoever made them. For arrays in memory, see `scantling.score`.

    Args:
        prediction: masks by the id of their case (`ID.png`, `ID.nii.gz`; `CLASS/ID.png` where classes overlap).
        truth: an open data set, its folder or manifest, or a folder of masks.
        split: the cases that must be there; None: those that were predicted.
        probabilities: a folder of maps by id, for AUC, average precision, calibration and Brier.
        region: a folder of masks by id of the pixels that count, or "dataset" for the cases' own; None: all pixels.
        metrics: names such as "dice", "cldice", "hd95"; None takes all that can be computed. Distances are in mm where
            a file or a manifest says the spacing, else in pixels.
        manifest, root, subjects: how `truth` is opened, see `scantling.open_dataset`.
        untrusted: decode in a process of its own with limits on time and memory.
        progress: called with (done, total, id) after each case.

    Returns:
        The scores: `cases`, `failed`, `table()` and `facts()`, which is what `--json` of the command writes.

    Raises:
        ScantlingError: nothing can be compared.

    Example:
        >>> scores = scantling.evaluate("masks", "scans", metrics=["dice", "cldice"])
        >>> print(scores.table())
    """
    return evaluation.evaluate(
        path_of(prediction, "prediction", expected=f"a folder of masks; {IN_MEMORY}"),
        truth if isinstance(truth, Dataset) else path_of(truth, "truth", expected=f"a data set, a folder; {IN_MEMORY}"),
        split=split, probabilities=path_or_none(probabilities, "probabilities"), region=_region(region),
        metrics=_names(metrics), manifest=path_or_none(manifest, "manifest"), root=path_or_none(root, "root"),
        subjects=subjects, untrusted=untrusted, progress=progress,
    )  # fmt: skip


@public
def evaluate_boxes(
    prediction: StrPath,
    truth: StrPath | Dataset,
    *,
    split: Literal["train", "validation", "test", "all"] | None = None,
    manifest: StrPath | None = None,
    root: StrPath | None = None,
    subjects: Subjects = "name",
) -> boxes.BoxEvaluation:
    """Score the boxes that a detector has found, of all cases together, with intervals over subjects.

    Args:
        prediction: a folder that `predict` has written, with `instances/ID.json`.
        truth: an open data set, its folder or manifest; without boxes of its own these are drawn around the objects of
            its instance maps, else around the connected pieces of its masks.
        split: the cases that must be there; None: those that were predicted.
        manifest, root, subjects: how `truth` is opened, see `scantling.open_dataset`.

    Returns:
        The scores: `estimates` (average precision, IoU of matched boxes, sensitivity), `cases`, `failed`, `table()` and
        `record()`.

    Raises:
        ScantlingError: nothing can be compared.

    Example:
        >>> scores = scantling.evaluate_boxes("found", "scans")
        >>> print(scores.estimates["ap50"].value)
    """
    if not isinstance(truth, Dataset):
        opening = Opening(
            manifest=path_or_none(manifest, "manifest"), root=path_or_none(root, "root"), subjects=subjects
        )
        truth = opening.open(path_of(truth, "truth"))
    return boxes.evaluate_boxes(path_of(prediction, "prediction"), truth, split=split)


@public
def compare(
    runs: Sequence[StrPath],
    data: StrPath | Dataset,
    *,
    split: Literal["train", "validation", "test", "all"] = "test",
    out: StrPath | None = None,
    baseline: str = "best",
    metrics: Sequence[str] | None = None,
    region: StrPath | None = None,
    manifest: StrPath | None = None,
    root: StrPath | None = None,
    subjects: Subjects = "name",
    untrusted: bool = False,
    device: str = "auto",
    threads: int | None = None,
    precision: Precision = "auto",
    progress: Progress | None = None,
) -> Comparison:
    """Compare runs on the same cases: paired differences with intervals, a permutation test, ranks, costs.

    Args:
        runs: runs, folders of predictions and evaluations (JSON), two or more; runs that differ in their seed and
            label seed alone are one method.
        data: an open data set or its folder, with true masks or true image classes.
        split: the cases to compare on.
        out: where predictions are kept; None: below each run, where they are used again.
        baseline: "best", "first", or a method by its name or by that of one of its folders.
        metrics: the first is tested; None: dice, found, false_alarm, cldice, hd95 and ece, of image classes accuracy
            and brier.
        region: as of `scantling.evaluate`.
        manifest, root, subjects: how `data` are opened, see `scantling.open_dataset`.
        untrusted, device, threads, precision: as of `scantling.predict`.
        progress: called with (done, total, id) after each case that is predicted or scored.

    Returns:
        The comparison: `table()`, `facts()`, `methods`, `failed`.

    Raises:
        ScantlingError: they cannot be compared.

    Example:
        >>> print(scantling.compare(["runs/unet", "runs/fr-unet"], "scans", metrics=["cldice"]).table())
    """
    opening = Opening(
        manifest=path_or_none(manifest, "manifest"), root=path_or_none(root, "root"), subjects=subjects,
        untrusted=untrusted,
    )  # fmt: skip
    return comparing.compare(
        paths_of(runs, "runs"), data if isinstance(data, Dataset) else path_of(data, "data"), split=split,
        out=path_or_none(out, "out"), baseline=baseline, metrics=_names(metrics), region=_region(region),
        opening=opening,
        compute=Compute(device=device, threads=threads, precision=precision), progress=progress,
    )  # fmt: skip


@public
def write_report(
    targets: StrPath | Sequence[StrPath], *, out: StrPath | None = None, figures: StrPath | None = None
) -> Path:
    """Write one self-contained HTML page on runs and evaluations, predictions, or what masks of data sets are like.

    Args:
        targets: a run, an evaluation (JSON), a folder that holds scores.json, or several of these; a folder that
            `predict` wrote, for a page without truth; or folders of masks, made or real, that are held against each
            other.
        out: the page; None: report.html in the run folder, NAME.html beside an evaluation, comparison.html in the
            folder that holds all of several targets, masks.html in a folder of predictions, with volumes.csv,
            mask-quality.html in that of folders of masks.
        figures: a folder for charts (SVG, PDF), panels (PNG) and tables (LaTeX, CSV) for a paper.

    Returns:
        The page.

    Raises:
        ScantlingError: a target is none of these, or `out` is no HTML file.

    Example:
        >>> page = scantling.write_report("runs/unet")
    """
    several, page, drawn = paths_of(targets, "targets"), path_or_none(out, "out"), path_or_none(figures, "figures")
    if not several:
        raise SettingsError("targets: found an empty list; expected a run, an evaluation or a data set, or several")
    if any(holds_masks(target) for target in several):
        return report_masks(several, out=page, figures=drawn)[0]
    if len(several) == 1 and holds_unscored(several[0]):
        return report_unscored(several[0], out=page, figures=drawn)[0]
    return report(several, out=page, figures=drawn)


def _region(region: StrPath | None) -> Path | Literal["dataset"] | None:
    """A folder of regions, or the word for those of the cases."""
    return "dataset" if isinstance(region, str) and region == "dataset" else path_or_none(region, "region")


def _names(metrics: Iterable[str] | None) -> list[str] | None:
    """The names of metrics; a single name is a list of one."""
    return [metrics] if isinstance(metrics, str) else None if metrics is None else list(metrics)
