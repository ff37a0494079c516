"""Losses in one's own loop: the two layouts of a target, what 255 means, and sentences instead of wrong numbers."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import pytest
import torch
from torch import Tensor

from scantling import losses
from scantling.core.errors import ArrayError

OF_PROBABILITIES: dict[str, Callable[..., Tensor]] = {
    "binary_cross_entropy": losses.binary_cross_entropy,
    "dice_loss": losses.dice_loss,
    "overlap_sums": losses.overlap_sums,
    "skeleton_recall_loss": losses.skeleton_recall_loss,
    "soft_cldice_loss": partial(losses.soft_cldice_loss, iterations=2),
}
EVERY = {"cross_entropy": losses.cross_entropy, **OF_PROBABILITIES}


def made() -> tuple[Tensor, Tensor]:
    """Probabilities (2, 1, 12, 14), and a target of 0 and 1."""
    p = torch.rand(2, 1, 12, 14, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    return p, (p + 0.2 > torch.rand(2, 1, 12, 14, generator=torch.Generator().manual_seed(1))).long()


def test_predicting_nothing_of_a_mask_of_0_and_255_is_refused_and_not_cheap() -> None:
    _, target = made()
    nothing = torch.full(target.shape, -6.0)
    with pytest.raises(ArrayError, match=r"found the values 0, 255 in the target.*target == 255.*ignore_index=255"):
        losses.cross_entropy(nothing, 255 * target)
    assert losses.cross_entropy(nothing, 255 * target == 255) == losses.cross_entropy(nothing, target)
    assert losses.cross_entropy(nothing, target) > 1


@pytest.mark.parametrize("name", EVERY)
def test_a_target_of_other_values_or_another_shape_is_refused(name: str) -> None:
    p, target = made()
    for wrong in (255 * target, 2 * target, -target, 0.5 * target, target.float() * float("nan")):
        with pytest.raises(ArrayError, match="in the target; expected 0 and 1"):
            EVERY[name](p, wrong)
    with pytest.raises(ArrayError, match=r"target\[:, None\] adds the axis of the channel"):
        EVERY[name](p, target[:, 0])
    with pytest.raises(ArrayError, match=r"beside \(2, 1, 12, 14\)"):
        EVERY[name](p, target[..., :-1])
    with pytest.raises(ArrayError, match="adds the axis of the batch"):
        EVERY[name](p[0], target[0])


@pytest.mark.parametrize("name", EVERY)
def test_a_target_of_any_type_is_the_same_and_what_is_declared_does_not_count(name: str) -> None:
    p, target = made()
    loss = EVERY[name]
    expected = loss(p, target)
    for same in (target.bool(), target.to(torch.uint8), target.float()):
        assert torch.equal(loss(p, same), expected)
    for value, kind in ((255, torch.uint8), (255, torch.int32), (-1, torch.int64)):
        unknown = target.to(kind)
        unknown[:, :, :5] = value
        found = loss(p, unknown, ignore_index=value)
        assert torch.allclose(found, loss(p[:, :, 5:], target[:, :, 5:]), rtol=1e-9)
        with pytest.raises(ArrayError, match="in the target; expected 0 and 1"):
            loss(p, torch.where(unknown == 1, 3, unknown), ignore_index=value)


@pytest.mark.parametrize("name", OF_PROBABILITIES)
def test_logits_are_not_taken_for_probabilities_but_nan_is_seen_in_the_loss(name: str) -> None:
    p, target = made()
    with pytest.raises(ArrayError, match=r"expected probabilities in \[0, 1\]: of logits, losses\.probabilities_of"):
        OF_PROBABILITIES[name](torch.logit(p), target)
    p[0, 0, 3] = float("nan")
    assert OF_PROBABILITIES[name](p, torch.ones_like(target)).isnan().any()


def test_class_numbers_go_with_exclusive_logits_and_channels_with_independent_ones() -> None:
    logits = torch.randn(2, 3, 8, 9, generator=torch.Generator().manual_seed(0))
    numbers = torch.randint(0, 3, (2, 1, 8, 9), generator=torch.Generator().manual_seed(1))
    theirs = torch.nn.functional.cross_entropy(logits, numbers[:, 0])
    assert losses.cross_entropy(logits, numbers).item() == pytest.approx(theirs.item(), rel=1e-6)
    channels = torch.cat([numbers == 1, numbers == 2], 1)
    assert losses.cross_entropy(logits, channels).item() == pytest.approx(theirs.item(), rel=1e-6)
    with pytest.raises(ArrayError, match=r"\(B, 1, \*S\) of class numbers or \(B, 3, \*S\) of 0 and 1"):
        losses.cross_entropy(logits, torch.cat([channels, channels], 1))
    with pytest.raises(ArrayError, match="expected class numbers 0 to 2"):
        losses.cross_entropy(logits, numbers + 1)
    p = losses.probabilities_of(logits, 2)
    assert torch.equal(losses.dice_loss(p, numbers), losses.dice_loss(p, channels))
    with pytest.raises(ArrayError, match="for 1 classes; expected 1 channels, or 2"):
        losses.probabilities_of(logits, 1)
    with pytest.raises(ArrayError, match="in the target"):
        losses.mask_structure(255 * (numbers > 0), 1, dtype=torch.float64)
