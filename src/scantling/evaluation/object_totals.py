"""All objects of all cases together, as if they lay in one image: what tables of GlaS and COCO print."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace

from scantling.core.case import Unit
from scantling.data.contents import count
from scantling.metrics.instances import Instances
from scantling.metrics.mask_ap import THRESHOLDS

_RATIOS = ("pq", "sq", "dq", "dsb_ap", "aji", "aji_plus", "object_f1", "object_dice", "object_hausdorff")


def pooled(cases: Sequence[tuple[Mapping[str, Instances], Unit]], *, unit: Unit) -> dict[str, Instances]:
    """The sums over cases by class; without distances where those of a case are in another unit than `unit`."""
    found: dict[str, Instances] = {}
    for by_class, own in cases:
        for name, one in by_class.items():
            one = one if own == unit else replace(one, true_distance=math.nan, predicted_distance=math.nan)
            found[name] = found[name] + one if name in found else one
    return found


def facts_of(found: Instances) -> dict[str, float | None]:
    """As JSON."""
    curve = {f"f1_{round(100 * threshold)}": found.f1(threshold) for threshold in THRESHOLDS}
    precision: dict[str, float] = {}
    if found.ranking is not None:
        precision = {"mask_ap": found.mask_ap} | {
            f"mask_ap_{round(100 * threshold)}": found.ranking.average_precision(threshold) for threshold in (0.5, 0.75)
        }
    counts = {name: getattr(found, name) for name in ("predicted", "true", "merges", "splits")}
    values = {name: getattr(found, name) for name in _RATIOS} | curve | precision
    return counts | {name: value if math.isfinite(value) else None for name, value in values.items()}


def sentence_on(found: Instances, name: str, classes: int) -> str:
    """The main numbers for people.

    Args:
        name: of the class, which is said where there are several.
    """
    return sentence_on_facts(facts_of(found), name, classes)


def sentence_on_facts(facts: Mapping[str, float | None], name: str, classes: int) -> str:
    """`sentence_on` of what `facts_of` gave, be it of a file."""
    which = f" of {name}" if classes > 1 else ""

    def whole(key: str) -> int:
        return int(facts.get(key) or 0)

    noun = "true object" if whole("true") == 1 else "true objects"
    counted = (
        f"{whole('true'):,} {noun}{which} and {whole('predicted'):,} predicted in all cases together, "
        f"{count(whole('merges'), 'merge')}, {count(whole('splits'), 'split')}"
    )
    titles = {"pq": "PQ", "aji": "AJI", "object_f1": "object F1", "object_dice": "object Dice"}
    main = [f"{title} {value:.4f}" for key, title in titles.items() if (value := facts.get(key)) is not None]
    keys = [f"f1_{round(100 * threshold)}" for threshold in THRESHOLDS]
    curve = [f"{value:.2f}" for key in keys if (value := facts.get(key)) is not None]
    parts = [", ".join(main)] if main else []
    parts += [f"F1 at IoU .50, .55, ..., .95: {' '.join(curve)}"] if len(curve) == len(keys) else []
    if (precision := facts.get("mask_ap")) is not None:
        parts.append(f"COCO mask AP {precision:.4f}")
    return f"{counted}{': ' if parts else ''}{'; '.join(parts)}."
