"""`view` and `next_cases` from Python."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from scantling.api.calls import public
from scantling.core.machine import Compute, Precision
from scantling.core.paths import StrPath, path_of, path_or_none
from scantling.data.dataset import Dataset
from scantling.data.opening import Opening
from scantling.data.subjects import Subjects
from scantling.experiments import next_cases as choosing
from scantling.experiments.next_cases import By, NextCases
from scantling.inference.runner import Progress
from scantling.viewing.opened import open_correctable, open_shown
from scantling.viewing.server import CaseServer


@public
def next_cases(
    run: StrPath,
    data: StrPath | Dataset | Sequence[StrPath | Dataset],
    *,
    count: int = 10,
    by: By = "both",
    seed: int = 0,
    manifest: StrPath | None = None,
    root: StrPath | None = None,
    subjects: Subjects = "name",
    device: str = "auto",
    threads: int | None = None,
    precision: Precision = "auto",
    progress: Progress | None = None,
) -> NextCases:
    """Which unlabelled training cases to label next; no mask of the data is opened.

    Args:
        run: a trained segmenter.
        data: the data set of the run, or a list of it and of folders of corrections that were made since.
        count: how many.
        by: "uncertainty", "diversity", "both", or one of the controls "random" and "foreground".
        seed: of chance.
        manifest, root, subjects: how `data` are opened, see `scantling.open_dataset`.
        device, threads, precision: as of `scantling.predict`.
        progress: called with (done, total, id) after each case.

    Returns:
        The cases: `proposed`, `rows()`, `table()`, `facts()`, `write_csv(path)`.

    Raises:
        ScantlingError: nothing can be proposed.

    Example:
        >>> print(scantling.next_cases("runs/unet", "scans", count=5).table())
    """
    alone = isinstance(data, str | Path | Dataset) or not isinstance(data, Sequence)
    several: list[StrPath | Dataset] = [data] if alone else list(data)  # type: ignore[list-item, arg-type]
    places = [one if isinstance(one, Dataset) else path_of(one, "data") for one in several]
    return choosing.next_cases(
        path_of(run, "run"), places, count=count, by=by, seed=seed,
        opening=_opening(manifest, root, subjects),
        compute=Compute(device=device, threads=threads, precision=precision), progress=progress,
    )  # fmt: skip


@public
def view(
    path: StrPath,
    *,
    data: StrPath | None = None,
    split: Literal["train", "validation", "test", "all"] | None = None,
    out: StrPath | None = None,
    author: str = "",
    port: int = 0,
    manifest: StrPath | None = None,
    root: StrPath | None = None,
    subjects: Subjects = "name",
    device: str = "auto",
    threads: int | None = None,
) -> CaseServer:
    """A server, for the browser of this machine alone, of the cases of a run, a data set or a folder of masks.

    Args:
        path: a run with scores, an evaluation, a data set, or a folder of masks.
        data: the images of a folder of masks; those to correct.
        split: the cases to show.
        out: where corrected masks go; None: masks are shown and nothing is written.
        author: who corrects.
        port: 0 takes any that is free.
        manifest, root, subjects: how `data` are opened, see `scantling.open_dataset`.
        device, threads: of the model whose masks are corrected.

    Returns:
        The server: `address`; `run()` answers until `close()` is called from another thread.

    Raises:
        ScantlingError: there is nothing to show.

    Example:
        >>> server = scantling.view("runs/unet")
        >>> threading.Thread(target=server.run, daemon=True).start()
        >>> print(server.address)
    """
    opening = _opening(manifest, root, subjects)
    place, images = path_of(path, "path"), path_or_none(data, "data")
    if out is None:
        return CaseServer(open_shown(place, data=images, split=split, opening=opening), port=port)
    found = open_correctable(
        place, data=images, out=path_of(out, "out"), author=author, opening=opening,
        compute=Compute(device=device, threads=threads),
    )  # fmt: skip
    return CaseServer(found.shown, save=found.save, state=found.corrections.state, port=port)


def _opening(manifest: StrPath | None, root: StrPath | None, subjects: Subjects) -> Opening:
    return Opening(manifest=path_or_none(manifest, "manifest"), root=path_or_none(root, "root"), subjects=subjects)
