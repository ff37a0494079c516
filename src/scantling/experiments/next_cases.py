"""The command `next`: which cases to label next, by what a model is unsure of or has not seen, or by chance."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np

from scantling.core.atomic import named, write_text
from scantling.core.case import Case
from scantling.core.checks import check_choice, check_count
from scantling.core.errors import DataError, FileError, SettingsError
from scantling.core.machine import COMPUTE, Compute
from scantling.core.outputs import check_file
from scantling.core.randomness import seed_of
from scantling.core.text import aligned
from scantling.data.contents import count as counted
from scantling.data.dataset import Dataset
from scantling.data.opening import OPENING, Opening
from scantling.experiments.core_set import k_centre_greedy
from scantling.experiments.network_features import image_features
from scantling.experiments.unlabelled import Candidates, candidates_of, entries_of, folder_of, predicted, uncertainty_of
from scantling.inference.runner import Progress
from scantling.records.predictions import PredictedCase

By = Literal["uncertainty", "diversity", "both", "random", "foreground"]
SHORTLIST = 2
"""By both: so many times `count` of the most uncertain cases, of which the most diverse are taken, as 16 and 8 in
suggestive annotation (Yang et al., MICCAI 2017)."""
COLUMNS = ("rank", "id", "subject", "image", "mask", "uncertainty", "distance", "foreground")


@dataclass(frozen=True)
class Proposed:
    """A case to label.

    Attributes:
        case: it.
        mask: what the model says, a path or one for each class; None where it could not be predicted.
        uncertainty: see `unlabelled.uncertainty_of`.
        distance: of its features to the nearest labelled or proposed case, by diversity and both.
        foreground: whether the model finds any class.
    """

    case: Case
    mask: tuple[str, ...]
    uncertainty: float | None
    distance: float | None
    foreground: bool


@dataclass(frozen=True)
class NextCases:
    """What `next` proposes.

    Attributes:
        by: how.
        proposed: in the order in which they are to be labelled.
        unlabelled, labelled: how many cases there were to choose among, and how many are labelled.
        predictions: the folder of masks.
        failed: sentences on cases that could not be predicted.
        notes: sentences that a reader should know.
    """

    by: By
    proposed: tuple[Proposed, ...]
    unlabelled: int
    labelled: int
    predictions: Path
    failed: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

    def rows(self) -> list[dict[str, Any]]:
        """A row for each case, as in the file."""
        return [
            {
                "rank": rank, "id": one.case.id, "subject": one.case.subject,
                "image": ";".join(str(address) for address in one.case.images.values()), "mask": ";".join(one.mask),
                "uncertainty": None if one.uncertainty is None else round(one.uncertainty, 4),
                "distance": None if one.distance is None or not np.isfinite(one.distance) else round(one.distance, 4),
                "foreground": one.foreground,
            }
            for rank, one in enumerate(self.proposed, start=1)
        ]  # fmt: skip

    def table(self, *, width: int | None = None) -> str:
        """For people.

        Args:
            width: columns of the terminal.
        """
        places = len(str(len(self.proposed)))
        rows = [[f"{'':{places}}  case", "uncertainty", "distance", "foreground"]]
        for row in self.rows():
            numbers = ("" if row[name] is None else f"{row[name]:.3f}" for name in ("uncertainty", "distance"))
            rows.append([f"{row['rank']:>{places}}  {row['id']}", *numbers, "yes" if row["foreground"] else "none"])
        lines = aligned(rows, width=width)
        tail = f"{counted(len(self.proposed), 'case')} of {self.unlabelled} unlabelled ones, by {self.by}"
        return "\n".join([*lines, tail, *self.notes])

    def facts(self) -> dict[str, Any]:
        """For `--json`."""
        return {
            "by": self.by, "cases": self.rows(), "unlabelled": self.unlabelled, "labelled": self.labelled,
            "predictions": str(self.predictions), "failed": list(self.failed), "notes": list(self.notes),
        }  # fmt: skip

    def write_csv(self, path: Path) -> None:
        """Write a line for each case, with the paths of its images and of the model's mask."""
        check_file(path, suffix=".csv")
        text = io.StringIO()
        table = csv.DictWriter(text, COLUMNS, lineterminator="\n")
        table.writeheader()
        table.writerows(self.rows())
        write_text(named(path), text.getvalue())


def next_cases(
    run: Path,
    data: Sequence[Path | Dataset],
    *,
    count: int = 10,
    by: By = "both",
    seed: int = 0,
    opening: Opening = OPENING,
    compute: Compute = COMPUTE,
    progress: Progress | None = None,
) -> NextCases:
    """Which unlabelled training cases to label next. No mask of the data is opened.

    "uncertainty" takes those of whose mask the model expects the lowest Dice; "diversity" covers the features of the
    network (`core_set.k_centre_greedy`), the labelled cases being taken; "both" covers those of the most uncertain
    ones; "random" is the control, and "foreground" chance among those in which the model finds anything: a rule that
    does no better than that has found where the foreground is, and nothing else.

    Args:
        run: a trained segmenter.
        data: the data set of the run, and folders of corrections that were made since.
        seed: of chance; it also decides among cases of which nothing is known.

    Raises:
        SettingsError: an argument is out of its range, or the run does not segment.
        DataError: nothing is left to label, or no case could be predicted.
    """
    check_count(count, argument="--count", least=1)
    check_choice(by, get_args(By), argument="by")
    found = candidates_of(run, data, opening=opening)
    done = predicted(run, found.unlabelled, found.dataset, opening=opening, compute=compute, progress=progress)
    folder = folder_of(run, found.unlabelled)
    entries = entries_of(folder)
    cases = [case for case in found.unlabelled if case.id in entries]
    if not cases:
        first = f"; the first: {done.failed[0]['error']}" if done.failed else ""
        raise DataError(f"{found.dataset.root}: no case could be predicted{first}")
    cases.sort(key=lambda case: (seed_of("next", seed, case.id), case.id))
    uncertain = {case.id: uncertainty_of(entries[case.id]) for case in cases}
    chosen, notes = _chosen(by, cases, uncertain, count, found, run, opening, compute, progress)
    if len(chosen) < count:
        notes = [*notes, f"asked for {count}: there are no more"]
    proposed = tuple(
        Proposed(case, _files(folder, entries[case.id]), uncertain[case.id], distance, uncertain[case.id] is not None)
        for case, distance in chosen
    )
    failed = tuple(f"{one['id']}: {one['error']}" for one in done.failed)
    return NextCases(by, proposed, len(found.unlabelled), len(found.labelled), folder, failed, tuple(notes))


def _chosen(
    by: By,
    cases: Sequence[Case],
    uncertain: dict[str, float | None],
    count: int,
    found: Candidates,
    run: Path,
    opening: Opening,
    compute: Compute,
    progress: Progress | None,
) -> tuple[list[tuple[Case, float | None]], list[str]]:
    """The cases, which come in an order by chance, each with its distance if that counts."""
    if by == "random":
        return [(case, None) for case in cases[:count]], []
    with_foreground = [case for case in cases if uncertain[case.id] is not None]
    empty = len(cases) - len(with_foreground)
    notes = [f"in {counted(empty, 'case')} the model finds nothing, so it has no say on them"] if empty else []
    if by == "foreground":
        if not with_foreground:
            raise SettingsError("--by foreground: the model finds nothing in any case; train it longer, or use random")
        return [(case, None) for case in with_foreground[:count]], notes
    ranked = sorted(cases, key=lambda case: -1.0 if uncertain[case.id] is None else -(uncertain[case.id] or 0.0) - 2.0)
    if by == "uncertainty":
        return [(case, None) for case in ranked[:count]], notes
    listed = [*cases] if by == "diversity" else ranked[: SHORTLIST * count]
    notes = [] if by == "diversity" else notes
    features = image_features(run, [*listed, *found.labelled], opening=opening, compute=compute, progress=progress)
    own, taken = features[: len(listed)], features[len(listed) :]
    order = k_centre_greedy(own, taken, count=count)
    return [(listed[place], distance) for place, distance in order], notes


def ids_in(path: Path) -> tuple[str, ...]:
    """The ids of the cases in a table of `next`, in order.

    Raises:
        FileError: it cannot be read, or is no such table.
    """
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            rows = [*csv.DictReader(file)]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise FileError(path, f"cannot be read ({getattr(error, 'strerror', None) or error})") from None
    ids = tuple(row["id"] for row in rows if row.get("id"))
    if not ids:
        raise FileError(path, "holds no ids", expected="a column 'id', as `scantling next --csv` writes it")
    return ids


def _files(folder: Path, case: PredictedCase) -> tuple[str, ...]:
    listed = case.mask
    if listed is None:
        return ()
    return tuple(str(folder / name) for name in ((listed,) if isinstance(listed, str) else listed))
