"""Masks whose background is the minority, which may be inverted."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from scantling.core.case import Labels
from scantling.data.contents import Finding, count, some
from scantling.data.examination import Seen
from scantling.data.mask_colours import written

UNTOUCHED = 0.02
"""A background that has no greater share of the border does not touch it."""


def minority_background(found: Sequence[Seen], labels: Labels | None) -> Iterator[Finding]:
    """A warning where half of the masks of one class look inverted, else a note where any has less background.

    Inverted looks a mask whose background covers less than half of it and touches no border.

    Args:
        labels: that were found; None where they are declared, which settles it.
    """
    shares = {seen.case.id: seen.background for seen in found if seen.background is not None}
    shares = {id: pair for id, pair in shares.items() if 0 < pair[0] < 1}
    least = [id for id, (whole, _) in shares.items() if whole < 0.5]
    turned = [id for id in least if shares[id][1] <= UNTOUCHED]
    if labels is not None and len(labels.names) == 1 and labels.values[0] and labels.others != "object":
        low, high = written(labels.background[0]), written(labels.values[0][0])
        if turned and 2 * len(turned) >= len(shares):
            yield Finding(
                level="warning",
                kind="inverted masks",
                cases=tuple(turned),
                sentence=(
                    f"the background ({low}) of {count(len(turned), 'mask')} ({some(turned, most=3)}) covers less than "
                    f"half and touches no border, as if the masks were inverted; nothing was changed; if {low} is the "
                    f"object, declare 'classes = {{ foreground = {low} }}' and 'background = [{high}]' in a manifest "
                    f"(scantling.toml), if not 'classes = {{ foreground = {high} }}'"
                ),
            )
            return
    if least:
        yield Finding(
            level="note",
            kind="background",
            cases=tuple(least),
            sentence=f"the background is the minority in {len(least)} of {count(len(shares), 'mask')} "
            f"({some(least, most=3)})",
        )
