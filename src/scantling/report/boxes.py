"""Scores of boxes as the page shows them: a table with intervals, and sensitivity at rates of false alarms."""

from __future__ import annotations

from dataclasses import dataclass

from scantling.metrics.catalogue import BOX_METRICS
from scantling.records.boxes import BoxesRecord
from scantling.report.strata import interval
from scantling.report.targets import EvaluationFile
from scantling.report.titles import title_of
from scantling.report.words import NONE, Metric, metric, plural

DRAWN = {"boxes": "", "mask": ", drawn around their masks", "instances": ", drawn around their objects"}


@dataclass(frozen=True)
class BoxBlock:
    """All that the page shows of the boxes of one evaluation.

    Attributes:
        rows: of each metric its value and interval.
        rates: false alarms an image, and the sensitivity there.
    """

    title: str
    rows: tuple[tuple[Metric, str, str], ...]
    rates: tuple[tuple[str, str], ...]
    record: BoxesRecord

    @property
    def counted(self) -> str:
        """How many cases and boxes there are."""
        cases = self.record.cases
        true = plural(sum(case.true for case in cases), "true box", "true boxes")
        return f"{plural(len(cases), 'case')} together, with {true}{DRAWN.get(self.record.boxes_from, '')}"


def box_block_of(evaluation: EvaluationFile, record: BoxesRecord, *, title: str = "") -> BoxBlock:
    """The tables of the boxes of an evaluation."""
    rows = [
        (one, one.write(found.value), interval(one, found.interval) or NONE)
        for key in BOX_METRICS
        if (found := record.scores.get(key)) is not None and (one := metric(key, known=BOX_METRICS))
    ]
    rates = [
        (f"{one.false_alarms:g}", NONE if one.sensitivity is None else f"{one.sensitivity:.3f}")
        for one in record.sensitivity
    ]
    return BoxBlock(title or f"Boxes of {title_of(evaluation)}", tuple(rows), tuple(rates), record)
