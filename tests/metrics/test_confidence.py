"""The Dice that a mask is expected to have, held against closed forms and against truths drawn from probabilities."""

from __future__ import annotations

import numpy as np
import pytest

from scantling.metrics.confidence import confidence_sums, dice_confidence
from scantling.metrics.overlap import confusion


def test_a_constant_probability_has_the_closed_form() -> None:
    likely = np.zeros((1, 10, 10), np.float32)
    likely[0, :5] = 0.8
    # 2 * 50 * 0.8 / (50 * 0.8 + 50)
    assert dice_confidence(confidence_sums(likely, (likely[0] > 0.5).astype(np.uint8))) == pytest.approx(80 / 90)


def test_it_is_the_mean_dice_of_truths_drawn_from_the_probabilities() -> None:
    generator = np.random.default_rng(0)
    likely = generator.beta(0.3, 0.6, (64, 64)).astype(np.float32)
    mask = likely > 0.5
    dice = [confusion(mask, generator.random(likely.shape) < likely).dice for _ in range(50)]
    assert dice_confidence(confidence_sums(likely[None], mask.astype(np.uint8))) == pytest.approx(
        np.mean(dice), abs=0.003
    )


def test_classes_that_were_not_found_do_not_count_and_an_empty_mask_has_none() -> None:
    likely = np.zeros((2, 4, 4), np.float32)
    likely[0, :2] = 1
    likely[1] = 0.1
    numbers = (likely[0] > 0.5).astype(np.uint8)
    assert dice_confidence(confidence_sums(likely, numbers)) == 1
    assert dice_confidence(confidence_sums(likely, np.stack([numbers, 0 * numbers]))) == 1, "classes that overlap"
    assert dice_confidence(confidence_sums(likely, 0 * numbers)) is None


def test_parts_of_an_image_add_up() -> None:
    generator = np.random.default_rng(1)
    likely = generator.random((3, 9, 8)).astype(np.float32)
    numbers = generator.integers(0, 4, (9, 8)).astype(np.uint8)
    parts = sum(confidence_sums(likely[:, rows], numbers[rows]) for rows in (slice(0, 4), slice(4, 9)))
    assert np.allclose(parts, confidence_sums(likely, numbers))
