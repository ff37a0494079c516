"""What the evaluation of registrations says: as JSON, as a table, and in which conventions."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from scantling.core.atomic import named, write_text
from scantling.core.case import Unit
from scantling.core.text import aligned
from scantling.evaluation.intervals import FEW
from scantling.evaluation.keeping import file_name, write
from scantling.evaluation.summary import Summary, summarise
from scantling.evaluation.units import averaged_in, in_unit, units_of
from scantling.metrics.catalogue import METRICS, Metric
from scantling.records.predictions import Failure
from scantling.records.registration_scores import RegistrationScoresRecord
from scantling.records.registrations import Registrations

COMPARED = ("dice", "hd95")
BEFORE = "_before"


def _beside(metric: Metric) -> tuple[Metric, Metric]:
    """A metric of masks after warping, and before."""
    convention = f"{metric.title} before: of the moving mask on the grid of the fixed image, not displaced."
    before = replace(metric, name=f"{metric.name}{BEFORE}", title=f"{metric.title} before", convention=convention)
    return replace(metric, title=f"{metric.title} after"), before


MEASURED: tuple[Metric, ...] = (
    *(metric for name in COMPARED for metric in _beside(METRICS[name])),
    Metric(
        "landmarks", "Landmark error after", "lower", ("spacing",), (0.0, math.inf), "distance",
        "Landmark error: the mean distance, in the unit of the fixed image, from where the displacement sends its "
        "points to those of the moving one, where both have as many, in one order.",
    ),
    Metric(
        f"landmarks{BEFORE}", "Landmark error before", "lower", ("spacing",), (0.0, math.inf), "distance",
        "Landmark error before: the same without the displacement.",
    ),
    Metric(
        "folded", "Folded pixels", "lower", (), (0.0, 1.0), "distance",
        "Folded pixels: the share whose Jacobian determinant is 0 or less, by central differences on the grid of the "
        "fixed image.",
    ),
    Metric(
        "log_jacobian", "Std of log-Jacobian", "lower", (), (0.0, math.inf), "distance",
        "Std of log-Jacobian: the standard deviation of the natural logarithm of the determinant, over the pixels that "
        "are not folded.",
    ),
)  # fmt: skip


@dataclass(frozen=True)
class PairScores:
    """One scored pair.

    Attributes:
        subject: whom the fixed image shows: the unit of the intervals.
        scores: by metric, of the masks the mean over the classes; NaN where it is undefined.
        classes: by class and metric of the masks.
        unit: of the lengths among the scores: that of the fixed image.
    """

    id: str
    fixed: str
    moving: str
    subject: str
    scores: Mapping[str, float]
    classes: Mapping[str, Mapping[str, float]]
    unit: Unit = "pixel"


@dataclass(frozen=True)
class RegistrationEvaluation:
    """Scores of a folder of registrations.

    Attributes:
        prediction: the folder.
        truth: the dataset of the fixed images.
        registered: what the folder says of itself.
        classes: the foreground classes, or in their place the regions that join them.
        pairs: the scored pairs.
        failed: what could not be scored.
        options: how the fixed images were opened: "manifest" and "root".
        notes: what a reader should know.
        regions: the classes that each region joins, where regions are scored.
    """

    prediction: Path
    truth: Path
    registered: Registrations
    classes: tuple[str, ...]
    pairs: tuple[PairScores, ...]
    failed: tuple[Failure, ...] = ()
    options: Mapping[str, Any] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    regions: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    @property
    def metrics(self) -> list[Metric]:
        """What at least one pair defines."""
        return [each for each in MEASURED if any(not math.isnan(pair.scores[each.name]) for pair in self.pairs)]

    @cached_property
    def unit(self) -> Unit:
        """What lengths are averaged in; the pairs whose lengths are in another unit are in no mean of them."""
        return averaged_in([pair.unit for pair in self.pairs])

    @cached_property
    def summary(self) -> Summary:
        """Mean, deviation, interval and count of each metric over the pairs."""
        return summarise(
            [in_unit(pair.scores, MEASURED, found=pair.unit, unit=self.unit) for pair in self.pairs],
            [pair.subject for pair in self.pairs],
            # a share of pixels that is 0 in all pairs is no count of pairs, of which an interval would follow
            ranges={metric.name: metric.range for metric in MEASURED} | {"folded": (0.0, math.inf)},
        )

    @property
    def conventions(self) -> list[str]:
        """How the numbers are defined, a sentence each."""
        return [
            "Each pair counts once. The 95 % interval of a mean is Student's t with the subjects of the fixed images "
            "as units (jackknife; on the logit scale between 0 and 1).",
            "Masks are compared on the grid of the fixed image; pixels that either mask does not know do not count.",
            *(metric.convention for metric in self.metrics),
        ]

    def record(self) -> RegistrationScoresRecord:
        """What `--json` prints and a run keeps; undefined numbers are None."""
        summary, names = self.summary, [metric.name for metric in self.metrics]
        several = len(self.classes) > 1
        facts = {
            "prediction": str(self.prediction),
            "truth": str(self.truth),
            "run": self.registered.run,
            "method": self.registered.method,
            "model": self.registered.model,
            "options": self.options,
            "classes": self.classes,
            "mean": {name: summary.mean[name] for name in names},
            "std": {name: summary.std[name] for name in names},
            "interval": {name: summary.interval[name] for name in names},
            "count": {name: summary.count[name] for name in names},
            "subjects": {name: summary.subjects[name] for name in names},
            "units": units_of(self.metrics, self.unit),
            "pairs": [
                {"id": pair.id, "fixed": pair.fixed, "moving": pair.moving, "subject": pair.subject, "unit": pair.unit}
                | {name: pair.scores[name] for name in names}
                | ({"classes": pair.classes} if several else {})
                for pair in self.pairs
            ],
            "failed": self.failed,
            "notes": self.notes,
            "conventions": self.conventions,
        }
        return RegistrationScoresRecord.model_validate(facts)

    def facts(self) -> dict[str, Any]:
        """`record` as plain values, ready for JSON."""
        return self.record().facts()

    def keep(self) -> Path | None:
        """Keep the JSON in the run that registered; None if that is not ours to write into (`keeping.run_of`)."""
        regions = {name: list(joined) for name, joined in self.regions.items()}
        sides = {
            "registrations": str(self.prediction), "truth": str(self.truth),
            **({"regions": regions} if regions else {}),
        }  # fmt: skip
        name = file_name((self.prediction.name, self.truth.name), sides)
        return write(self.record(), {"run": self.registered.run, "model": self.registered.model}, file_name=name)

    def __repr__(self) -> str:
        return self.table()

    def table(self, *, width: int | None = None) -> str:
        """For people: a line a metric with mean, deviation, interval and number of pairs; then the notes.

        Args:
            width: columns of the terminal.
        """
        summary, rows = self.summary, [("", "mean", "± std", "95 % interval", "pairs")]
        for metric in self.metrics:
            name = metric.name
            mean, std, interval = summary.mean[name], summary.std[name], summary.interval[name]
            rows.append(
                (
                    metric.in_unit(self.unit).title,
                    f"{mean:.4f}",
                    "" if math.isnan(std) else f"± {std:.4f}",
                    "" if math.isnan(interval[0]) else f"{interval[0]:.4f} to {interval[1]:.4f}",
                    str(summary.count[name]),
                )
            )
        lines = aligned(rows, width=width)
        subjects = len({pair.subject for pair in self.pairs})
        few = (
            [f"{subjects} subjects are few: the intervals rest on how these few scatter."] if 1 < subjects < FEW else []
        )
        return "\n".join([*lines, *few, *self.notes] if self.pairs else ["no pair could be scored", *self.notes])

    def write_csv(self, path: Path | str) -> None:
        """Write one line for each pair and class (one without a class where there are no masks); empty is undefined.

        The last column is the unit of lengths.
        """
        text = io.StringIO()
        table, names = csv.writer(text, lineterminator="\n"), [metric.name for metric in self.metrics]
        table.writerow(["id", "subject", "class", "fixed", "moving", *names, "unit"])
        for pair in self.pairs:
            for name, scores in (pair.classes or {"": {}}).items():
                values = (scores.get(metric, pair.scores[metric]) for metric in names)
                cells = ("" if math.isnan(value) else value for value in values)
                table.writerow([pair.id, pair.subject, name, pair.fixed, pair.moving, *cells, pair.unit])
        write_text(named(path), text.getvalue())
