"""The command `evaluate` on a folder of registrations: what warping has won, and how smooth the displacements are."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
import torch

from scantling.core.case import IGNORE, Address, Case, Geometry, Labels, Sample
from scantling.core.errors import DataError, ScantlingError
from scantling.core.outputs import REGISTRATIONS
from scantling.data.contents import some
from scantling.data.dataset import Dataset, open_dataset
from scantling.data.described import confined
from scantling.data.displacements import millimetres, read_displacement
from scantling.data.files import Limits
from scantling.data.labels import joined_classes
from scantling.data.loading import coordinates, load
from scantling.data.opening import OPENING, Opening
from scantling.evaluation.class_matching import check_predicted, matched, of_regions
from scantling.evaluation.predictions import Files, Predictions
from scantling.evaluation.registration_result import BEFORE, COMPARED, MEASURED, PairScores, RegistrationEvaluation
from scantling.evaluation.scores import scores_of_arrays
from scantling.evaluation.units import mixed
from scantling.inference.resampling import index_map, resample_onto
from scantling.metrics.arrays import mean_of_defined
from scantling.records.predictions import Failure
from scantling.records.registrations import Registered, Registrations, WarpedFiles, read_registrations
from scantling.warping import affine_map, jacobian_determinant, sample_at

Progress = Callable[[int, int, str], None]


def evaluate_registrations(
    folder: Path, truth: Path, *, opening: Opening = OPENING, progress: Progress | None = None
) -> RegistrationEvaluation:
    """Score the registrations of a folder: overlap and distance of masks before and after, landmarks, folding.

    Args:
        folder: what `register` has written.
        truth: the dataset of the fixed images; the moving ones are those of the record.

    Raises:
        ScantlingError: nothing can be compared. Pairs that fail are listed, not raised.
    """
    record, fixed = read_registrations(folder), opening.open(truth)
    moving = fixed if record.moving is None else open_dataset(Path(record.moving), subjects=opening.subjects)
    scorer = Scorer(folder, record, fixed, moving, opening)
    failed = [Failure(id=one.id, error=f"it was not registered: {one.error}") for one in record.failed]
    pairs = list[PairScores]()
    for number, case in enumerate(record.cases, start=1):
        try:
            pairs += scorer(case)
        except (ScantlingError, ValueError, MemoryError, OSError) as error:
            failed.append(Failure(id=case.id, error=str(error) or type(error).__name__))
        if progress is not None:
            progress(number, len(record.cases), case.id)
    notes = of_regions(fixed.regions) if scorer.parts else []
    done = len(record.cases) + len(record.failed)
    if done < record.total:
        notes.append(f"The registrations are not finished: {done} of {record.total} are listed.")
    if not scorer.classes:
        lacking = "No mask was warped" if record.labels is None else f"{truth} has no masks"
        notes.append(f"{lacking}, so that no overlap could be measured.")
    if fused := [case.id for case in record.cases if case.mask is not None]:
        notes.append(f"The fused masks of {some(fused, most=3)} are scored by `scantling evaluate {folder}/fused`.")
    notes += mixed({pair.id: pair.unit for pair in pairs}, MEASURED, noun="pair")
    return RegistrationEvaluation(
        folder.resolve(), truth.resolve(), record, scorer.scored, tuple(pairs), tuple(failed), opening.facts(),
        tuple(notes), dict(fixed.regions) if scorer.parts else {},
    )  # fmt: skip


class Scorer:
    """Scores the pairs of one record.

    Args:
        fixed: the data of the fixed images, whose masks are the truth.
        moving: that of the moving images.
    """

    def __init__(self, folder: Path, record: Registrations, fixed: Dataset, moving: Dataset, opening: Opening) -> None:
        self.folder, self.record, self.opening = folder, record, opening
        self.fixed, self.moving = ({case.id: case for case in data.cases} for data in (fixed, moving))
        self.labels, self.moving_labels = fixed.labels, moving.labels
        self.classes: tuple[str, ...] = ()
        self.order: tuple[int, ...] = ()
        if (written := record.labels) is not None and self.labels is not None:
            declared = fixed.label_source.declared is not None
            self.classes, self.order = matched(written, self.labels, declared=declared)
        self.parts: dict[str, list[int]] = {}
        """The numbers of the classes that each region of the manifest joins."""
        if self.classes and self.labels is not None and fixed.regions:
            check_predicted(fixed.regions, self.classes, self.labels, folder)
            names = self.classes[: len(self.labels.names)]  # masks may have been written with more classes
            joined_classes(self.labels.model_copy(update={"names": names}), fixed.regions, str(fixed.root))
            self.parts = {name: [self.classes.index(one) + 1 for one in of] for name, of in fixed.regions.items()}

    @property
    def scored(self) -> tuple[str, ...]:
        """The classes, or in their place the regions that join them."""
        return tuple(self.parts) or self.classes

    def __call__(self, case: Registered) -> list[PairScores]:
        """The scores of all images that were warped onto one fixed image.

        Raises:
            ScantlingError: a file cannot be read, or does not fit the others.
        """
        target = self._sample(self.fixed, case.fixed, self.labels)
        return [
            self._pair(case, target, self._sample(self.moving, id, self.moving_labels), files)
            for id, files in zip(case.moving, case.files, strict=True)
        ]

    def _pair(self, case: Registered, target: Sample, source: Sample, files: WarpedFiles) -> PairScores:
        path = confined(self.folder, files.displacement, REGISTRATIONS)
        displacement = read_displacement(path, target.geometry, limits=self.opening.limits)
        determinant = jacobian_determinant(torch.from_numpy(displacement)[None]).numpy()
        unfolded = determinant[determinant > 0]
        scores = {metric.name: math.nan for metric in MEASURED}
        scores["folded"] = 1 - unfolded.size / determinant.size
        scores["log_jacobian"] = float(np.log(unfolded).std()) if unfolded.size else math.nan
        pairs = landmark_errors(target.case, target.geometry, source.case, source.geometry, displacement)
        scores["landmarks"], scores[f"landmarks{BEFORE}"] = pairs
        classes: dict[str, dict[str, float]] = {name: {} for name in self.scored}
        if files.mask is not None and target.masks and source.masks and self.classes:
            after = self._written(target.case.id, files.mask)
            before = self._ordered(resample_onto(source.masks[0], target.geometry, source.geometry, linear=False))
            for ending, mask in (("", after), (BEFORE, before)):
                found = self._compared(mask, target)
                scores |= {f"{name}{ending}": mean_of_defined(found[c][name] for c in found) for name in COMPARED}
                for one, values in found.items():
                    classes[one] |= {f"{name}{ending}": value for name, value in values.items()}
        fixed, unit = target.case, target.geometry.unit
        return PairScores(case.id, fixed.id, source.case.id, fixed.subject, scores, classes, unit)

    def _compared(self, mask: np.ndarray, target: Sample) -> Mapping[str, Mapping[str, float]]:
        known = (mask != IGNORE).all(0)
        mask, truth = (self._in_regions(each) for each in (mask, target.masks[0]))
        return scores_of_arrays(
            mask, truth, classes=self.scored, region=None if known.all() else known,
            spacing=target.geometry.spacing, metrics=COMPARED,
        ).classes  # fmt: skip

    def _in_regions(self, mask: np.ndarray) -> np.ndarray:
        """A mask (1, *S) of classes as one of regions (R, *S); as it is, where no region is scored."""
        if not self.parts:
            return mask
        found = np.concatenate([np.isin(mask, numbers) for numbers in self.parts.values()]).astype(np.uint8)
        found[:, mask[0] == IGNORE] = IGNORE
        return found

    def _written(self, id: str, mask: str | Sequence[str]) -> np.ndarray:
        """A warped mask that was written, its classes in the order of the truth's."""
        labels = self.record.labels
        if labels is None:
            raise DataError(f"{self.folder}: the record has a mask of {id} but no classes; register again")
        files: Files = (
            Address(confined(self.folder, mask, REGISTRATIONS))
            if isinstance(mask, str)
            else {
                name: Address(confined(self.folder, path, REGISTRATIONS))
                for name, path in zip(labels.names, mask, strict=False)
            }
        )
        predictions = Predictions(self.folder, labels, {id: files}, {})
        limits = self.opening.limits or Limits()
        return predictions.mask(id, self.order, limits=limits, untrusted=self.opening.untrusted)[0]

    def _ordered(self, mask: np.ndarray) -> np.ndarray:
        """A mask of the moving data, its classes in the order of the truth's."""
        if len(mask) > 1:
            return mask[list(self.order)]
        numbers = np.zeros(IGNORE + 1, np.uint8)
        numbers[IGNORE] = IGNORE
        numbers[np.array(self.order) + 1] = np.arange(1, len(self.order) + 1)
        return np.asarray(numbers[mask])

    def _sample(self, cases: Mapping[str, Case], id: str, labels: Labels | None) -> Sample:
        if id not in cases:
            raise DataError(f"{id}: there is no such case in the data; name those that were registered")
        case = cases[id]
        reads = ("image", "mask") if case.masks and labels is not None else ("image",)
        return load(case, labels=labels, reads=reads, limits=self.opening.limits, untrusted=self.opening.untrusted)


def landmark_errors(
    fixed: Case, fixed_geometry: Geometry, moving: Case, moving_geometry: Geometry, displacement: np.ndarray
) -> tuple[float, float]:
    """The mean distance between the points of two cases, after and before, in the unit of the fixed image; or NaN.

    It is NaN where one of them has no points.

    Args:
        displacement: (D, *S) in pixels of the fixed image.

    Raises:
        DataError: both cases have points, but not equally many.
    """
    if not fixed.points or not moving.points:
        return math.nan, math.nan
    if len(fixed.points) != len(moving.points):
        raise DataError(
            f"{fixed.id} has {len(fixed.points)} points and {moving.id} has {len(moving.points)}; expected as many, in "
            "one order, or none"
        )
    dimensions = len(fixed_geometry.shape)
    start, goal = (
        torch.from_numpy(coordinates(case, "points", geometry)).double().T[None]
        for case, geometry in ((fixed, fixed_geometry), (moving, moving_geometry))
    )
    whole = np.vstack([index_map(fixed_geometry, moving_geometry), [*[0.0] * dimensions, 1.0]])
    goal = affine_map(goal, torch.from_numpy(np.linalg.inv(whole)[:dimensions]))  # in pixels of the fixed image
    field = torch.from_numpy(np.ascontiguousarray(displacement))[None]
    places = start.view(*start.shape, *[1] * (dimensions - 1))
    moved = start + sample_at(field, places, outside="edge").view(start.shape)
    to_mm = torch.from_numpy(millimetres(fixed_geometry))
    errors = [torch.linalg.norm(to_mm @ (goal - points)[0], dim=0).mean() for points in (moved, start)]
    return float(errors[0]), float(errors[1])
