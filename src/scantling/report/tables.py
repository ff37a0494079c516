"""Scores as tables: the metrics with their intervals, the classes, the cases, and several evaluations side by side."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup

from scantling.evaluation.expected import sentences_on_expected
from scantling.evaluation.object_totals import sentence_on_facts
from scantling.evaluation.strata import MAIN as STRATIFIED
from scantling.records.evaluation import CaseRecord
from scantling.records.predictions import Failure
from scantling.report import exemplars
from scantling.report.blocks import Header
from scantling.report.charts import Chart
from scantling.report.fairness import fairness
from scantling.report.hypotheses import Hypotheses, hypotheses_of
from scantling.report.objects import ObjectPictures, objects_of
from scantling.report.spreads import reliability_chart, spread_bar, strip_chart
from scantling.report.strata import StratumTable, tables_of
from scantling.report.targets import EvaluationFile
from scantling.report.titles import title_of
from scantling.report.viewer_block import CaseViewer, Viewer, viewer_of
from scantling.report.words import HEADLINE, NONE, Metric, in_order, metric, plural

MOST_CASES = 1000
"""The most rows of the table of cases."""
SIDE_BY_SIDE = (
    "dice",
    "found",
    "false_alarm",
    "iou",
    "cldice",
    "log_vca",
    "betti0_error",
    "hd95",
    "auc",
    "ece",
    "ged",
    "hm_iou",
)


@dataclass(frozen=True)
class Row:
    """A metric over the cases; None and dashes where it is undefined."""

    metric: Metric
    mean: float | None
    std: float | None
    interval: tuple[float, float] | None
    lowest: float | None
    highest: float | None
    count: int
    bar: Markup

    @property
    def written_mean(self) -> str:
        return self.metric.write(self.mean)

    @property
    def written_interval(self) -> str:
        return NONE if self.interval is None else " to ".join(self.metric.write(end) for end in self.interval)


@dataclass(frozen=True)
class Group:
    """The metrics of one family."""

    name: str
    rows: tuple[Row, ...]


@dataclass(frozen=True)
class ScoreBlock:
    """All that the page shows of one evaluation."""

    name: str
    title: str
    where: str
    validation: bool
    groups: tuple[Group, ...]
    metrics: tuple[Metric, ...]
    classes: tuple[tuple[str, tuple[str, ...]], ...]
    charts: tuple[Chart, ...]
    ordered_by: Metric
    exemplars: tuple[exemplars.Exemplar, ...]
    undrawn: str
    hypotheses: Hypotheses | None
    objects: ObjectPictures | None
    cases: tuple[CaseRecord, ...]
    failed: tuple[Failure, ...]
    evaluation: EvaluationFile
    strata: tuple[StratumTable, ...]
    viewer: CaseViewer | None

    @property
    def counted(self) -> str:
        """How many cases there are."""
        return plural(len(self.cases), "case")

    @property
    def detected(self) -> tuple[str, ...]:
        """How many structures were found, how often one was marked where there is none, and what was expected."""
        titles = {"found": "Found", "false_alarm": "False alarms"}
        record = self.evaluation.record
        known = [(title, record.detection[key]) for key, title in titles.items() if key in record.detection]
        found = (f"{title}: {tally.text(len(record.classes))}." for title, tally in known if tally.cases[1])
        together = (sentence_on_facts(facts, name, len(record.classes)) for name, facts in record.objects.items())
        return (*found, *together, *sentences_on_expected(record.coverage, record.cases))

    @property
    def headline(self) -> frozenset[str]:
        """The metrics that stand beside a picture."""
        return frozenset(HEADLINE) | {self.ordered_by.key}

    @property
    def subjects(self) -> bool:
        """Whether subjects are worth a column: some have several cases, or another name than their case."""
        return any(case.subject not in (None, case.id) for case in self.cases)

    @property
    def expected(self) -> bool:
        """Whether scores were expected of the cases."""
        return any(case.expected is not None for case in self.cases)

    @property
    def compared(self) -> bool:
        """Whether the images were compared with the training images."""
        return any(case.unlike is not None for case in self.cases)

    @property
    def shown(self) -> tuple[CaseRecord, ...]:
        """The cases that the table lists."""
        return self.cases[:MOST_CASES]


@dataclass(frozen=True)
class Line:
    """A target in the comparison, the `number`-th on the page."""

    number: int
    title: str
    name: str
    where: str
    cells: tuple[tuple[str, str], ...]
    count: int


@dataclass(frozen=True)
class Comparison:
    """Several targets side by side, and whether that is fair."""

    metrics: tuple[Metric, ...]
    lines: tuple[Line, ...]
    remark: str


def block_of(
    evaluation: EvaluationFile, *, drawn: bool, longest: int, viewer: Viewer, validation: bool = False
) -> ScoreBlock:
    """Tables, charts and, if `drawn`, pictures (at most `longest` pixels a side) of an evaluation.

    Args:
        viewer: how the viewer is called on the page, and how many cases it holds.
    """
    record = evaluation.record
    metrics = in_order(record.mean, units=record.units)
    rows = [_row(evaluation, metric) for metric in metrics]
    families = dict.fromkeys(row.metric.family for row in rows)
    groups = [Group(family, tuple(row for row in rows if row.metric.family == family)) for family in families]
    classes = tuple(
        (name, tuple(metric.write(means.get(metric.key)) for metric in metrics))
        for name, means in record.classes_mean.items()
    )
    ordered_by, chosen = exemplars.choose(evaluation)
    pictured = tuple(exemplars.draw(rank, case, evaluation, longest=longest) for rank, case in chosen) if drawn else ()
    viewed = viewer_of(evaluation, viewer) if drawn else None
    undrawn = ""
    if not chosen:
        undrawn = "No case has a score to order by, so none is drawn."
    where = title_of(evaluation)
    title = "Scores on the validation cases" if validation else f"Scores of {where}"
    return ScoreBlock(
        evaluation.name, title, where, validation, tuple(groups), tuple(metrics), classes if len(classes) > 1 else (),
        tuple(_charts(evaluation, ordered_by, viewed)), ordered_by, pictured, undrawn,
        hypotheses_of(evaluation, longest=longest) if drawn else None,
        objects_of(evaluation, longest=longest) if drawn else None, record.cases, record.failed, evaluation,
        tables_of(record.strata, [metric for metric in metrics if metric.key in STRATIFIED]), viewed,
    )  # fmt: skip


def _row(evaluation: EvaluationFile, metric: Metric) -> Row:
    record, values = evaluation.record, [value for _, value in evaluation.of(metric.key)]
    low, high = record.interval.get(metric.key) or (None, None)
    interval = (low, high) if low is not None and high is not None else None
    mean = record.mean.get(metric.key)
    return Row(
        metric, mean, record.std.get(metric.key), interval, min(values, default=None), max(values, default=None),
        record.count.get(metric.key, len(values)), spread_bar(values, mean=mean, interval=interval),
    )  # fmt: skip


def _charts(evaluation: EvaluationFile, metric: Metric, viewer: CaseViewer | None) -> list[Chart]:
    record, charts = evaluation.record, []
    cases = [(case.id, value) for case, value in evaluation.of(metric.key)]
    if len(cases) > 1:
        row = _row(evaluation, metric)
        opens = {} if viewer is None else dict.fromkeys(viewer.ids, viewer.id)
        charts.append(
            strip_chart(
                f"{metric.title} of each case", cases, mean=row.mean, interval=row.interval,
                axis=metric.title, bounds=metric.range, opens=opens,
            )
        )  # fmt: skip
    bins = record.reliability
    if bins is not None and bins.count and len(bins.edges) == len(bins.count) + 1:
        triples = list(zip(bins.confidence, bins.accuracy, bins.count, strict=False))
        charts.append(reliability_chart(bins.edges, triples))
    return charts


def compare(firsts: Sequence[tuple[int, Header, ScoreBlock | None]]) -> Comparison:
    """Evaluations of masks side by side: the number of each target, its header and its first evaluation."""
    scored = [block for _, _, block in firsts if block is not None]
    present = {key for block in scored for key in block.evaluation.record.mean}
    records = [block.evaluation.record for block in scored]
    metrics = []
    for key in (one.key for one in in_order(SIDE_BY_SIDE) if one.key in present):
        units = {record.units.get(key) for record in records if key in record.mean}
        metrics.append(metric(key, units={key: units.pop()} if len(units) == 1 else None))
    lines = []
    for number, header, block in firsts:
        rows = {row.metric.key: row for group in (block.groups if block else ()) for row in group.rows}
        found = [rows.get(one.key) for one in metrics]
        cells = [
            (row.written_mean + ("" if one.unit == row.metric.unit else f" {row.metric.unit}"), row.written_interval)
            if row is not None
            else (NONE, "")
            for one, row in zip(metrics, found, strict=True)
        ]
        where = ("validation cases" if block.validation else block.where) if block else "not scored yet"
        lines.append(Line(number, header.title, header.name, where, tuple(cells), len(block.cases) if block else 0))
    return Comparison(tuple(metrics), tuple(lines), fairness([block.evaluation for block in scored]))
