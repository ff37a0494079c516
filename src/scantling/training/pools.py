"""Whether images with and without masks look different: how well a classifier tells one pool from the other.

All of it is ours.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from scantling.contract.method import Method
from scantling.core.case import Case
from scantling.core.errors import ScantlingError
from scantling.data.appearance import appearance
from scantling.data.contents import count
from scantling.data.loading import load
from scantling.metrics.ranking import Ranking

MOST, MOST_VALUES, FEWEST = 40, 1 << 30, 3
"""Subjects of each pool that are looked at, one image each: fewer, but not below `FEWEST`, of large images, which have
so many values together. Of fewer subjects nothing is said."""
LEAST, DEVIATIONS = 0.75, 1.64
"""The area under the curve from which pools differ, and how far above chance it has to be."""


def pool_remarks(method: Method, cases: Sequence[Case]) -> list[str]:
    """A sentence where a method learns from images without masks that look different from those with masks.

    Args:
        cases: those of the training.
    """
    if not any("mask" in stream.without for stage in method.stages() for stream in stage.streams):
        return []
    values = len(method.channels) * math.prod(method.traits.shape)
    most = min(MOST, max(FEWEST, MOST_VALUES // (2 * values)))
    pools = [_features(method, cases, most=most, labelled=labelled) for labelled in (False, True)]
    if min(map(len, pools)) < FEWEST:
        return []
    found = [row for pool in pools for row in pool.values()]
    names = sorted(name for name in found[0] if all(name in row for row in found))
    table = np.array([[row[name] for name in names] for row in found]).reshape(len(found), len(names))
    labelled = np.repeat([False, True], [len(pool) for pool in pools])
    subjects = np.array([subject for pool in pools for subject in pool])
    area, (without, with_) = auc_of_pools(table, labelled, subjects), (len(pool) for pool in pools)
    if area < max(LEAST, 0.5 + DEVIATIONS * math.sqrt((without + with_ + 1) / (12 * without * with_))):
        return []
    alone = [abs(_area(column, labelled) - 0.5) for column in table.T]
    return [
        f"training images with and without masks look different: a classifier tells one from the other with an AUC of "
        f"{area:.2f} (chance: 0.5) over {count(with_, 'subject')} with masks and {without} without, most by "
        f"{names[int(np.argmax(alone))]}; compare with unet on the masks alone before you trust what the others add"
    ]


def _features(method: Method, cases: Sequence[Case], *, most: int, labelled: bool) -> dict[str, dict[str, float]]:
    """The features of one image of each subject of a pool, of subjects that are evenly spread over their names."""
    first = {case.subject: case for case in reversed(cases) if case.images and case.has("mask") == labelled}
    subjects = sorted(first)
    found = dict[str, dict[str, float]]()
    for place in np.linspace(0, len(subjects) - 1, min(len(subjects), most)).astype(int):
        case = first[subjects[place]]
        try:
            sample = load(case, channels=method.channels, reads=("image", "region"), partial=True)
        except ScantlingError:
            continue
        found[case.subject] = appearance(sample, method.channels)
    return found


def auc_of_pools(table: np.ndarray, labelled: np.ndarray, subjects: np.ndarray) -> float:
    """The area under the curve of a linear discriminant, each subject scored by one that has not seen it.

    Features are in units of their deviation within the pools, to whose covariance the unit matrix is added, so that
    many features of few subjects do no harm.

    Args:
        table: (n, F) features.
        labelled: (n,) bool, the pool of each row.
        subjects: (n,) names.
    """
    scores = np.zeros(len(table))
    for subject in np.unique(subjects):
        own = subjects == subject
        parts = [table[~own & (labelled == pool)] for pool in (False, True)]
        if not all(len(part) for part in parts):
            continue
        means = [part.mean(0) for part in parts]
        within = np.concatenate([part - mean for part, mean in zip(parts, means, strict=True)])
        scale = np.sqrt(np.square(within).mean(0))
        scale = np.where(scale > 0, scale, np.maximum(np.abs(means[1] - means[0]), 1e-12))
        covariance = (within / scale).T @ (within / scale) / len(within)
        direction = np.linalg.solve(covariance + np.eye(len(scale)), (means[1] - means[0]) / scale)
        scores[own] = (table[own] - (means[0] + means[1]) / 2) / scale @ direction
    return _area(scores, labelled)


def _area(scores: np.ndarray, labelled: np.ndarray) -> float:
    return Ranking(np.sort(scores[labelled]), np.sort(scores[~labelled])).auc
