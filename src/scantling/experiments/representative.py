"""Which patches to label first: those nearest to the centres of clusters in a space of features."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.cluster.vq import kmeans2

from scantling.core.checks import check_count, check_number
from scantling.core.errors import DataError

CLUSTERS = 6
"""K of the authors of NuDiff."""


def nearest_to_centres(
    features: ArrayLike, objects: ArrayLike, *, share: float, clusters: int = CLUSTERS, seed: int = 0
) -> NDArray[np.int64]:
    """The patches that hold a share of all objects: of every cluster in turn the patch nearest to its centre that is
    left (Yu et al., MICCAI 2023, who name K-means and K = 6; the turns are ours).

    Args:
        features: (N, F), a row for each patch.
        objects: (N,) how many objects each holds.
        share: of the objects, in (0, 1]; the last patch that is taken may go beyond it.
        clusters: at most so many, and no more than there are patches.
        seed: of the first centres (k-means++).

    Returns:
        Places of the patches in the order in which they are taken; fewer lie in more.

    Raises:
        DataError: there is no patch, or none with an object; features are not finite.
        SettingsError: `share` or `clusters` is out of its range.
    """
    check_number(share, argument="--share", above=0, most=1)
    check_count(clusters, argument="--clusters", least=1)
    rows, counts = np.asarray(features, np.float64), np.asarray(objects, np.int64)
    if not len(rows) or not counts.any():
        raise DataError(f"found {len(rows)} patches with {counts.sum()} objects; expected some that hold objects")
    if not np.isfinite(rows).all():
        raise DataError("found features that are not finite; expected numbers for each patch")
    centres, member = kmeans2(
        rows, min(clusters, len(np.unique(rows, axis=0))), minit="++", seed=np.random.default_rng(seed)
    )
    far = np.linalg.norm(rows - centres[member], axis=1)
    nearest_first = np.lexsort((np.arange(len(rows)), far))
    turn = np.zeros(len(rows), np.int64)
    for cluster in np.unique(member):
        own = nearest_first[member[nearest_first] == cluster]
        turn[own] = np.arange(len(own))
    order = np.lexsort((far, member, turn))
    enough = np.searchsorted(np.cumsum(counts[order]), share * counts.sum()) + 1
    return order[:enough].astype(np.int64)
