"""How the report says things: what a metric is called, which way is better, how a number is written."""

from __future__ import annotations

import calendar
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime

from scantling.metrics import catalogue
from scantling.metrics.catalogue import unit_name
from scantling.records.evaluation import CaseRecord

NONE = "–"
"""What stands where there is no number."""
HEADLINE = ("dice", "precision", "sensitivity", "cldice", "vca", "hd95")
"""The metrics that stand beside a picture."""


@dataclass(frozen=True)
class Metric:
    """How the page writes a metric of the catalogue."""

    key: str
    title: str
    short: str
    direction: catalogue.Direction | None
    family: str
    digits: int
    unit: str = ""
    """Of lengths, as it stands behind a number; it is part of both titles."""
    range: tuple[float, float] = (-math.inf, math.inf)

    @property
    def arrow(self) -> str:
        """One sign for the direction."""
        return {"higher": "↑", "lower": "↓", "ideal 1": "→ 1", "ideal 0": "→ 0"}.get(self.direction or "", "")

    @property
    def better(self) -> str:
        """The direction in words."""
        words = {
            "higher": "higher is better",
            "lower": "lower is better",
            "ideal 1": "1 is ideal",
            "ideal 0": "0 is ideal",
        }
        return words.get(self.direction or "", "")

    @property
    def ideal(self) -> float | None:
        """The best value, where values on both sides of it are worse."""
        return {"ideal 1": 1.0, "ideal 0": 0.0}.get(self.direction or "")

    def write(self, value: float | None) -> str:
        """The value with the metric's digits, or a dash where there is none."""
        if value is None or not math.isfinite(value):
            return NONE
        digits = min(self.digits, 1) if abs(value) >= 100 else self.digits
        return f"{value:,.{digits}f}".replace("-", "−")

    def write_of(self, case: CaseRecord) -> str:
        """The value of a case, with its unit where that is not the one of the mean."""
        text = self.write(value := case.values.get(self.key))
        own = {"mm", "mL", "mm²"} if case.unit == "mm" else {"pixels"} if case.unit == "pixel" else set()
        if not self.unit or value is None or self.unit in own:
            return text
        volume = self.key in catalogue.METRICS and catalogue.METRICS[self.key].is_volume
        return f"{text} {'mL or mm²' if volume and case.unit == 'mm' else unit_name(case.unit)}"

    def worth(self, value: float) -> float:
        """A number that grows with quality, for ordering."""
        if self.ideal is not None:
            return -abs(value - self.ideal)
        return -value if self.direction == "lower" else value


_SHORT = {"iou": "IoU", "auc": "AUC", "cldice": "clDice", "vca": "VCA", "hd95": "HD95", "assd": "ASSD", "ece": "ECE"}
_SHORT |= {"nsd": "NSD", "average_precision": "Av. precision", "brier": "Brier", "uncertainty_auc": "Errors found"}
_SHORT |= {"pq": "PQ", "sq": "SQ", "dq": "DQ", "aji": "AJI", "dsb_ap": "Mean precision", "object_f1": "Object F1"}
_SHORT |= {"object_dice": "Object Dice", "object_hausdorff": "Object Hausdorff", "lesion_hd95": "HD95 by piece"}
_SHORT |= {"volume_difference": "Volume diff.", "relative_volume_difference": "Rel. volume diff."}
_SHORT |= {"absolute_volume_difference": "Abs. volume diff."}
_SHORT |= {"ged": "GED", "hm_iou": "HM-IoU", "max_dice": "Max-Dice"}
_FAMILIES = {"topology": "continuity", "ranking": "probabilities", "calibration": "probabilities"}
_FAMILIES |= {"several": "several annotators", "instances": "objects", "lesions": "pieces"}


def metric(
    key: str,
    *,
    known: Mapping[str, catalogue.Metric] = catalogue.METRICS,
    units: Mapping[str, str | None] | None = None,
) -> Metric:
    """How to write the metric `key`; one that the catalogue lacks goes by its key and has no direction.

    Args:
        units: of metrics that are lengths, by key; None where no value is written.
    """
    found = known.get(key)
    if found is None:
        return Metric(key, key.replace("_", " "), key.replace("_", " "), None, "others", 3)
    digits = 3 if math.isfinite(found.range[1]) else 2
    family = _FAMILIES.get(found.family, found.family)
    unit = unit_name(units.get(key)) if units is not None and found.is_length else ""
    title, short = (f"{name} ({unit})" if unit else name for name in (found.title, _SHORT.get(key, found.title)))
    return Metric(key, title, short, found.direction, family, digits, unit, found.range)


def in_order(keys: Iterable[str], *, units: Mapping[str, str | None] | None = None) -> list[Metric]:
    """The metrics of `keys` in the order of the catalogue, then those that it lacks by name."""
    places = {key: place for place, key in enumerate(catalogue.METRICS)}
    return [metric(key, units=units) for key in sorted(set(keys), key=lambda key: (places.get(key, len(places)), key))]


def plural(number: int, one: str, many: str = "") -> str:
    """ "1 case", "2 cases", "1,024 cases"."""
    return f"{number:,} {one if number == 1 else many or one + 's'}"


def listing(names: list[str], *, most: int = 4) -> str:
    """ "a, b and c"; of a long list the first few and how many more."""
    if len(names) > most:
        return f"{', '.join(names[:most])} and {len(names) - most} more"
    return " and ".join(filter(None, [", ".join(names[:-1]), *names[-1:]]))


def percent(share: float) -> str:
    """A share as a percentage with two significant digits at least: 0.00234 is "0.23 %"."""
    value = 100 * share
    digits = 0 if abs(value) >= 10 or value == 0 else min(6, 1 - math.floor(math.log10(abs(value))))
    return f"{value:.{max(0, digits)}f} %"


def duration(seconds: float) -> str:
    """ "42 s", "7 min 05 s", "3 h 20 min"."""
    whole = round(seconds)
    if whole < 60:
        return f"{seconds:.1f} s" if seconds < 10 else f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"


def moment(when: str) -> str:
    """An ISO date as "20 November 2026, 09:05 UTC"; other text as it is."""
    try:
        date = datetime.fromisoformat(when.replace(" UTC", "+00:00"))
    except ValueError:
        return when
    zone = "" if date.tzinfo is None else " UTC"
    if date.tzinfo is not None:
        date = date.astimezone(UTC)
    return f"{date.day} {calendar.month_name[date.month]} {date.year}, {date:%H:%M}{zone}"
