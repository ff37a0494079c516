"""What it takes to draw the labels of cases by hand, an estimate: the pixels that a hand follows, and the strokes.

What a mask takes that was corrected is no estimate: the minutes that were spent on it.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping

from scantling.core.case import Case
from scantling.core.fields import drawn_field
from scantling.data.dataset import Dataset
from scantling.data.loading import load
from scantling.phantoms.weak_labels import EFFORT, labels_effort

MINUTES = "minutes"
"""What corrected masks take, beside pixels and strokes."""


def effort_of_case(dataset: Dataset, case: Case, taught_by: Collection[str]) -> Mapping[str, float]:
    """The pixels and strokes behind the labels of a case that a method reads, see `labels_effort`.

    What a rule has drawn says it itself; a corrected mask has the minutes of its correction instead.

    Args:
        taught_by: the fields that the method learns from.

    Raises:
        ScantlingError: a file cannot be read.
    """
    if case.correction is not None:
        return {**dict.fromkeys(EFFORT, 0), MINUTES: case.correction.seconds / 60}
    if case.origin.kind == "simulated" and case.origin.effort:
        return {name: case.origin.effort.get(name, 0) for name in EFFORT}
    field = "points" if "points" in taught_by else drawn_field(taught_by)
    reads = ("image", field) if field in ("boxes", "points") else (field,)  # these lie on no grid of their own
    return labels_effort(load(case, labels=dataset.labels, reads=reads), (field,))


def effort_of(
    dataset: Dataset, cases: Iterable[Case], taught_by: Collection[str], *, known: dict[str, Mapping[str, float]]
) -> dict[str, float]:
    """The sum over cases.

    Args:
        known: what is known of cases of the dataset, by their ids; it grows, so that each is read once.
    """
    total: dict[str, float] = dict.fromkeys(EFFORT, 0)
    for case in cases:
        if case.id not in known:
            known[case.id] = effort_of_case(dataset, case, taught_by)
        for name, value in known[case.id].items():
            total[name] = total.get(name, 0) + value
    return total
