"""Masks that may be wrong: the cases on which a mask and a model that has not seen it disagree most.

A run has learned from its training masks, wrong ones included, so its own answers would hide them. They are judged by
cross-fitting: the subjects are divided into folds, and its method is trained anew on all folds but one.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console

from scantling.contract.capabilities import Segmenter
from scantling.core.atomic import write_json
from scantling.core.case import IGNORE, Case, Labels, Split
from scantling.core.errors import DataError, ScantlingError, SettingsError
from scantling.core.machine import COMPUTE, Compute
from scantling.core.randomness import seed_of
from scantling.data.contact_sheet import beside_answers
from scantling.data.contents import count
from scantling.data.dataset import Dataset, file_hashes, fingerprint
from scantling.data.files import Limits
from scantling.data.grids import place
from scantling.data.loading import load, spaced_like
from scantling.data.opening import OPENING, Opening
from scantling.evaluation.class_matching import matched
from scantling.evaluation.predictions import open_predictions
from scantling.experiments.disagreement import Disagreement, disagreement
from scantling.inference.prediction import predict
from scantling.records.run import RunRecord, read_run
from scantling.records.run_folder import load_model
from scantling.training.leakage import learned_from
from scantling.training.options import Options
from scantling.training.training import train

FOLDS = 3
"""Trainings that cross-fitting takes; ours."""
FOLDER = "suspects"
"""Below the run; in it a folder for each state of the data, so that masks that were corrected are judged anew."""
DEVIATIONS = 2.5
"""A case stands out if its Dice lies as many (robust) standard deviations below the median; ours."""
MOST = 20

Progress = Callable[[int, int, str], None]


@dataclass(frozen=True)
class Suspect:
    """A case whose mask and model disagree.

    Attributes:
        case: the case.
        found: how.
        answer: (K, *S) bool, what the model says.
        stands_out: whether its Dice is far below that of most cases.
    """

    case: Case
    found: Disagreement
    answer: np.ndarray
    stands_out: bool


@dataclass(frozen=True)
class Suspects:
    """What was found, the worst first.

    Attributes:
        judged: how many cases.
        cross_fitted: how many of them by models that were trained anew.
        median: of the Dice of all of them.
        listed: those that stand out, or the lowest three.
        failed: sentences on cases that could not be judged.
        picture: the listed masks, each beside what the model says.
    """

    judged: int
    cross_fitted: int
    median: float
    listed: tuple[Suspect, ...]
    failed: tuple[str, ...]
    picture: Path

    def lines(self) -> list[str]:
        """For people."""
        out = [one for one in self.listed if one.stands_out]
        head = (
            f"suspects: {len(out)} of {count(self.judged, 'mask')} stand{'s' if len(out) == 1 else ''} out (median "
            f"Dice of mask and model {self.median:.2f}); look at them, nothing was changed"
            if out
            else f"suspects: no mask of {self.judged} stands out (median Dice of mask and model {self.median:.2f}); "
            "those that agree least:"
        )
        return [
            head,
            *(f"  {one.case.id}: Dice {one.found.dice:.2f}, {one.found.sentence}" for one in self.listed),
            f"  {self.picture}",
        ]

    def facts(self) -> dict[str, Any]:
        """For `--json`."""
        listed = [
            {
                "id": one.case.id, "split": one.case.split, "dice": round(one.found.dice, 4), "kind": one.found.kind,
                "sentence": one.found.sentence, "stands_out": one.stands_out,
            }
            for one in self.listed
        ]  # fmt: skip
        return {
            "judged": self.judged, "cross_fitted": self.cross_fitted, "median_dice": round(self.median, 4),
            "listed": listed, "failed": list(self.failed), "picture": str(self.picture),
        }  # fmt: skip


def suspects(
    dataset: Dataset,
    run: Path,
    *,
    opening: Opening = OPENING,
    compute: Compute = COMPUTE,
    console: Console | None = None,
    progress: Progress | None = None,
) -> Suspects:
    """The cases for training and validation whose masks a model agrees with least. Test masks are not opened.

    Trainings and predictions lie in `RUN/suspects` and go on where they were interrupted.

    Args:
        dataset: whose masks are in doubt.
        run: a trained segmenter; on cases that it has not learned from it answers itself.

    Raises:
        SettingsError: the run does not segment.
        DataError: there are no masks, or fewer subjects than two.
    """
    record = read_run(run)
    if not isinstance(load_model(run), Segmenter):
        raise SettingsError(f"--suspects {run}: {record.method} does not segment; name a run that does")
    labels = dataset.labels
    cases = [case for case in dataset.cases if case.split != "test" and case.masks and case.images]
    if labels is None or not cases:
        raise DataError(f"{dataset.root}: has no case for training with an image and a mask; nothing can be suspected")
    seen = learned_from([record], dataset, among={case.id for case in cases})
    place = run / FOLDER / fingerprint(file_hashes(dataset))[:8]
    parts: list[tuple[Path, list[Case]]] = []
    if unseen := [case for case in cases if case.id not in seen]:
        parts.append((run, unseen))
    parts += _cross_fitted(dataset, place, record, [case for case in cases if case.id in seen], compute, console)
    scored: list[tuple[Case, Disagreement, np.ndarray]] = []
    failed: list[str] = []
    for model, those in parts:
        out = place / f"predictions-{model.name if model != run else 'run'}"
        part = replace(dataset, cases=tuple(those))
        done = predict(model, part, out=out, split="all", opening=opening, compute=compute, progress=progress)
        failed += [f"{one['id']}: {one['error']}" for one in done.failed]
        lost = {one["id"] for one in done.failed}
        for case in those:
            if case.id in lost:
                continue
            try:
                mask, answer = _layers(case, out, dataset, labels, opening)
            except ScantlingError as error:
                failed.append(f"{case.id}: {error}")
                continue
            scored.append((case, disagreement(mask, answer, names=labels.names), answer))
    if not scored:
        raise DataError(f"{dataset.root}: no case could be judged; the first: {failed[0]}")
    found = _ranked(scored, cross_fitted=len(seen), failed=tuple(failed), picture=place / "suspects.png")
    rows = [
        (one.case, f"{one.found.dice:.2f}: {one.found.sentence.removeprefix('the mask is drawn about ')}", one.answer)
        for one in found.listed
    ]
    beside_answers(dataset.name, rows, labels, place / "suspects.png", untrusted=opening.untrusted)
    write_json(place / "suspects.json", found.facts())
    return found


def _ranked(
    scored: Sequence[tuple[Case, Disagreement, np.ndarray]],
    *,
    cross_fitted: int,
    failed: tuple[str, ...],
    picture: Path,
) -> Suspects:
    dices = np.array([found.dice for _, found, _ in scored])
    median = float(np.median(dices))
    spread = 1.4826 * float(np.median(np.abs(dices - median)))
    bound = median - DEVIATIONS * max(spread, 0.02)
    worst = sorted(scored, key=lambda one: (one[1].dice, one[0].id))
    listed = [Suspect(case, found, answer, found.dice < bound) for case, found, answer in worst[:MOST]]
    out = [one for one in listed if one.stands_out]
    return Suspects(len(scored), min(cross_fitted, len(scored)), median, tuple(out or listed[:3]), failed, picture)


def _layers(case: Case, out: Path, dataset: Dataset, labels: Labels, opening: Opening) -> tuple[np.ndarray, np.ndarray]:
    """The mask of a case and the model's answer, (K, *S) bool; what is unknown is in neither."""
    predictions = open_predictions(out, truth=labels, ids={case.id})
    _, order = matched(predictions.data_labels, labels, declared=dataset.label_source.declared is not None)
    limits = opening.limits or Limits()
    answer, grid = predictions.mask(case.id, order, limits=limits, untrusted=opening.untrusted)
    sample = load(case, labels=labels, reads=("mask",), limits=limits, untrusted=opening.untrusted)
    grid = grid if case.spacing is None else spaced_like(grid, sample.geometry, case.id)
    mask, _ = place(sample.masks[0], sample.geometry, grid, where=f"the mask of {case.id}", reference="its image")
    known = (mask != IGNORE).all(axis=0)
    numbers = np.arange(1, len(labels.names) + 1).reshape(-1, *[1] * (mask.ndim - 1))
    layers = [(each == (numbers if len(each) == 1 else 1)) & known for each in (mask, answer)]
    return layers[0], layers[1]


def _cross_fitted(
    dataset: Dataset, place: Path, record: RunRecord, cases: Sequence[Case], compute: Compute, console: Console | None
) -> list[tuple[Path, list[Case]]]:
    """Runs of the same recipe, each with the cases that it has not learned from."""
    if not cases:
        return []
    subjects = sorted({case.subject for case in cases}, key=lambda subject: seed_of("suspects", subject))
    if len(subjects) < 2:
        raise DataError(f"{dataset.root}: the masks are all of one subject; cross-fitting needs two or more")
    folds = min(FOLDS, len(subjects))
    fold_of = {subject: place % folds for place, subject in enumerate(subjects)}
    options = _options(record, compute)
    parts = []
    for fold in range(folds):
        held = {case.id for case in cases if fold_of[case.subject] == fold}
        whose = {case.subject for case in cases if case.id in held}
        fitted = tuple(
            replace(case, split=_split(case, whose)) for case in dataset.cases if case.split != "test" or case.masks
        )
        out = place / f"fold-{fold + 1}"
        train(record.method, [replace(dataset, cases=fitted, parted=True)], out, options, console=console)
        parts.append((out, [case for case in cases if case.id in held]))
    return parts


def _split(case: Case, held: set[str]) -> Split:
    """Where a case stands in a fold: what is held out, and the data's own test cases, are not learned from."""
    return "test" if case.split == "test" or case.subject in held else "train"


def _options(record: RunRecord, compute: Compute) -> Options:
    """Those of the run, with nothing held out for validation and the last weights kept."""
    given: Mapping[str, Any] = record.options
    sampling = {name: given[name] for name in ("share", "order", "augment") if name in given}
    return Options(
        preset=record.preset or "paper",
        settings=record.settings,
        seed=record.seed or 0,
        subjects=record.subjects,
        validation=0.0,
        base=Path(record.base) if record.base else None,
        pretrained_rate=given.get("pretrained_rate"),
        uses={role: Path(str(path)) for role, path in record.uses.items()},
        device=compute.device,
        threads=compute.threads,
        precision=compute.precision,
        accumulation=int(given.get("accumulation") or 1),
        **sampling,
    )
