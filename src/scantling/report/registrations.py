"""Scores of registrations as the page shows them: before and after, how much was folded, and what to doubt."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from scantling.evaluation.intervals import FEW
from scantling.evaluation.registration_result import BEFORE, MEASURED
from scantling.records.registration_scores import RegistrationScoresRecord
from scantling.report.charts import Chart
from scantling.report.spreads import strip_chart
from scantling.report.strata import interval
from scantling.report.targets import RegistrationFile
from scantling.report.warnings import Check, ReportWarning
from scantling.report.words import Metric, listing, metric, percent, plural

_KNOWN = {each.name: each for each in MEASURED}


@dataclass(frozen=True)
class RegistrationBlock:
    """All that the page shows of one evaluation of registrations.

    Attributes:
        rows: title, the mean after and its interval, the mean before and its interval, and the number of pairs; where
            there is no before, dashes.
    """

    title: str
    rows: tuple[tuple[Metric, tuple[str, str], tuple[str, str], int], ...]
    charts: tuple[Chart, ...]
    record: RegistrationScoresRecord

    @property
    def counted(self) -> str:
        """How many pairs there are."""
        return plural(len(self.record.pairs), "pair")


def registration_block_of(file: RegistrationFile) -> RegistrationBlock:
    """The table of an evaluation of registrations, and its pairs by the first metric."""
    record = file.record

    def cell(one: Metric, key: str) -> tuple[str, str]:
        return one.write(record.mean.get(key)), interval(one, record.interval.get(key))

    metrics = [metric(key, known=_KNOWN, units=record.units) for key in record.mean if not key.endswith(BEFORE)]
    rows = [(one, cell(one, one.key), cell(one, f"{one.key}{BEFORE}"), record.count.get(one.key, 0)) for one in metrics]
    charts = []
    for one in metrics[:1]:
        unit = record.units.get(one.key)
        pairs = [pair for pair in record.pairs if unit in (None, pair.unit)]
        values = [(pair.id, value) for pair in pairs if (value := pair.values.get(one.key)) is not None]
        if len(values) > 1:
            chart = strip_chart(
                f"{one.title} of each pair", values, mean=record.mean[one.key], interval=record.interval.get(one.key),
                axis=one.title, bounds=one.range,
            )  # fmt: skip
            charts.append(chart)
    return RegistrationBlock(f"Registrations of {file.name}", tuple(rows), tuple(charts), record)


def _few(record: RegistrationScoresRecord) -> Iterable[ReportWarning]:
    subjects = len({pair.subject for pair in record.pairs})
    if subjects < FEW:
        yield ReportWarning(
            "caution", f"Only {plural(subjects, 'subject was', 'subjects were')} registered and scored."
        )


def _folded(record: RegistrationScoresRecord) -> Iterable[ReportWarning] | None:
    share = record.mean.get("folded")
    if share is None:
        return None
    folded = [pair.id for pair in record.pairs if (pair.values.get("folded") or 0) > 0]
    if not folded:
        return []
    return [
        ReportWarning(
            "caution",
            f"{percent(share)} of the pixels are folded, in {len(folded):,} of {plural(len(record.pairs), 'pair')}: "
            "there the displacement cannot be inverted.",
        )
    ]


def _worse(record: RegistrationScoresRecord) -> Iterable[ReportWarning]:
    for key, mean in record.mean.items():
        before, known = record.mean.get(f"{key}{BEFORE}"), _KNOWN.get(key)
        if known is not None and before is not None and mean is not None and known.better(before, mean):
            one = metric(key, known=_KNOWN, units=record.units)
            name = one.title.replace(" after", "")
            sentence = f"{name} is worse after registration ({one.write(mean)}) than before ({one.write(before)})."
            yield ReportWarning("serious", sentence)


def _failed(record: RegistrationScoresRecord) -> Iterable[ReportWarning]:
    if record.failed:
        ids = listing([failure.id for failure in record.failed])
        yield ReportWarning("serious", f"{plural(len(record.failed), 'pair')} could not be scored: {ids}.")


REGISTRATION_CHECKS: tuple[Check[RegistrationScoresRecord], ...] = (
    Check("the number of subjects", _few),
    Check("folding", _folded),
    Check("whether registration has won", _worse),
    Check("failed pairs", _failed),
)
