"""The statistics of a comparison against enumeration, closed forms and SciPy."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from scipy import stats

from scantling.experiments.statistics import EXACT, FLIPS, holm, least_p, mean_ranks, paired, sign_flips


def own(count: int) -> list[str]:
    """A subject for each case."""
    return [f"s{number}" for number in range(count)]


def drawn(count: int, *, mean: float = 0.0, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(mean, 1.0, count)


@pytest.mark.parametrize("seed", range(4))
def test_the_exact_p_is_the_share_of_all_patterns_of_signs(seed: int) -> None:
    values = drawn(9, mean=0.6, seed=seed)
    patterns = itertools.product((1, -1), repeat=len(values))
    sums = [abs(sum(sign * value for sign, value in zip(pattern, values, strict=True))) for pattern in patterns]
    expected = np.mean(np.array(sums) >= abs(values.sum()) - 1e-12)
    assert sign_flips(values, own(9)) == pytest.approx(expected)


@pytest.mark.parametrize("seed", range(3))
def test_the_exact_p_is_that_of_scipy(seed: int) -> None:
    values = drawn(10, mean=0.5, seed=seed)
    theirs = stats.permutation_test(
        (values,), lambda x, axis: np.mean(x, axis=axis), permutation_type="samples", n_resamples=np.inf
    )
    assert sign_flips(values, own(10)) == pytest.approx(theirs.pvalue)


def test_the_drawn_p_is_near_the_exact_one() -> None:
    values = drawn(EXACT + 10, mean=0.25, seed=4)
    # Doubling the subjects of one sum each is still tractable: the exact law of the sum by convolution on a fine grid.
    grid = np.round(values * 1000).astype(int)
    law = {0: 1.0}
    for step in grid:
        following: dict[int, float] = {}
        for total, chance in law.items():
            for end in (total + step, total - step):
                following[end] = following.get(end, 0.0) + chance / 2
        law = following
    exact = sum(chance for total, chance in law.items() if abs(total) >= abs(grid.sum()))
    found = sign_flips(grid / 1000, own(len(grid)))
    assert abs(found - exact) < 4 * math.sqrt(exact * (1 - exact) / FLIPS)  # four standard errors of a drawn share
    assert found == sign_flips(grid / 1000, own(len(grid))), "the draws are the same at every time"


def test_the_cases_of_a_subject_flip_together() -> None:
    values, subjects = np.array([1.0, 2.0, -0.5, 3.0, 1.0, 1.0]), ["a", "a", "b", "b", "c", "c"]
    assert sign_flips(values, subjects) == sign_flips(np.array([3.0, 2.5, 2.0]), own(3)) == 2 / 8


def test_subjects_without_a_difference_change_nothing() -> None:
    values = drawn(8, mean=1.0)
    padded = np.concatenate([values, np.zeros(30)])
    assert sign_flips(padded, own(38)) == sign_flips(values, own(8))
    assert sign_flips(np.zeros(5), own(5)) == 1.0
    assert math.isnan(sign_flips(np.zeros(0), []))


def test_no_difference_is_so_large_that_its_p_is_below_the_least() -> None:
    assert sign_flips(np.ones(7), own(7)) == least_p(7) == 2 / 128
    assert sign_flips(np.ones(60), own(60)) == least_p(60) == 1e-4, "of 9,999 drawn patterns none hits"


def test_under_the_null_p_is_uniform() -> None:
    p = np.array([sign_flips(drawn(12, seed=seed), own(12)) for seed in range(400)])
    # binomial, 400 draws of 0.05: 20 expected, 4.4 the deviation
    assert 7 <= (p < 0.05).sum() <= 33
    assert stats.kstest(p, "uniform").pvalue > 0.01


def test_holm_by_hand() -> None:
    # sorted .01 .02 .03 .04: times 4, 3, 2, 1 = .04 .06 .06 .04, then never falling
    assert holm([0.04, 0.01, 0.03, 0.02]) == pytest.approx([0.06, 0.04, 0.06, 0.06])
    assert holm([0.01]) == [0.01]
    assert holm([0.5, 0.9, 0.4]) == [1.0, 1.0, 1.0]
    assert holm([]) == []


def test_holm_does_not_count_what_is_undefined() -> None:
    adjusted = holm([math.nan, 0.02, 0.03])
    assert math.isnan(adjusted[0])
    assert adjusted[1:] == pytest.approx([0.04, 0.04])


@pytest.mark.parametrize("higher", [True, False])
def test_mean_ranks_are_those_of_scipy_with_ties(higher: bool) -> None:
    values = np.random.default_rng(1).integers(0, 4, (5, 40)).astype(float)  # few values, so many ties
    expected = stats.rankdata(-values if higher else values, axis=0).mean(axis=1)
    assert mean_ranks(values, higher=higher) == pytest.approx(expected)
    holed = np.concatenate([values, np.full((5, 1), np.nan)], axis=1)
    assert mean_ranks(holed, higher=higher) == pytest.approx(expected)
    assert np.isnan(mean_ranks(holed[:, -1:], higher=higher)).all()


def test_a_paired_difference_by_hand() -> None:
    one, other = np.array([0.9, 0.8, np.nan, 0.7]), np.array([0.6, 0.7, 0.5, 0.7])
    found = paired(one, other, own(4))
    assert found.difference == pytest.approx((0.3 + 0.1 + 0.0) / 3), "a case that is undefined for one does not count"
    low, high = found.interval
    assert low < found.difference < high
    assert found.p == 2 / 4, "the case without a difference has no sign"
    mirrored = paired(other, one, own(4))
    assert mirrored.p == found.p
    assert mirrored.difference == pytest.approx(-found.difference)
    assert mirrored.interval == pytest.approx((-high, -low))


def test_no_interval_of_a_difference_is_wider_than_the_measure() -> None:
    found = paired(np.array([0.9, 0.2]), np.array([0.1, 0.2]), own(2), most=1.0)
    assert found.interval == (-1.0, 1.0)
    assert paired(np.array([0.9, 0.2]), np.array([0.1, 0.2]), own(2)).interval[1] > 5


def test_rounding_is_no_difference() -> None:
    one = np.linspace(0.1, 0.9, 30)
    found = paired(one, one + 1e-16 * np.arange(1, 31), own(30))
    assert (found.difference, found.interval, found.p) == (0.0, (0.0, 0.0), 1.0)


def test_one_subject_has_no_interval_and_can_show_nothing() -> None:
    found = paired(np.array([0.9, 0.8]), np.array([0.1, 0.2]), ["a", "a"])
    assert found.p == least_p(1) == 1.0
    assert all(math.isnan(limit) for limit in found.interval)


def test_the_interval_is_that_of_the_normal_law_where_there_are_many() -> None:
    one, noise = drawn(400, seed=2), drawn(400, mean=0.2, seed=3)
    found = paired(one + noise, one, own(400))
    half = 1.96 * noise.std(ddof=1) / math.sqrt(400)
    # the limits of a bootstrap of 10,000 waver by about 2 % of the half width; the law of a mean of 400 is normal
    assert found.interval == pytest.approx((noise.mean() - half, noise.mean() + half), abs=0.06 * half)


def test_the_interval_covers_the_true_difference_as_often_as_it_says() -> None:
    """Normal differences of 30 subjects with two cases each; what a subject's cases share must count once."""
    draws, covered, trials = np.random.default_rng(5), 0, 100
    subjects = [name for name in own(30) for _ in range(2)]
    for _ in range(trials):
        shared = np.repeat(draws.normal(0.3, 1.0, 30), 2)
        low, high = paired(shared + draws.normal(0, 0.1, 60), np.zeros(60), subjects).interval
        covered += low <= 0.3 <= high
    # the percentile interval of 30 is a little short: about 93.5 of 100, with a deviation of 2.5
    assert 85 <= covered <= 99
