"""Curves by an L-system, and the look of an image by its spectrum."""

from __future__ import annotations

import numpy as np
import pytest

from scantling.core.errors import ArrayError, SettingsError
from scantling.phantoms.curves import BLUR, NOISE, Curves, fractal_curves, strokes, with_look_of


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def test_curves_are_dark_on_white_within_their_mask_and_again_the_same() -> None:
    for seed in range(20):
        made = fractal_curves((96, 128), generator=rng(seed))
        assert made.image.shape == (1, 96, 128)
        assert (made.image[0][~made.mask] == 1).all()
        assert (made.image[0][made.mask] < 1).all()
        assert not (made.centre_line & ~made.mask).any()
    assert np.array_equal(made.image, fractal_curves((96, 128), generator=rng(19)).image)


def test_strokes_follow_each_other_branch_and_become_thinner() -> None:
    counts = set()
    for seed in range(60):
        found = strokes(rng(seed))
        counts.add(len(found))
        begins, ends = (np.array([stroke[end] for stroke in found]) for end in (0, 1))
        reached = np.concatenate([begins[:1], ends])
        assert (np.abs(begins[:, None] - reached).max(-1).min(1) < 1e-6).all()
        lengths = np.hypot(*(ends - begins).T)
        assert ((lengths >= 90 * 0.7) & (lengths <= 150)).all()
        assert max(width for _, _, width in found) <= 6
    assert len(strokes(rng(1), Curves(iterations=(0, 0)))) in {1, 3}
    assert 6 in counts  # F, rewritten once by the first rule


def test_a_look_takes_the_strength_of_low_frequencies_and_keeps_every_phase() -> None:
    image, other = rng(1).uniform(0.3, 0.7, (2, 48, 40)), rng(2).uniform(0.4, 0.6, (2, 48, 40))
    same = with_look_of(image, image, generator=rng(3))
    other_look = with_look_of(image, other, generator=rng(3), band=0.5)
    blurred = np.fft.fft2(same), np.fft.fft2(other_look)
    wanted = np.abs(np.fft.fft2(other)) / np.abs(np.fft.fft2(image))
    low = (slice(None), slice(1, 3), slice(1, 3))  # where blur and noise take little
    np.testing.assert_allclose((np.abs(blurred[1]) / np.abs(blurred[0]))[low], wanted[low], rtol=0.7)
    assert np.abs(same.mean((1, 2)) - image.mean((1, 2))).max() < 0.01
    assert np.abs(other_look.mean((1, 2)) - other.mean((1, 2))).max() < 0.01
    assert same.std() < image.std()
    assert (BLUR, NOISE) == (1.4, 10 / 255)


def test_what_cannot_be_is_refused() -> None:
    with pytest.raises(SettingsError, match="too small"):
        fractal_curves((32, 64), generator=rng())
    with pytest.raises(ArrayError, match="expected the same"):
        with_look_of(np.zeros((1, 8, 8)), np.zeros((1, 8, 9)), generator=rng())
