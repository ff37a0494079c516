"""The slices of a volume between those that were drawn: by diffusion along the image, or by signed distances.

The labels of drawn slices are held fast, and each class spreads into the others as heat does until nothing changes,
through edges of the image hardly (the random walker of Grady, 2006, which is the steady state of edge-stopping
diffusion: Perona and Malik, 1990). What the shapes of the neighbouring drawn slices say of a slice pulls it (a random
walker with priors: Grady, 2005). The control is that shape alone: signed distances, interpolated linearly between
drawn slices (Raya and Udupa, 1990).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy import ndimage

STEPS, TOLERANCE = 400, 1e-3
"""Of the conjugate gradients: at most so many, until the greatest residual is below this."""


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
        edges: how much a difference of the image stops: the weight between two voxels is
            exp(-edges d² / s²), d their difference and s² its mean over neighbours in the plane, over all channels.
        pull: of the prior, in units of the weight between voxels of a plane that look alike.
    """
    held = np.zeros(drawn.shape, bool)
    held[list(slices)] = True
    weights = edge_weights(image, spacing=spacing, edges=edges)
    found = np.empty_like(prior)
    for number in range(len(prior)):
        start = np.where(held, drawn == number, prior[number]).astype(np.float64)
        found[number] = diffused(start, held, weights, prior[number].astype(np.float64), pull)
    found = np.clip(found, 0, 1)
    return found / found.sum(0)


def edge_weights(image: np.ndarray, *, spacing: Sequence[float], edges: float) -> list[np.ndarray]:
    """The weight between each voxel and the next along each axis, 1 where they look alike and lie next in the plane."""
    values = image.astype(np.float64)
    steps = [np.square(np.diff(values, axis=1 + axis)).mean(0) for axis in range(values.ndim - 1)]
    scale = float(np.mean([step.mean() for step in steps[1:]])) or 1.0
    finest = min(spacing[1:])
    return [
        (finest / mm) ** 2 * (np.exp(-edges * step / scale) + 1e-6) for step, mm in zip(steps, spacing, strict=True)
    ]


def diffused(
    start: np.ndarray, held: np.ndarray, weights: Sequence[np.ndarray], prior: np.ndarray, pull: float
) -> np.ndarray:
    """The solution x of sum_j w_ij (x_i - x_j) + pull (x_i - prior_i) = 0 wherever x is not held at `start`.

    By conjugate gradients, divided by the diagonal.
    """
    diagonal = np.full(start.shape, pull)
    for axis, weight in enumerate(weights):
        ends = _ends(axis)
        for end in ends:
            diagonal[end] += weight

    def applied(x: np.ndarray) -> np.ndarray:
        out = diagonal * x
        for axis, weight in enumerate(weights):
            low, high = _ends(axis)
            out[low] -= weight * x[high]
            out[high] -= weight * x[low]
        return out

    x = start.copy()
    residual = np.where(held, 0, pull * prior - applied(x))
    z = residual / diagonal
    direction, size = z.copy(), float((residual * z).sum())
    for _ in range(STEPS):
        if size <= 0 or float(np.abs(z).max()) < TOLERANCE:
            break
        product = np.where(held, 0, applied(direction))
        length = size / float((direction * product).sum())
        x += length * direction
        residual -= length * product
        z = residual / diagonal
        before, size = size, float((residual * z).sum())
        direction = z + size / before * direction
    return x


def _ends(axis: int) -> tuple[tuple[slice, ...], tuple[slice, ...]]:
    """All but the last along an axis, and all but the first."""
    before = (slice(None),) * axis
    return (*before, slice(None, -1)), (*before, slice(1, None))
