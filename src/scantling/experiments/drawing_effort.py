"""What it takes to draw the labels of cases by hand, an estimate: the pixels that a hand follows, and the strokes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Mapping

from scantling.core.case import Case
from scantling.core.fields import drawn_field
from scantling.data.dataset import Dataset
from scantling.data.loading import load
from scantling.phantoms.weak_labels import EFFORT, labels_effort


def effort_of_case(dataset: Dataset, case: Case, taught_by: Collection[str]) -> Mapping[str, int]:
    """The pixels and strokes behind the labels of a case that a method reads, see `labels_effort`.

    What a rule has drawn says it itself.

    Args:
        taught_by: the fields that the method learns from.

    Raises:
        ScantlingError: a file cannot be read.
    """
    if case.origin.kind == "simulated" and case.origin.effort:
        return {name: case.origin.effort.get(name, 0) for name in EFFORT}
    field = "points" if "points" in taught_by else drawn_field(taught_by)
    reads = ("image", field) if field in ("boxes", "points") else (field,)  # these lie on no grid of their own
    return labels_effort(load(case, labels=dataset.labels, reads=reads), (field,))


def effort_of(
    dataset: Dataset, cases: Iterable[Case], taught_by: Collection[str], *, known: dict[str, Mapping[str, int]]
) -> dict[str, int]:
    """The sum over cases.

    Args:
        known: what is known of cases of the dataset, by their ids; it grows, so that each is read once.
    """
    total = Counter[str](dict.fromkeys(EFFORT, 0))
    for case in cases:
        if case.id not in known:
            known[case.id] = effort_of_case(dataset, case, taught_by)
        total.update(known[case.id])
    return dict(total)
