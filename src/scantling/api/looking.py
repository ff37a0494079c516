"""`open_dataset`, `check` and `advise` from Python; opening and checking load no torch."""

from __future__ import annotations

from typing import TYPE_CHECKING

from scantling.api.calls import python_words
from scantling.core.paths import StrPath
from scantling.data import dataset, integrity
from scantling.data.dataset import Dataset
from scantling.data.subjects import Subjects
from scantling.data.traits import Progress
from scantling.experiments.advice_rules import Structure

if TYPE_CHECKING:
    from scantling.experiments.advice import Advice

open_dataset = python_words()(dataset.open_dataset)


@python_words()
def check(
    data: StrPath | Dataset,
    *,
    manifest: StrPath | None = None,
    root: StrPath | None = None,
    subjects: Subjects = "name",
    untrusted: bool = False,
    progress: Progress | None = None,
) -> integrity.CheckReport:
    """Read every file of a data set once and report all that is wrong or odd.

    Args:
        data: an open data set, or what `scantling.open_dataset` opens, with `manifest`, `root` and `subjects`.
        untrusted: decode in a process of its own with limits on time and memory.
        progress: called with (done, total, id) after each case.

    Returns:
        The report: `findings`, each with a `level` ("error", "warning", "note") and a `sentence`; `labels`, `summary`,
        `text()` and `facts()`.

    Raises:
        ScantlingError: the data cannot be opened. What is wrong with files is a finding.

    Example:
        >>> report = scantling.check("scans")
        >>> print(report.text())
    """
    if not isinstance(data, Dataset):
        data = dataset.open_dataset(data, manifest=manifest, root=root, subjects=subjects)
    return integrity.check(data, untrusted=untrusted, progress=progress)


@python_words()
def advise(
    data: StrPath | Dataset,
    *,
    structure: Structure | None = None,
    manifest: StrPath | None = None,
    root: StrPath | None = None,
    subjects: Subjects = "name",
) -> Advice:
    """Say which methods can learn from a data set, and which have helped on data like it.

    Args:
        data: an open data set, or what `scantling.open_dataset` opens, with `manifest`, `root` and `subjects`.
        structure: what is to be segmented: "vessels", "objects" or "regions"; None: as its classes are called.

    Returns:
        The advice: `suggested`, each with `method`, `commands`, `verdict`, `why` and `cites`; `able`, `unable`,
        `situation`, `text()` and `facts()`. No file of a test case was opened.

    Raises:
        ScantlingError: the data cannot be opened, or hold no image to learn from.

    Example:
        >>> print(scantling.advise("scans").text())
    """
    from scantling.experiments import advice

    if not isinstance(data, Dataset):
        data = dataset.open_dataset(data, manifest=manifest, root=root, subjects=subjects)
    return advice.advise(data, structure=structure)
