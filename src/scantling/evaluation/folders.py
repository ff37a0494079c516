"""The verb `evaluate`: a folder of predictions against the truth, one case at a time.

The first annotator's mask is the truth of every metric but those of several annotators, which compare the samples
that `predictions.json` lists with the masks of all.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypedDict

import numpy as np

from scantling.core.case import Address, Case, Labels
from scantling.core.errors import DataError, ScantlingError, SettingsError
from scantling.data.contents import count, some
from scantling.data.dataset import Dataset
from scantling.data.files import Limits, read_labels
from scantling.data.labels import region_of
from scantling.data.loading import disagreement, load
from scantling.evaluation.predictions import Files, Predictions, files_by_id, matched, open_predictions, size
from scantling.evaluation.result import CaseScores, Evaluation
from scantling.evaluation.scores import marked_share, scores_of_arrays
from scantling.evaluation.truth import choose, open_truth
from scantling.metrics.catalogue import Metric, chosen
from scantling.records.evaluation import CaseFiles, Located, Region
from scantling.records.predictions import Failure

Progress = Callable[[int, int, str], None]
FULL = 0.95
"""A mask that marks more of the pixels than this is nearly full."""


def evaluate(
    prediction: Path | str,
    truth: Path | str | Dataset,
    *,
    split: str | None = None,
    probabilities: Path | str | None = None,
    region: Path | str | None = None,
    metrics: Iterable[str] | None = None,
    manifest: Path | str | None = None,
    root: Path | str | None = None,
    limits: Limits | None = None,
    untrusted: bool = False,
    progress: Progress | None = None,
) -> Evaluation:
    """Score a folder of masks, whoever made them.

    Args:
        prediction: masks by the id of their case (`ID.png`, `ID.nii.gz`; `CLASS/ID.png` where classes overlap); a
            `predictions.json` says more.
        truth: a dataset, its folder or manifest, or a folder of masks.
        split: "train", "validation" or "test": all true masks of that split, a missing prediction is a failure; "all"
            takes every true mask. None: see `truth.choose`.
        probabilities: a folder of maps `ID.tif` or `ID.nii.gz`, (K, *S) in [0, 1]; unless said, those that
            `predictions.json` lists.
        region: a folder of masks by id of the pixels that count, or "dataset" for the cases' own; unless said, the
            whole image counts.
        metrics: names of the catalogue; None takes all that can be computed.
        manifest: describes the files below `truth`.
        root: the folder that holds the files of the manifest.
        limits: bounds on what is decoded.
        untrusted: decode in a process with limits on time and memory.
        progress: told (done, total, id) after each case.

    Returns:
        The scores; cases that fail are listed in them, not raised.

    Raises:
        ScantlingError: nothing can be compared.
    """
    folder, limits = Path(prediction), limits or Limits()
    metrics = None if metrics is None else list(metrics)
    place = Path(truth) if not isinstance(truth, Dataset) else truth.root
    if isinstance(truth, Dataset):
        dataset = truth
    else:
        dataset = open_truth(place, manifest=Path(manifest) if manifest else None, root=Path(root) if root else None)
    labels = dataset.label_source.find(untrusted=True) if untrusted else dataset.labels
    if labels is None:
        raise DataError(f"{place}: none of the masks can be read; expected masks to compare with")
    ids = {case.id for case in dataset.cases if case.masks}
    predictions = open_predictions(
        folder, truth=labels, ids=ids, probabilities=Path(probabilities) if probabilities else None
    )
    classes, order = matched(predictions.labels, labels, declared=dataset.label_source.declared is not None)
    answered, listing = predictions.masks.keys(), predictions.listing
    selection = choose(dataset, folder, answered=answered, listing=listing, split=split, kind="mask")
    regions = _Regions(region, ids)
    if regions.region.of == "cases" and not any(case.region for case in selection.cases):
        raise DataError(f"{place}: no case has a region of interest; leave --region out, or name a folder of regions")
    wanted = _wanted(metrics, predictions, selection.cases)
    scorer = _Scorer(predictions, labels, classes, order, regions, wanted, limits, untrusted)
    found: list[_Compared] = []
    failed = dict(selection.failed)
    for number, case in enumerate(selection.cases, start=1):
        try:
            found.append(scorer.compare(case))
        except (ScantlingError, ValueError, MemoryError, OSError) as error:
            failed[case.id] = str(error) or type(error).__name__
        if progress is not None:
            progress(number, len(selection.cases), case.id)
    return Evaluation(
        prediction=folder.resolve(),
        truth=place.resolve(),
        name=dataset.name,
        split=selection.split,
        run=predictions.listing.run if predictions.listing else None,
        classes=classes,
        labels={
            "truth": labels.model_dump(mode="json"),
            "prediction": predictions.labels.model_dump(mode="json"),
            "order": list(order),
        },
        options={
            "probabilities": _place(probabilities),
            "region": "dataset" if region == "dataset" else _place(region),
            "metrics": metrics,
            "manifest": _place(manifest),
            "root": _place(root),
        },
        made=predictions.listing.made if predictions.listing else {},
        metrics=wanted,
        region=regions.region,
        cases=tuple(one.case for one in found),
        failed=tuple(Failure(id=id, error=failed[id]) for id in sorted(failed)),
        notes=(*selection.notes, *_notes(found)),
    )


def _wanted(metrics: list[str] | None, predictions: Predictions, cases: Iterable[Case]) -> tuple[Metric, ...]:
    """The metrics that were named, or all that can be computed.

    Raises:
        SettingsError: one is unknown or cannot be computed.
    """
    try:
        return chosen(
            metrics,
            probability=predictions.maps_in is not None or bool(predictions.maps),
            annotators=any(len(case.masks) > 1 for case in cases),
            uncertainty=bool(predictions.uncertainties),
        )
    except ValueError as error:
        raise SettingsError(str(error)) from None


class _How(TypedDict):
    limits: Limits
    untrusted: bool


@dataclass(frozen=True)
class _Compared:
    """A scored case, whether its files lie apart in space, and how many samples and annotators were compared."""

    case: CaseScores
    apart: bool
    sets: tuple[int, int] | None


@dataclass(frozen=True)
class _Scorer:
    """Scores a case of what `evaluate` has opened."""

    predictions: Predictions
    labels: Labels
    classes: tuple[str, ...]
    order: tuple[int, ...]
    regions: _Regions
    metrics: tuple[Metric, ...]
    limits: Limits
    untrusted: bool

    def compare(self, case: Case) -> _Compared:
        """Read the files of a case, and score it.

        Raises:
            ScantlingError: a file cannot be read, or does not fit the others.
            ValueError: there is nothing to compare.
        """
        how: _How = {"limits": self.limits, "untrusted": self.untrusted}
        needed = {need for metric in self.metrics for need in metric.needs}
        reads = "masks" if "annotators" in needed else "mask"
        sample = load(case, labels=self.labels, reads=(reads,), **how)
        (true, *others), predictions, order = sample.masks, self.predictions, self.order
        predicted, geometry = predictions.mask(case.id, order, **how)
        _fits(predicted, true, predictions.masks[case.id])
        probability = predictions.probability(case.id, order, **how)
        if probability is not None:
            _fits(probability, true, predictions.maps[case.id])
        drawn = predictions.drawn(case.id, order, **how) if others else []
        for index, one in enumerate(drawn):
            _fits(one, true, predictions.samples[case.id][index])
        doubt = predictions.uncertainty(case.id, **how) if "uncertainty" in needed else None
        if doubt is not None:
            _fits(doubt, true, predictions.uncertainties[case.id])
        pixels = self.regions.read(case, true, **how)
        scores = scores_of_arrays(
            predicted,
            true,
            classes=self.classes,
            others=others,
            samples=drawn,
            probability=probability,
            uncertainty=None if doubt is None else doubt[0],
            region=pixels,
            spacing=sample.geometry.spacing,
            metrics=[metric.name for metric in self.metrics],
        )
        marked = (marked_share(predicted, true, pixels), marked_share(true, true, pixels))
        return _Compared(
            CaseScores(case.id, case.subject, scores, _files(case, predictions, self.regions), marked, case.strata),
            bool(disagreement(sample.geometry, geometry)),
            (len(drawn), 1 + len(others)) if others else None,
        )


def _notes(found: Sequence[_Compared]) -> list[str]:
    """What a reader should know of the cases that were scored."""
    notes = []
    if apart := [one.case.id for one in found if one.apart]:
        notes.append(
            f"{count(len(apart), 'prediction')} not where the truth lies in space (another affine), compared "
            f"voxel by voxel all the same: {some(apart)}."
        )
    if sets := {one.sets for one in found if one.sets}:
        notes.append(_sets(sets))
    return [*notes, *trivial([one.case.marked for one in found])]


def trivial(marked: Sequence[tuple[float, float]]) -> list[str]:
    """A sentence where all masks are empty, or all (nearly) full, though the truth is not.

    Args:
        marked: for each case the share of the pixels that prediction and truth mark.
    """
    if not marked:
        return []
    if all(share == 0 for share, _ in marked):
        return ["Every predicted mask is empty."] if any(true > 0 for _, true in marked) else []
    full = [share for share, true in marked if share > FULL and true <= FULL]
    if len(full) == len(marked):
        exactly = "everything" if min(full) == 1 else f"more than {FULL:.0%} of the pixels"
        return [f"Every predicted mask marks {exactly} as foreground."]
    return []


def _sets(compared: set[tuple[int, int]]) -> str:
    """How many samples were compared with how many annotators, as a sentence."""
    drawn, annotators = ({pair[side] for pair in compared} for side in (0, 1))
    samples = _range(drawn) + (" sample" if drawn == {1} else " samples")
    samples = "the mask alone (it lists no samples)" if drawn == {0} else samples
    return f"Of each case {samples} and {_range(annotators)} annotators were compared."


def _range(numbers: set[int]) -> str:
    low, high = min(numbers), max(numbers)
    return str(low) if low == high else f"{low} to {high}"


class _Regions:
    """Which pixels count: all, those in the cases' own regions, or those in masks of a folder."""

    def __init__(self, choice: Path | str | None, ids: Iterable[str]) -> None:
        self.region = Region(of="image" if choice is None else "cases" if choice == "dataset" else "folder")
        self.files: Mapping[str, Address] = {}
        if choice is not None and self.region.of == "folder":
            folder = Path(choice)
            if not folder.is_dir():
                raise DataError(f"{folder}: there is no such folder; expected masks of the region, or 'dataset'")
            self.region = Region(of="folder", folder=_place(folder))
            self.folder, self.files = folder, files_by_id(folder, set(ids))

    def address(self, case: Case) -> Address | None:
        """Where the region of a case lies; None where all pixels count."""
        if self.region.of == "image":
            return None
        found = case.region if self.region.of == "cases" else self.files.get(case.id)
        if found is None:
            where = "it" if self.region.of == "cases" else str(self.folder)
            raise DataError(f"case {case.id}: {where} has no region of interest; add one, or score whole images")
        return found

    def read(self, case: Case, true: np.ndarray, *, limits: Limits, untrusted: bool) -> np.ndarray | None:
        """The pixels `(*S)` that count in a case; None if all do.

        Raises:
            FileError: the file cannot be read.
            DataError: the case has no region, or one that is empty or does not fit its mask.
        """
        address = self.address(case)
        if address is None:
            return None
        pixels = region_of(read_labels(address, limits=limits, untrusted=untrusted)[0], address)
        _fits(pixels[None], true, address)
        if not pixels.any():
            raise DataError(f"{address}: the region of interest is empty; expected pixels to compare")
        return pixels


def _fits(array: np.ndarray, true: np.ndarray, where: Files) -> None:
    if array.shape[1:] != true.shape[1:]:
        name = where if isinstance(where, Address) else some(str(address) for address in where.values())
        raise DataError(
            f"{name}: found {size(array.shape[1:])} pixels; expected {size(true.shape[1:])}, as in the true mask; "
            "predict at the size of the image"
        )


def _files(case: Case, predictions: Predictions, regions: _Regions) -> CaseFiles:
    region, probability = regions.address(case), predictions.maps.get(case.id)
    uncertainty = predictions.uncertainties.get(case.id, {})
    return CaseFiles(
        image=tuple(str(_text(address)) for address in case.images.values()),
        prediction=_text(predictions.masks[case.id]),
        truth=_text(case.masks[0]),
        region=None if region is None else str(_text(region)),
        probability=None if probability is None else str(_text(probability)),
        annotators=tuple(_text(mask) for mask in case.masks[1:]),
        samples=tuple(_text(sample) for sample in predictions.samples.get(case.id, ())),
        uncertainty={name: str(_text(address)) for name, address in uncertainty.items()},
        threshold=case.threshold,
        spacing=case.spacing,
    )


def _place(path: Path | str | None) -> str | None:
    return None if path is None else str(Path(path).resolve())


def _text(address: Files) -> Located:
    if isinstance(address, Mapping):
        return {name: str(_text(one)) for name, one in address.items()}
    path = address.path.resolve()
    return str(Address(path, address.member))
