"""What a network answers before it has learnt anything."""

import pytest
import torch
from torch import nn

from scantling.losses import probabilities_of
from scantling.networks.first_answer import LEAST, begin_at_shares


def first_answer(shares: tuple[float, ...], outputs: int, *, exclusive: bool) -> torch.Tensor:
    """The probabilities (K,) of a new last layer where no feature speaks."""
    head = nn.Conv2d(4, outputs, 1)
    begin_at_shares(head, shares, exclusive=exclusive)
    logits = head(torch.zeros(1, 4, 1, 1))[:, : len(shares) + exclusive]
    return probabilities_of(logits, len(shares)).flatten()


@pytest.mark.parametrize("exclusive", [True, False])
def test_a_network_begins_with_the_shares_of_the_classes(exclusive: bool) -> None:
    shares = (0.01, 0.2)
    found = first_answer(shares, 2 + exclusive, exclusive=exclusive)
    torch.testing.assert_close(found, torch.tensor(shares))


def test_one_class_against_all_else() -> None:
    torch.testing.assert_close(first_answer((0.05,), 1, exclusive=False), torch.tensor([0.05]))


def test_a_class_without_a_pixel_and_no_background_leave_some_doubt() -> None:
    found = first_answer((0.0, 1.0), 3, exclusive=True)
    assert found[0].item() == pytest.approx(LEAST, rel=0.01)
    assert found[1].item() < 1 - LEAST


def test_unknown_shares_and_further_channels_stay_as_they_are() -> None:
    head = nn.Conv3d(4, 3, 1)
    assert head.bias is not None
    before = head.bias.clone()
    begin_at_shares(head, (), exclusive=False)
    torch.testing.assert_close(head.bias, before)
    begin_at_shares(head, (0.1, 0.1), exclusive=False)
    torch.testing.assert_close(head.bias[2:], before[2:])
