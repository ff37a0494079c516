"""`vessels` from Python: the branches of masks on disk; of arrays, see `scantling.metrics.branches`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from scantling.api.calls import public
from scantling.core.paths import StrPath, path_of, path_or_none
from scantling.data.dataset import Dataset
from scantling.data.opening import Opening
from scantling.data.subjects import Subjects
from scantling.evaluation import vessels as measuring


@public
def vessels(
    masks: StrPath,
    *,
    data: StrPath | Dataset | None = None,
    split: Literal["train", "validation", "test", "all"] = "all",
    classes: Sequence[str] = (),
    manifest: StrPath | None = None,
    root: StrPath | None = None,
    subjects: Subjects = "name",
    untrusted: bool = False,
    progress: measuring.Progress | None = None,
) -> measuring.Vessels:
    """Measure the vessels of a folder of masks: branches, radii, tortuosity, forks, ends, density; in 2-D or 3-D.

    Args:
        masks: what `predict` or `mend` wrote, a folder of masks, or a data set with masks.
        data: the data set that the masks are of, for its regions of interest and the size of its pixels.
        split: the cases to measure.
        classes: the names of those to measure; none: all.
        manifest, root, subjects: how `masks`, where it is a data set, and `data` are opened, see
            `scantling.open_dataset`.
        untrusted: decode in a process of its own with limits on time and memory.
        progress: called with (done, total, id) after each mask.

    Returns:
        The numbers: `cases`, each with `found.branches`, `failed`, `table()`, `facts()` and `write_csv(path)`.

    Raises:
        ScantlingError: there is nothing to measure. A mask that cannot be read is listed.

    Example:
        >>> found = scantling.vessels("masks", data="scans")
        >>> found.write_csv("branches.csv")
    """
    opening = Opening(
        manifest=path_or_none(manifest, "manifest"), root=path_or_none(root, "root"), subjects=subjects,
        untrusted=untrusted,
    )  # fmt: skip
    known = data if data is None or isinstance(data, Dataset) else path_of(data, "data")
    return measuring.vessels(
        path_of(masks, "masks"), data=known, split=split, classes=classes, opening=opening, progress=progress
    )
