"""How often a structure was found, and how often one was marked where there is none: by case and by subject."""

from __future__ import annotations

import math
from collections.abc import Iterable

from scantling.records.evaluation import Tally

FOUND, FALSE_ALARM = "found", "false_alarm"


def tally(values: Iterable[tuple[str, float]]) -> Tally:
    """Count pairs of a subject and 1, 0 or NaN, which does not count."""
    known = [(subject, value) for subject, value in values if not math.isnan(value)]
    hit = {subject for subject, value in known if value > 0}
    subjects = {subject for subject, _ in known}
    return Tally(cases=(sum(value > 0 for _, value in known), len(known)), subjects=(len(hit), len(subjects)))
