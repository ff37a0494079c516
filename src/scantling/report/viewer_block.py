"""The case viewer as a part of a page: the cases that it holds, worst, median and best first, and their list."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any, NamedTuple

from markupsafe import Markup

from scantling.records.evaluation import CaseRecord
from scantling.report.exemplars import choose
from scantling.report.targets import EvaluationFile
from scantling.report.viewer import case_payload
from scantling.report.viewer_cases import ViewerCase, as_sequences, chosen, photographs, scored
from scantling.report.words import Metric, plural


class Viewer(NamedTuple):
    """A viewer that is wanted: its id on the page, and the most cases that it holds."""

    id: str
    most: int


@dataclass(frozen=True)
class CaseViewer:
    """A viewer with its cases as JSON.

    Attributes:
        index: the list of the cases, as JSON.
        more: a sentence on those that are not here.
        payloads: the cases by id.
    """

    id: str
    index: str
    more: str
    payloads: tuple[tuple[str, Markup], ...]

    @property
    def ids(self) -> tuple[str, ...]:
        """The cases that it opens."""
        return tuple(id for id, _ in self.payloads)


def viewer_of(evaluation: EvaluationFile, wanted: Viewer) -> CaseViewer | None:
    """The viewer of an evaluation; None if there is nothing to see of any case."""
    by, _ = choose(evaluation)
    listed = chosen(evaluation, most=wanted.most)
    written, coloured, seen = dict[str, Markup](), list[ViewerCase](), False
    for _, record in listed:
        case = scored(record, evaluation)
        seen = seen or bool(case.channels or case.truth or case.mask)
        if any(layer.coloured for _, layer in case.channels):
            coloured.append(case)  # decided together; all others are written at once: many volumes need much memory
        else:
            written[case.id] = embedded(case_payload(case))
    if not seen:
        return None
    photos = photographs(coloured)
    written |= {case.id: embedded(case_payload(case if photos else as_sequences(case))) for case in coloured}
    index = [{"id": case.id, "title": _title(rank, case, by)} for rank, case in listed]
    payloads = tuple((case.id, written[case.id]) for _, case in listed)
    return CaseViewer(wanted.id, json.dumps(index), _more(evaluation, len(listed)), payloads)


def embedded(payload: dict[str, Any]) -> Markup:
    """JSON that can stand in a script element of HTML."""
    return Markup(json.dumps(payload, separators=(",", ":")).replace("<", "\\u003c"))


def _title(rank: str, case: CaseRecord, by: Metric) -> str:
    value = case.values.get(by.key)
    score = "" if value is None else f" ({by.short} {by.write_of(case)})"
    return f"{rank}: {case.id}{score}" if rank else f"{case.id}{score}"


def _more(evaluation: EvaluationFile, held: int) -> str:
    total = len(evaluation.record.cases)
    if held == total:
        return ""
    return (
        f"{plural(held, 'case')} of {total:,} open here: the worst, the median and the best, then those of the lowest "
        "scores."
    )
