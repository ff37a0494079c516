"""Other layouts of the objects of an image: moved to other places, or of rarer classes (DiffMix).

Oh and Jeong, "DiffMix: diffusion model-based data synthesis for nuclei segmentation and classification in imbalanced
pathology image datasets", MICCAI 2023. Distances and tries are ours.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

Numbers = NDArray[np.int32]
Classes = NDArray[np.int64]
Floats = NDArray[np.floating[Any]]

REPLACED = 0.8
"""The share of the most frequent class that is given another one (theirs)."""
MARGIN = 2
"""Pixels around an object that are filled with it (theirs)."""
TRIES = 20
"""Places that are tried for each object; ours."""
REACH = 2.0
"""How far an object is moved at most along each axis, in lengths of its longer side; ours."""


def moved(numbers: Numbers, image: Floats, generator: np.random.Generator) -> tuple[Numbers, Floats]:
    """Every object at another place near by, where one is free, with what the image shows of it.

    Args:
        numbers: (H, W), 0 background, objects from 1 without gaps.
        image: (C, H, W).

    Returns:
        The same of the new layout; where objects were the image is filled from around them. An object for which no
        place is free stays.
    """
    placed, painted = numbers.copy(), filled(image, numbers > 0)
    shape = np.array(numbers.shape)
    for number, box in enumerate(ndimage.find_objects(numbers), start=1):
        if box is None:
            continue
        inside = np.argwhere(numbers[box] == number) + [each.start for each in box]  # (n, 2)
        placed[inside[:, 0], inside[:, 1]] = 0
        reach = REACH * max(each.stop - each.start for each in box)
        offsets = np.rint(generator.uniform(-reach, reach, (TRIES, 2))).astype(np.int64)
        for offset in [*offsets, np.zeros(2, np.int64)]:
            rows, columns = (inside + offset).T
            fits = (np.stack([rows, columns]) >= 0).all() and (np.stack([rows, columns]) < shape[:, None]).all()
            if fits and not placed[rows, columns].any():
                placed[rows, columns] = number
                painted[:, rows, columns] = image[:, inside[:, 0], inside[:, 1]]
                break
    return placed, painted


def rebalanced(
    numbers: Numbers, classes: Classes, image: Floats, count: int, generator: np.random.Generator
) -> tuple[Classes, Floats]:
    """Most objects of the most frequent class are of a rarer one; each keeps its place and shape (ours).

    Args:
        numbers: (H, W), 0 background, objects from 1 without gaps.
        classes: (N,) of each, from 0.
        image: (C, H, W).
        count: of the classes that there are.

    Returns:
        The new classes, and the image, filled from around the objects whose class has changed.
    """
    times = np.bincount(classes, minlength=count)
    most = int(times.argmax())
    rarer = [each for each in range(count) if each != most]
    chosen = (classes == most) & (generator.random(len(classes)) < REPLACED)
    weights = 1 / (1 + times[rarer])
    drawn = generator.choice(rarer, len(classes), p=weights / weights.sum())
    new = np.where(chosen, drawn, classes).astype(np.int64)
    return new, filled(image, np.concatenate([[False], chosen])[numbers])


def filled(image: Floats, where: NDArray[np.bool_]) -> Floats:
    """An image (C, H, W) that shows at some pixels (H, W), and a little around them, what lies nearest to them."""
    around = ndimage.binary_dilation(where, iterations=MARGIN) if where.any() else where
    if not around.any() or around.all():
        return image.copy()
    rows, columns = ndimage.distance_transform_edt(around, return_distances=False, return_indices=True)
    return image[:, rows, columns].copy()
