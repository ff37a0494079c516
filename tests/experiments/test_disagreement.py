"""What is done to a mask is what it is said to look like."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import ndimage

from scantling.experiments.disagreement import disagreement, mean_dice

NAMES = ("lesion", "rim")


def truth(shape: tuple[int, ...] = (60, 70)) -> np.ndarray:
    """Two classes that are no mirror images of themselves: a blob near a corner, and a smaller one beside it."""
    grid = np.stack(np.meshgrid(*map(np.arange, shape), indexing="ij"))
    middle, other = np.array([18, 20, 9][: len(shape)]), np.array([36, 44, 14][: len(shape)])
    spread = lambda centre: ((grid - centre.reshape(-1, *[1] * len(shape))) ** 2).sum(0)  # noqa: E731
    return np.stack([spread(middle) < 81, spread(other) < 36])


@pytest.mark.parametrize("shape", [(60, 70), (50, 60, 24)])
@pytest.mark.parametrize("shift", [(9, -7, 2), (-8, 12, 3)])
def test_a_shifted_mask_is_said_with_its_shift(shape: tuple[int, ...], shift: tuple[int, ...]) -> None:
    answer, by = truth(shape), shift[: len(shape)]
    mask = np.stack([ndimage.shift(layer.astype(int), by, order=0) > 0 for layer in answer])
    found = disagreement(mask, answer, names=NAMES)
    assert found.kind == "shifted"
    assert ", ".join(f"{n:+d}" for n in by) in found.sentence
    assert found.mended > 0.9 > found.dice


def test_swapped_classes_are_named() -> None:
    found = disagreement(truth()[::-1], truth(), names=NAMES)
    assert (found.kind, found.mended) == ("swapped classes", 1.0)
    assert found.sentence == "lesion and rim look swapped"


def test_a_mirrored_mask_and_one_with_swapped_axes_are_said() -> None:
    assert "mirrored along axis 2" in disagreement(truth()[:, :, ::-1], truth(), names=NAMES).sentence
    square = truth((64, 64))
    assert "axes 1 and 2" in disagreement(square.swapaxes(1, 2), square, names=NAMES).sentence


def test_an_empty_mask_and_an_answer_of_nothing_are_told_apart() -> None:
    nothing = np.zeros_like(truth())
    assert disagreement(nothing, truth(), names=NAMES).kind == "empty"
    assert disagreement(truth(), nothing, names=NAMES).kind == "not found"
    assert disagreement(nothing, nothing, names=NAMES).kind == "alike"


@pytest.mark.parametrize(("by", "word"), [(3, "wider"), (-3, "narrower")])
def test_a_wider_or_narrower_outline_is_another_style(by: int, word: str) -> None:
    grow = ndimage.binary_dilation if by > 0 else ndimage.binary_erosion
    mask = np.stack([grow(layer, iterations=abs(by)) for layer in truth()])
    found = disagreement(mask, truth(), names=NAMES)
    assert found.kind == "other style"
    assert word in found.sentence


def test_a_mask_of_something_else_is_said_to_be_elsewhere() -> None:
    generator = np.random.default_rng(0)
    mask = ndimage.gaussian_filter(generator.normal(size=(60, 70)), 3)
    layer = mask > np.quantile(mask, 0.9)
    assert disagreement(layer[None], truth()[:1], names=NAMES[:1]).kind in ("elsewhere", "shifted")


def test_the_mean_dice_is_over_the_classes_that_are_there() -> None:
    one = np.zeros((2, 4, 4), bool)
    one[0, :2] = True
    half = one.copy()
    half[0, 1] = False
    assert mean_dice(one, half) == pytest.approx(2 * 4 / 12)
