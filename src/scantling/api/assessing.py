"""`assess`, `write_reading` and `score_readings` from Python: made images held against real ones."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Literal

from scantling.api.calls import public
from scantling.core.errors import SettingsError
from scantling.core.machine import Compute, Precision
from scantling.core.paths import StrPath, path_of, path_or_none, paths_of
from scantling.data.dataset import Dataset
from scantling.data.opening import Opening
from scantling.data.subjects import Subjects
from scantling.evaluation import generated, readings
from scantling.evaluation.made_and_real import Progress
from scantling.report import generated as pages
from scantling.report import reading

Split = Literal["train", "validation", "test", "all"]


@public
def assess(
    made: StrPath | Dataset,
    real: StrPath | Dataset,
    *,
    split: Split = "train",
    features: StrPath | None = None,
    use: Mapping[str, StrPath] | None = None,
    most: int = generated.MOST,
    out: StrPath | None = None,
    manifest: StrPath | None = None,
    root: StrPath | None = None,
    subjects: Subjects = "name",
    untrusted: bool = False,
    device: str = "auto",
    threads: int | None = None,
    precision: Precision = "auto",
    progress: Progress | None = None,
) -> generated.Assessment:
    """Hold made images against the real ones that their generator was trained on.

    Args:
        made: a folder of `scantling.synthesize`, or a data set whose manifest says that its cases are synthetic.
        real: the data set that the generator was trained on.
        split: of the real images.
        features: a run of a segmenter or an encoder, or "module:factory", in whose features FID, KID, precision,
            recall, density and coverage are measured; None leaves them out.
        use: `{"segmenter": RUN}` compares the anatomy that it marks in both.
        most: images of each set that are measured; copies are looked for among all real ones.
        out: a page (HTML) that is written; None: none.
        manifest, root, subjects: how `real` is opened, see `scantling.open_dataset`.
        untrusted, device, threads, precision: as of `scantling.predict`.
        progress: called with (done, total, id) after each image.

    Returns:
        The assessment: `table()`, `facts()`, `clean` (no more copies than chance gives), `memorisation`, `failed`.

    Raises:
        ScantlingError: there are no such images, or they cannot be compared.

    Example:
        >>> found = scantling.assess("painted", "scans", features="runs/unet")
        >>> found.clean, found.features.rows["made"]["kernel"]
    """
    roles = {role: path_of(run, "use") for role, run in (use or {}).items()}
    if strange := [role for role in roles if role != "segmenter"]:
        raise SettingsError(f"--use: found the role {strange[0]!r}; expected 'segmenter'")
    page = path_or_none(out, "out")
    if page is not None:
        pages.check_page(page)
    found = generated.assess(
        _data(made, "made"), _data(real, "real"), split=split, features=None if features is None else str(features),
        segmenter=roles.get("segmenter"), most=most, opening=_opening(manifest, root, subjects, untrusted),
        compute=Compute(device=device, threads=threads, precision=precision), progress=progress,
    )  # fmt: skip
    if page is not None:
        pages.write_generated(found, page)
    return found


@public
def write_reading(
    made: StrPath | Dataset,
    real: StrPath | Dataset,
    out: StrPath,
    *,
    split: Split = "train",
    most: int = reading.EACH,
    manifest: StrPath | None = None,
    root: StrPath | None = None,
    subjects: Subjects = "name",
    untrusted: bool = False,
    progress: Progress | None = None,
) -> tuple[Path, Path]:
    """Write a page on which people grade made and real images without knowing which is which; returns it and its key.

    Args:
        out: the page (HTML); the key is NAME-key.csv beside it.
        most: images of each source.
        made, real, split, manifest, root, subjects, untrusted, progress: as of `scantling.assess`.

    Raises:
        ScantlingError: there are no such images, or the page cannot be written.

    Example:
        >>> page, key = scantling.write_reading("painted", "scans", "reading.html")
    """
    page, key, _ = reading.write_reading(
        _data(made, "made"), _data(real, "real"), path_of(out, "out"), split=split, each=most,
        opening=_opening(manifest, root, subjects, untrusted), progress=progress,
    )  # fmt: skip
    return page, key


@public
def score_readings(answers: StrPath | Sequence[StrPath], key: StrPath) -> readings.Readings:
    """The grades of readers by source, and how far they agree.

    Args:
        answers: the CSV files that readers have saved from a page of `scantling.write_reading`.
        key: the key of that page.

    Returns:
        The readings: `table()`, `facts()`, `questions`.

    Raises:
        ScantlingError: a file is none of these, or of another page.

    Example:
        >>> print(scantling.score_readings(["answers-ab.csv", "answers-cd.csv"], "reading-key.csv").table())
    """
    return readings.score_readings(paths_of(answers, "answers"), path_of(key, "key"))


def _data(given: StrPath | Dataset, name: str) -> Path | Dataset:
    return given if isinstance(given, Dataset) else path_of(given, name, expected="a data set or its folder")


def _opening(manifest: StrPath | None, root: StrPath | None, subjects: Subjects, untrusted: bool) -> Opening:
    return Opening(
        manifest=path_or_none(manifest, "manifest"), root=path_or_none(root, "root"), subjects=subjects,
        untrusted=untrusted,
    )  # fmt: skip
