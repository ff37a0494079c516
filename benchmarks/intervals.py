"""How often the 95 % intervals of means hold the truth, at few subjects, by simulation; beside the bootstrap's.

Values are made up like scores: a subject has a level of its own, its cases scatter around it, and a case fails now and
then. Subjects have three cases each, or one to eleven.
"""

from __future__ import annotations

import sys
from collections.abc import Callable

import numpy as np

from scantling.evaluation.intervals import mean_interval, rate_interval
from scantling.experiments.statistics import paired

SUBJECTS = (4, 8, 10, 20)
TRIALS = 1000
FEWER = 200
"""Trials of the bootstrap, which is slow and known."""
LEAST = 0.90
"""An interval that covers less misses the target; the aim is 0.93 to 0.97."""
HARDEST = "Dice, 1 of 7 subjects fails"
"""No rule holds here at few subjects: it is shown, not judged."""
Draw = Callable[[np.random.Generator, np.ndarray], np.ndarray]


def dice(random: np.random.Generator, which: np.ndarray) -> np.ndarray:
    """Dice of subjects that differ, most of them high."""
    level = random.beta(12, 3, which.max() + 1)
    return np.clip(level[which] + random.normal(0, 0.05, len(which)), 0, 1)


def failing(random: np.random.Generator, which: np.ndarray) -> np.ndarray:
    """Dice of which one case in ten fails."""
    level = random.beta(20, 3, which.max() + 1)
    good = np.clip(level[which] + random.normal(0, 0.04, len(which)), 0, 1)
    return np.where(random.random(len(which)) < 0.1, random.beta(2, 5, len(which)), good)


def lost(random: np.random.Generator, which: np.ndarray) -> np.ndarray:
    """Dice of which one subject in seven fails altogether: among few there is often none."""
    count = which.max() + 1
    level = np.where(random.random(count) < 1 / 7, random.beta(3, 5, count), random.beta(20, 3, count))
    return np.clip(level[which] + random.normal(0, 0.04, len(which)), 0, 1)


def distance(random: np.random.Generator, which: np.ndarray) -> np.ndarray:
    """Distances in millimetres, skew to the right."""
    level = random.lognormal(0, 0.5, which.max() + 1)
    return level[which] * random.lognormal(0, 0.3, len(which))


def found(random: np.random.Generator, which: np.ndarray) -> np.ndarray:
    """Whether structures were found: nine in ten, more in some subjects than in others."""
    level = random.beta(9, 1, which.max() + 1)
    return (random.random(len(which)) < level[which]).astype(np.float64)


def difference(random: np.random.Generator, which: np.ndarray) -> np.ndarray:
    """Of two methods on the same cases."""
    level = random.normal(0.01, 0.03, which.max() + 1)
    return level[which] + random.normal(0, 0.03, len(which))


KINDS: dict[str, tuple[Draw, tuple[float, float]]] = {
    "Dice": (dice, (0.0, 1.0)),
    "Dice, some cases fail": (failing, (0.0, 1.0)),
    HARDEST: (lost, (0.0, 1.0)),
    "distance": (distance, (0.0, np.inf)),
    "found": (found, (0.0, 1.0)),
    "paired difference": (difference, (-np.inf, np.inf)),
}


def of_subjects(random: np.random.Generator, subjects: int, *, uneven: bool) -> np.ndarray:
    """For each case the number of its subject."""
    return np.repeat(np.arange(subjects), random.integers(1, 12, subjects) if uneven else 3)


def covered(kind: str, subjects: int, *, uneven: bool, trials: int, bootstrap: bool = False, seed: int = 0) -> float:
    """The share of trials whose interval holds the mean of the whole population."""
    draw, (low, high) = KINDS[kind]
    random = np.random.default_rng(seed)
    everyone = of_subjects(random, 100_000, uneven=uneven)
    truth, hits = draw(random, everyone).mean(), 0
    for _ in range(trials):
        which = of_subjects(random, subjects, uneven=uneven)
        values = draw(random, which)
        sums, counts = np.bincount(which, values), np.bincount(which).astype(float)
        if bootstrap:
            times = random.multinomial(subjects, np.full(subjects, 1 / subjects), size=1000)
            first, last = np.percentile((times @ sums) / (times @ counts), (2.5, 97.5))
        elif kind == "found":
            first, last = rate_interval(sums, counts)
        elif kind == "paired difference":
            first, last = paired(values, np.zeros(len(values)), [str(number) for number in which]).interval
        else:
            first, last = mean_interval(sums, counts, low=low, high=high)
        hits += first <= truth <= last
    return hits / trials


def main() -> int:
    """Print the table; 1 if an interval that is reported covers less than `LEAST`."""
    print(f"{'share of 95 % intervals that hold the truth':<44}" + "".join(f"{n:>7}" for n in SUBJECTS) + "  subjects")
    worst = 1.0
    for kind in KINDS:
        for uneven in (False, True):
            row = [covered(kind, n, uneven=uneven, trials=TRIALS) for n in SUBJECTS]
            old = [covered(kind, n, uneven=uneven, trials=FEWER, bootstrap=True) for n in SUBJECTS]
            name = f"{kind}, {'1 to 11' if uneven else '3'} cases each"
            print(f"{name:<44}" + "".join(f"{share:>7.3f}" for share in row))
            print(f"{'  percentile bootstrap':<44}" + "".join(f"{share:>7.3f}" for share in old))
            worst = worst if kind == HARDEST else min(worst, *row)
    print(f"least {worst:.3f}, target {LEAST}")
    return int(worst < LEAST)


if __name__ == "__main__":
    sys.exit(main())
