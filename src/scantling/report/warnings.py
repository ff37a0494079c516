"""What to doubt: plain sentences that facts call for, each with the number that it rests on."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Generic, Literal, TypeVar

Facts = TypeVar("Facts")


@dataclass(frozen=True)
class ReportWarning:
    """A reason for doubt.

    Attributes:
        weight: serious makes a number on the page misleading, a caution limits it, a note is good to know.
        sentence: what was found, with its number, and what to do where something can be done.
    """

    weight: Literal["serious", "caution", "note"]
    sentence: str


@dataclass(frozen=True)
class Check(Generic[Facts]):
    """A question to the facts.

    Attributes:
        subject: what is looked at, as a reader would say it.
        ask: the doubts that the facts call for; None where the facts that it needs are not there.
    """

    subject: str
    ask: Callable[[Facts], Iterable[ReportWarning] | None]


@dataclass(frozen=True)
class Findings:
    """The doubts, serious ones first, and what was looked at without finding any."""

    doubts: tuple[ReportWarning, ...] = ()
    in_order: tuple[str, ...] = ()

    def said_of(self, name: str) -> Findings:
        """The findings of one of several evaluations, each doubt with its name before it."""
        named = (replace(doubt, sentence=f"{name}: {doubt.sentence}") for doubt in self.doubts)
        return replace(self, doubts=tuple(named))

    def __add__(self, other: Findings) -> Findings:
        doubts = sorted((*self.doubts, *other.doubts), key=lambda doubt: _WEIGHTS.index(doubt.weight))
        return Findings(tuple(doubts), tuple(dict.fromkeys((*self.in_order, *other.in_order))))


_WEIGHTS = ("serious", "caution", "note")


def look(checks: Sequence[Check[Facts]], facts: Facts) -> Findings:
    """Ask every check."""
    doubts: list[ReportWarning] = []
    in_order: list[str] = []
    for check in checks:
        found = check.ask(facts)
        if found is not None:
            listed = list(found)
            doubts += listed
            if not listed:
                in_order.append(check.subject)
    return Findings() + Findings(tuple(doubts), tuple(in_order))
