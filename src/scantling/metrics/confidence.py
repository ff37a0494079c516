"""The Dice that a model expects of its own mask."""

from __future__ import annotations

import numpy as np


def confidence_sums(probabilities: np.ndarray, decision: np.ndarray) -> np.ndarray:
    """(K, 3) float64: for each class the sums of p m, p and m over the pixels; sums of parts of an image add up.

    Args:
        probabilities: p, (K, *S).
        decision: class numbers (*S), or m (K, *S) of 0 and 1 where classes overlap.
    """
    sums = np.zeros((len(probabilities), 3))
    for number, likely in enumerate(probabilities):
        marked = decision == number + 1 if decision.ndim == likely.ndim else decision[number] == 1
        sums[number] = likely[marked].sum(dtype=np.float64), likely.sum(dtype=np.float64), np.count_nonzero(marked)
    return sums


def dice_confidence(sums: np.ndarray) -> float | None:
    """2 sum(p m) / (sum(p) + sum(m)) from the sums (K, 3), the mean over the classes that were found, in [0, 1].

    The soft Dice confidence of Borges, Pacheco and Silva (2024), which approximates the expected Dice where the
    probabilities are calibrated; the mean over the classes that were found is ours.

    Returns:
        None where no class was found: Dice is then 0, or undefined where the truth is empty too.
    """
    found = sums[sums[:, 2] > 0]
    return float(np.mean(2 * found[:, 0] / (found[:, 1] + found[:, 2]))) if len(found) else None
