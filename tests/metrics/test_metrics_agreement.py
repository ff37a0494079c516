"""Agreement of readers against the published example and simple cases."""

from __future__ import annotations

import numpy as np
import pytest

from scantling.core.errors import ArrayError
from scantling.metrics import krippendorff_alpha

N = np.nan
PUBLISHED = [
    [1, 2, 3, 3, 2, 1, 4, 1, 2, N, N, N],
    [1, 2, 3, 3, 2, 2, 4, 1, 2, 5, N, 3],
    [N, 3, 3, 3, 2, 3, 4, 2, 2, 5, 1, N],
    [1, 2, 3, 3, 2, 4, 4, 1, 2, 5, 1, N],
]
"""Four observers, twelve units (Krippendorff, 2011, section C)."""


def test_alpha_of_the_published_example_is_the_published_one() -> None:
    assert krippendorff_alpha(PUBLISHED) == pytest.approx(0.815, abs=5e-4)


def test_alpha_is_one_of_equal_readers_and_about_nothing_by_chance() -> None:
    rng = np.random.default_rng(0)
    one = rng.integers(1, 5, 400)
    assert krippendorff_alpha([one, one, one]) == pytest.approx(1)
    assert abs(krippendorff_alpha(rng.integers(1, 5, (2, 4000)))) < 0.06  # about 4 standard errors
    assert krippendorff_alpha([one, 5 - one]) < -0.5


def test_a_small_difference_of_grades_counts_less_than_a_large_one() -> None:
    one = np.array([1, 2, 3, 4] * 10)
    near, far = one.copy(), one.copy()
    near[0], far[0] = 2, 4
    assert krippendorff_alpha([one, far]) < krippendorff_alpha([one, near]) < 1


def test_where_nothing_can_be_told_alpha_is_not_a_number() -> None:
    assert np.isnan(krippendorff_alpha([[1, 2, N], [N, N, 3]]))
    assert np.isnan(krippendorff_alpha([[2, 2], [2, 2]]))
    with pytest.raises(ArrayError, match="a row for each reader"):
        krippendorff_alpha([1, 2])
