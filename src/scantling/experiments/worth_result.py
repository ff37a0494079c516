"""What `worth` says: the table and sentences of a curve whose methods are arms, and a verdict on each made data set."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from scantling.data.contents import count, some
from scantling.evaluation.generated import Assessment
from scantling.experiments import made_images
from scantling.experiments.cells import ALL, labels_in_words
from scantling.experiments.curve_result import Curve, Point
from scantling.experiments.validity import Validity, sentences
from scantling.experiments.worth_arms import AT, WorthArm
from scantling.records.worth import WorthRecord

ORDERS = {
    "shuffled": "all cases in random order",
    "synthetic-first": "all made cases first, then the real ones",
    "real-first": "all real cases first, then the made ones",
}


@dataclass(frozen=True)
class WorthResult(Curve):
    """What made data are worth at several budgets of real subjects; see `Curve`, whose methods are the arms.

    Attributes:
        amounts: how many real and made cases an arm trains on, by arm and budget, with the first label seed.
        validity: what recognisers trained on real cases score on made ones; empty where nobody asked.
        images: made images beside real ones, by the name of the made data; empty where nobody asked.
    """

    arms: Sequence[WorthArm] = ()
    amounts: Mapping[tuple[str, str], tuple[int, int]] = field(default_factory=dict)
    validity: Sequence[Validity] = ()
    images: Mapping[str, Assessment] = field(default_factory=dict)

    @property
    def scope(self) -> str:
        """What was measured on what."""
        return super().scope.replace("method", "arm", 1)

    @property
    def sources(self) -> tuple[str, ...]:
        """The names of the made data."""
        return tuple(dict.fromkeys(arm.source for arm in self.arms if arm.source))

    def of(self, source: str) -> list[Point]:
        """The points of the arms that take made data of this name, from few subjects to many."""
        names = {arm.name for arm in self.arms if arm.source == source}
        points = [point for point in self.points if point.method in names and not math.isnan(point.difference)]
        return sorted(points, key=lambda point: point.subjects)

    @property
    def verdict(self) -> tuple[str, ...]:
        """Of each made data set whether a gain over real data alone could be shown, and at which budget."""
        return tuple(text for source in self.sources if (text := self._verdict(source)))

    def _verdict(self, source: str) -> str:
        sign = 1 if self.metric.direction == "higher" else -1
        parts, worse = list[str](), list[str]()
        for subjects in dict.fromkeys(point.subjects for point in self.of(source)):
            those = [point for point in self.of(source) if point.subjects == subjects]
            gains = [point for point in those if point.shown and sign * point.difference > 0]
            best, most = (max(each, key=lambda point: sign * point.difference) for each in (gains or those, those))
            labels = best.labels
            where = f"with all {subjects} real subjects" if labels == ALL else f"at {count(subjects, 'real subject')}"
            size = f"{self._signed(best.difference)} ({self._between(best.difference_interval, signed=True)})"
            size = size.replace(" ()", ", without an interval")
            if gains:
                trained = " in one training" if best.cells < 2 else ""
                rank = "the best" if best is most else "the largest that could be shown"
                of = f", {rank} of {len(those)} arms" if len(those) > 1 else ""
                parts.append(f"{where} a gain of {size} with {_arm(best)}{trained}{of}")
            else:
                of = f"the best of {len(those)} arms, {_arm(best)}, has" if len(those) > 1 else f"{_arm(best)} has"
                parts.append(f"{where} no gain could be shown: {of} {size}")
            worse += [f"{_arm(p)} {where}" for p in those if p.shown and sign * p.difference < 0]
        if not parts:
            return ""
        alone = "real data alone" if self.shared.get("augment") == "none" else "augmentation alone"
        harm = f" Worse than {alone}: {some(worse, most=9)}." if worse else ""
        once = any(point.cells < 2 for point in self.of(source))
        chance = " Trained once: the chance of a training is not in the intervals; add --seeds 3." if once else ""
        return f"{source}, {self.metric.title} over {alone}: {'; '.join(parts)}.{harm}{chance}"

    @property
    def sentences(self) -> tuple[str, ...]:
        """The verdict, how valid made cases are, how near to real ones, then each arm at each budget."""
        valid, near = sentences(self.validity, self.metric), made_images.sentences(self.images)
        return (*self.verdict, *valid, *near, *super().sentences)

    @property
    def conventions(self) -> tuple[str, ...]:
        """How the numbers are defined, a sentence each."""
        augment = self.shared.get("augment")
        same = "none" if augment == "none" else f"the same ordinary augmentation ({augment})"
        own = (
            "A budget is of real subjects, those for validation included; validation and test cases are real, and the "
            "same in all arms. Labelled real cases outside of the budget are left out, as if they were not there.",
            f"All arms train the same method with the same number of steps ({self.shared.get('steps')}) and {same}; "
            "augmented+N has it on a share of its samples alone. What the method plans of its data, such as the grid, "
            "it plans of the cases of each arm.",
            "x1 is as many made cases as the budget has real training cases; made cases are drawn by the label seed, "
            "and fewer lie in more. Made cases whose parents are outside of the budget are not taken. The phases of "
            "synthetic-first and real-first have steps in proportion to their cases.",
            "The verdict takes the best arm of each budget, on the test cases, of as many as it says (or the best of "
            "those whose gain could be shown): its interval is not corrected for the choice. Confirm it with other "
            "seeds or on other subjects before relying on it.",
        )
        left_out = ("A budget is", "All trainings have")
        shared = [line for line in super().conventions if not line.startswith(left_out)]
        return (*own, *(line.replace("methods", "arms").replace("a method equals", "an arm equals") for line in shared))

    def described(self) -> list[tuple[str, str]]:
        """Each arm with what it trains on, in words."""
        found = []
        for arm in self.arms:
            amounts = {labels: self.amounts[arm.name, labels] for name, labels in self.amounts if name == arm.name}
            parts = [
                f"{count(real, 'real case')} and {made} made with {labels_in_words(labels)}"
                for labels, (real, made) in amounts.items()
            ]
            found.append((arm.name, f"{'; '.join(parts)}; {ORDERS[arm.order]}"))
        return found

    def record(self) -> WorthRecord:
        """What `--json` prints."""
        facts: dict[str, Any] = super().record().model_dump()
        amounts = [
            {"arm": arm, "labels": labels, "real": real, "made": made}
            for (arm, labels), (real, made) in self.amounts.items()
        ]
        facts |= {"verdict": self.verdict, "amounts": amounts, "validity": [one.facts() for one in self.validity]}
        facts["images"] = {name: one.facts() for name, one in self.images.items()}
        return WorthRecord.model_validate(facts)

    def table(self, *, width: int | None = None) -> str:
        """For people: a line for each arm at each budget, what it trains on, and what can be said.

        Args:
            width: columns of the terminal.
        """
        lines = [super().table(width=width), ""] + [f"{name}: {text}" for name, text in self.described()]
        return "\n".join([*lines, "", *self.conventions[3:4]])


def _arm(point: Point) -> str:
    return f"`{point.method.partition(AT)[0]}`"
