"""`predict`, `register` and `synthesize` from Python: folders in and out, with the options of the commands by name."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Literal

from scantling import inference
from scantling.api.calls import ARGUMENTS, public
from scantling.core.machine import Compute, Precision
from scantling.core.paths import StrPath, path_of, path_or_none, paths_of
from scantling.data.dataset import Dataset
from scantling.data.opening import Opening
from scantling.data.subjects import Subjects
from scantling.evaluation.acceptance import gate_of
from scantling.inference.conditions import Conditions
from scantling.inference.listing import Listing
from scantling.inference.runner import Progress


@public
def predict(
    run: StrPath,
    source: StrPath | Dataset,
    *,
    out: StrPath,
    split: Literal["train", "validation", "test", "all"] | None = None,
    probabilities: bool = False,
    views: bool | None = None,
    scale: float | None = None,
    samples: int | None = None,
    sampling_steps: int | None = None,
    fuse: Literal["mean", "vote", "staple", "uncertainty", "dempster"] | None = None,
    ensemble: Sequence[StrPath] = (),
    seed: int | None = None,
    memory: float | None = None,
    options: Mapping[str, Any] | None = None,
    shard: tuple[int, int] = (1, 1),
    manifest: StrPath | None = None,
    root: StrPath | None = None,
    subjects: Subjects = "name",
    untrusted: bool = False,
    device: str = "auto",
    threads: int | None = None,
    precision: Precision = "auto",
    progress: Progress | None = None,
) -> Listing:
    """Answer about all cases of `source` with the model of a run: masks, image classes or both, written into `out`.

    What an earlier, interrupted call has done is not done again. For an answer in memory, see `scantling.load_model`.

    Args:
        run: a run, or its folder.
        source: a file, a folder, a pattern of files, or an open data set.
        out: the folder for `ID.png` or `ID.nii.gz`, `probabilities/`, `samples/`, `uncertainty/` and
            `predictions.json`.
        split: the cases to take; None: the test cases where the data have their own test split or the run was
            trained on them, else all.
        probabilities: also write probability maps (float32).
        views: average over the mirrored and turned views that the training showed; None as the model says.
        scale: how many times as large as the training images the images are; 1: as they are; None: as the spacing, the
            field of view or the sides of pictures say, where the model expects more of its answer then.
        samples: masks to draw for each image.
        sampling_steps: of the chain that draws a mask, for methods that run one.
        fuse: how samples become one mask; None as the method says.
        ensemble: runs that answer too, each as one more sample.
        seed: what the randomness of the answers is a function of; 0 unless given.
        memory: GiB that a forward pass may take; larger images go in blended tiles. By default half of what is free.
        options: others of the method, by name (`scantling methods NAME`).
        shard: (i, n) does every n-th case, the i-th of n jobs, counted from 1.
        manifest, root, subjects: how `source` is opened, see `scantling.open_dataset`.
        untrusted: decode in a process of its own with limits on time and memory.
        device: "auto", "cpu", "cuda" or "cuda:N".
        threads: of the processor, restored afterwards.
        precision: "auto" (bf16 on a GPU that has it), "float32" or "bf16".
        progress: called with (done, total, id) after each case.

    Returns:
        What `predictions.json` holds: `cases`, and `failed` with a sentence for each case that could not be answered;
        `notes` are sentences that a reader should know.

    Raises:
        ScantlingError: nothing can be started.

    Example:
        >>> listing = scantling.predict("runs/unet", "scans", out="masks", probabilities=True)
        >>> [case["mask"] for case in listing.cases], listing.failed
    """
    named = {
        "samples": samples, "steps": sampling_steps, "fuse": fuse, "views": views, "scale": scale, "memory": memory,
        "seed": seed,
    }  # fmt: skip
    return inference.predict(
        path_of(run, "run"), _data(source, "source"), out=path_of(out, "out"),
        options=_given(named, options), ensemble=paths_of(ensemble, "ensemble"), split=split,
        probabilities=probabilities, shard=shard, opening=_opening(manifest, root, subjects, untrusted),
        compute=Compute(device=device, threads=threads, precision=precision), progress=progress,
    )  # fmt: skip


@public
def register(
    run: StrPath,
    fixed: StrPath | Dataset,
    moving: StrPath | Dataset | None = None,
    *,
    out: StrPath,
    pairs: StrPath = "",
    atlases: Sequence[str] = (),
    fuse: Literal["mean", "vote", "staple", "uncertainty", "dempster"] | None = None,
    jacobian: bool = False,
    split: Literal["train", "validation", "test", "all"] | None = None,
    seed: int | None = None,
    memory: float | None = None,
    options: Mapping[str, Any] | None = None,
    shard: tuple[int, int] = (1, 1),
    manifest: StrPath | None = None,
    root: StrPath | None = None,
    subjects: Subjects = "name",
    untrusted: bool = False,
    device: str = "auto",
    threads: int | None = None,
    precision: Precision = "auto",
    progress: Progress | None = None,
) -> Listing:
    """Warp moving images and their masks onto fixed ones with the model of a run, written into `out`.

    Args:
        run: a run, or its folder.
        fixed: the images to warp onto: a file, a folder, a pattern, or an open data set.
        moving: the images to warp, with the same names; None: each image of `fixed` onto the one before it by id.
        out: the folder for `images/`, `masks/`, `displacement/`, `jacobian/`, `fused/` and `registrations.json`.
        pairs: a CSV file with the columns fixed and moving, or "all" for every ordered pair.
        atlases: ids of images that are warped onto each other one.
        fuse: how the masks of several atlases become one; None is the mean.
        jacobian: also write the Jacobian determinant of each displacement.
        split, seed, memory, options, shard, manifest, root, subjects, untrusted, device, threads, precision,
            progress: as of `scantling.predict`.

    Returns:
        What `registrations.json` holds: `cases`, and `failed` with a sentence for each pair that could not be done.

    Raises:
        ScantlingError: nothing can be started.

    Example:
        >>> scantling.register("runs/atlas", "fixed.nii.gz", "moving.nii.gz", out="warped")
    """
    return inference.register(
        path_of(run, "run"), _data(fixed, "fixed"), None if moving is None else _data(moving, "moving"),
        out=path_of(out, "out"), pairs=os.fspath(pairs), atlases=atlases, fuse=fuse, jacobian=jacobian,
        split=split, options=_given({"memory": memory, "seed": seed}, options), shard=shard,
        opening=_opening(manifest, root, subjects, untrusted),
        compute=Compute(device=device, threads=threads, precision=precision), progress=progress,
    )  # fmt: skip


@partial(public, arguments={**ARGUMENTS, "from": "given"})
def synthesize(
    source: StrPath,
    *,
    count: int | None = None,
    out: StrPath,
    size: int | None = None,
    seed: int | None = None,
    sampling_steps: int | None = None,
    memory: float | None = None,
    options: Mapping[str, Any] | None = None,
    settings: Mapping[str, Any] | None = None,
    given: StrPath | Dataset | None = None,
    split: Literal["train", "validation", "test", "all"] = "train",
    image_class: str | None = None,
    accept: Literal["new", "labels", "both"] | None = None,
    accept_dice: float | None = None,
    use: Mapping[str, StrPath] | None = None,
    shard: tuple[int, int] = (1, 1),
    manifest: StrPath | None = None,
    root: StrPath | None = None,
    subjects: Subjects = "name",
    device: str = "auto",
    threads: int | None = None,
    precision: Precision = "auto",
    progress: Progress | None = None,
) -> dict[str, Any]:
    """Make `count` cases by a rule or with a run into `out`, a data set to train on; what is there is not made again.

    For cases in memory, see `generate` of `scantling.load_model`.

    Args:
        source: a method that needs no training (`scantling methods` says which can generate), or a run.
        count: how many; case number n of a seed is the same however many are made. What labels the images of `given`
            ("scribbles") labels all of them unless said.
        out: the folder of the data set.
        size: the side of an image in pixels, short for `settings={"size": ...}`.
        seed: 0 unless given.
        sampling_steps: of the chain that draws each, for methods that run one.
        memory: GiB that a forward pass may take. By default half of what is free.
        options: others of the method, by name.
        settings: of a method that needs no training, by name.
        given: a data set with the masks, images or image classes that the method asks for, walked in turn by id.
        split: whose cases of `given`; what is made from a case is in its split.
        image_class: of all that is made.
        accept: "new" keeps only images that copy no training image of the run; "labels" those in which the segmenter
            of `use` finds the labels that they were made from; "both". Others are made anew.
        accept_dice: from which on labels are found; 0.7 unless given.
        use: `{"segmenter": RUN}` marks the images of a method that makes no masks, or judges labels (`accept`).
        shard: (i, n) makes every n-th part, the i-th of n jobs, counted from 1.
        manifest, root, subjects: how `given` is opened.
        device, threads, precision: as of `scantling.predict`.
        progress: called with (done, total, id) after each group.

    Returns:
        The contents of the manifest that was written, and how many were "rejected", by reason.

    Raises:
        ScantlingError: nothing can be made, or the folder holds something else.

    Example:
        >>> scantling.synthesize("retina-phantoms", count=200, out="phantoms", size=256, seed=1)
    """
    conditions = Conditions(
        data=None if given is None else _data(given, "given"), split=split, image_class=image_class,
        opening=_opening(manifest, root, subjects, False),
    )  # fmt: skip
    where = source if isinstance(source, str) else path_of(source, "source", expected="the name of a rule, or a run")
    compute = Compute(device=device, threads=threads, precision=precision)
    made_with = {**(settings or {}), **({} if size is None else {"size": size})}
    roles = {role: path_of(run, "use") for role, run in (use or {}).items()}
    gate, uses = gate_of(where, accept, uses=roles, least=accept_dice, settings=made_with, compute=compute)
    return inference.synthesize(
        where, accept=gate, uses=uses,
        count=count, out=path_of(out, "out"),
        options=_given({"seed": seed, "steps": sampling_steps, "memory": memory}, options),
        settings=made_with, conditions=conditions, shard=shard, compute=compute, progress=progress,
    )  # fmt: skip


def _given(named: Mapping[str, Any], others: Mapping[str, Any] | None) -> dict[str, Any]:
    return {name: value for name, value in named.items() if value is not None} | dict(others or {})


def _data(given: StrPath | Dataset, name: str) -> Path | Dataset:
    """An open data set, or the path of one.

    Raises:
        SettingsError: it is neither.
    """
    if isinstance(given, Dataset):
        return given
    return path_of(
        given, name, expected="a file, a folder, a pattern or an open data set; arrays are answered in memory by "
        "scantling.load_model(run).predict, or become a data set by scantling.dataset_from",
    )  # fmt: skip


def _opening(manifest: StrPath | None, root: StrPath | None, subjects: Subjects, untrusted: bool) -> Opening:
    return Opening(
        manifest=path_or_none(manifest, "manifest"), root=path_or_none(root, "root"),
        subjects=subjects, untrusted=untrusted,
    )  # fmt: skip
