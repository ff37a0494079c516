"""The command `compare`: runs, folders of predictions or evaluations on the same cases, and whether they differ."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

from scantling.core.errors import DataError, FileError, SettingsError
from scantling.core.machine import COMPUTE, Compute
from scantling.core.outputs import PREDICTIONS
from scantling.data.contents import some
from scantling.data.dataset import Dataset, file_hashes, fingerprint, open_dataset
from scantling.data.opening import OPENING, Opening
from scantling.data.splits import SPLITS
from scantling.evaluation.boxes import boxes_from, evaluate_boxes
from scantling.evaluation.classes import evaluate_classes, open_classes
from scantling.evaluation.folders import evaluate
from scantling.evaluation.result import Evaluation
from scantling.evaluation.truth import Kind, ids_in, open_truth
from scantling.experiments.boxes_by_case import box_scores, metrics_of_boxes
from scantling.experiments.candidates import Candidate, open_candidate
from scantling.experiments.comparison import Comparison
from scantling.experiments.image_classes import metrics_of_classes, scored_classes
from scantling.experiments.pairs import Scored, compare_scores
from scantling.inference import predict
from scantling.inference.prediction import select_cases as cases_of
from scantling.metrics.catalogue import AREA, BOX_METRICS, BOX_METRICS_OF_A_CASE, CLASS_METRICS, METRICS, VOLUME, chosen
from scantling.records.evaluation import EvaluationRecord, Region
from scantling.records.predictions import NO_PREDICTIONS, PredictionsRecord
from scantling.records.record import read_record

KINDS: tuple[Kind, ...] = ("mask", "class")
MAIN = ("dice", "found", "false_alarm", "cldice", "hd95", "ece")
"""What is compared unless told; the first is tested."""


def compare(
    runs: Sequence[Path | str],
    data: Path | str | Dataset,
    *,
    split: str = "test",
    out: Path | None = None,
    baseline: str = "best",
    metrics: Sequence[str] | None = None,
    region: Path | str | None = None,
    opening: Opening = OPENING,
    compute: Compute = COMPUTE,
    progress: Callable[[int, int, str], None] | None = None,
) -> Comparison:
    """Compare methods on the cases of one split of `data`.

    What a run predicts is kept, with its probability maps, and used again for the same weights and the same images.

    Args:
        runs: run folders, folders of predictions and evaluations (JSON), two or more. Runs that differ in their seed
            and label seed alone are one method, unless there is no other. Masks are compared where all have them, else
            image classes.
        data: a dataset with true masks, or with true image classes.
        split: "train", "validation", "test" or "all".
        out: where predictions are kept; None: in `compared` below each run.
        baseline: "best", "first", or a method by its name or by that of one of its folders.
        metrics: names of the catalogue, of which the first is tested; None: those of `MAIN` that all have, of image
            classes accuracy and Brier score. Those of boxes are of each case by itself; see `boxes_by_case`.
        region: see `evaluate`; not of image classes.
        opening: how the data are opened.
        compute: where predictions are computed.
        progress: called with (done, total, id) after each case that is predicted or scored.

    Raises:
        ScantlingError: they cannot be compared. Cases that fail are listed, not raised.
    """
    if split not in ("all", *SPLITS):
        raise SettingsError(f"--split {split}: expected train, validation, test or all")
    candidates = [open_candidate(path) for path in _distinct([Path(run) for run in runs])]
    kind = _kind(candidates)
    notes = _same_classes(candidates, kind)
    if kind == "class" and region is not None:
        raise SettingsError(f"--region {region}: image classes have no pixels; leave it out")
    if isinstance(data, Dataset):
        dataset, place = data, data.root
    else:
        opened, place = open_truth if kind == "mask" else open_classes, Path(data)
        opened = open_dataset if any(one.kind == "run" for one in candidates) else opened
        dataset = opened(place, manifest=opening.manifest, root=opening.root, subjects=opening.subjects)
    of_boxes = kind == "mask" and metrics is not None and not BOX_METRICS.keys().isdisjoint(metrics)
    _has_truth(dataset, place, split, kind, boxes_from(dataset) if of_boxes else "")
    several = any(len(case.masks) > 1 for case in dataset.cases)
    if of_boxes and metrics is not None:
        wanted, catalogue = metrics_of_boxes(metrics, candidates), BOX_METRICS_OF_A_CASE
    elif kind == "mask":
        wanted, catalogue = _metrics(metrics, candidates, several=several), METRICS
    else:
        wanted, catalogue = metrics_of_classes(metrics), CLASS_METRICS

    named = data if isinstance(data, Dataset) else place
    scored = _Scorer(dataset, named, split, kind, wanted, region, out, opening, compute, progress)
    field = [scored(candidate) for candidate in candidates]
    known = [catalogue[name] for name in wanted]
    return compare_scores(field, dataset, known, split=split, baseline=baseline, notes=notes)


@dataclass(frozen=True)
class _Scorer:
    """Scores a candidate on the cases of a split, those that a run has yet to predict included; see `compare`."""

    dataset: Dataset
    data: Path | Dataset
    split: str
    kind: Kind
    metrics: Sequence[str]
    region: Path | str | None
    out: Path | None
    opening: Opening
    compute: Compute
    progress: Callable[[int, int, str], None] | None

    def __call__(self, candidate: Candidate) -> Scored:
        record = candidate.scores
        if record is not None and self.kind == "mask":
            return _recorded(candidate, record, self.metrics, self.dataset, self.split)
        if record is not None and record.image_classes is not None:
            return scored_classes(candidate, record.image_classes, self.dataset, self.split)
        folder = self._predicted(candidate) if candidate.kind == "run" else candidate.path
        if self.kind == "class":
            found = evaluate_classes(folder, self.dataset, split=self.split).record()
            return replace(scored_classes(candidate, found, self.dataset, self.split), made=_made(folder))
        if not BOX_METRICS.keys().isdisjoint(self.metrics):
            boxes = box_scores(evaluate_boxes(folder, self.dataset, split=self.split))
            scored = _recorded(candidate, boxes, self.metrics, self.dataset, self.split)
            return replace(scored, made=_made(folder), region=None)
        masks = evaluate(
            folder, self.dataset, split=self.split, metrics=self.metrics, region=self.region,
            limits=self.opening.limits, untrusted=self.opening.untrusted, progress=self.progress,
        )  # fmt: skip
        return _evaluated(candidate, masks)

    def _predicted(self, candidate: Candidate) -> Path:
        """The folder of what a run predicts.

        Raises:
            DataError: it could predict no case.
        """
        opening, compute = self.opening, self.compute
        folder = candidate.cache(
            self.out, f"{self.dataset.name}-{self.split}", _place(self.data), opening.manifest, opening.root,
            self.split, compute.precision, _seen(candidate, self.dataset, self.split),
        )  # fmt: skip
        done = predict(
            candidate.path, self.data, out=folder, split=self.split, probabilities="mask" in candidate.answers,
            progress=self.progress, opening=opening, compute=compute,
        )  # fmt: skip
        if done.failed and not done.cases:
            raise DataError(
                f"{candidate.path}: no case could be predicted; the first failed: {done.failed[0]['error']}"
            )
        return folder


def _kind(candidates: Sequence[Candidate]) -> Kind:
    """Whether masks are compared, or image classes.

    Raises:
        DataError: some have masks alone, others image classes alone.
    """
    for kind in KINDS:
        if all(kind in one.answers for one in candidates):
            return kind
    masks, classes = (next(one.path for one in candidates if one.answers == (kind,)) for kind in KINDS)
    raise DataError(
        f"{masks} has masks and {classes} image classes; expected the same of all; compare those that segment, or "
        "those that classify"
    )


def _distinct(paths: list[Path]) -> list[Path]:
    for number, path in enumerate(paths):
        if path.resolve() in {other.resolve() for other in paths[:number]}:
            raise SettingsError(f"{path}: is named twice; name each run once")
    if len(paths) < 2:
        found = f"found only {paths[0]}" if paths else "found no run"
        raise SettingsError(f"{found} to compare; expected two or more runs, folders of masks or evaluations")
    return paths


def _same_classes(candidates: Sequence[Candidate], kind: Kind) -> list[str]:
    """A note where two call their single class of masks differently; such names match, as in `evaluate`.

    Raises:
        DataError: they segment different things, or tell images by different classes.
    """
    named = [(one.path, one.classes if kind == "mask" else one.image_classes) for one in candidates]
    known = [(path, classes) for path, classes in named if classes]
    for path, classes in known[1:]:
        first, expected = known[0]
        if set(classes) != set(expected):
            if kind == "mask" and len(classes) == len(expected) == 1:
                return [f"{first} calls its class {expected[0]}, {path} {classes[0]}; they are taken as the same."]
            raise DataError(
                f"{first} has the classes {some(expected)}, {path} has {some(classes)}; expected the same; compare "
                f"runs that {'segment the same things' if kind == 'mask' else 'tell images by the same classes'}"
            )
    return []


def _place(data: Path | Dataset) -> Path:
    return data.root if isinstance(data, Dataset) else data.absolute()


def _has_truth(dataset: Dataset, data: Path, split: str, kind: Kind, boxes: str = "") -> None:
    """Raises where nothing can be compared; `boxes`: what true boxes are drawn from, see `evaluation.boxes`."""
    noun = "true box" if boxes else "true mask" if kind == "mask" else "true image class"
    word = boxes or ("mask" if kind == "mask" else "image_class")
    true = [case for case in dataset.cases if case.has(word)]
    if not true:
        raise DataError(f"{data}: none of its cases has a {noun}; expected some to compare with")
    # a run, not the data, says which training cases are for validation
    names = ("train", "validation") if split == "validation" else (split,)
    if split != "all" and not any(case.split in names for case in true):
        held = some(sorted({case.split or "train" for case in true}))
        raise DataError(
            f"{data}: no case of the split {split!r} has a {noun}, those of {held} have; choose another --split"
        )


def _metrics(named: Sequence[str] | None, candidates: Sequence[Candidate], *, several: bool) -> list[str]:
    """The names of the metrics, in the order in which they were named; `several`: a case has several true masks."""
    try:
        chosen(named, probability=True, annotators=several, uncertainty=True)
    except ValueError as error:
        raise SettingsError(f"--metrics: {error}") from None
    wanted = list(dict.fromkeys(MAIN if named is None else named))
    for candidate in candidates:
        lacking = [name for name in wanted if not _gives(candidate, name)]
        if lacking and named is not None:
            maps = "uncertainty" if "uncertainty" in METRICS[lacking[0]].needs else "probability"
            what = "was not scored for" if candidate.kind == "scores" else f"has no {maps} maps, as are needed for"
            raise SettingsError(f"{candidate.path}: {what} {some(lacking)}; score it again or choose other --metrics")
        wanted = [name for name in wanted if name not in lacking]
    if not wanted:
        raise SettingsError(f"found none of {some(MAIN)} in all evaluations; choose other metrics with --metrics")
    return wanted


def _gives(candidate: Candidate, name: str) -> bool:
    if candidate.scores is not None:
        return all(name in case.values for case in candidate.scores.cases)
    needs, cases = METRICS[name].needs, candidate.made.cases
    if "uncertainty" in needs:
        return candidate.uncertain if candidate.kind == "run" else any(case.uncertainty_maps for case in cases)
    if candidate.kind == "run" or "probability" not in needs:
        return True
    return any(case.probability and (candidate.path / case.probability).is_file() for case in cases)


def _seen(candidate: Candidate, dataset: Dataset, split: str) -> str:
    """The fingerprint of what a run looks at in a split: the images and their regions."""
    hashes: dict[str, str] = {}
    for case in cases_of(dataset, candidate.path, split)[1]:
        with suppress(FileError):  # the case fails, and is listed, when it is predicted
            hashes |= file_hashes(replace(dataset, cases=(case,)), reads=("image", "region"))
    return fingerprint(hashes)


def _evaluated(candidate: Candidate, found: Evaluation) -> Scored:
    """What the masks of a run or of a folder are worth."""
    return Scored(
        candidate,
        values={case.id: case.scores.mean for case in found.cases},
        subjects={case.id: case.subject for case in found.cases},
        failed={failure.id: failure.error for failure in found.failed},
        made=_made(found.prediction),
        region=found.region,
        units={case.id: case.unit for case in found.cases},
        axes=found.axes,
        record=found.record(),
    )


def _made(folder: Path) -> PredictionsRecord:
    """What a folder of predictions says of itself."""
    path = folder / PREDICTIONS
    return read_record(PredictionsRecord, path) if path.is_file() else NO_PREDICTIONS


def _recorded(
    candidate: Candidate, record: EvaluationRecord, metrics: Sequence[str], dataset: Dataset, split: str
) -> Scored:
    """What an evaluation has recorded of the cases of a split.

    Raises:
        DataError: it has recorded none of them.
    """
    persons = {case.id: case.subject for case in dataset.cases}
    meant = ids_in(split, dataset, run=record.run or candidate.made.run)
    cases = {case.id: case for case in record.cases if case.id in meant}
    if not cases:
        raise DataError(
            f"{candidate.path}: holds no score of a case of the split {split!r} of {dataset.root}; score that split, "
            "or choose another --split"
        )
    notes = []
    if Path(record.truth).resolve() != dataset.root.resolve():
        notes.append(f"{candidate.path} was scored against {record.truth}, not against {dataset.root}.")
    if not record.definitions.get("dice", 1):
        notes.append(
            f"{candidate.path} was scored by an older version, to which an empty truth answered by an empty mask was a "
            "Dice of 1; score it again where a truth is empty."
        )
    return Scored(
        candidate,
        values={
            id: {name: math.nan if (value := case.values[name]) is None else value for name in metrics}
            for id, case in cases.items()
        },
        subjects={id: persons.get(id, case.subject or id) for id, case in cases.items()},
        failed={failure.id: failure.error for failure in record.failed if failure.id in meant},
        made=candidate.made,
        region=record.region or Region(),
        notes=tuple(notes),
        units={id: case.unit for id, case in cases.items()},
        axes=next((axes for unit, axes in ((VOLUME, 3), (AREA, 2)) if unit in record.units.values()), None),
        record=record,
    )
