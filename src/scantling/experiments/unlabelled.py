"""The training images that a run has no label of, and its masks of them; no mask of the data is opened."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from hashlib import sha256
from pathlib import Path

from scantling.core.case import Case
from scantling.core.errors import DataError, SettingsError
from scantling.core.machine import COMPUTE, Compute
from scantling.core.outputs import PREDICTIONS
from scantling.data.contents import count
from scantling.data.dataset import Dataset, distinct, join
from scantling.data.division import without_labels
from scantling.data.opening import OPENING, Opening
from scantling.inference.listing import Listing
from scantling.inference.prediction import predict
from scantling.inference.runner import Progress
from scantling.records.predictions import PredictedCase, PredictionsRecord
from scantling.records.record import read_record
from scantling.records.run import read_run
from scantling.records.run_folder import identity_of, load_model

FOLDER = "unlabelled"
"""Below the run; in it a folder for each set of weights and of cases."""


@dataclass(frozen=True)
class Candidates:
    """What may be labelled next.

    Attributes:
        dataset: the data, joined with the corrections of them.
        unlabelled: real training images without a label.
        labelled: those that the run has learned from, or that were corrected since.
    """

    dataset: Dataset
    unlabelled: tuple[Case, ...]
    labelled: tuple[Case, ...]


def candidates_of(
    run: Path, data: Sequence[Path | Dataset], *, opening: Opening = OPENING, corrected: bool = False
) -> Candidates:
    """The training images that a run has no label of. Test and validation cases are none of them.

    A budget of labels of the run (`--labels`) counts: images beyond it are unlabelled, whatever masks the data have.

    Args:
        data: the data set of the run, and folders of corrections that were made since.
        corrected: whether images that were corrected since count as unlabelled still.

    Raises:
        DataError: every training image is labelled, or nothing is there.
    """
    record = read_run(run)
    parts = [opening.open(place) for place in data]
    if not parts:
        raise SettingsError("found no data; name the data set of the run")
    dataset = join(distinct(parts))
    known = str(parts[0].root.resolve()) in {part.path for part in record.data}
    since = frozenset(record.corrections.ids if record.corrections is not None else ())
    read = frozenset(record.labelled) | since if known and record.labelled is not None else None
    held = frozenset(id for name in ("validation", "test") for id in record.split.get(name, ()) if known)
    cases = [
        case
        for case in dataset.split("train")
        if case.images
        and case.origin.kind != "synthetic"
        and not record.names_of(case.id, parts[0].root, parts[0].name) & held
    ]

    def labelled(case: Case) -> bool:
        if case.correction is not None:
            return not corrected
        names = record.names_of(case.id, parts[0].root, parts[0].name)
        if read is None:
            return without_labels(case) != case or bool(known and names & since)
        return bool(names & read)

    marked = [labelled(case) for case in cases]
    free = tuple(case for case, one in zip(cases, marked, strict=True) if not one)
    if not free:
        known_as = "" if known else f"; the run knows other data ({', '.join(one.path for one in record.data)})"
        raise DataError(
            f"{dataset.root}: found {count(len(cases), 'training image')}, all of them labelled; nothing is left to "
            f"label{known_as}"
        )
    return Candidates(dataset, free, tuple(case for case, one in zip(cases, marked, strict=True) if one))


def predicted(
    run: Path,
    cases: Sequence[Case],
    dataset: Dataset,
    *,
    opening: Opening = OPENING,
    compute: Compute = COMPUTE,
    progress: Progress | None = None,
) -> Listing:
    """The masks of a run for some cases, kept below it and used again; no label is read.

    Raises:
        SettingsError: the run does not segment.
    """
    if "segment" not in load_model(run).gives:
        raise SettingsError(f"{run}: {read_run(run).method} does not segment; name a run that does")
    bare = tuple(without_labels(case) for case in sorted(cases, key=lambda case: case.id))
    return predict(
        run, replace(dataset, cases=bare), out=folder_of(run, bare), split="all", opening=opening, compute=compute,
        progress=progress,
    )  # fmt: skip


def folder_of(run: Path, cases: Sequence[Case]) -> Path:
    """Where the masks of these cases are kept."""
    places = sorted(f"{case.id} {address}" for case in cases for address in case.images.values())
    return run / FOLDER / f"{identity_of(run)}-{sha256(chr(10).join(places).encode()).hexdigest()[:8]}"


def entries_of(folder: Path) -> Mapping[str, PredictedCase]:
    """What a folder of predictions says of its cases, by id."""
    return {case.id: case for case in read_record(PredictionsRecord, folder / PREDICTIONS).cases}


def uncertainty_of(case: PredictedCase) -> float | None:
    """1 minus the Dice that the model expects of its own mask, in [0, 1]; None of an empty mask.

    The estimate is the soft Dice confidence of Borges, Pacheco and Silva (2024), see `metrics.confidence`.
    """
    estimate = case.expected.estimate if case.expected is not None else None
    return None if estimate is None else 1 - estimate
