"""The slices of a volume between those that were drawn: by diffusion along the image, or by signed distances.

The labels of drawn slices are held fast, and a random walker (`mending.random_walk`) finds those of the others; what
the shapes of the neighbouring drawn slices say of a slice pulls it (a random walker with priors: Grady, 2005). The
control is that shape alone: signed distances, interpolated linearly between drawn slices (Raya and Udupa, 1990).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy import ndimage

from scantling.mending.random_walk import edge_weights, walked


def between_by_distance(drawn: np.ndarray, slices: Sequence[int], *, spacing: Sequence[float]) -> np.ndarray:
    """The classes of all slices from those of some, by the largest of the interpolated signed distances.

    Args:
        drawn: (Z, *P) class numbers, right in the drawn slices.
        slices: which these are, ascending; two at least.
        spacing: of the three axes, the first between slices.

    Returns:
        (K + 1, Z, *P) float32 in [0, 1], how likely the background and each class are, which sum to 1: the logistic
        function of the distances in units of the pixel (ours). Beyond the outermost drawn slices they are those of the
        nearest, and less certain with each slice.
    """
    classes = int(drawn[list(slices)].max()) + 1
    plane, through = spacing[1:], spacing[0] / min(spacing[1:])
    likely = np.zeros((classes, *drawn.shape), np.float32)
    for number in range(classes):
        own = {place: signed_distance(drawn[place] == number, plane) for place in slices}
        for place in range(len(drawn)):
            at = int(np.searchsorted(slices, place))
            high = min(max(at, 1), len(slices) - 1)
            ends = slices[high - 1], slices[high]
            share = min(max((place - ends[0]) / (ends[1] - ends[0]), 0.0), 1.0)
            pair = [own[end].copy() for end in ends]
            for one, other in ((pair[0], pair[1]), (pair[1], pair[0])):
                if one.max() <= 0 < other.max():  # what one end lacks ends half-way to it
                    one[...] = -other.max()
                elif one.min() > 0 > other.min():  # and what it is full of begins there
                    one[...] = -other.min()
            distance = (1 - share) * pair[0] + share * pair[1]
            away = through * min(abs(place - end) for end in ends)
            likely[number, place] = np.exp(np.clip(distance, -20, 20) / np.sqrt(1 + away))
    return likely / likely.sum(0)


def signed_distance(mask: np.ndarray, spacing: Sequence[float]) -> np.ndarray:
    """The distance to the border of a mask, positive inside, in units of the finest spacing; far off if it is empty."""
    unit = [mm / min(spacing) for mm in spacing]
    if not mask.any() or mask.all():
        return np.full(mask.shape, float(sum(mask.shape)) * (1 if mask.all() else -1), np.float32)
    inside = ndimage.distance_transform_edt(mask, sampling=unit)
    outside = ndimage.distance_transform_edt(~mask, sampling=unit)
    return np.asarray(np.where(mask, inside - 0.5, 0.5 - outside), np.float32)


def between_by_walk(
    image: np.ndarray,
    drawn: np.ndarray,
    slices: Sequence[int],
    *,
    spacing: Sequence[float],
    prior: np.ndarray,
    edges: float,
    pull: float,
) -> np.ndarray:
    """The probabilities (K + 1, Z, *P) of background and classes: a random walker from the drawn slices with a prior.

    Args:
        image: (C, Z, *P).
        drawn, slices, spacing: as in `between_by_distance`.
        prior: (K + 1, Z, *P), as `between_by_distance` gives it.
        edges: how much a difference of the image stops, see `edge_weights`.
        pull: of the prior, in units of the weight between voxels of a plane that look alike.
    """
    held = np.zeros(drawn.shape, bool)
    held[list(slices)] = True
    weights = edge_weights(image, spacing=spacing, edges=edges)
    found = np.empty_like(prior)
    for number in range(len(prior)):
        start = np.where(held, drawn == number, prior[number])
        found[number] = walked(start, held, weights, prior=prior[number], pull=pull)
    found = np.clip(found, 0, 1)
    return found / found.sum(0)
