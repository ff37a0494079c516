"""Patches nearest to the centres of clusters: each cluster is met, shares of objects are kept, fewer lie in more."""

from __future__ import annotations

import numpy as np
import pytest

from scantling.core.errors import DataError, SettingsError
from scantling.experiments.representative import nearest_to_centres


def three_clusters() -> np.ndarray:
    """Ten rows around each of three corners; the first of each lies nearest to the middle of its ten."""
    rng = np.random.default_rng(0)
    corners = np.array([[0, 0], [50, 0], [0, 50]], float)
    around = rng.normal(0, 2, (3, 9, 2))
    around -= around.mean(1, keepdims=True)  # so that the middle is the corner
    return np.concatenate([np.concatenate([c[None], c + a]) for c, a in zip(corners, around, strict=True)])


def test_the_first_patches_are_those_in_the_middle_of_each_cluster() -> None:
    chosen = nearest_to_centres(three_clusters(), np.ones(30), share=0.1, clusters=3)
    assert sorted(chosen.tolist()) == [0, 10, 20]


def test_a_share_is_of_objects_and_fewer_lie_in_more() -> None:
    objects = np.arange(30)
    shares = (0.1, 0.2, 0.5, 1.0)
    chosen = [nearest_to_centres(three_clusters(), objects, share=share, clusters=3).tolist() for share in shares]
    for one, share in zip(chosen, shares, strict=True):
        assert share * objects.sum() <= objects[one].sum() < share * objects.sum() + 30
        assert one == chosen[-1][: len(one)]


def test_patches_without_objects_and_shares_that_are_none_are_refused() -> None:
    with pytest.raises(DataError, match="0 objects"):
        nearest_to_centres(np.zeros((3, 2)), np.zeros(3), share=0.5)
    with pytest.raises(DataError, match="not finite"):
        nearest_to_centres(np.full((3, 2), np.nan), np.ones(3), share=0.5)
    for share in (0.0, 2.0):
        with pytest.raises(SettingsError, match="--share"):
            nearest_to_centres(np.zeros((3, 2)), np.ones(3), share=share)


def test_fewer_patches_than_clusters_and_equal_patches_are_taken_all() -> None:
    assert sorted(nearest_to_centres(np.zeros((3, 2)), np.ones(3), share=1.0)) == [0, 1, 2]
