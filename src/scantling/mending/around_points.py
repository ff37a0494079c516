"""From a point in each object to labels of most pixels: where objects meet, and what looks like their middles.

Qu et al., "Weakly supervised deep nuclei segmentation using points annotation in histopathology images", MIDL 2019:
the Voronoi labels and the cluster labels of the points, with the values of the authors' code (WeaklySegPartialPoints).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from scantling.core.fields import IGNORE

SHADES = 25.5
"""What an image spans beside distances in pixels: theirs are 8-bit colours, divided by 10."""
ITERATIONS, FITTED = 50, 20_000
"""Of k-means, and of the pixels whose means are sought, evenly spread (ours)."""


def voronoi_labels(
    points: np.ndarray, classes: np.ndarray, shape: Sequence[int], *, spacing: Sequence[float], radius: float
) -> np.ndarray:
    """Label maps (*S) of points and of what lies half-way between them, which is background.

    Args:
        points: (N, D) indices.
        classes: (N,) of each from 0.
        spacing: of the axes.
        radius: around a point within which all is of its class, in pixels of the finest axis.

    Returns:
        Class numbers from 1, 0 on the borders of the cells, `IGNORE` elsewhere; all 0 without a point.
    """
    if not len(points):
        return np.zeros(shape, np.uint8)
    nearest, distance = _nearest(points, shape, spacing)
    labels = np.full(shape, IGNORE, np.uint8)
    labels[ndimage.maximum_filter(nearest, 3) != ndimage.minimum_filter(nearest, 3)] = 0
    close = distance <= radius
    labels[close] = 1 + classes[nearest[close]]
    return labels


def cluster_labels(
    image: np.ndarray,
    points: np.ndarray,
    classes: np.ndarray,
    *,
    spacing: Sequence[float],
    radius: float,
    far: float,
    least: int,
    border: int,
) -> np.ndarray:
    """Label maps (*S): of the Voronoi labels and, elsewhere, of three clusters by shade and distance to the points.

    The cluster with most points is what the objects are made of; of the other two the one with fewer pixels close to
    points is background, and the last is unknown.

    Args:
        image: (C, *S).
        far: pixels of the finest axis beyond which distances are equal.
        least: pixels of the smallest piece of an object.
        border: pixels inside of its border that stay unknown.

    Returns:
        As `voronoi_labels`, whose arguments the others are.
    """
    shape = image.shape[1:]
    labels = voronoi_labels(points, classes, shape, spacing=spacing, radius=radius)
    if not len(points):
        return labels
    nearest, distance = _nearest(points, shape, spacing)
    low, high = np.percentile(image, (0.5, 99.5))
    shades = SHADES * (np.clip(image, low, high) - low) / max(high - low, 1e-12)
    features = np.concatenate([shades, np.minimum(distance, far)[None]]).reshape(len(image) + 1, -1).T
    on, near = distance.ravel() <= radius, distance.ravel() <= 5
    away = distance.ravel() >= min(far, float(distance.max()))
    means = [features[part].mean(0) for part in (on, away, ~on & ~away) if part.any()]
    cluster = _clusters(features, means)
    own = int(np.bincount(cluster[on]).argmax())
    around = np.bincount(cluster[near], minlength=len(means))
    background = min((n for n in range(len(means)) if n != own), key=lambda n: int(around[n]), default=-1)
    inside = ndimage.binary_fill_holes(_large((cluster == own).reshape(shape), least))
    kept = ndimage.binary_erosion(np.pad(inside, border, mode="edge"), iterations=border) if border else inside
    kept = kept[(slice(border, -border),) * len(shape)] if border else kept
    unknown = labels == IGNORE
    outside = unknown & (cluster == background).reshape(shape) & ~inside & (distance > far / 2)
    inner = unknown & kept
    labels[outside] = 0
    labels[inner] = 1 + classes[nearest[inner]]
    return labels


def _nearest(points: np.ndarray, shape: Sequence[int], spacing: Sequence[float]) -> tuple[np.ndarray, np.ndarray]:
    """(*S) the number of the nearest point of each pixel, and how far it is in pixels of the finest axis."""
    numbers = np.full(shape, -1, np.int32)
    places = np.clip(np.round(points).astype(np.int64), 0, np.array(shape) - 1)
    numbers[tuple(places.T)] = np.arange(len(points))
    steps = np.asarray(spacing, float) / min(spacing)
    distance, indices = ndimage.distance_transform_edt(numbers < 0, sampling=steps, return_indices=True)
    return numbers[tuple(indices)], distance


def _clusters(features: np.ndarray, means: Sequence[np.ndarray]) -> NDArray[np.int64]:
    """(n,) the cluster of each row, by k-means from these means (Lloyd, 1982); ours begins on, far from and between
    the points, so that nothing is drawn."""
    centres, sample = np.stack(means), features[:: max(1, len(features) // FITTED)]
    for _ in range(ITERATIONS):
        found = _closest(sample, centres)
        moved = [sample[found == n].mean(0) if (found == n).any() else centres[n] for n in range(len(centres))]
        if np.allclose(moved, centres):
            break
        centres = np.stack(moved)
    return _closest(features, centres)


def _closest(features: np.ndarray, centres: np.ndarray) -> NDArray[np.int64]:
    return np.stack([np.square(features - centre).sum(1) for centre in centres]).argmin(0)


def _large(mask: np.ndarray, least: int) -> np.ndarray:
    """The pieces of a mask with so many pixels at least."""
    numbers, count = ndimage.label(mask, np.ones((3,) * mask.ndim))
    sizes = np.bincount(numbers.ravel(), minlength=count + 1)
    return np.asarray((numbers > 0) & (sizes >= least)[numbers])
