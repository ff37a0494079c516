"""The same cases, several methods: seeds taken together, named, ranked, priced, and held against each other."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import combinations, takewhile
from pathlib import Path

import numpy as np

from scantling.core.case import Unit
from scantling.core.errors import DataError, SettingsError
from scantling.data.contents import count, some
from scantling.data.dataset import Dataset
from scantling.evaluation.summary import summarise
from scantling.experiments.candidates import Candidate, median_seconds
from scantling.experiments.comparison import ComparedMethod, Comparison, Cost, Pair
from scantling.experiments.settings_apart import settings_apart
from scantling.experiments.statistics import SIGNIFICANT, Values, holm, least_p, mean_ranks, paired
from scantling.metrics.arrays import mean_of_defined
from scantling.metrics.catalogue import Metric, unit_name
from scantling.records.comparison import Verdict
from scantling.records.evaluation import EvaluationRecord, Region
from scantling.records.predictions import PredictionsRecord
from scantling.training.leakage import learned_from


@dataclass(frozen=True)
class Scored:
    """A candidate with the values of its cases, by id and metric.

    Attributes:
        subjects: whom each case shows.
        failed: by id, why a case has no values.
        made: what the masks say of how they were made.
        region: which pixels counted; None for image classes, which have none.
        units: of the lengths of each case; None where an evaluation of an early version does not say.
        axes: of the images, which tell areas from volumes.
        record: the evaluation of its masks, which names their files.
    """

    candidate: Candidate
    values: Mapping[str, Mapping[str, float]]
    subjects: Mapping[str, str]
    failed: Mapping[str, str]
    made: PredictionsRecord
    region: Region | None
    notes: tuple[str, ...] = ()
    units: Mapping[str, Unit | None] = field(default_factory=dict)
    axes: int | None = None
    record: EvaluationRecord | None = None


Group = Sequence[Scored]


def compare_scores(
    field: Sequence[Scored],
    dataset: Dataset,
    metrics: Sequence[Metric],
    *,
    split: str,
    baseline: str,
    notes: Sequence[str] = (),
) -> Comparison:
    """Compare those whose cases have been scored; see `compare`.

    Raises:
        DataError: they have no case in common, or were not scored on the same pixels.
        SettingsError: no method is called like the baseline.
    """
    _same_pixels(field)
    every = {id for one in field for id in (*one.values, *one.failed)}
    cases = sorted(set.intersection(*({*one.values} for one in field)))
    if not cases:
        raise DataError(
            f"{dataset.root}: found no case of the split {split!r} for which every run has a score; predict the same "
            "cases with all of them"
        )
    subjects = [field[0].subjects[id] for id in cases]
    groups, remark = _groups(field)
    names = _names(groups)
    values = {
        metric.name: [np.array([[one.values[id][metric.name] for id in cases] for one in group]) for group in groups]
        for metric in metrics
    }
    unit, strangers = _one_unit(field, cases)
    for metric in metrics:
        for seeds in values[metric.name] if metric.is_length else ():
            seeds[:, [place for place, id in enumerate(cases) if id in strangers]] = np.nan
    axes = next((one.axes for one in field if one.axes), None)
    units = {metric.name: metric.unit_of(unit, axes=axes) for metric in metrics if metric.is_length}
    metrics = [metric.in_unit(units.get(metric.name)) for metric in metrics]
    if strangers and any(metric.is_length for metric in metrics):
        notes = [*notes, _apart(strangers, unit, len(cases))]
    compared = {metric.name: _comparable(values[metric.name], metric) for metric in metrics}
    # a metric that no case defines (false alarms where every truth has something) is no column
    metrics = [metric for metric in metrics if metric is metrics[0] or not np.isnan(compared[metric.name]).all()]
    tested = {subject for subject, value in zip(subjects, compared[metrics[0].name][0], strict=True) if value == value}
    first = metrics[0]
    compared_methods = _compared_methods(names, groups, dataset, cases, subjects, values, compared, metrics)
    places = sorted(range(len(names)), key=lambda place: _shortfall(compared[first.name][place], first))
    against = _baseline(baseline, compared_methods, places)
    pairs: list[Pair] = []
    for metric in metrics:
        tested_pairs = [(a, b) for a, b in combinations(places, 2) if metric is first or against in (a, b)]
        tested_pairs = [(b, a) if a == against else (a, b) for a, b in tested_pairs]
        pairs += _pairs(tested_pairs, names, compared[metric.name], subjects, metric, tested=metric is first)
    return Comparison(
        data=dataset.root.resolve(),
        name=dataset.name,
        split=split,
        baseline=names[against],
        metrics=tuple(metrics),
        methods=tuple(compared_methods[place] for place in places),
        pairs=tuple(pairs),
        cases=tuple(cases),
        left_out=tuple(sorted(every - set(cases))),
        subjects=len(set(subjects)),
        count={metric.name: int((~np.isnan(compared[metric.name][0])).sum()) for metric in metrics},
        tested_subjects=len(tested),
        least=least_p(len(tested)),
        region=field[0].region,
        units={metric.name: units[metric.name] for metric in metrics if metric.is_length},
        warnings=tuple(_warnings(compared_methods, len(cases))),
        notes=tuple(dict.fromkeys([*notes, *(note for one in field for note in one.notes), remark, *_copies(field)])),
        by_case={
            metric.name: {
                name: tuple(seeds.mean(axis=0).tolist()) for name, seeds in zip(names, values[metric.name], strict=True)
            }
            for metric in metrics
        },
        settings=settings_apart([[(one.candidate, one.made) for one in groups[place]] for place in places]),
        records={
            name: group[0].record for name, group in zip(names, groups, strict=True) if group[0].record is not None
        },
        failed=tuple(f"{one.candidate.path}: {id}: {why}" for one in field for id, why in sorted(one.failed.items())),
    )


def _compared_methods(
    names: Sequence[str],
    groups: Sequence[Group],
    dataset: Dataset,
    cases: Sequence[str],
    subjects: Sequence[str],
    values: Mapping[str, Sequence[Values]],
    compared: Mapping[str, Values],
    metrics: Sequence[Metric],
) -> list[ComparedMethod]:
    """The methods in the order of their groups, with their ranks."""
    compared_methods = [
        _contender(
            name,
            group,
            dataset,
            cases,
            subjects,
            {metric.name: values[metric.name][number] for metric in metrics},
            compared,
            ranges={metric.name: metric.range for metric in metrics},
        )
        for number, (name, group) in enumerate(zip(names, groups, strict=True))
    ]
    for metric in metrics:
        ranks = mean_ranks(compared[metric.name], higher=metric.direction == "higher")
        for one, rank in zip(compared_methods, ranks.tolist(), strict=True):
            one.rank[metric.name] = rank
    return compared_methods


def _contender(
    name: str,
    group: Group,
    dataset: Dataset,
    cases: Sequence[str],
    subjects: Sequence[str],
    values: Mapping[str, Values],
    compared: Mapping[str, Values],
    *,
    ranges: Mapping[str, tuple[float, float]],
) -> ComparedMethod:
    """A method with its own `values` (seeds, cases), of which those count that are defined for all methods."""
    counted = {key: np.where(np.isnan(compared[key][0]), np.nan, seeds) for key, seeds in values.items()}
    rows = [{key: float(seeds[:, place].mean()) for key, seeds in counted.items()} for place in range(len(cases))]
    summary = summarise(rows, subjects, ranges=ranges)
    means = {key: tuple(mean_of_defined(row.tolist()) for row in seeds) for key, seeds in counted.items()}
    records = [record for one in group for record in (one.candidate.run, *one.candidate.partners)]
    seen = learned_from(records, dataset, among=cases)
    return ComparedMethod(
        name=name,
        runs=tuple(str(one.candidate.path) for one in group),
        seeds=tuple(one.candidate.seed for one in group),
        label_seeds=tuple(one.candidate.draw[1] for one in group),
        mean=summary.mean,
        std=summary.std,
        interval=summary.interval,
        seed_mean=means,
        seed_std={key: float(np.std(each, ddof=1)) if len(each) > 1 else math.nan for key, each in means.items()},
        rank={},
        cost=_cost(group),
        seen=tuple(id for id in cases if id in seen),
    )


def _pairs(
    tested_pairs: Sequence[tuple[int, int]],
    names: Sequence[str],
    values: Values,
    subjects: Sequence[str],
    metric: Metric,
    *,
    tested: bool,
) -> list[Pair]:
    """The pairs of one metric; NaN for the p where it is not tested."""
    most = math.inf if metric.ideal is not None else metric.range[1] - metric.range[0]
    found = [paired(values[a], values[b], subjects, most=most) for a, b in tested_pairs]
    corrected = holm([one.p for one in found]) if tested else [math.nan] * len(found)
    pairs = []
    for (a, b), one, p_holm in zip(tested_pairs, found, corrected, strict=True):
        verdict: Verdict = "no difference shown" if tested and not math.isnan(one.p) else "not tested"
        if p_holm < SIGNIFICANT and not one.interval[0] <= 0 <= one.interval[1]:
            verdict = "a is better" if (one.difference > 0) == (metric.direction == "higher") else "b is better"
        p = one.p if tested else math.nan
        pairs.append(Pair(names[a], names[b], metric.name, one.difference, one.interval, p, p_holm, verdict))
    return pairs


def _comparable(values: Sequence[Values], metric: Metric) -> Values:
    """(methods, cases): the means over the seeds, or of their distances from an ideal; NaN where one has none."""
    means = np.stack(
        [(seeds if metric.ideal is None else np.abs(seeds - metric.ideal)).mean(axis=0) for seeds in values]
    )
    return np.where(np.isnan(means).any(axis=0), np.nan, means)


def _shortfall(values: Values, metric: Metric) -> float:
    """A number that falls with quality, for ordering; infinite where nothing is defined."""
    mean = mean_of_defined(values.tolist())
    return math.inf if math.isnan(mean) else -mean if metric.direction == "higher" else mean


def _same_pixels(field: Sequence[Scored]) -> None:
    first = field[0]
    for one in field:
        if one.region and first.region and one.region != first.region:
            raise DataError(
                f"{first.candidate.path} and {one.candidate.path} were not scored on the same pixels "
                f"({first.region.sentence} {one.region.sentence}); score both with the same --region"
            )


def _one_unit(field: Sequence[Scored], cases: Sequence[str]) -> tuple[Unit | None, list[str]]:
    """The unit of the lengths that are compared, and the cases whose lengths are not in it for every method."""
    found = {id: {one.units.get(id) for one in field} for id in cases}
    choices: tuple[Unit | None, ...] = ("mm", "pixel", None)
    unit = next((each for each in choices if {each} in found.values()), None)
    return unit, [id for id in cases if found[id] != {unit}]


def _apart(strangers: Sequence[str], unit: str | None, number: int) -> str:
    """A note on the cases of which no lengths are compared."""
    if len(strangers) == number:
        return (
            "Distances are not compared: they are in mm for one method and in pixels, or in a unit that is not known, "
            "for another; score them against the same truth again."
        )
    return (
        f"Distances are compared in {unit_name(unit)}, on {number - len(strangers)} of {count(number, 'case')}; of the "
        f"others ({some(strangers, most=3)}) they are in another unit for at least one method."
    )


def _groups(field: Sequence[Scored]) -> tuple[list[list[Scored]], str]:
    """Runs that differ in seed and label seed alone together, in the order in which they were named, and a remark.

    Where all do, each stands for itself.
    """
    groups: list[tuple[str | None, list[Scored]]] = []
    for one in field:
        alike, draw = one.candidate.alike(), one.candidate.draw
        for known, group in groups:
            if alike is not None and known == alike and all(other.candidate.draw != draw for other in group):
                group.append(one)
                break
        else:
            groups.append((alike, [one]))
    if len(groups) == 1:
        return [[one] for one in field], "The runs differ in their seed alone, so each stands for itself."
    if any(len(group) > 1 for _, group in groups):
        return [group for _, group in groups], (
            "Runs that differ in their seed (and label seed) alone are one method; of a method with one run, nobody "
            "knows how much another seed would change."
        )
    remark = "Each method is one training; how much another seed would change is not in these numbers."
    return [group for _, group in groups], remark


def _names(groups: Sequence[Group]) -> list[str]:
    """What each method is called: after the method where no other has that name, else after its folders."""

    def folder(group: Group) -> str:
        paths = [one.candidate.path.resolve() for one in group]
        names = [path.stem if path.suffix == ".json" else path.name for path in paths]
        if len(names) == 1:
            return names[0]
        common = "".join(letters[0] for letters in takewhile(lambda each: len({*each}) == 1, zip(*names, strict=False)))
        return common.rstrip("-_. ") or group[0].candidate.label

    def path(group: Group) -> str:
        return str(group[0].candidate.path)

    names = [group[0].candidate.label for group in groups]
    schemes: tuple[Callable[[Group], str], ...] = (folder, path)
    for scheme in schemes:
        names = [scheme(group) if names.count(name) > 1 else name for name, group in zip(names, groups, strict=True)]
    return names


def _cost(group: Group) -> Cost:
    """The means over the seeds of what is known."""

    def mean(values: Sequence[object]) -> float | None:
        known = [value for value in values if isinstance(value, int | float)]
        return math.fsum(known) / len(known) if known else None

    return Cost(
        parameters=mean([one.candidate.parameters for one in group]),
        calls=mean([one.made.calls for one in group]),
        seconds=mean([median_seconds(one.made) for one in group]),
        training_seconds=mean([one.candidate.run.seconds if one.candidate.run else None for one in group]),
    )


def _baseline(wanted: str, compared_methods: Sequence[ComparedMethod], places: Sequence[int]) -> int:
    if wanted in ("best", "first"):
        return places[0] if wanted == "best" else 0
    tests: tuple[Callable[[ComparedMethod], bool], ...] = (
        lambda one: wanted == one.name,
        lambda one: any(Path(wanted).resolve() == Path(run).resolve() for run in one.runs),
        lambda one: any(wanted == Path(run).resolve().name for run in one.runs),
    )
    for test in tests:
        for number, one in enumerate(compared_methods):
            if test(one):
                return number
    known = some(one.name for one in compared_methods)
    raise SettingsError(f"--baseline {wanted}: no method is called so; expected best, first, or one of {known}")


def _warnings(compared_methods: Sequence[ComparedMethod], cases: int) -> list[str]:
    return [
        f"{one.name} has learned from {len(one.seen)} of these {count(cases, 'case')}, or from other images of the "
        f"same subjects ({some(one.seen, most=3)}); its scores there say nothing of new images."
        for one in compared_methods
        if one.seen
    ]


def _copies(field: Sequence[Scored]) -> list[str]:
    """A note where two runs hold the same weights."""
    pairs = combinations([one.candidate for one in field if one.candidate.kind == "run"], 2)
    return [f"{a.path} and {b.path} hold the same weights." for a, b in pairs if a.weights == b.weights]
