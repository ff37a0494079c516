"""The command `evaluate`: a folder of predictions against the truth, one case at a time.

The first annotator's mask is the truth of every metric but those of several annotators, which compare the samples
that `predictions.json` lists with the masks of all.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from scantling.core.case import Case, Labels
from scantling.core.engines import Cluster
from scantling.core.errors import DataError, ScantlingError, SettingsError
from scantling.data.contents import count, some
from scantling.data.dataset import Dataset
from scantling.data.files import Limits
from scantling.data.labels import joined_classes
from scantling.data.mask_colours import is_colour, shown
from scantling.data.subjects import Subjects
from scantling.evaluation.cases import CaseScorer, Compared, Regions, resolved
from scantling.evaluation.class_matching import check_predicted, matched, of_regions, predictable
from scantling.evaluation.names_seen import names_seen
from scantling.evaluation.objects import sentences_on_objects
from scantling.evaluation.predictions import Predictions, open_predictions
from scantling.evaluation.result import Evaluation
from scantling.evaluation.truth import Chosen, choose, open_truth
from scantling.evaluation.units import mixed
from scantling.metrics.catalogue import Metric, chosen
from scantling.records.evaluation import MaskLabels, NotPredicted
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
    subjects: Subjects = "name",
    limits: Limits | None = None,
    untrusted: bool = False,
    cluster: Cluster | None = None,
    progress: Progress | None = None,
) -> Evaluation:
    """Score a folder of masks, whoever made them.

    Args:
        prediction: masks by the id of their case (`ID.png`, `ID.nii.gz`; `CLASS/ID.png` where classes overlap); a
            `predictions.json` says more.
        truth: a dataset, its folder or manifest, or a folder of masks.
        split: "train", "validation" or "test": all true masks of that split, a missing prediction is a failure; "all"
            takes every true mask. None: see `truth.choose`.
        probabilities: a folder of maps by id, of any tool (`data.probability_maps`); unless said, those that
            `predictions.json` lists.
        region: a folder of masks by id of the pixels that count, or "dataset" for the cases' own; unless said, the
            whole image counts.
        metrics: names of the catalogue; None takes all that can be computed.
        manifest: describes the files below `truth`.
        root: the folder that holds the files of the manifest.
        subjects: see `open_dataset`.
        limits: bounds on what is decoded.
        untrusted: decode in a process with limits on time and memory.
        cluster: that the cases are shared out over; None: they are scored here.
        progress: called with (done, total, id) after each case.

    Returns:
        The scores; cases that fail are listed in them, not raised.

    Raises:
        ScantlingError: nothing can be compared.
    """
    folder, limits, metrics = Path(prediction), limits or Limits(), None if metrics is None else list(metrics)
    place = Path(truth) if not isinstance(truth, Dataset) else truth.root
    if isinstance(truth, Dataset):
        dataset = truth
    else:
        dataset = open_truth(place, manifest=_path(manifest), root=_path(root), subjects=subjects)
    labels = _labels(dataset, place, untrusted=untrusted)
    dataset = dataset.with_instances(labels)
    ids = {case.id for case in dataset.cases if case.masks}
    numbered = any(case.instances is not None for case in dataset.cases)
    predictions = open_predictions(folder, truth=labels, ids=ids, probabilities=_path(probabilities), numbered=numbered)
    declared = dataset.label_source.declared is not None
    known = predictable(labels, predictions.data_labels, declared=declared)
    classes, order = matched(predictions.data_labels, known, declared=declared)
    if dataset.regions:
        check_predicted(dataset.regions, classes, labels, folder)
        named = known.model_copy(update={"names": classes[: len(known.names)]})
        known = joined_classes(named, dataset.regions, str(place))
        predictions = predictions.joined(dataset.regions, classes, order)
        classes, order = known.names, tuple(range(len(known.names)))
        cases = tuple(_with_regions(case, dataset.regions) for case in dataset.cases)
        dataset = replace(dataset, cases=cases)
    listing = predictions.listing
    selection = choose(dataset, folder, answered=predictions.masks, listing=listing, split=split, kind="mask")
    regions = Regions(region, ids).checked(selection.cases, place)
    wanted = _wanted(metrics, predictions, selection.cases)
    scorer = CaseScorer(predictions, known, classes, order, regions, wanted, limits, untrusted)
    places = {"probabilities": probabilities, "manifest": manifest, "root": root}
    found, failed = _compared(scorer, selection, cluster, progress)
    not_predicted = _not_predicted(found, labels)
    known = known.model_copy(update={"others": "background"} if not_predicted else {})
    return Evaluation(
        prediction=folder.resolve(),
        truth=place.resolve(),
        name=dataset.name,
        split=selection.split,
        run=listing.run if listing else None,
        classes=classes,
        labels=MaskLabels(truth=known, prediction=predictions.labels, order=order),
        options={
            "region": "dataset" if region == "dataset" else resolved(region),
            "metrics": metrics,
            "subjects": subjects,
        }
        | {name: resolved(path) for name, path in places.items()},
        made=listing.made if listing else {},
        metrics=wanted,
        region=regions.region,
        cases=tuple(one.case for one in found),
        failed=tuple(Failure(id=id, error=failed[id]) for id in sorted(failed)),
        not_predicted=not_predicted,
        predicted={case.id: case for case in listing.cases} if listing else {},
        regions=dict(dataset.regions),
        names={} if dataset.regions else names_seen(classes, listing),
        notes=(
            *of_regions(dataset.regions), *selection.notes, *dataset.label_source.remarks,
            *_notes(found, wanted, not_predicted),
        ),
    )  # fmt: skip


def _with_regions(case: Case, regions: Mapping[str, Sequence[str]]) -> Case:
    """A case that knows the regions of which it knows all classes, where it does not know all of them; no objects."""
    drawn = case.drawn_classes
    if drawn is not None:
        drawn = tuple(name for name, classes in regions.items() if {*classes} <= {*drawn})
    return replace(case, drawn_classes=drawn, instances=None)


def _labels(dataset: Dataset, place: Path, *, untrusted: bool) -> Labels:
    """What the values of the true masks mean.

    Raises:
        DataError: none of them can be read.
    """
    labels = dataset.label_source.find(untrusted=True).labels if untrusted else dataset.labels
    if labels is None:
        raise DataError(f"{place}: none of the masks can be read; expected masks to compare with")
    return labels


def _path(path: Path | str | None) -> Path | None:
    return Path(path) if path else None


def _compared(
    scorer: CaseScorer, selection: Chosen, cluster: Cluster | None, progress: Progress | None
) -> tuple[list[Compared], dict[str, str]]:
    """The cases that could be scored, and by id why the others could not.

    Raises:
        ScantlingError: the processes of the cluster died.
    """
    cases, scored = selection.cases, dict[str, Compared | str]()
    if cluster is None:
        for number, case in enumerate(cases, start=1):
            scored |= _scored((scorer, (case,)))
            if progress is not None:
                progress(number, len(cases), case.id)
    else:
        shares = [(scorer, cases[part :: cluster.parts]) for part in range(min(cluster.parts, len(cases)))]
        for _, result in cluster.run(_scored, shares):
            if isinstance(result, ScantlingError):
                raise result
            scored |= result
            if progress is not None:
                progress(len(scored), len(cases), next(reversed(scored)))
    found = [one for case in cases if not isinstance(one := scored[case.id], str)]
    return found, dict(selection.failed) | {id: one for id, one in scored.items() if isinstance(one, str)}


def _scored(job: tuple[CaseScorer, Sequence[Case]]) -> dict[str, Compared | str]:
    """By id the scores of cases, or why there are none."""
    scorer, cases = job
    found = dict[str, Compared | str]()
    for case in cases:
        try:
            found[case.id] = scorer.compare(case)
        except (ScantlingError, ValueError, MemoryError, OSError) as error:
            found[case.id] = str(error) or type(error).__name__
    return found


def _wanted(metrics: list[str] | None, predictions: Predictions, cases: Sequence[Case]) -> tuple[Metric, ...]:
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
            instances=bool(predictions.objects) and any(case.instances is not None for case in cases),
        )
    except ValueError as error:
        raise SettingsError(str(error)) from None


def _not_predicted(found: Sequence[Compared], labels: Labels) -> tuple[NotPredicted, ...]:
    """The classes and values of the true masks that the predictions do not have."""
    names = {value: name for name, values in zip(labels.names, labels.values, strict=True) for value in values}
    values = sorted({value for one in found for value in one.not_predicted})
    return tuple(
        NotPredicted(
            value=shown(value) if is_colour(value) else value,
            name=names.get(value),
            cases=sum(value in one.not_predicted for one in found),
            pixels=sum(one.not_predicted.get(value, 0) for one in found),
        )
        for value in values
    )


def _notes(found: Sequence[Compared], metrics: Sequence[Metric], not_predicted: Sequence[NotPredicted]) -> list[str]:
    """What a reader should know of the cases that were scored."""
    notes = []
    for how, what in (("turned", "stored in another orientation than"), ("resampled", "on another grid than")):
        if moved := [one.case.id for one in found if how in one.ways]:
            by = " by the nearest value" if how == "resampled" else ""
            notes.append(f"{count(len(moved), 'prediction')} {what} the truth, {how}{by}: {some(moved)}.")
    if sets := {one.sets for one in found if one.sets}:
        notes.append(_sets(sets))
    notes += sentences_on_objects({one.case.id: one.objects for one in found if one.objects is not None})
    notes += mixed({one.case.id: one.case.unit for one in found}, metrics)
    return [*notes, *trivial([one.case.marked for one in found]), *(one.sentence for one in not_predicted)]


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
