"""A comparison: several methods on the same cases, as `scantling compare --json` prints it."""

from __future__ import annotations

from typing import ClassVar, Literal

from scantling.metrics.catalogue import MetricUnit
from scantling.records.evaluation import Region
from scantling.records.record import FileRecord, Number, Numbers, Record
from scantling.records.scores import Interval

Verdict = Literal["a is better", "b is better", "no difference shown", "not tested"]


class CostRecord(Record):
    """What a method takes; None where nobody knows. See `experiments.comparison.Cost`."""

    parameters: Number = None
    calls: Number = None
    seconds: Number = None
    training_seconds: Number = None


class MethodRecord(Record):
    """A compared method; see `experiments.comparison.ComparedMethod`."""

    name: str
    runs: tuple[str, ...]
    seeds: tuple[int | None, ...] = ()
    label_seeds: tuple[int | None, ...] = ()
    mean: Numbers
    std: Numbers = {}
    interval: dict[str, Interval] = {}
    seed_mean: dict[str, tuple[Number, ...]] = {}
    seed_std: Numbers = {}
    rank: Numbers = {}
    cost: CostRecord = CostRecord()
    seen: tuple[str, ...] = ()


class PairRecord(Record):
    """Two methods in one metric; see `experiments.comparison.Pair`."""

    a: str
    b: str
    metric: str
    difference: Number = None
    interval: Interval = None
    p: Number = None
    p_holm: Number = None
    verdict: Verdict


class SettingRecord(Record):
    """A setting in which the methods differ: its name, and a text for each method."""

    name: str
    values: tuple[str, ...]


class ComparisonRecord(FileRecord):
    """The contents of a comparison's file; see `experiments.comparison.Comparison`.

    Attributes:
        cases, left_out: how many; `left_out_cases` are their ids.
        region: which pixels counted; None in files of early versions.
        units: by metric that is a length what it is in; None, or empty, where early versions do not say.
        case_ids: the ids of the cases that were compared; `by_case` has their values by metric and method.
        settings: in which settings the methods differ.
        page: the page that was written beside it.
    """

    what: ClassVar[str] = "comparison"
    writer: ClassVar[str] = "scantling compare --json"

    data: str
    split: str
    baseline: str
    region: Region | None = None
    metrics: tuple[str, ...]
    methods: tuple[MethodRecord, ...]
    pairs: tuple[PairRecord, ...]
    cases: int
    subjects: int
    tested_subjects: int
    count: dict[str, int] = {}
    units: dict[str, MetricUnit | None] = {}
    left_out: int = 0
    left_out_cases: tuple[str, ...] = ()
    sentences: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    failed: tuple[str, ...] = ()
    conventions: tuple[str, ...] = ()
    case_ids: tuple[str, ...] = ()
    by_case: dict[str, dict[str, tuple[Number, ...]]] = {}
    settings: tuple[SettingRecord, ...] = ()
    page: str | None = None
