"""What a server shows: a list of cases, and each of them when it is asked for."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from scantling.report.viewer_cases import ViewerCase


@dataclass(frozen=True)
class Entry:
    """A case in the list.

    Attributes:
        dice: of its mask, where it was scored.
        uncertainty: 1 minus the Dice that the model expects of its own mask; None where there is no mask or an empty
            one.
        unlike: whether its image is unlike the training images.
    """

    id: str
    subject: str = ""
    split: str = ""
    dice: float | None = None
    uncertainty: float | None = None
    unlike: bool = False

    def facts(self) -> dict[str, Any]:
        """As the page takes it."""
        numbers = {
            name: None if (value := getattr(self, name)) is None else round(value, 4)
            for name in ("dice", "uncertainty")
        }
        return {"id": self.id, "subject": self.subject, "split": self.split, "unlike": self.unlike, **numbers}


@dataclass(frozen=True)
class Shown:
    """Cases that can be shown.

    Attributes:
        title: what they are, for people.
        entries: the list.
        read: reads a case by its id.
        remarks: sentences on what is not shown.
    """

    title: str
    entries: tuple[Entry, ...]
    read: Callable[[str], ViewerCase]
    remarks: tuple[str, ...] = ()

    @property
    def ids(self) -> frozenset[str]:
        """Of all cases."""
        return frozenset(entry.id for entry in self.entries)


def with_numbers(
    entries: Sequence[Entry], dice: Mapping[str, float | None], uncertainty: Mapping[str, float | None]
) -> tuple[Entry, ...]:
    """The entries with the numbers that are known of them."""
    return tuple(
        replace(one, dice=dice.get(one.id, one.dice), uncertainty=uncertainty.get(one.id, one.uncertainty))
        for one in entries
    )
