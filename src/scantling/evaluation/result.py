"""What an evaluation says: as JSON, as a table for a spreadsheet, and in which conventions."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from scantling.core.atomic import named, write_text
from scantling.core.case import Unit
from scantling.core.text import aligned
from scantling.evaluation.detection import FALSE_ALARM, FOUND, tally
from scantling.evaluation.expected import coverage_of, expectation_of, sentences_on_expected
from scantling.evaluation.intervals import FEW
from scantling.evaluation.keeping import keep
from scantling.evaluation.names_seen import scores_of_names, sentences_on_names
from scantling.evaluation.object_totals import facts_of, pooled, sentence_on
from scantling.evaluation.scores import Scores
from scantling.evaluation.strata import MAIN, Stratum, strata_facts, strata_of_masks
from scantling.evaluation.summary import Summary, summarise
from scantling.evaluation.units import averaged_in, units_of
from scantling.metrics.arrays import mean_of_defined
from scantling.metrics.calibration import Calibration
from scantling.metrics.catalogue import Metric
from scantling.metrics.instances import Instances
from scantling.records.evaluation import (
    CaseFiles,
    CoverageRecord,
    EvaluationRecord,
    MaskLabels,
    NamesRecord,
    NotPredicted,
    Region,
    Tally,
)
from scantling.records.predictions import Failure, PredictedCase


@dataclass(frozen=True)
class CaseScores:
    """One scored case.

    Attributes:
        strata: of the case, see `Case`.
        marked: the shares of the pixels that count which the prediction marks, and which the truth does.
        files: the addresses that were read.
        unit: of the lengths among the scores.
        axes: of the masks, which tell areas from volumes.
    """

    id: str
    subject: str
    scores: Scores
    files: CaseFiles
    marked: tuple[float, float] = (math.nan, math.nan)
    strata: Mapping[str, str] = field(default_factory=dict)
    unit: Unit = "pixel"
    axes: int | None = None


@dataclass(frozen=True)
class Evaluation:
    """Scores of a folder of masks.

    Attributes:
        prediction: the folder.
        truth: the folder, dataset or manifest that they were compared with.
        name: what the truth is called.
        split: the split that was asked for.
        run: the run that made the masks, where that is known.
        classes: the foreground classes.
        labels: what the values of the masks mean on both sides.
        options: what the evaluation was asked: "probabilities", "region", "metrics", "manifest", "root" and "subjects".
        made: all that the predictions say of how they were made (`predictions.json`, but for its cases).
        metrics: what was measured.
        region: which pixels count.
        cases: the scored cases, by id.
        failed: the cases that could not be scored.
        not_predicted: classes of the truth that the predictions do not have.
        notes: what a reader should know of how cases were chosen.
        predicted: what `predictions.json` says of the cases, by id.
        names: where a vocabulary was asked for, the classes that the model had learned and the others (`names_seen`).
        regions: what was scored in place of the classes, and the classes that each joins; empty where classes were.
    """

    prediction: Path
    truth: Path
    name: str
    split: str | None
    run: str | None
    classes: tuple[str, ...]
    labels: MaskLabels
    options: Mapping[str, Any]
    made: Mapping[str, Any]
    metrics: tuple[Metric, ...]
    region: Region
    cases: tuple[CaseScores, ...]
    failed: tuple[Failure, ...] = ()
    not_predicted: tuple[NotPredicted, ...] = ()
    notes: tuple[str, ...] = ()
    predicted: Mapping[str, PredictedCase] = field(default_factory=dict)
    regions: Mapping[str, Sequence[str]] = field(default_factory=dict)
    names: Mapping[str, Sequence[str]] = field(default_factory=dict)

    @cached_property
    def unit(self) -> Unit:
        """What lengths are averaged in; the cases whose lengths are in another unit are in no mean of them."""
        return averaged_in([case.unit for case in self.cases])

    @cached_property
    def axes(self) -> int | None:
        """Of the cases that volumes are averaged over; pictures among volumes are in no mean of them."""
        return max((case.axes for case in self.cases if case.unit == self.unit and case.axes), default=None)

    def _counts(self, case: CaseScores, metric: Metric) -> bool:
        """Whether a case counts in the mean of a metric: its values are in the unit of the mean."""
        apart = metric.is_volume and self.unit == "mm" and case.axes != self.axes
        return not metric.is_length or (case.unit == self.unit and not apart)

    def _averaged(self) -> list[Mapping[str, float]]:
        """For each case the scores that count in the means."""
        known = {metric.name: metric for metric in self.metrics}
        return [
            {
                name: value if name not in known or self._counts(case, known[name]) else math.nan
                for name, value in case.scores.mean.items()
            }
            for case in self.cases
        ]

    @cached_property
    def summary(self) -> Summary:
        """Mean, deviation, interval and count of each metric over the cases."""
        return summarise(
            self._averaged(),
            [case.subject for case in self.cases],
            ranges={metric.name: metric.range for metric in self.metrics},
        )

    @cached_property
    def strata(self) -> tuple[Stratum, ...]:
        """The scores by each stratum of the cases."""
        return strata_of_masks(
            [case.id for case in self.cases],
            [case.strata for case in self.cases],
            scores=self._averaged(),
            subjects=[case.subject for case in self.cases],
            ranges={metric.name: metric.range for metric in self.metrics},
        )

    @property
    def mean(self) -> Mapping[str, float]:
        """The mean of each metric over the cases; NaN where no case defines it."""
        return {metric.name: self.summary.mean.get(metric.name, math.nan) for metric in self.metrics}

    @property
    def classes_mean(self) -> dict[str, dict[str, float]]:
        """By class and metric, the mean over the cases that define it."""
        return {
            name: {
                metric.name: mean_of_defined(
                    case.scores.classes[name][metric.name] for case in self.cases if self._counts(case, metric)
                )
                for metric in self.metrics
            }
            for name in self.classes
        }

    @property
    def scores_of_names(self) -> dict[str, NamesRecord]:
        """The scores of the classes that the model had learned ("seen") and of the others; none of no vocabulary."""
        return scores_of_names(self.names, self.classes_mean) if self.names and self.cases else {}

    def detection(self, name: str, *, of: str | None = None) -> Tally | None:
        """How often structures were `found`, or how often there was a `false_alarm`; None if that was not measured.

        Args:
            of: a class; every class of each case if None.
        """
        if not any(metric.name == name for metric in self.metrics):
            return None
        classes = self.classes if of is None else (of,)
        return tally((case.subject, case.scores.classes[one][name]) for case in self.cases for one in classes)

    @property
    def reliability(self) -> Calibration | None:
        """The reliability table of all cases and classes together."""
        tables = [case.scores.calibration for case in self.cases if case.scores.calibration is not None]
        return sum(tables[1:], start=tables[0]) if tables else None

    @cached_property
    def objects(self) -> dict[str, Instances]:
        """By class what was counted of the objects of all cases together; distances of the unit of the means."""
        return pooled([(case.scores.objects, case.unit) for case in self.cases], unit=self.unit)

    @property
    def conventions(self) -> list[str]:
        """How the numbers are defined, a sentence each."""
        general = [
            self.region.sentence,
            "Each case counts once; a failed case counts nowhere and is listed; a case in which a metric is undefined "
            "is left out of that metric, and 'count' says how many remain.",
            "The deviation is that of the sample (n - 1). The 95 % interval of a mean is Student's t with subjects as "
            "units (jackknife; on the logit scale between 0 and 1), that of a share of "
            "cases is Clopper and Pearson's of as many cases as the subjects are worth.",
            "Metrics of a structure are of the cases whose truth has one; of the others, false alarms are counted.",
        ]
        if len(self.classes) > 1:
            general.append("The value of a case is the mean over the classes in which the metric is defined.")
        return general + [metric.convention for metric in self.metrics]

    @cached_property
    def coverage(self) -> CoverageRecord | None:
        """How far expected scores were right, which are those of all classes over the whole image."""
        whole = (
            self.region.of == "image" and not self.regions and len(self.labels.prediction.names) == len(self.classes)
        )
        scored = [(self.predicted.get(case.id), case.scores.mean.get("dice")) for case in self.cases if whole]
        return coverage_of([(case, dice) for case, dice in scored if case is not None])

    def record(self) -> EvaluationRecord:
        """What `--json` prints and a run keeps; undefined numbers are None."""
        several, summary, table = len(self.classes) > 1, self.summary, self.reliability
        names = [metric.name for metric in self.metrics]
        facts = {
            "prediction": str(self.prediction),
            "truth": str(self.truth),
            "split": self.split,
            "run": self.run,
            "options": self.options,
            "made": self.made,
            "classes": self.classes,
            "regions": {name: list(joined) for name, joined in self.regions.items()},
            "labels": self.labels,
            "region": self.region,
            "mean": self.mean,
            "std": {name: summary.std.get(name) for name in names},
            "interval": {name: _limits(summary.interval.get(name)) for name in names},
            "count": {name: summary.count.get(name, 0) for name in names},
            "subjects": {name: summary.subjects.get(name, 0) for name in names},
            "units": units_of(self.metrics, self.unit, axes=self.axes) if self.cases else {},
            "definitions": {metric.name: metric.definition for metric in self.metrics},
            "detection": self._detections(),
            "objects": {name: facts_of(found) for name, found in self.objects.items()},
            "strata": strata_facts(self.strata),
            "classes_mean": self.classes_mean if several else {},
            "cases": [
                {"id": case.id, "subject": case.subject, "unit": case.unit}
                | ({"strata": case.strata} if case.strata else {})
                | dict(case.scores.mean)
                | ({"classes": case.scores.classes} if several else {})
                | expectation_of(self.predicted.get(case.id), scored=not self.regions)
                | {"marked": {"prediction": case.marked[0], "truth": case.marked[1]}, "files": case.files}
                for case in self.cases
            ],
            "coverage": self.coverage,
            "failed": self.failed,
            "not_predicted": self.not_predicted,
            "names": self.scores_of_names,
            "notes": (*self.notes, *sentences_on_names(self.scores_of_names)),
            "conventions": self.conventions,
            "reliability": None
            if table is None
            else {name: getattr(table, name).tolist() for name in ("edges", "confidence", "accuracy", "count")},
        }
        return EvaluationRecord.model_validate(facts)

    def facts(self) -> dict[str, Any]:
        """`record` as plain values, ready for JSON."""
        return self.record().facts()

    def _detections(self) -> dict[str, Tally]:
        """What was found and what was marked for nothing, over all classes and by class."""
        counted = {}
        for name in (FOUND, FALSE_ALARM):
            whole = self.detection(name)
            if whole is not None:
                each = {one: self.detection(name, of=one) for one in self.classes} if len(self.classes) > 1 else {}
                counted[name] = whole.model_copy(
                    update={"classes": {one: found for one, found in each.items() if found}}
                )
        return counted

    @property
    def sentences(self) -> list[str]:
        """What was found, what was marked for nothing, and how few subjects there are."""
        sentences = []
        for name, title in ((FOUND, "Found"), (FALSE_ALARM, "False alarms")):
            counted = self.detection(name)
            if counted is not None and counted.cases[1]:
                sentences.append(f"{title}: {counted.text(len(self.classes))}.")
        subjects = len({case.subject for case in self.cases})
        if 1 < subjects < FEW:
            sentences.append(f"{subjects} subjects are few: the intervals are wide, and rest on how these few scatter.")
        sentences += [sentence_on(found, name, len(self.classes)) for name, found in self.objects.items()]
        predicted = [self.predicted[case.id] for case in self.cases if case.id in self.predicted]
        return [*sentences, *sentences_on_expected(self.coverage, predicted)]

    def __repr__(self) -> str:
        return self.table()

    def table(self, *, width: int | None = None) -> str:
        """For people: a line a metric with mean, deviation, interval and number of cases; then the notes.

        Args:
            width: columns of the terminal.
        """
        several, summary = len(self.classes) > 1, self.summary
        rows = [["", "mean", "± std", "95 % interval", "cases", *(self.classes if several else ())]]
        for metric in self.metrics if self.cases else ():
            name = metric.name
            interval = " to ".join(_text(limit) for limit in summary.interval[name])
            means = (_text(self.classes_mean[one][name]) for one in self.classes) if several else ()
            spread = "" if math.isnan(summary.std[name]) else f"± {_text(summary.std[name])}"
            row = [
                metric.in_unit(metric.unit_of(self.unit, axes=self.axes)).title,
                _text(summary.mean[name]),
                spread,
                interval,
                str(summary.count[name]),
                *means,
            ]
            rows.append(["" if "nan" in cell else cell for cell in row])
        lines = aligned(rows, width=width)
        titles = {metric.name: metric.in_unit(self.unit).title for metric in self.metrics if metric.name in MAIN}
        by_strata = [line for stratum in self.strata for line in stratum.lines(titles)]
        body = lines if self.cases else ["no case could be scored"]
        on_names = sentences_on_names(self.scores_of_names)
        return "\n".join([*body, *by_strata, *self.sentences, *self.notes, *on_names])

    def write_csv(self, path: Path | str) -> None:
        """Write one line for each case and class; a metric is empty where undefined, "unit" is that of lengths."""
        text = io.StringIO()
        table = csv.writer(text, lineterminator="\n")
        names = [metric.name for metric in self.metrics]
        table.writerow(["id", "subject", "class", *names, "unit"])
        for case in self.cases:
            for name, scores in case.scores.classes.items():
                values = (_number(scores[metric]) for metric in names)
                cells = ("" if value is None else value for value in values)
                table.writerow([case.id, case.subject, name, *cells, case.unit])
        write_text(named(path), text.getvalue())

    def keep(self) -> Path | None:
        """Keep the JSON in the run that made the masks; see `keeping.keep`."""
        return keep(self.record(), self.name)


def _number(value: float) -> float | None:
    return value if math.isfinite(value) else None


def _text(value: float) -> str:
    """Four decimals below ten, two from there on."""
    return f"{value:.4f}" if abs(value) < 10 else f"{value:.2f}"


def _limits(pair: tuple[float, float] | None) -> list[float] | None:
    return None if pair is None or not all(math.isfinite(limit) for limit in pair) else list(pair)
