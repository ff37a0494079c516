"""A temperature for probabilities, and components that are dropped from a mask (`core.postprocessing`)."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from scipy import ndimage

from scantling.core.case import Geometry
from scantling.core.pieces import lookup, value_counts
from scantling.core.postprocessing import Rule
from scantling.core.samples import Traits
from scantling.metrics.arrays import bounding_box


def with_temperature(probabilities: np.ndarray, temperature: float, *, exclusive: bool) -> np.ndarray:
    """p^(1/T) over its sum: the softmax of log p / T (Guo et al., 2017), which is that of logits over T.

    Args:
        probabilities: (K, *S) in [0, 1]; of exclusive classes what remains to 1 is background, else each class has its
            own.

    Returns:
        (K, *S) float32; 0 stays 0 and 1 stays 1.
    """
    if temperature == 1:
        return probabilities
    power, likely = np.float32(1 / temperature), np.clip(probabilities, 0, 1).astype(np.float32)
    rest = np.clip(1 - (likely.sum(0, keepdims=True) if exclusive else likely), 0, 1) ** power
    likely **= power
    rest += likely.sum(0, keepdims=True) if exclusive else likely
    likely /= rest
    return likely


def pixel_size(geometry: Geometry, traits: Traits) -> float:
    """The area or volume of a pixel in the unit of the traits; that of theirs where an image is in another unit."""
    return math.prod(geometry.spacing if traits.unit in (None, geometry.unit) else traits.spacing)


def components_of(mask: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The components of a mask (*S) of bool: their numbers (*S) from 1, 0 elsewhere, and the pixels (N + 1,) of each.

    Pixels that touch at a corner belong together.
    """
    numbers, count = ndimage.label(mask, structure=np.ones((3,) * mask.ndim, np.bool_))
    return numbers, value_counts(numbers, low=0, high=count)


def stay(sizes: np.ndarray, rule: Rule) -> np.ndarray:
    """(N,) whether components of these sizes stay."""
    if rule is None or not len(sizes):
        return np.ones(len(sizes), np.bool_)
    return np.asarray(sizes >= (sizes.max() if rule == "largest" else rule))


def drop_components(decision: np.ndarray, rules: Sequence[Rule], *, exclusive: bool, pixel: float) -> np.ndarray:
    """A mask without the components that its rules drop; what they covered is background.

    Args:
        decision: class numbers (*S) uint8, or (K, *S) of 0 and 1 where classes overlap; left as it is.
        rules: one for each class.
        pixel: the area or volume of one, in the unit of the rules.
    """
    cleaned = decision.copy() if any(rule is not None for rule in rules) else decision
    for number, rule in enumerate(rules):
        layer, value = (cleaned, number + 1) if exclusive else (cleaned[number], 1)
        mask = layer == value
        box = None if rule is None else bounding_box(mask)
        if box is None:
            continue
        numbers, pixels = components_of(mask[box])
        dropped = np.concatenate([[False], ~stay(pixels[1:] * pixel, rule)])
        if dropped.any():
            layer[box][lookup(dropped, numbers)] = 0
    return cleaned
