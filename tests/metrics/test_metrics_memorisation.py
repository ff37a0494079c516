"""Copies are found whatever way they are turned and shifted; new and blurred images are not called copies."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from scantling.core.errors import ArrayError
from scantling.metrics import aligned_distances, memorisation_limits, nearest, standardised

RNG = np.random.default_rng(1)


def images(count: int, *shape: int) -> np.ndarray:
    """Smooth noise upon a common shape, as scans of one organ have."""
    common = gaussian_filter(RNG.standard_normal(shape), 3)
    own = np.stack([gaussian_filter(RNG.standard_normal(shape), 1.5) for _ in range(count)])
    return 3 * common / common.std() + own[:, None] / own.std()


def plain_distance(one: np.ndarray, other: np.ndarray) -> float:
    """The same by loops over flips and shifts."""
    best = np.inf
    for flips in np.ndindex(2, 2):
        turned = one[:, :: 1 - 2 * flips[0], :: 1 - 2 * flips[1]]
        sides = one.shape[1:]
        for rows in range(-(sides[0] // 8), sides[0] // 8 + 1):
            for columns in range(-(sides[1] // 8), sides[1] // 8 + 1):
                squares = [
                    (turned[c, y, x] - other[c, y - rows, x - columns]) ** 2
                    for c, y, x in np.ndindex(*one.shape)
                    if 0 <= y - rows < sides[0] and 0 <= x - columns < sides[1]
                ]
                best = min(best, float(np.mean(squares)))
    return best**0.5


def test_distances_are_those_of_a_plain_loop_over_flips_and_shifts() -> None:
    made, training = standardised(RNG.standard_normal((2, 2, 9, 17))), standardised(RNG.standard_normal((3, 2, 9, 17)))
    expected = [[plain_distance(one, other) for other in training] for one in made]
    np.testing.assert_allclose(aligned_distances(made, training), expected, rtol=1e-4)


def test_a_flipped_shifted_brighter_copy_is_at_no_distance() -> None:
    training = RNG.standard_normal((4, 1, 24, 24))
    wide = np.pad(training[2], ((0, 0), (0, 2), (0, 0)), mode="wrap")
    copy = 5 * wide[:, 2:, ::-1] + 100
    found = nearest(aligned_distances(standardised(copy[None]), standardised(training)), list("abcd"))
    assert found.index.tolist() == [2]
    assert found.distance[0] < 0.05
    assert found.ratio[0] < 0.1


def checked(made: np.ndarray, training: np.ndarray, subjects: list[str]) -> tuple[np.ndarray, np.ndarray, float]:
    """(nearer, copied, p) of made images."""
    known = standardised(training)
    rule = memorisation_limits(nearest(aligned_distances(known, known), subjects, own=subjects))
    found = nearest(aligned_distances(standardised(made), known), subjects)
    return rule.nearer(found), rule.copied(found), rule.p_value(found)


@pytest.mark.parametrize("shape", [(24, 24), (12, 12, 12)])
def test_copies_are_called_copies_and_new_images_are_not(shape: tuple[int, ...]) -> None:
    every = images(70, *shape)
    training, new = every[:40], every[40:]
    subjects = [f"s{number // 2}" for number in range(40)]
    noisy = np.flip(training[:10], axis=-1) + 0.2 * RNG.standard_normal((10, 1, *shape))
    _, copied, p = checked(np.concatenate([noisy, new[:20]]), training, subjects)
    assert copied[:10].all()
    assert copied[10:].sum() <= 4
    assert p < 1e-3
    _, _, p = checked(new, training, subjects)
    assert p > 0.01


def test_blurred_images_are_near_to_all_and_no_copies() -> None:
    every = images(40, 24, 24)
    blurred = np.stack([every.mean(0) + 0.1 * one for one in images(10, 24, 24)])
    nearer, copied, _ = checked(blurred, every, [str(number) for number in range(40)])
    assert nearer.mean() > 0.5
    assert copied.sum() <= 2


def test_images_of_one_subject_do_not_hide_a_copy() -> None:
    every = images(20, 24, 24)
    training = np.repeat(every, 3, axis=0) + 0.1 * RNG.standard_normal((60, 1, 24, 24))
    subjects = [f"s{number // 3}" for number in range(60)]
    copy = every[:4] + 0.1 * RNG.standard_normal((4, 1, 24, 24))
    assert checked(copy, training, subjects)[1].all()


def test_constant_images_have_a_distance_and_bad_ones_a_sentence() -> None:
    assert not standardised(np.full((2, 1, 8, 8), 7.3)).any()
    with pytest.raises(ArrayError, match="NaN"):
        standardised(np.full((2, 1, 8, 8), np.nan))
    with pytest.raises(ArrayError, match="expected one shape"):
        aligned_distances(np.zeros((1, 1, 8, 8), np.float32), np.zeros((1, 1, 8, 9), np.float32))
    with pytest.raises(ArrayError, match="found 2 training subjects; expected 3 or more"):
        nearest(np.zeros((1, 4)), ["a", "a", "b", "b"])
    with pytest.raises(ArrayError, match="a column for each of 3"):
        nearest(np.zeros((1, 4)), ["a", "b", "c"])
