"""What generators and discriminators minimise, against values by hand and closed forms."""

from __future__ import annotations

import pytest
import torch

from scantling.core.errors import ArrayError, SettingsError
from scantling.losses import feature_matching_loss, fooling_loss, r1_penalty, telling_loss

REAL, FAKE = torch.tensor([2.0, 0.5]), torch.tensor([-3.0, 0.25])


@pytest.mark.parametrize(
    ("kind", "told", "fooled"),
    [
        ("hinge", ((0 + 0.5) / 2 + (0 + 1.25) / 2) / 2, -(-3 + 0.25) / 2),
        ("least-squares", ((1 + 0.25) / 2 + (9 + 0.0625) / 2) / 2, (16 + 0.5625) / 2),
        ("wasserstein", (-3 + 0.25) / 2 - (2 + 0.5) / 2, -(-3 + 0.25) / 2),
    ],
)
def test_losses_are_what_their_formulas_say_by_hand(kind: str, told: float, fooled: float) -> None:
    assert float(telling_loss(REAL, FAKE, kind=kind)) == pytest.approx(told)  # type: ignore[arg-type]
    assert float(fooling_loss(FAKE, kind=kind)) == pytest.approx(fooled)  # type: ignore[arg-type]


def test_an_unknown_loss_is_refused_by_name() -> None:
    with pytest.raises(SettingsError, match="hinge, least-squares, wasserstein"):
        fooling_loss(FAKE, kind="logistic")  # type: ignore[arg-type]


def test_feature_matching_teaches_the_fakes_alone_and_is_zero_of_equal_maps() -> None:
    real, fake = torch.ones(1, 2, 3, requires_grad=True), torch.zeros(1, 2, 3, requires_grad=True)
    loss = feature_matching_loss([real, real], [fake, real.detach()])
    assert loss.item() == 0.5
    loss.backward()
    assert real.grad is None
    assert fake.grad is not None
    with pytest.raises(ArrayError, match="same layers"):
        feature_matching_loss([real], [])


def test_the_penalty_on_slopes_of_a_linear_judge_is_half_the_square_of_its_weights() -> None:
    weights, real = torch.tensor([3.0, 4.0]), torch.randn(5, 2, requires_grad=True)
    assert r1_penalty(real @ weights, real).item() == pytest.approx(12.5)
