"""The Dice that a model expects of its own mask."""

from __future__ import annotations

import numpy as np

from scantling.core.checks import SLACK
from scantling.core.errors import ArrayError


def confidence_sums(probabilities: np.ndarray, decision: np.ndarray) -> np.ndarray:
    """(K, 3) float64: for each class the sums of p m, p and m over the pixels; sums of parts of an image add up.

    Args:
        probabilities: p, (K, *S).
        decision: class numbers (*S), or m (K, *S) of 0 and 1 where classes overlap.

    Raises:
        ArrayError: the shapes do not belong together, or the values are no probabilities or no decision.
    """
    if decision.shape not in (probabilities.shape, probabilities.shape[1:]):
        raise ArrayError(
            f"found probabilities of shape {probabilities.shape} and a decision of shape {decision.shape}; expected "
            "(K, *S), and (*S) of class numbers or (K, *S) of 0 and 1"
        )
    most = len(probabilities) if decision.ndim < probabilities.ndim else 1
    if decision.size and not (decision.min() >= 0 and decision.max() <= most):
        raise ArrayError(f"found {decision.min():g} to {decision.max():g} in the decision; expected 0 to {most}")
    if probabilities.size and not (probabilities.min() >= -SLACK and probabilities.max() <= 1 + SLACK):  # also NaN
        found = f"{probabilities.min():g} to {probabilities.max():g}"
        raise ArrayError(f"found values from {found}; expected probabilities in [0, 1]")
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

    Raises:
        ArrayError: the sums are not (K, 3).
    """
    if sums.ndim != 2 or sums.shape[1] != 3:
        raise ArrayError(f"found sums of shape {sums.shape}; expected (K, 3), those of `confidence_sums`")
    found = sums[sums[:, 2] > 0]
    return float(np.mean(2 * found[:, 0] / (found[:, 1] + found[:, 2]))) if len(found) else None
