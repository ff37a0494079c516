"""What a path is, as cases to show: a run, an evaluation, a folder of masks or a data set."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np

from scantling.core.case import Case, Labels
from scantling.core.errors import DataError, RunError, ScantlingError, SettingsError
from scantling.core.machine import COMPUTE, Compute
from scantling.core.outputs import PREDICTIONS, RUN
from scantling.data.contents import count, some
from scantling.data.dataset import Dataset
from scantling.data.opening import OPENING, Opening
from scantling.evaluation.class_matching import matched
from scantling.evaluation.predictions import Predictions, open_predictions
from scantling.experiments.unlabelled import candidates_of, folder_of, predicted, uncertainty_of
from scantling.inference.runner import Progress
from scantling.records.predictions import PredictedCase, PredictionsRecord
from scantling.records.record import read_json, read_record
from scantling.records.run import read_run
from scantling.records.run_folder import identity_of
from scantling.report.case_files import Mask
from scantling.report.page import score_validation
from scantling.report.targets import EvaluationFile, Run, holds_scores, open_run, open_scores
from scantling.report.viewer_cases import ViewerCase, as_sequences, photographs, scored
from scantling.viewing.corrections import Corrections
from scantling.viewing.reading import CaseReader
from scantling.viewing.shown import Entry, Shown

Split = Literal["train", "validation", "test", "all"]
LOOKED_AT = 3
"""Cases by which it is decided whether images in colour are photographs."""


def open_shown(
    path: Path, *, data: Path | None = None, split: Split | None = None, opening: Opening = OPENING
) -> Shown:
    """The cases of a run (those that were scored last, test before validation), of an evaluation, of a folder of masks
    with the images of `data`, or of a data set.

    Args:
        data: the images of a folder of masks; None: those that its record names.
        split: whose cases; None: all that there are, of a run the test cases if they were scored.

    Raises:
        ScantlingError: there is nothing to show.
    """
    target = path.parent if path.name == RUN else path
    if (target / RUN).is_file():
        return _of_run(target, split, opening)
    file = target / "scores.json" if (target / "scores.json").is_file() else target
    if data is None and file.is_file() and file.suffix == ".json" and holds_scores(read_json(file)):
        found = open_scores(file)
        if isinstance(found, EvaluationFile):
            return _of_evaluation(found, f"{found.record.prediction} against {found.record.truth}")
        raise SettingsError(f"{path}: holds scores of registrations; `scantling report` draws them")
    if data is not None or (target / PREDICTIONS).is_file():
        masks = open_masks(target, data, opening)
        return _shown(masks.reader(opening, truth=True), masks, _of(masks.cases, split), f"masks of {target}")
    dataset = opening.open(path)
    cases = _of([case for case in dataset.cases if case.images], split)
    if not cases:
        raise DataError(f"{path}: found no image to show; expected a run, a data set or a folder of masks with --data")
    reader = CaseReader({case.id: case for case in cases}, _labels(dataset), opening=opening)
    return _shown(reader, None, cases, dataset.name)


@dataclass(frozen=True)
class Masks:
    """A folder of masks with the images that they are of.

    Attributes:
        labels: what the values of the masks of the data mean.
        entries: what `predictions.json` says of the cases; empty without one.
    """

    dataset: Dataset
    cases: tuple[Case, ...]
    predictions: Predictions
    labels: Labels
    order: tuple[int, ...]
    entries: Mapping[str, PredictedCase]

    def reader(self, opening: Opening, *, truth: bool) -> CaseReader:
        """What reads the cases."""
        return CaseReader(
            {case.id: case for case in self.cases}, self.labels, self.predictions, self.order, truth=truth,
            opening=opening,
        )  # fmt: skip


def open_masks(folder: Path, data: Path | Dataset | None, opening: Opening = OPENING) -> Masks:
    """A folder of predicted masks of any tool, and the data set with their images.

    Raises:
        SettingsError: nothing says which data set.
        DataError: there are no masks of its images.
    """
    record = read_record(PredictionsRecord, folder / PREDICTIONS) if (folder / PREDICTIONS).is_file() else None
    if data is None and (record is None or not record.input or not Path(record.input).exists()):
        raise SettingsError(f"{folder}: does not say of which images its masks are; name them with --data")
    if data is None and record is not None:
        manifest, root = (Path(place) if place else None for place in (record.manifest, record.root))
        opening = replace(opening, manifest=manifest, root=root, subjects=record.subjects)
    dataset = opening.open(data if data is not None else str(record.input if record is not None else ""))
    images = [case for case in dataset.cases if case.images]
    labels = record.labels if record is not None else _labels(dataset)
    if labels is None:
        raise DataError(f"{folder}: neither the masks nor {dataset.root} say what their values mean; write a manifest")
    predictions = open_predictions(folder, truth=labels, ids={case.id for case in images})
    meant = predictions.data_labels
    truth = dataset.label_source.resolved or meant
    try:
        _, order = matched(meant, truth, declared=dataset.label_source.declared is not None)
    except DataError:
        order, truth = tuple(range(len(meant.names))), meant
    cases = tuple(case for case in images if case.id in predictions.masks)
    if not cases:
        raise DataError(f"{folder}: holds no mask of the {count(len(images), 'image')} of {dataset.root}")
    entries = {case.id: case for case in record.cases} if record is not None else {}
    return Masks(dataset, cases, predictions, truth, order, entries)


def _of_run(run: Path, split: Split | None, opening: Opening) -> Shown:
    found, wanted = _scored(run, split)
    if not wanted and split in (None, "all", "validation"):
        if (shown := _unscored(run, opening)) is not None:
            return shown
        score_validation(run)
        found, wanted = _scored(run, split)
    if not wanted:
        raise RunError(
            f"{run}: found no scored masks{f' of the split {split}' if split else ''}; predict and evaluate first, as "
            f"`scantling report {run}` says, or show a data set or a folder of masks"
        )
    evaluation = wanted[0]
    which = evaluation.record.split or evaluation.name
    return _of_evaluation(evaluation, f"{run.name}, {found.record.method}, {which} cases")


def _scored(run: Path, split: Split | None) -> tuple[Run, list[EvaluationFile]]:
    """The run, and its evaluations of a split, the test cases first."""
    found = open_run(run)
    listed = [one for one in (*found.evaluations, found.validation) if one is not None and one.record.cases]
    return found, [one for one in listed if split in (None, "all", one.record.split)]


def _unscored(run: Path, opening: Opening) -> Shown | None:
    """The validation masks of a run that nobody has scored: to look at them need not wait for all metrics of all cases.

    None where there are none, or their images are not found.
    """
    folder = run / "validation"
    if not (folder / PREDICTIONS).is_file():
        return None
    try:
        masks = open_masks(folder, None, opening)
    except (ScantlingError, OSError):
        return None
    remark = f"Not scored yet, so there is no Dice: `scantling report {run}` scores and draws them."
    title = f"{run.name}, {read_run(run).method}, validation cases"
    return replace(_shown(masks.reader(opening, truth=True), masks, masks.cases, title), remarks=(remark,))


def _of_evaluation(evaluation: EvaluationFile, title: str) -> Shown:
    cases = {case.id: case for case in evaluation.record.cases}
    entries = {case.id: case for case in evaluation.predictions.cases}

    def read(id: str) -> ViewerCase:
        return scored(cases[id], evaluation)

    listed = tuple(
        Entry(
            id, case.subject or "", evaluation.record.split or "", case.values.get("dice"),
            uncertainty_of(entries[id]) if id in entries else None, bool(case.unlike),
        )
        for id, case in cases.items()
    )  # fmt: skip
    return Shown(title, listed, _in_greys(read, [*cases]))


def _shown(reader: CaseReader, masks: Masks | None, cases: Sequence[Case], title: str) -> Shown:
    entries = masks.entries if masks is not None else {}
    listed = tuple(
        Entry(
            case.id, case.subject, case.split or "",
            uncertainty=uncertainty_of(entries[case.id]) if case.id in entries else None,
            unlike=bool(case.id in entries and entries[case.id].unlike),
        )
        for case in cases
    )  # fmt: skip
    return Shown(title, listed, _in_greys(reader, [case.id for case in cases]))


def _in_greys(read: Any, ids: Sequence[str]) -> Any:
    """What reads cases, with sequences in the channels of a colour file as greys (`viewer_cases.photographs`)."""
    decided: list[bool] = []

    def greyed(id: str) -> ViewerCase:
        found: ViewerCase = read(id)
        if not any(layer.coloured for _, layer in found.channels):
            return found
        if not decided:
            some_cases = [found]
            for other in [one for one in ids if one != id][: LOOKED_AT - 1]:
                try:
                    some_cases.append(read(other))
                except ScantlingError:
                    continue
            decided.append(photographs(some_cases))
        return found if decided[0] else as_sequences(found)

    return greyed


def _of(cases: Sequence[Case], split: Split | None) -> tuple[Case, ...]:
    return tuple(case for case in cases if split in (None, "all", case.split))


def _labels(dataset: Dataset) -> Labels | None:
    try:
        return dataset.labels
    except ScantlingError:
        return None


@dataclass(frozen=True)
class Correctable:
    """Cases whose masks can be corrected, with the folder that takes them."""

    shown: Shown
    corrections: Corrections
    reader: CaseReader

    def save(self, id: str, content: Mapping[str, Any]) -> Mapping[str, Any]:
        """Save the mask of a case."""
        case = self.reader.cases[id]
        _, grid = self.reader.image(case)
        before = self.corrections.mask(case, grid) or self.reader.predicted(case, grid, [])
        return self.corrections.save(case, grid, before, content)


def open_correctable(
    path: Path,
    *,
    data: Path | None,
    out: Path,
    author: str,
    only: Sequence[str] = (),
    opening: Opening = OPENING,
    compute: Compute = COMPUTE,
    progress: Progress | None = None,
) -> Correctable:
    """The masks of a run or of a folder, of training images, to be corrected into `out`; the most uncertain first.

    Of a run these are its masks of the training images that it has no label of; they are made if they are not there.

    Args:
        only: the ids of the cases to correct, in order; empty: all.

    Raises:
        SettingsError: `data` or `out` cannot be.
        DataError: nothing is left to correct.
    """
    if (path / RUN).is_file():
        if data is None:
            raise SettingsError("--correct: name the data set whose masks are corrected with --data")
        found = candidates_of(path, [data], opening=opening, corrected=True)
        predicted(path, found.unlabelled, found.dataset, opening=opening, compute=compute, progress=progress)
        folder = folder_of(path, found.unlabelled)
        model = f"{read_run(path).method} {identity_of(path)}"
    else:
        folder, model = path, _model(path)
    masks = open_masks(folder, data, opening)
    tested = [case.id for case in masks.cases if case.split == "test"]
    cases = [case for case in masks.cases if case.split != "test"]
    if only:
        if strange := [id for id in only if id not in {case.id for case in cases}]:
            raise SettingsError(
                f"--cases: {some(strange)} is no training case with a mask in {folder}; correct the list"
            )
        cases = [case for id in dict.fromkeys(only) for case in cases if case.id == id]
    if not cases:
        raise DataError(f"{folder}: found no mask of a training case to correct; test masks are not corrected")
    dataset = masks.dataset
    facts = {
        "data": str((data or dataset.root).resolve()), **{"manifest": None, "root": None}, **opening.facts(),
    }  # fmt: skip
    inputs = [*dataset.files(), *(file for file in folder.rglob("*") if file.is_file())]
    corrections = Corrections.checked(out, inputs, data=facts, labels=masks.labels, model=model, author=author)
    reader = masks.reader(opening, truth=False)

    def read(id: str) -> ViewerCase:
        found = reader(id)
        grid = found.channels[0][1].geometry
        again = corrections.mask(reader.cases[id], grid)
        if again is not None:
            note = "This is the mask that was corrected before."
            return replace(found, mask=again, notes=(*found.notes, note))
        if found.mask is None:
            nothing = np.zeros((len(masks.labels.names), *grid.shape), np.bool_)
            return replace(found, mask=Mask(nothing, ~nothing, grid))
        return found

    shown = _shown(reader, masks, cases, f"Correct the masks of {model or folder.name}")
    entries = shown.entries if only else tuple(sorted(shown.entries, key=_doubt, reverse=True))
    remarks = (f"{count(len(tested), 'test case')} not shown: what is tested on is not corrected",) if tested else ()
    return Correctable(
        replace(shown, entries=entries, read=_in_greys(read, [one.id for one in entries]), remarks=remarks),
        corrections,
        reader,
    )


def _doubt(entry: Entry) -> float:
    return -1.0 if entry.uncertainty is None else entry.uncertainty


def _model(folder: Path) -> str:
    """Whose masks a folder holds, as far as it says."""
    if not (folder / PREDICTIONS).is_file():
        return ""
    record = read_record(PredictionsRecord, folder / PREDICTIONS)
    return " ".join(part for part in (record.method, record.model) if part)
