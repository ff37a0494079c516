"""Scores of several cases as records hold them: an estimate with its interval, scores by stratum, reliability."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import BeforeValidator, model_validator

from scantling.records.record import Number, Record, finite


def _limits(value: Any) -> Any:
    """Two limits, or None where one of them is undefined."""
    undefined = isinstance(value, list | tuple) and any(finite(end) is None for end in value)
    return None if undefined else value


Interval = Annotated[tuple[float, float] | None, BeforeValidator(_limits)]


class EstimateRecord(Record):
    """A score with its 95 % interval, and how many define it; see `evaluation.strata.Estimate`."""

    value: Number = None
    interval: Interval = None
    cases: int = 0
    subjects: int = 0


class GapRecord(Record):
    """The largest difference of a score between two values of a stratum; see `evaluation.strata.Gap`."""

    high: str
    low: str
    difference: Number = None
    interval: Interval = None


class StratumRecord(Record):
    """The scores by one stratum.

    Attributes:
        values: the estimate of each metric, by value of the stratum.
        gaps: by metric.
        unknown: the ids of cases of which the stratum is not known.
    """

    values: dict[str, dict[str, EstimateRecord]] = {}
    gaps: dict[str, GapRecord] = {}
    unknown: tuple[str, ...] = ()


class StrataRecord(Record):
    """The scores by each stratum of the cases, by its name."""

    convention: str = ""
    names: dict[str, StratumRecord] = {}


class Reliability(Record):
    """Bins of predicted probability: their edges, mean prediction, share that is true, and how many are in each."""

    edges: tuple[float, ...] = ()
    confidence: tuple[Number, ...] = ()
    accuracy: tuple[Number, ...] = ()
    count: tuple[int | float, ...] = ()


class ScoredRecord(Record):
    """Something with metrics beside its other parts, under their own names."""

    @model_validator(mode="before")
    @classmethod
    def _finite(cls, value: Any) -> Any:
        return {key: finite(one) for key, one in value.items()} if isinstance(value, dict) else value

    @property
    def values(self) -> Mapping[str, float | None]:
        """Every number by the name of its metric, None where it is undefined."""
        return {
            key: None if value is None else float(value)
            for key, value in (self.model_extra or {}).items()
            if value is None or (isinstance(value, int | float) and not isinstance(value, bool))
        }
