"""Boxes as signals of a diffusion process."""

from __future__ import annotations

import pytest
import torch

from scantling.diffusion import GaussianProcess, Guess, betas, ddim, timesteps
from scantling.diffusion.boxes import boxes_of_signal, filled_up, signal_of

SIZE = (60, 90)


def boxes(count: int) -> torch.Tensor:
    torch.manual_seed(0)
    ends = torch.rand(count, 2, 2).sort(dim=2).values * torch.tensor(SIZE)[:, None]
    return torch.cat([ends[..., 0], ends[..., 1]], 1)


def test_boxes_come_back_from_their_signal() -> None:
    there = boxes(20)
    signal = signal_of(there, SIZE, scale=2)
    assert signal.abs().max() <= 2
    torch.testing.assert_close(boxes_of_signal(signal, SIZE, scale=2), there, rtol=1e-4, atol=1e-4)


def test_what_is_drawn_far_out_becomes_a_box_of_the_image() -> None:
    found = boxes_of_signal(torch.randn(200, 4) * 9, SIZE, scale=2)
    assert (found[:, 2:] >= found[:, :2]).all()
    middle = (found[:, :2] + found[:, 2:]) / 2 / torch.tensor(SIZE)
    assert ((middle >= -1e-6) & (middle <= 1 + 1e-6)).all()
    assert ((found[:, 2:] - found[:, :2]) <= torch.tensor(SIZE) * (1 + 1e-6)).all()


def test_true_boxes_are_filled_up_with_others_about_the_middle() -> None:
    there = signal_of(boxes(3), SIZE, scale=2)
    noise = torch.randn(2000, 4)
    filled = filled_up(there, noise, scale=2)
    assert torch.equal(filled[:3], there)
    shares = (filled[3:] / 2 + 1) / 2
    torch.testing.assert_close(shares[:, :2].mean(0), torch.full((2,), 0.5), rtol=0, atol=0.02)  # 5 standard errors
    torch.testing.assert_close(shares[:, :2].std(0), torch.full((2,), 1 / 6), rtol=0.1, atol=0)
    assert shares[:, 2:].min() >= 1e-4 - 1e-6
    assert torch.equal(filled_up(there, noise[:2], scale=2), there[:2])
    assert filled_up(there[:0], noise[:5], scale=2).shape == (5, 4)


@pytest.mark.parametrize("steps", [1, 4, 9])
def test_with_the_right_guess_a_chain_of_any_length_ends_at_the_true_boxes(steps: int) -> None:
    truth = signal_of(boxes(5), SIZE, scale=2)[None]
    process = GaussianProcess(betas("cosine2", 1000))
    final = ddim(
        lambda x, t: Guess(truth), torch.randn(1, 5, 4), process=process, eta=1.0, clip=(-2, 2),
        timesteps=timesteps(1000, steps, spacing="trailing"), draw=lambda purpose, like: torch.randn_like(like),
    )  # fmt: skip
    torch.testing.assert_close(final.x, truth)
    assert timesteps(1000, 4, spacing="trailing") == (999, 749, 499, 249)
