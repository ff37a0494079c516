"""What a mask looks like beside the answer of a model that has not seen it: empty, swapped, mirrored, shifted, ...

Each guess is tried on the mask; the one after which it agrees best with the answer is named, if it gains enough. The
bounds are ours.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import combinations
from typing import Literal

import numpy as np
from scipy import ndimage

Kind = Literal["empty", "not found", "swapped classes", "mirrored", "shifted", "other style", "elsewhere", "alike"]
GAIN = 0.15
"""A guess is named if the Dice of the mask that it mends is higher by as much."""
ALIKE = 0.9
"""Masks with a higher Dice are alike, whatever else might be said."""
WIDEST = 12
"""Pixels that a mask is grown or shrunk by at most, to see whether it is drawn in another style."""
MOST_PIXELS = 1 << 21
"""Of larger masks only every second pixel along each axis is looked at, or every third, ..."""


@dataclass(frozen=True)
class Disagreement:
    """How a mask and a model's answer disagree.

    Attributes:
        dice: the mean over the classes that either of them has; 1 where both are empty.
        kind: what it looks like.
        sentence: the same for people.
        mended: the Dice if it is that.
    """

    dice: float
    kind: Kind
    sentence: str
    mended: float


def disagreement(mask: np.ndarray, answer: np.ndarray, *, names: tuple[str, ...]) -> Disagreement:
    """Compare a mask with an answer.

    Args:
        mask: (K, *S) bool, a layer for each class.
        answer: (K, *S) bool.
        names: of the classes.
    """
    step = max(1, round((mask[0].size / MOST_PIXELS) ** (1 / (mask.ndim - 1))))
    thinned = (slice(None), *(slice(None, None, step),) * (mask.ndim - 1))
    mask, answer = mask[thinned], answer[thinned]
    dice, share = mean_dice(mask, answer), float(mask.any(axis=0).mean())
    found = float(answer.any(axis=0).mean())
    if dice >= ALIKE:
        return Disagreement(dice, "alike", "mask and model agree", dice)
    if not mask.any():
        return Disagreement(dice, "empty", f"the mask is empty; the model marks {found:.1%} of the image", 1.0)
    if not answer.any():
        return Disagreement(
            dice, "not found", f"the model finds nothing; the mask marks {share:.1%} of the image", dice
        )
    guesses = [*_swapped(mask, answer, names), *_mirrored(mask, answer), *_shifted(mask, answer, step)]
    best = max(guesses, key=lambda guess: guess[0], default=(0.0, "elsewhere", ""))
    if best[0] < dice + GAIN:
        best = max(_restyled(mask, answer, step), key=lambda guess: guess[0])
    if best[0] >= dice + GAIN:
        return Disagreement(dice, best[1], best[2], best[0])
    where = f"the mask marks {share:.1%} of the image, the model {found:.1%}, mostly elsewhere"
    return Disagreement(dice, "elsewhere", where, dice)


def mean_dice(mask: np.ndarray, answer: np.ndarray) -> float:
    """The mean Dice of (K, *S) bool over the classes that either has; 1 where none has any."""
    axes = tuple(range(1, mask.ndim))
    both, sizes = (mask & answer).sum(axes), mask.sum(axes) + answer.sum(axes)
    there = sizes > 0
    return float((2 * both[there] / sizes[there]).mean()) if there.any() else 1.0


Guess = tuple[float, Kind, str]


def _swapped(mask: np.ndarray, answer: np.ndarray, names: tuple[str, ...]) -> Iterator[Guess]:
    for one, other in combinations(range(len(mask)), 2):
        order = list(range(len(mask)))
        order[one], order[other] = other, one
        yield mean_dice(mask[order], answer), "swapped classes", f"{names[one]} and {names[other]} look swapped"


def _mirrored(mask: np.ndarray, answer: np.ndarray) -> Iterator[Guess]:
    dimensions = mask.ndim - 1
    for number in range(1, dimensions + 1):
        for axes in combinations(range(1, dimensions + 1), number):
            listed = " and ".join(str(axis) for axis in axes)
            word = "axis" if number == 1 else "axes"
            yield mean_dice(np.flip(mask, axes), answer), "mirrored", f"the mask looks mirrored along {word} {listed}"
    for one, other in combinations(range(1, dimensions + 1), 2):
        if mask.shape[one] == mask.shape[other]:
            swapped = np.swapaxes(mask, one, other)
            yield mean_dice(swapped, answer), "mirrored", f"axes {one} and {other} of the mask look swapped"


def _shifted(mask: np.ndarray, answer: np.ndarray, step: int) -> Iterator[Guess]:
    """By the shift at which they overlap most (the peak of their cross-correlation)."""
    shape = tuple(2 * n for n in mask.shape[1:])
    axes = tuple(range(len(shape)))
    overlap = sum(
        np.fft.irfftn(np.fft.rfftn(b, shape, axes) * np.conj(np.fft.rfftn(a, shape, axes)), shape, axes)
        for a, b in zip(mask.astype(np.float32), answer.astype(np.float32), strict=True)
    )
    peak = np.unravel_index(int(np.argmax(overlap)), shape)
    shift = [int(p) if p < n // 2 else int(p) - n for p, n in zip(peak, shape, strict=True)]
    if not any(shift):
        return
    moved = np.zeros_like(mask)
    to = tuple(slice(max(s, 0), n + min(s, 0)) for s, n in zip(shift, mask.shape[1:], strict=True))
    come = tuple(slice(max(-s, 0), n + min(-s, 0)) for s, n in zip(shift, mask.shape[1:], strict=True))
    moved[(slice(None), *to)] = mask[(slice(None), *come)]
    listed = ", ".join(f"{-s * step:+d}" for s in shift)
    yield mean_dice(moved, answer), "shifted", f"the mask looks shifted by ({listed}) pixels"


def _restyled(mask: np.ndarray, answer: np.ndarray, step: int) -> Iterator[Guess]:
    """Every class grown or shrunk by a few pixels: drawn wider or narrower than in the masks the model learned from."""
    apart = [
        ndimage.distance_transform_edt(~layer) - ndimage.distance_transform_edt(layer) + 0.5 * np.where(layer, 1, -1)
        if layer.any()
        else np.full(layer.shape, np.inf)
        for layer in mask
    ]
    for by in (*range(-WIDEST, 0), *range(1, WIDEST + 1)):
        changed = np.stack([layer <= by for layer in apart])
        how = "narrower" if by > 0 else "wider"
        told = f"the mask is drawn about {abs(by) * step} pixels {how} than usual"
        yield mean_dice(changed, answer), "other style", told
