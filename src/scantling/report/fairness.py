"""Whether scores may be held against each other: the same cases, truth, region and definitions."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

from scantling.core.atomic import to_json
from scantling.metrics.catalogue import METRICS
from scantling.records.evaluation import EvaluationRecord
from scantling.report.targets import EvaluationFile
from scantling.report.words import listing, metric, plural


def fairness(evaluations: Sequence[EvaluationFile]) -> str:
    """A sentence or two on whether these scores compare, and if not, on all that differs."""
    records = [evaluation.record for evaluation in evaluations]
    if len(records) < 2:
        return ""
    ids = [{case.id for case in record.cases} for record in records]
    shared = set.intersection(*ids)
    reasons = []
    if (truths := _kinds(records, lambda record: record.truth)) > 1:
        reasons.append(f"the masks were held against {truths} different truths")
    if any(one != shared for one in ids):
        reasons.append(f"the targets have only {plural(len(shared), 'scored case')} in common")
    keys = {what: key for what, key in _DIFFERENCES.items() if what != FILES or truths == 1}
    if not all("ged" in record.mean for record in records):
        del keys[SAMPLES]
    differing = [what for what, key in keys.items() if _kinds(records, partial(_apply, key, shared)) > 1]
    if defined := _apart(records, lambda record: record.definitions):
        differing.append(f"the definition of {listing(defined)}")
    if units := _apart(
        records, lambda record: {name: record.units.get(name) for name in LENGTHS if name in record.mean}
    ):
        differing.append(f"the unit of {listing(units)}")
    if differing:
        reasons.append(f"they differ in {listing(differing, most=len(differing))}")
    if reasons:
        return f"Do not compare these scores: {'; '.join(reasons)}."
    same = plural(len(shared), "same case")
    return f"All were scored on the {same}. An interval is of one target alone; no difference was tested."


LENGTHS = [name for name, one in METRICS.items() if one.is_length]
FILES = "the files of the truth"
SAMPLES = "the number of samples, on which GED depends"
_DIFFERENCES: dict[str, Callable[[EvaluationRecord, set[str]], Any]] = {
    "the split": lambda record, shared: record.split,
    "the pixels that count (region)": lambda record, shared: {
        case.id: case.files.region for case in record.cases if case.id in shared
    },
    # one class alone matches one class alone, whatever it is called
    "the classes": lambda record, shared: sorted(record.classes) if len(record.classes) > 1 else len(record.classes),
    "how the true masks are read (threshold, values of classes, spacing)": lambda record, shared: {
        "labels": None if record.labels is None else record.labels.truth.model_dump(),
        "cases": {
            case.id: (case.files.threshold, case.files.spacing) for case in record.cases if case.id in shared
        },
    },
    SAMPLES: lambda record, shared: {case.id: len(case.files.samples) for case in record.cases if case.id in shared},
    FILES: lambda record, shared: {
        case.id: case.files.truth for case in record.cases if case.id in shared
    },
}  # fmt: skip


def _apply(key: Callable[[EvaluationRecord, set[str]], Any], shared: set[str], record: EvaluationRecord) -> Any:
    return key(record, shared)


def _kinds(records: Sequence[EvaluationRecord], key: Callable[[EvaluationRecord], Any]) -> int:
    """How many different things the records say."""
    return len({to_json(key(record)) for record in records})


def _apart(records: Sequence[EvaluationRecord], table: Callable[[EvaluationRecord], Mapping[str, Any]]) -> list[str]:
    """The metrics of which the records say different things."""
    tables = [table(record) for record in records]
    names = dict.fromkeys(name for one in tables for name in one)
    return [metric(name).title for name in names if len({table[name] for table in tables if name in table}) > 1]
