"""How often a structure was found, and how often one was marked where there is none: by case and by subject."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

FOUND, FALSE_ALARM = "found", "false_alarm"


@dataclass(frozen=True)
class Tally:
    """How many of how many.

    Attributes:
        cases: k and m over cases; with several classes every class of a case counts.
        subjects: k and m over subjects: a subject counts once, however many of its cases do.
    """

    cases: tuple[int, int]
    subjects: tuple[int, int]

    def facts(self) -> dict[str, list[int]]:
        """As JSON."""
        return {"cases": list(self.cases), "subjects": list(self.subjects)}

    def text(self, what: str = "cases") -> str:
        """ "92 of 98 cases, 10 of 10 subjects"; subjects only where they are fewer than cases.

        Args:
            what: is counted: with several classes the classes of the cases.
        """
        (k, m), (some, all_) = self.cases, self.subjects
        people = f", {some} of {all_} subjects" if all_ != m else ""
        return f"{k} of {m} {what}{people}"


def tally(values: Iterable[tuple[str, float]]) -> Tally:
    """Count pairs of a subject and 1, 0 or NaN, which does not count."""
    known = [(subject, value) for subject, value in values if not math.isnan(value)]
    hit = {subject for subject, value in known if value > 0}
    return Tally((sum(value > 0 for _, value in known), len(known)), (len(hit), len({subject for subject, _ in known})))
