"""The search for copies of training images among made ones, in pixels and in features of a named network."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from scantling.evaluation.made_and_real import ImageSet
from scantling.inference.common_grid import Images
from scantling.metrics.generation import distances
from scantling.metrics.memorisation import (
    FEWEST,
    LEVEL,
    MemorisationLimits,
    Nearest,
    aligned_distances,
    memorisation_limits,
    nearest,
)

SHOWN = 8
"""Nearest pairs that are shown."""

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Pair:
    """A made image beside the training image that it is nearest to.

    Attributes:
        made, real: their ids.
        images: both (C, *S) in [0, 1]; of a real image that is not measured on the small grid.
    """

    made: str
    real: str
    distance: float
    ratio: float
    copied: bool
    images: tuple[Images, Images]


@dataclass(frozen=True)
class Memorisation:
    """The search for copies in one space.

    Attributes:
        space: "pixels", or "features".
        rule: learnt on the training images.
        found: of the made images.
        training: of the training images, their own subjects left out.
        pairs: those with the least distance, copies first.
    """

    space: str
    rule: MemorisationLimits
    found: Nearest
    training: Nearest
    pairs: tuple[Pair, ...]

    @property
    def nearer(self) -> float:
        """The share of made images nearer to a training image than training images are to each other."""
        return float(self.rule.nearer(self.found).mean())

    @property
    def copied(self) -> int:
        """How many made images are copies."""
        return int(self.rule.copied(self.found).sum())

    @property
    def clean(self) -> bool:
        """Whether there are no more copies than chance gives."""
        return self.rule.p_value(self.found) >= LEVEL

    def verdict(self) -> str:
        """In words."""
        count, copied = len(self.found.distance), self.copied
        verb = "copies" if copied == 1 else "copy"
        of = f"{copied} of {count} made images {verb}" if copied else f"none of {count} made images copies"
        word = "no memorisation" if self.clean else "memorised"
        return (
            f"{word}, by {self.space}: {of} a training image, chance alone gives about {self.rule.chance:.1%}; "
            f"{self.nearer:.0%} are nearer to one than training images are to each other"
        )

    def facts(self) -> dict[str, Any]:
        """As JSON."""
        return {
            "space": self.space,
            "clean": self.clean,
            "verdict": self.verdict(),
            "copied": self.copied,
            "nearer": self.nearer,
            "p": self.rule.p_value(self.found),
            "chance": self.rule.chance,
            "limits": {"distance": self.rule.distance, "ratio": self.rule.ratio},
            "median_distance": {
                "made": float(np.median(self.found.distance)), "real": float(np.median(self.training.distance)),
            },
            "nearest": [
                {"made": each.made, "real": each.real, "distance": each.distance, "ratio": each.ratio,
                 "copied": each.copied}
                for each in self.pairs
            ],
        }  # fmt: skip


def look_for_copies(new: ImageSet, old: ImageSet) -> tuple[Memorisation, ...]:
    """In pixels of the small grid and, where a network was named, in its features, each in deviations of real ones.

    What training images are to each other is measured on those that are measured, against all. Of too few training
    subjects nothing can be told, and there is no answer.
    """
    if len(set(old.subjects)) < FEWEST:
        return ()
    known = np.stack(old.small)
    found = [_copies("pixels", aligned_distances(np.stack(new.small), known),
                     aligned_distances(known[: old.measured], known), new, old)]  # fmt: skip
    if new.features:
        rows = np.stack(old.features)
        deviation = rows.std(0)
        deviation[deviation == 0] = 1
        made, real = np.stack(new.features) / deviation, rows / deviation
        found.append(_copies("features", distances(made, real), distances(real[: old.measured], real), new, old))
    return tuple(found)


def _copies(space: str, made: Floats, real: Floats, new: ImageSet, old: ImageSet) -> Memorisation:
    training = nearest(real, old.subjects, own=old.subjects[: old.measured])
    rule, found = memorisation_limits(training), nearest(made, old.subjects)
    copied = rule.copied(found)
    order = np.lexsort((found.distance, ~copied))[:SHOWN]
    pairs = [
        Pair(
            new.cases[place].id, old.cases[found.index[place]].id, float(found.distance[place]),
            float(found.ratio[place]), bool(copied[place]),
            (new.images[place], _picture(old, int(found.index[place]))),
        )
        for place in order
    ]  # fmt: skip
    return Memorisation(space, rule, found, training, tuple(pairs))


def _picture(old: ImageSet, place: int) -> Images:
    """The image of a real case; of one that is not measured the small one, between 0 and 1."""
    if place < old.measured:
        return old.images[place]
    small = old.small[place]
    return np.asarray((small - small.min()) / (np.ptp(small) or 1), np.float32)
