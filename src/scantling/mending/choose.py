"""Which mending to use, from validation maps whose truth is known: everything tried is told, nothing is drawn.

The aim is unbroken vessels at no price in area. So a candidate is only admissible if its mean Dice is not below that
of the plain threshold, and not either when any one case is left out: on a handful of cases a single odd one carries a
mean. An empty truth counts there as a Dice of 1 or 0, so that a false alarm has its price. Among the admissible ones
the largest mean of Dice + clDice - 0.01 |ln VCA| wins, the first of equals. clDice asks whether the centre lines are
right. The number of pieces is asked for by itself, because a hundred specks of noise cost clDice little; halving a
wrong number of pieces is worth 0.007. Dice stands in the sum although it is a condition already: without it the winner
sits at the very edge of the condition, and falls off on new images.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby

import numpy as np
from numpy.typing import NDArray

from scantling.core.checks import binary
from scantling.core.errors import DataError, SettingsError
from scantling.mending.anisotropic import Diffusion
from scantling.mending.mend import RULES, Mending, Rule, checked_maps, cut, diffused, way

Mask = NDArray[np.bool_]
Score = Callable[[Mask, Mask], Mapping[str, float]]
"""From a mask and the truth, both (*S), to numbers by name, NaN where undefined: at least dice, dice_or_empty, cldice
and log_vca."""

UNMENDED = Mending(rule="threshold")
UNSEEN = Mending(rule="both", iterations=100, tensor="logit", coherence=2, high=0.9, low=0.5, smallest=50)
"""What was best on validation images of DRIVE: for maps of which no truth is known."""
PIECES = 0.01
"""What one unit of |ln VCA| counts, in units of Dice."""


@dataclass(frozen=True)
class Example:
    """One validation case: maps (K, *S), truth (K, *S), and where it is known (K, *S); None: everywhere."""

    maps: NDArray[np.floating]
    truth: Mask
    known: Mask | None = None


@dataclass(frozen=True)
class Tried:
    """A candidate, the means of its scores over cases and classes (undefined ones left out), and what followed."""

    settings: Mending
    scores: Mapping[str, float]
    value: float
    admissible: bool


@dataclass(frozen=True)
class Choice:
    """The settings to use, and the table of all that was tried; the first row is the plain threshold."""

    settings: Mending
    table: tuple[Tried, ...]


def candidates(rule: str = "all") -> tuple[Mending, ...]:
    """A grid to choose from: `rule` is one of the rules, or "all" of those that know tubes (not "closing").

    N in steps of about three; the strength from none or the square of the coherence; the direction from the
    probability or its logit, carried into gaps or not; thresholds .5/.3 to .9/.5; pieces under 0, 20 or 50 pixels
    dropped; a closing of 1 to 8 pixels.

    Raises:
        SettingsError: there is no such rule.
    """
    if rule != "all" and rule not in RULES:
        raise SettingsError(f"there is no rule {rule!r}; there are: all, {', '.join(RULES)}")
    ways = [
        {"tensor": tensor, "coherence": coherence, "carry": carry}
        for tensor, coherence, carry in (
            ("probability", 0, 0),
            ("probability", 2, 0),
            ("logit", 2, 0),
            ("probability", 2, 1.5),
            ("probability", 2, 4),
        )
    ]
    moves = [{"iterations": iterations, **way} for way in ways for iterations in (10, 30, 100, 300)]
    cuts = [{"high": high, "low": low} for high, low in ((0.5, 0.3), (0.5, 0.4), (0.7, 0.4), (0.7, 0.5), (0.9, 0.5))]
    closings = [{"radius": radius} for radius in (1, 2, 3, 5, 8)]
    grid = [
        Mending.model_validate({"rule": name, "smallest": smallest, **move, **limits})
        for name, (diffuses, two) in RULES.items()
        if name == rule or (rule == "all" and name != "closing")
        for move in (moves if diffuses else closings if name == "closing" else [{}])
        for limits in (cuts if two else [{}])
        for smallest in (0, 20, 50)
    ]
    return tuple(grid)


def without_truth(rule: Rule) -> Mending:
    """`UNSEEN` as far as it concerns a rule; a rule of one threshold cuts at a half.

    Raises:
        SettingsError: no closing was tried there.
    """
    if rule == "closing":
        raise SettingsError(
            "--rule closing --iterations auto: its radius is chosen by true masks; name their data with --validation, "
            "or say --radius and --iterations 0"
        )
    limits = {} if RULES[rule][1] else {"high": UNMENDED.high, "low": UNMENDED.low}
    return UNSEEN.model_copy(update={"rule": rule, **limits})


def choose(grid: Sequence[Mending], examples: Iterable[Example], *, score: Score) -> Choice:
    """The best of `grid` on validation cases; the same grid and cases always give the same choice.

    Candidates that differ only in N and in what follows the diffusion share it, so that a grid costs little more
    than its longest run.

    Args:
        grid: what to try; the plain threshold is always tried too, and is the answer if nothing is admissible.
        examples: the validation cases, read once; never the test cases.
        score: measures one class of one case.

    Raises:
        DataError: there are no cases, or a truth or where it is known does not fit its map, in shape or values.
    """
    tried = list(dict.fromkeys([UNMENDED, *grid]))
    found: dict[Mending, list[Mapping[str, float]]] = {settings: [] for settings in tried}
    dice: list[dict[Mending, float]] = []
    for example in examples:
        maps = checked_maps(example.maps, spatial_dims=example.maps.ndim - 1)
        truths = binary(example.truth, "the truth")
        known = np.ones_like(truths) if example.known is None else binary(example.known, "where the truth is known")
        for array, what in ((truths, "the truth"), (known, "where it is known")):
            if array.shape != maps.shape:
                raise DataError(f"{what} has shape {array.shape}; expected {maps.shape}, the shape of its maps")
        for map_, truth, counted in zip(maps, truths, known, strict=True):
            for settings, mask in _masks(map_, tried):
                found[settings].append(score(mask & counted, truth & counted))
        dice.append({settings: _means(rows[-len(maps) :])["dice_or_empty"] for settings, rows in found.items()})
    if not found[UNMENDED]:
        raise DataError("there are no validation cases; expected at least one with its truth")
    means = {settings: _means(rows) for settings, rows in found.items()}
    table = tuple(
        Tried(
            settings,
            scores,
            scores["dice"] + scores["cldice"] - PIECES * scores["log_vca"],
            _no_price([row[settings] - row[UNMENDED] for row in dice]),
        )
        for settings, scores in means.items()
    )
    best = max((row for row in table if row.admissible), key=lambda row: np.nan_to_num(row.value, nan=-np.inf))
    return Choice(best.settings, table)


def _masks(map_: NDArray[np.float32], tried: Sequence[Mending]) -> Iterator[tuple[Mending, Mask]]:
    """The mask of each candidate, diffusing on from fewer iterations to more."""
    still = [settings for settings in tried if not RULES[settings.rule][0]]
    yield from ((settings, cut(map_, settings)) for settings in still)
    moving = sorted((s for s in tried if RULES[s.rule][0]), key=lambda s: (_flow(s), s.iterations))
    for _, together in groupby(moving, key=_flow):
        current, orientation, done = map_, None, 0
        for settings in together:
            orientation = orientation or way(map_, settings)
            left = settings.model_copy(update={"iterations": settings.iterations - done})
            current, done = diffused(current, left, orientation), settings.iterations
            yield settings, cut(current, settings)


def _no_price(gains: Sequence[float]) -> bool:
    """Whether the gains are not negative together, and neither whichever one is left out."""
    return sum(gains) >= 0 and all(sum(gains[:n]) + sum(gains[n + 1 :]) >= 0 for n in range(len(gains)))


def _flow(settings: Mending) -> str:
    """What has to agree for two candidates to share a diffusion."""
    alike = (set(Diffusion.model_fields) - {"iterations"}) | {"tensor", "sigma", "rho", "carry", "coherence"}
    return settings.model_dump_json(include=alike)


def _means(rows: Sequence[Mapping[str, float]]) -> dict[str, float]:
    columns = {name: np.array([row[name] for row in rows], np.float64) for name in rows[0]}
    return {
        name: float(np.nanmean(column)) if not np.isnan(column).all() else float("nan")
        for name, column in columns.items()
    }
