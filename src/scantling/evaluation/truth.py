"""What predictions are compared with: a dataset, or a folder of masks; and which of its cases are meant."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from scantling.core.case import Address, Case, Labels
from scantling.core.errors import DataError, FileError, SettingsError
from scantling.core.outputs import RUN
from scantling.data.contents import count, entries, some
from scantling.data.dataset import Dataset, open_dataset
from scantling.data.files import is_image_name
from scantling.data.label_source import LabelSource
from scantling.data.splits import SPLITS
from scantling.data.subjects import Subjects
from scantling.evaluation.predictions import files_by_id
from scantling.records.predictions import PredictionsRecord
from scantling.records.record import read_record
from scantling.records.run import RunRecord

Kind = Literal["mask", "class", "box"]


@dataclass(frozen=True)
class Chosen:
    """The cases to score, and what a reader should know of the choice.

    Attributes:
        cases: all have a true mask, or a true class.
        split: the split that they are.
        failed: id and reason of cases that are known to be lost already.
    """

    cases: tuple[Case, ...]
    split: str | None
    failed: tuple[tuple[str, str], ...] = ()
    notes: tuple[str, ...] = ()


def open_truth(
    path: Path, *, manifest: Path | None = None, root: Path | None = None, subjects: Subjects = "name"
) -> Dataset:
    """Open a dataset, or a folder that holds nothing but masks: `ID.png`, or `CLASS/ID.png` where classes overlap.

    Raises:
        DataError: there is nothing of the kind, or no mask in it.
        FileError: a manifest or table cannot be read.
    """
    dataset, found = None, dict[str, dict[str, Address]]()
    try:
        dataset = open_dataset(path, manifest=manifest, root=root, subjects=subjects)
    except DataError:
        if not (found := _class_folders(path)):
            raise
    if dataset is not None and not any(case.masks for case in dataset.cases):
        patients = any(remark.kind == "layout" for remark in dataset.remarks)
        below = patients and manifest is None and all(file.parent.parent == path for file in dataset.files())
        found = _class_folders(path) if below else found  # which would else be folders of patients
    if dataset is None or found:
        layered = {id: {name: part[id] for name, part in found.items() if id in part} for id in sorted(_ids(found))}
        cases = tuple(Case(id=id, subject=id, masks=(layers,)) for id, layers in layered.items())
        labels = Labels(names=tuple(found), values=((),) * len(found))
        return Dataset(path.resolve().name, path, cases, LabelSource(labels))
    if any(case.masks for case in dataset.cases):
        return dataset
    bare = [case for case in dataset.cases if set(case.images) == {"image"}]
    if not bare or manifest is not None:
        raise DataError(f"{path}: found no masks; expected a folder of masks, or a dataset with masks")
    parted = dataset.parted
    masks = tuple(case.images["image"] for case in bare)
    cases_of_masks = tuple(
        replace(case, images={}, masks=(mask,), split=case.split if parted else None)
        for case, mask in zip(bare, masks, strict=True)
    )
    return replace(dataset, cases=cases_of_masks, label_source=LabelSource(masks=masks, folders=(dataset.root,)))


def choose(
    truth: Dataset,
    folder: Path,
    *,
    answered: Collection[str],
    listing: PredictionsRecord | None,
    split: str | None,
    kind: Kind,
    known: Collection[str] | None = None,
) -> Chosen:
    """The cases to score.

    With a split, or with predictions that were made of a split of this very data: all its cases, so that a missing
    prediction is a failure. Otherwise the cases that `predictions.json` lists; otherwise the test cases of a truth that
    says itself which those are; otherwise the ids that both sides have.

    Args:
        folder: of the predictions.
        answered: the ids of the cases that were predicted.
        listing: what the folder says of itself.
        split: see above.
        kind: what is scored, of the cases whose truth is known.
        known: the ids of these; None: of those that have a mask, or a class.

    Raises:
        SettingsError: there is no such split.
        DataError: no case is left.
    """
    if split not in (None, "all", *SPLITS):
        raise SettingsError(f"--split {split}: expected train, validation, test or all")
    labelled = {
        case.id: case
        for case in truth.cases
        if (case.id in known if known is not None else case.masks if kind == "mask" else case.image_class is not None)
    }
    nouns = ("true mask",) if kind == "mask" else (f"true {kind}", f"true {kind}es")
    common = [id for id in labelled if id in answered]
    if not common:
        theirs, ours = some(sorted(answered), most=3), some(sorted(labelled), most=3)
        raise DataError(
            f"{folder}: no prediction has the id of a true {kind}: found {theirs or 'none'}, "
            f"expected {ours}; give both the same stems"
        )
    lost = {failure.id: failure.error for failure in listing.failed} if listing else {}
    if split is None and listing is not None and listing.split in SPLITS and _same(listing.input, truth.root):
        split = listing.split
    if split is None and listing is None and truth.parted and any(labelled[id].split == "test" for id in common):
        split = "test"
    run = listing.run if listing else None
    if split is None:
        wanted = [id for id in labelled if id in answered or id in lost]
    else:
        meant = ids_in(split, truth, run=run)
        wanted = [id for id in labelled if id in meant]
    if not wanted:
        raise DataError(f"{truth.root}: no case with a {kind} is in the split {split!r}; choose another --split")
    notes = [*_unfinished(listing), *truth.unnamed()]
    if aside := sorted(set(answered) - labelled.keys()):
        notes.append(f"{count(len(aside), 'prediction')} without a true {kind} left out ({some(aside, most=3)}).")
    if split is None and (aside := sorted(labelled.keys() - set(wanted))):
        notes.append(f"{count(len(aside), *nouns)} without a prediction left out ({some(aside, most=3)}).")
    trained = _splits(run, truth).get("train", frozenset())
    if learnt := sorted(trained & set(wanted)):
        notes.append(
            f"The model was trained on {len(learnt)} of these cases ({some(learnt, most=3)}); scores on them "
            "say nothing of new images."
        )
    known = {case.subject for case in truth.cases if case.id in trained}
    if seen := sorted(id for id in {*wanted} - trained if labelled[id].subject in known):
        notes.append(
            f"The model was trained on other images of the subjects of {len(seen)} of these cases "
            f"({some(seen, most=3)}); scores on them say little of new subjects."
        )
    return Chosen(
        cases=tuple(labelled[id] for id in sorted(wanted) if id not in lost),
        split=split,
        failed=tuple((id, f"it was not predicted: {lost[id]}") for id in sorted(wanted) if id in lost),
        notes=tuple(notes),
    )


def _unfinished(listing: PredictionsRecord | None) -> list[str]:
    """A note where a folder of predictions is not whole yet."""
    done = len(listing.cases) + len(listing.failed) if listing else 0
    if not listing or listing.total is None or done >= listing.total:
        return []
    return [f"The predictions are not finished: {done} of {listing.total} cases are listed; the same command goes on."]


def ids_in(split: str, truth: Dataset, *, run: str | None) -> frozenset[str]:
    """The ids of a split: what the run that made the predictions says of this very data, else what the data say."""
    of_run = _splits(run, truth)
    if split in of_run:
        return of_run[split]
    return frozenset(case.id for case in truth.cases if split in ("all", case.split))


def _splits(run: str | None, truth: Dataset) -> Mapping[str, frozenset[str]]:
    """The ids of each split of the run that made the predictions; none if it cannot be read or used other data."""
    try:
        record = read_record(RunRecord, Path(run) / RUN) if run else None
    except (FileError, ValueError):
        return {}
    if record is None or not any(_same(part.path, truth.root) for part in record.data):
        return {}
    listed = {name: frozenset(ids) for name, ids in record.split.items()}
    known = {case.id: record.names_of(case.id, truth.root, truth.name) for case in truth.cases}
    return {
        name: frozenset(id for id, names in known.items() if not ids.isdisjoint(names)) for name, ids in listed.items()
    }


def _same(one: str | None, other: Path) -> bool:
    return bool(one) and Path(str(one)).resolve() == other.resolve()


def _ids(parts: Mapping[str, Mapping[str, Address]]) -> set[str]:
    return {id for part in parts.values() for id in part}


def _class_folders(path: Path) -> dict[str, dict[str, Address]]:
    """The masks of each folder of masks in a folder, by class and id; empty unless every folder is one."""
    folders = [entry for entry in entries(path) if entry.is_dir()] if path.is_dir() else []
    if not folders or not all(any(is_image_name(file) for file in entries(folder)) for folder in folders):
        return {}
    return {folder.name: files_by_id(folder, ()) for folder in folders}
