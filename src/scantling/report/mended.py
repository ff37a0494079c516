"""What a mending has done to vessels: their branches before and after, side by side."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from scantling.core.errors import ScantlingError
from scantling.core.outputs import PREDICTIONS
from scantling.evaluation.predictions import read_listing
from scantling.evaluation.vessels import Vessels, vessels
from scantling.report.blocks import NumbersBlock
from scantling.report.words import NONE, plural

MOST = 50
"""Masks of a class that are measured; skeletons of more take minutes."""
SHOWN: Mapping[str, str] = {
    "pieces": "Pieces", "branches": "Branches", "forks": "Forks", "ends": "Free ends", "length": "Length",
    "radius": "Radius", "tortuosity": "Tortuosity",
}  # fmt: skip
"""What is shown of `evaluation.vessels`, means over the masks."""


def mended_block(folder: Path, made: Mapping[str, Any], *, of: str = "") -> NumbersBlock | None:
    """The vessels of masks before they were mended and after; None where that cannot be measured.

    That is of masks that were not mended, where those before are no longer there, and without skan.

    Args:
        folder: the mended masks.
        made: what `predictions.json` says of them.
        of: the evaluation, where there are several.
    """
    maps = (made.get("mended") or {}).get("maps")
    place = Path(str(maps)) if maps else None
    if place is None:
        return None
    before = next((one for one in (place, place.parent) if (one / PREDICTIONS).is_file()), None)
    if before is None:
        return None
    try:
        listing = read_listing(folder / PREDICTIONS)
        only = [case.id for case in listing.cases][:MOST] if listing is not None else []
        earlier, later = (vessels(place, only=only) for place in (before, folder))
    except (ScantlingError, OSError):
        return None
    rows, counted = list[tuple[str, tuple[str, ...]]](), 0
    pairs = _pairs(earlier, later)
    several = len({label for label, _ in pairs}) > 1 or len({unit for _, unit in pairs}) > 1
    for (label, unit), both in pairs.items():
        counted = max(counted, len(both))
        for name, title in SHOWN.items():
            known = [(a[name], b[name]) for a, b in both if a[name] is not None and b[name] is not None]
            in_unit = f" ({'mm' if unit == 'mm' else 'pixels'})" if name in ("length", "radius") else ""
            rows.append((f"{label}: {title}{in_unit}" if several else title + in_unit, _cells(known)))
    if not rows:
        return None
    note = (
        f"Means over {plural(counted, 'mask')} of the branches of their centre lines, as `scantling vessels` measures "
        "them. Gaps that are closed take pieces and free ends away; where the radius grows, vessels were widened."
    )
    return NumbersBlock(f"Vessels before and after mending{of}", note, ("Before", "After", "Change"), tuple(rows))


def _pairs(earlier: Vessels, later: Vessels) -> dict[tuple[str, str], list[tuple[dict[str, Any], dict[str, Any]]]]:
    """By class and unit, what was measured of each mask before and after."""
    known = {(case.id, case.label, case.unit): case.facts() for case in earlier.cases}
    pairs: dict[tuple[str, str], list[tuple[dict[str, Any], dict[str, Any]]]] = {}
    for case in later.cases:
        before = known.get((case.id, case.label, case.unit))
        if before is not None:
            pairs.setdefault((case.label, case.unit), []).append((before, case.facts()))
    return pairs


def _cells(pairs: list[tuple[float, float]]) -> tuple[str, str, str]:
    if not pairs:
        return NONE, NONE, NONE
    before, after = (float(np.mean(side)) for side in zip(*pairs, strict=True))
    return f"{before:.4g}", f"{after:.4g}", f"{after - before:+.3g}".replace("-", "−")
