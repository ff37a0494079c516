"""Batch Dice: the same whether a step is whole or divided, and fair to classes that most patches lack."""

from __future__ import annotations

import pytest
import torch
from monai.losses.dice import DiceLoss

from scantling.core.case import IGNORE
from scantling.losses.overlap import batch_dice_loss, class_channels, dice_loss, overlap_sums


def made(*shape: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Probabilities (B, 2, *S) that want a gradient, and class numbers (B, 1, *S), some of them unknown."""
    generator = torch.Generator().manual_seed(0)
    p = torch.rand((shape[0], 2, *shape[1:]), generator=generator, dtype=torch.float64).requires_grad_()
    mask = torch.randint(0, 3, (shape[0], 1, *shape[1:]), generator=generator).to(torch.uint8)
    return p, mask.masked_fill(torch.rand(mask.shape, generator=generator) < 0.1, IGNORE)


def whole(p: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    sums = overlap_sums(p, mask, ignore_index=IGNORE).sum(1)
    return batch_dice_loss(sums, total=sums.detach())


@pytest.mark.parametrize("shape", [(4, 9, 7), (4, 5, 6, 4)])
def test_batch_dice_is_that_of_monai(shape: tuple[int, ...]) -> None:
    p, mask = made(*shape)
    known = mask != IGNORE
    theirs = DiceLoss(batch=True, smooth_nr=1.0, smooth_dr=1.0)(p * known, class_channels(mask, 2).double())
    assert whole(p, mask).item() == pytest.approx(theirs.item(), rel=1e-9)


def test_a_step_in_parts_has_the_loss_and_the_gradient_of_the_whole() -> None:
    p, mask = made(4, 9, 7)
    (wanted,) = torch.autograd.grad(whole(p, mask), p)
    parts = [overlap_sums(p[rows], mask[rows], ignore_index=IGNORE).sum(1) for rows in (slice(0, 2), slice(2, 4))]
    total = torch.stack(parts).sum(0).detach()
    losses = [batch_dice_loss(part, total=total, parts=2) for part in parts]
    (found,) = torch.autograd.grad(sum(losses, torch.zeros(())) / 2, p)
    assert all(loss.item() == pytest.approx(whole(p, mask).item(), rel=1e-12) for loss in losses)
    assert torch.allclose(found, wanted, rtol=1e-9, atol=0)


def test_a_false_alarm_in_a_patch_without_the_class_costs_what_it_is_beside_the_whole_step() -> None:
    # Four patches of 100 pixels; the class fills the first, which is found whole, and 4 pixels are false in each other.
    mask = torch.zeros(4, 1, 10, 10, dtype=torch.uint8)
    mask[0] = 1
    p = mask.double()
    p[1:, :, 0, :4] = 1
    assert whole(p, mask).item() == pytest.approx(1 - (200 + 1) / (212 + 1))
    assert dice_loss(p, mask).item() == pytest.approx(3 / 4 * (1 - 1 / (4 + 1)))
