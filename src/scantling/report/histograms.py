"""How numbers are spread in several groups: histograms as outlines over each other, on one axis."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from scantling.report.charts import BOTTOM, HEIGHT, LEFT, RIGHT, TOP, WIDTH, Axis, Chart, Key, frame, svg

BINS, FEW = 30, 12
"""Bins, and bins where no group has `MANY` numbers."""
MANY = 500
TAIL = 99.5
"""The axis ends where this percentage of every group's numbers ends; the rest counts in the last bin."""


def histogram_chart(
    title: str, groups: Sequence[tuple[str, np.ndarray]], *, label: str, note: str, whole: bool = False
) -> Chart | None:
    """The share of each group's numbers in each bin; None where no group has a finite number.

    Args:
        groups: name and numbers (n,) of each; those without a finite number are named as such.
        label: of the horizontal axis.
        note: what the numbers are, as a sentence.
        whole: the numbers are whole, so that no bin is narrower than 1.
    """
    finite = [(name, values[np.isfinite(values)]) for name, values in groups]
    filled = [values for _, values in finite if values.size]
    if not filled:
        return None
    low = min(float(values.min()) for values in filled)
    high = max(float(np.percentile(values, TAIL)) for values in filled)
    bins = BINS if max(values.size for values in filled) >= MANY else FEW
    if whole:
        step = max(1.0, np.ceil((high - low + 1) / bins))
        edges = low - 0.5 + step * np.arange(int((high - low) // step) + 2)
    else:
        margin = 0.0 if high > low else (abs(low) * 0.05 or 0.5)
        edges = np.linspace(low - margin, high + margin, bins + 1)
    shares = [np.histogram(values.clip(edges[0], edges[-1]), edges)[0] / max(values.size, 1) for _, values in finite]
    across = Axis(edges.tolist(), LEFT, WIDTH - RIGHT, snug=True)
    up = Axis([0.0, *(float(share.max()) for share in shares)], HEIGHT - BOTTOM, TOP)
    parts = frame(across, up, label)
    for number, ((_, values), share) in enumerate(zip(finite, shares, strict=True)):
        if values.size:
            path = f"M{across(edges[0]):.1f} {up(0.0):.1f}"
            for right, tall in zip(edges[1:], share, strict=True):
                path += f"V{up(float(tall)):.1f}H{across(float(right)):.1f}"
            tooltip = f"<title>{len(values):,} numbers</title>"
            parts.append(f'<path class="curve s{number % 6}" d="{path}V{up(0.0):.1f}">{tooltip}</path>')
    keys = tuple(
        Key(name, number % 6, f"median {np.median(values):.3g}" if values.size else "none")
        for number, (name, values) in enumerate(finite)
    )
    said = "; ".join(f"{key.name} {key.note}" for key in keys)
    table: list[tuple[str | float, ...]] = [("group", "from", "to", "share")]
    bars = [*zip(edges[:-1].tolist(), edges[1:].tolist(), strict=True)]
    for (name, _), share in zip(finite, shares, strict=True):
        table += [(name, *ends, float(one)) for ends, one in zip(bars, share, strict=True)]
    note = f"{note} Height: the share of them in a bin."
    return Chart(title, svg(parts, f"{title}: {said}."), keys, note, (label, "share"), tuple(table))
