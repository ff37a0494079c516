"""Scores of image classes as the page shows them: a table with intervals, each class, the confusion matrix, strata."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from scantling.evaluation.intervals import FEW
from scantling.metrics.catalogue import CLASS_METRICS, METRICS
from scantling.records.image_classes import ImageClassesRecord
from scantling.report.blocks import Header
from scantling.report.charts import Chart
from scantling.report.spreads import reliability_chart
from scantling.report.strata import StratumTable, interval, tables_of
from scantling.report.tables import Comparison, Line
from scantling.report.targets import EvaluationFile
from scantling.report.titles import title_of
from scantling.report.warnings import Check, ReportWarning
from scantling.report.words import NONE, Metric, listing, metric, percent, plural

OF_A_CLASS = ("sensitivity", "f1", "auc")


@dataclass(frozen=True)
class ClassLine:
    """A name, how many cases it stands for, and its scores, each with an interval."""

    name: str
    cases: int
    cells: tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class ClassBlock:
    """All that the page shows of the image classes of one evaluation.

    Attributes:
        rows: of each metric its value and interval, and how many cases and subjects define it.
        classes: the scores of each class, in the columns `columns`.
    """

    title: str
    where: str
    rows: tuple[tuple[Metric, str, str, int, int], ...]
    columns: tuple[Metric, ...]
    classes: tuple[ClassLine, ...]
    charts: tuple[Chart, ...]
    strata: tuple[StratumTable, ...]
    record: ImageClassesRecord

    @property
    def counted(self) -> str:
        """How many cases there are."""
        return plural(len(self.record.cases), "case")


def class_block_of(evaluation: EvaluationFile, record: ImageClassesRecord, *, title: str = "") -> ClassBlock:
    """Tables and charts of the image classes of an evaluation."""
    where, metrics = title_of(evaluation), [metric(key, known=CLASS_METRICS) for key in CLASS_METRICS]
    columns = [metric(key, known=CLASS_METRICS | {"sensitivity": METRICS["sensitivity"]}) for key in OF_A_CLASS]
    rows = [
        (one, one.write(found.value), interval(one, found.interval) or NONE, found.cases, found.subjects)
        for one in metrics
        if (found := record.scores.get(one.key)) is not None
    ]
    true = [case.true for case in record.cases]
    classes = []
    for name in record.classes:
        scores = record.by_class.get(name, {})
        known = [(one, scores.get(one.key)) for one in columns]
        cells = [(one.write(each.value), interval(one, each.interval)) if each else (NONE, "") for one, each in known]
        classes.append(ClassLine(name, true.count(name), tuple(cells)))
    bins, charts = record.reliability, []
    if bins.count and len(bins.edges) == len(bins.count) + 1:
        triples = list(zip(bins.confidence, bins.accuracy, bins.count, strict=False))
        charts.append(reliability_chart(bins.edges, triples, unit="cases", share="right"))
    return ClassBlock(
        title or f"Image classes of {where}", where, tuple(rows), tuple(columns), tuple(classes), tuple(charts),
        tables_of(record.strata, metrics), record,
    )  # fmt: skip


def compare_classes(firsts: Sequence[tuple[int, Header, ClassBlock]]) -> Comparison:
    """Evaluations of image classes side by side: the number of each target, its header and its first evaluation."""
    keys = [key for key in CLASS_METRICS if any(key in block.record.scores for _, _, block in firsts)]
    lines = []
    for number, header, block in firsts:
        rows = {one.key: (value, limits) for one, value, limits, _, _ in block.rows}
        cells = tuple(rows.get(key, (NONE, "")) for key in keys)
        lines.append(Line(number, header.title, header.name, block.where, cells, len(block.record.cases)))
    remark = _agreement([block.record for _, _, block in firsts])
    return Comparison(tuple(metric(key, known=CLASS_METRICS) for key in keys), tuple(lines), remark)


def _agreement(records: Sequence[ImageClassesRecord]) -> str:
    """A sentence on whether these scores compare, and if not, on what differs."""
    if len(records) < 2:
        return ""
    truths = [{case.id: case.true for case in record.cases} for record in records]
    reasons = [
        reason
        for reason, differs in (
            ("the cases", any(one.keys() != truths[0].keys() for one in truths)),
            (
                "the true classes",
                any(one[id] != truths[0][id] for one in truths for id in one.keys() & truths[0].keys()),
            ),
            ("the classes", any({*record.classes} != {*records[0].classes} for record in records)),
        )
        if differs
    ]
    if reasons:
        return f"Do not compare these scores: they differ in {listing(reasons)}."
    same = plural(len(truths[0]), "same case")
    return f"All were scored on the {same}. An interval is of one target alone; no difference was tested."


def _few(record: ImageClassesRecord) -> Iterable[ReportWarning]:
    subjects = len({case.subject for case in record.cases})
    if subjects < FEW:
        yield ReportWarning("caution", f"Only {plural(subjects, 'subject was', 'subjects were')} scored.")


def _rare(record: ImageClassesRecord) -> Iterable[ReportWarning]:
    for name in record.classes:
        subjects = len({case.subject for case in record.cases if case.true == name})
        if subjects < FEW:
            yield ReportWarning(
                "caution",
                f"The class {name} is shown by {plural(subjects, 'subject')}, too few to tell how well it is known.",
            )


def _common(record: ImageClassesRecord) -> Iterable[ReportWarning]:
    true, accuracy = [case.true for case in record.cases], record.scores.get("accuracy")
    most = max(record.classes, key=true.count, default="")
    share = true.count(most) / max(len(true), 1)
    if accuracy is not None and accuracy.value is not None and accuracy.value <= share:
        yield ReportWarning(
            "serious",
            f"{percent(share)} of the cases are {most}: an accuracy of {accuracy.value:.3f} is no better than always "
            "answering that.",
        )


def _failed(record: ImageClassesRecord) -> Iterable[ReportWarning]:
    if record.failed:
        ids = listing([failure.id for failure in record.failed])
        yield ReportWarning("serious", f"{plural(len(record.failed), 'case')} could not be scored: {ids}.")


CLASS_CHECKS: tuple[Check[ImageClassesRecord], ...] = (
    Check("the number of subjects", _few),
    Check("rare classes", _rare),
    Check("the accuracy of always answering the commonest class", _common),
    Check("failed cases", _failed),
)
