"""What a comparison says: as JSON, as tables for people, and in sentences, of which some say that nothing was shown."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from scantling.core.text import aligned
from scantling.data.contents import count, some
from scantling.evaluation.intervals import FEW
from scantling.experiments.statistics import EXACT, FLIPS, SIGNIFICANT
from scantling.metrics.catalogue import Metric, MetricUnit
from scantling.records.comparison import ComparisonRecord, Verdict
from scantling.records.evaluation import EvaluationRecord, Region


@dataclass(frozen=True)
class Cost:
    """What a method takes; None where nobody knows.

    Attributes:
        parameters: of the model.
        calls: of the network for an image.
        seconds: for an image, the median.
        training_seconds: of one training.
    """

    parameters: float | None
    calls: float | None
    seconds: float | None
    training_seconds: float | None


@dataclass(frozen=True)
class ComparedMethod:
    """A method: one run or folder of masks, or several runs that differ in their seed and label seed alone.

    Attributes:
        runs: as they were named.
        seeds, label_seeds: one for each of `runs`; label seeds are 0 where none draws labels.
        mean, std, interval: by metric, over the compared cases; the value of a case is the mean over the seeds.
        seed_mean: by metric, the mean over the cases for each of `runs`.
        seed_std: by metric, the sample standard deviation of `seed_mean`; NaN for one run.
        rank: by metric, the mean rank over the cases, 1 for the best.
        seen: compared cases that show a subject that the model has learned from.
    """

    name: str
    runs: tuple[str, ...]
    seeds: tuple[int | None, ...]
    mean: Mapping[str, float]
    std: Mapping[str, float]
    interval: Mapping[str, tuple[float, float]]
    seed_mean: Mapping[str, tuple[float, ...]]
    seed_std: Mapping[str, float]
    rank: dict[str, float]
    cost: Cost
    seen: tuple[str, ...] = ()
    label_seeds: tuple[int | None, ...] = ()

    @property
    def title(self) -> str:
        """Its name and how many seeds it stands for."""
        return f"{self.name} ({len(self.runs)} seeds)" if len(self.runs) > 1 else self.name


@dataclass(frozen=True)
class Pair:
    """Two methods in one metric.

    Attributes:
        difference: the mean of a minus b over the cases; of a metric with an ideal, of the distances from it.
        interval: its 95 % interval.
        p: of the permutation test, NaN where it was not made.
        p_holm: corrected for all pairs of the metric.
    """

    a: str
    b: str
    metric: str
    difference: float
    interval: tuple[float, float]
    p: float
    p_holm: float
    verdict: Verdict


@dataclass(frozen=True)
class Comparison:
    """Several methods on the same cases.

    Attributes:
        data: the folder of the data; `name` is what they are called.
        baseline: the name of the method that the others are held against.
        metrics: the first is the one that is tested.
        methods: the best first, by the mean of the first metric.
        pairs: all pairs in the first metric, each method against the baseline in the others.
        cases, left_out: ids of the cases that were compared, and of those that not every method has a score for.
        subjects: how many persons the cases show.
        count: by metric, the cases in which it is defined for every method.
        tested_subjects: how many persons show a case in which the first metric is defined for every method.
        least: the smallest p that so many subjects can give.
        region: which pixels counted; None for image classes, which have none.
        units: of the metrics that are lengths; None where evaluations of early versions do not say.
        warnings: sentences that no reader may miss.
        notes: sentences that a reader should know.
        failed: a sentence for each case that could not be predicted or scored.
        by_case: by metric and method the value of each of `cases`, the mean over its seeds; NaN where undefined.
        settings: in which settings the methods differ: name, and a text for each of `methods`.
        records: by method the evaluation of its first run, which names the files of its cases; empty of image classes.
    """

    data: Path
    name: str
    split: str
    baseline: str
    metrics: tuple[Metric, ...]
    methods: tuple[ComparedMethod, ...]
    pairs: tuple[Pair, ...]
    cases: tuple[str, ...]
    left_out: tuple[str, ...]
    subjects: int
    count: Mapping[str, int]
    tested_subjects: int
    least: float
    region: Region | None
    units: Mapping[str, MetricUnit | None] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    failed: tuple[str, ...] = ()
    by_case: Mapping[str, Mapping[str, tuple[float, ...]]] = field(default_factory=dict)
    settings: tuple[tuple[str, tuple[str, ...]], ...] = ()
    records: Mapping[str, EvaluationRecord] = field(default_factory=dict)

    @property
    def tested(self) -> tuple[Pair, ...]:
        """The pairs of the first metric."""
        return tuple(pair for pair in self.pairs if pair.metric == self.metrics[0].name)

    @property
    def scope(self) -> str:
        """What was compared on what."""
        people = count(self.subjects, "subject")
        on = count(len(self.cases), "case") + ("" if self.subjects == len(self.cases) else f" of {people}")
        return f"{count(len(self.methods), 'method')} on {on} of {self.name}, {self.split} split"

    @property
    def sentences(self) -> tuple[str, ...]:
        """What was found, plainly; the pairs with the baseline first."""
        first = self.metrics[0]
        ordered = sorted(self.tested, key=lambda pair: self.baseline not in (pair.a, pair.b))
        found = [_sentence(pair, first, len(ordered)) for pair in ordered]
        if not self.tested_subjects:
            pass  # the pairs have said that nothing can be said
        elif self.least * len(ordered) >= SIGNIFICANT:
            found.append(
                f"{count(self.tested_subjects, 'subject')}, {count(len(ordered), 'pair')} of methods: no difference "
                "could have been shown, however large, because the smallest p that can come out is "
                f"{probability(self.least)}."
            )
        elif self.tested_subjects < FEW:
            found.append(f"{self.tested_subjects} subjects are few: the intervals rest on how these few scatter.")
        if self.left_out:
            found.append(
                f"{count(len(self.left_out), 'case')} left out, because not every run has a score there: "
                f"{some(self.left_out)}."
            )
        return tuple(found)

    @property
    def conventions(self) -> tuple[str, ...]:
        """How the numbers are defined, a sentence each."""
        notes = [
            *([self.region.sentence] if self.region else []),
            "Only cases that every run has a score for are compared; in each metric, only those in which it is "
            "defined for all of them.",
            "The value of a case is the mean over the seeds of a method; the spread over seeds is the standard "
            "deviation of their means.",
            "Intervals of 95 % are Student's t with subjects as units (jackknife; on the logit scale between 0 and 1), "
            "of shares of cases Clopper and Pearson's; that of a difference is of the paired differences, and is not "
            "corrected for the number of pairs.",
            "Metrics of a structure are of the cases whose truth has one; of the others, false alarms are counted."
            if self.region
            else "Accuracy and Brier score are of each case by itself: 1 or 0 for its class, and the squared errors of "
            "its probabilities. Balanced accuracy, F1, AUC and ECE are of all cases together and are not compared.",
            "p is of the two-sided paired permutation test: the differences of a subject change sign together, in all "
            f"ways for up to {EXACT} subjects that differ, in {FLIPS:,} drawn ways for more. It is corrected by Holm "
            f"for all pairs of methods, and a difference is shown where it is then below {SIGNIFICANT} and its "
            "interval does not hold 0: where few subjects differ much, the two may disagree.",
            f"Only {self.metrics[0].title} is tested, because each further metric would be one more chance to be "
            "wrong; the other differences are described by their intervals. Name another metric first to test it.",
            "That no difference could be shown does not mean that there is none; the interval says how large it "
            "may be.",
            "The rank is the mean over the cases, 1 for the best; ties share theirs.",
            "Seconds for an image are the median of those measured while it was predicted, whatever else the machine "
            "was doing; the seconds of a training are those in its run.",
        ]
        for ideal in sorted({metric.ideal for metric in self.metrics if metric.ideal is not None}):
            notes.append(f"Of a metric whose ideal is {ideal:g}, the distances from {ideal:g} are compared.")
        return (*notes, *(metric.convention for metric in self.metrics))

    def record(self) -> ComparisonRecord:
        """What `--json` prints."""
        facts = {
            "data": str(self.data),
            "split": self.split,
            "baseline": self.baseline,
            "region": self.region,
            "metrics": [metric.name for metric in self.metrics],
            "methods": [asdict(one) for one in self.methods],
            "pairs": [asdict(pair) for pair in self.pairs],
            "cases": len(self.cases),
            "subjects": self.subjects,
            "tested_subjects": self.tested_subjects,
            "count": self.count,
            "units": self.units,
            "left_out": len(self.left_out),
            "left_out_cases": self.left_out,
            "sentences": self.sentences,
            "warnings": self.warnings,
            "notes": self.notes,
            "failed": self.failed,
            "conventions": self.conventions,
            "by_case": self.by_case,
            "settings": [{"name": name, "values": values} for name, values in self.settings],
            "case_ids": self.cases,
        }
        return ComparisonRecord.model_validate(facts)

    def facts(self) -> dict[str, Any]:
        """`record` as plain values, ready for JSON; undefined numbers are None."""
        return self.record().facts()

    def __repr__(self) -> str:
        return self.table()

    def table(self, *, width: int | None = None) -> str:
        """For people: warnings, the methods with their costs, the tested pairs, and what can be said.

        Args:
            width: columns of the terminal.
        """
        lines = [f"WARNING: {sentence}" for sentence in self.warnings] + [self.scope, ""]
        lines += aligned(self._methods(), width=width)
        if self.tested:
            lines += ["", *aligned(self._pairs(), width=width)]
        return "\n".join([*lines, "", *self.sentences, *self.notes])

    def _methods(self) -> Iterator[Sequence[str]]:
        first = self.metrics[0].name
        several = any(len(one.runs) > 1 for one in self.methods)
        titles = [metric.title for metric in self.metrics[1:]]
        spread = ["± seeds"] if several else []
        costs = ["parameters", "calls", "s/image", "training"]
        yield ["", self.metrics[0].title, "95 % interval", *spread, "rank", *titles, *costs]
        for one in self.methods:
            others = [written(one.mean[metric.name], metric) for metric in self.metrics[1:]]
            low, high = (written(end, self.metrics[0]) for end in one.interval[first])
            yield [
                one.title + (" (!)" if one.seen else ""),
                written(one.mean[first], self.metrics[0]),
                f"{low} to {high}" if low else "",
                *([written(one.seed_std[first], self.metrics[0])] if several else []),
                _plain(one.rank[first], ".2f"),
                *others,
                _plain(one.cost.parameters, ",.0f"),
                _plain(one.cost.calls, "g"),
                _plain(one.cost.seconds, ".3g"),
                _plain(one.cost.training_seconds, ",.0f"),
            ]

    def _pairs(self) -> Iterator[Sequence[str]]:
        first = self.metrics[0]
        yield [f"{first.title}: a - b", "difference", "95 % interval", "p", "Holm", "verdict"]
        for pair in self.tested:
            low, high = (written(end, first) for end in pair.interval)
            yield [
                f"{pair.a} - {pair.b}", written(pair.difference, first), f"{low} to {high}" if low else "",
                probability(pair.p), probability(pair.p_holm), pair.verdict,
            ]  # fmt: skip


def written(value: float, metric: Metric) -> str:
    """Three decimals of a metric that has bounds, two of others; nothing for NaN."""
    text = "" if math.isnan(value) else f"{value:.{3 if math.isfinite(metric.range[1]) else 2}f}"
    return text.removeprefix("-") if text and not float(text) else text


def probability(p: float) -> str:
    """Two significant digits: "0.41", "0.0021", "1", "< 0.001"; nothing for NaN."""
    return "" if math.isnan(p) else f"{p:.2g}" if p >= 0.001 else "< 0.001"


def _sentence(pair: Pair, metric: Metric, pairs: int) -> str:
    """The finding of a pair, told from the side that has the higher value."""
    if math.isnan(pair.difference):
        return f"Nothing can be said of {pair.a} and {pair.b}: {metric.title} is defined for all methods in no case."
    turned = pair.difference < 0
    one, other = (pair.b, pair.a) if turned else (pair.a, pair.b)
    ends = sorted(-end if turned else end for end in pair.interval)
    known = not any(math.isnan(end) for end in ends)
    interval = f"95 % {written(ends[0], metric)} to {written(ends[1], metric)}, " if known else ""
    after = f", {probability(pair.p_holm)} after Holm's correction for {pairs} pairs" if pairs > 1 else ""
    chance = f"({interval}p = {probability(pair.p)}{after})".replace("p = <", "p <")
    size = written(abs(pair.difference), metric)
    what = metric.title if metric.ideal is None else f"the distance of {metric.title} from {metric.ideal:g}"
    if pair.verdict == "no difference shown":
        return f"No difference could be shown: {one} and {other} differ in {what} by {size} {chance}."
    winner, loser = (pair.a, pair.b) if pair.verdict == "a is better" else (pair.b, pair.a)
    return f"{winner} is better than {loser}: {what} is {'higher' if winner == one else 'lower'} by {size} {chance}."


def _plain(value: float | None, form: str) -> str:
    return "" if value is None or math.isnan(value) else format(value, form)
